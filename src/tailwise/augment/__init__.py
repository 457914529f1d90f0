"""Per-sample pixel operations and the three augmentation slots of a training step: mix, view, feature augmentation."""

from tailwise.augment.base import FeatureAug, Mix, View
from tailwise.augment.pixel import Pixel

__all__ = ["FeatureAug", "Mix", "Pixel", "View"]
