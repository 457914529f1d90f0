"""Per-sample pixel operations and the three augmentation slots of a training step: mix, view, feature augmentation."""

from tailwise.augment.base import FeatureAug, Mix, View
from tailwise.augment.cutmix import CutMix
from tailwise.augment.manifold_mixup import ManifoldMixup
from tailwise.augment.mixup import Mixup
from tailwise.augment.pixel import Pixel
from tailwise.augment.remix import Remix
from tailwise.augment.rotation import Rotation

__all__ = ["CutMix", "FeatureAug", "ManifoldMixup", "Mix", "Mixup", "Pixel", "Remix", "Rotation", "View"]
