"""Images whose foreground is moved while the background stays: what CAM-based sampling adds (zhang2021bag)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tailwise.augment.base import Draws, Generate
from tailwise.augment.cam_compose import CamCompose
from tailwise.augment.cam_warp import TRANSFORMS
from tailwise.core.checks import at_least, positive
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import ClassPools


@register(
    "cam_transform",
    paper="zhang2021bag",
    presets={
        "cam": {},
        "image_trans": {"foreground": "image"},
        "cam_official": {
            "threshold": 0.75,
            "transforms": ("flip", "translate", "rotate_scale"),
            "aligned": False,
            "details": "official",
            "fixed": True,
        },
    },
)
@frozen
class CamTransform(Generate):
    r"""Generated images of CAM-based sampling: one transform of the foreground, the background unchanged.

    A class with :math:`n_c` images gets :math:`m_c = n_{\max} + n_{\min} - n_c` generated ones, so that all classes
    have equally many together. A draw of the class is a generated image with probability :math:`m_c / (n_c + m_c)`.
    The class probabilities of the sampler come from the original counts.

    The foreground is where the class activation map (zhou2016learning) of the image's own class exceeds ``threshold``
    times its mean over the image. One of the ``transforms`` is applied, all equally likely. Where the old or the moved
    foreground lies, the transformed image is shown, as far as it has content there; everywhere else the image stays.

    Ranges, which the paper does not print, are those of its code: rotation by up to 45 degrees, scaling by 0.8 to 1.2,
    both about the centre of the foreground's bounding box; translation to any place where the box is inside; the flip
    mirrors the whole width.

    Deviations: the paper generates for each sampled image, its code once before the second stage, into JPEG files. Here
    an image is made when it is drawn, with new numbers at every draw, and nothing is compressed. ``fixed`` draws
    sources, transforms and amounts once for the whole run. Over- and under-sampling with generated images are
    described nowhere; here each draw of theirs is a generated image with the same probability.

    The preset ``image_trans`` is the paper's control: the same transforms of the whole image. It needs no maps; the
    middle half of the image takes the place of the bounding box, and what the transform leaves empty keeps its pixels.

    Args:
        foreground: ``cam``, or ``image`` for all of it.
        threshold: Factor of the map's mean; 1 in the paper, 3/4 in its code.
        transforms: Some of ``flip``, ``translate``, ``rotate``, ``scale`` and ``rotate_scale``, which does both; the
            code has the first two and the last.
        aligned: Off: the map is that of another random crop and flip of the image, as in the code. A source has one
            such map; the code makes a new one for every generated image.
        details: ``official`` repeats details of the code: maps of 8 bits, at least the threshold in place of above it,
            a bounding box whose far corner is the second row and column with foreground, whole degrees and percent,
            and pixels that count as empty where a colour of the transformed image is zero.
        fixed: Whether the set of generated images is the same throughout the run.
        cap: None, or a number T: classes with T images or more get no generated ones, others T at most. The code has
            100 for ImageNet-LT and 50 for iNaturalist 2018.

    Raises:
        ValueError: A value out of range, an unknown or repeated transform, or none at all.
    """

    foreground: Literal["cam", "image"] = "cam"
    threshold: float = 1.0
    transforms: tuple[str, ...] = ("flip", "translate", "rotate", "scale")
    aligned: bool = True
    details: Literal["mended", "official"] = "mended"
    fixed: bool = False
    cap: int | None = None

    def __post_init__(self) -> None:
        """Checks all values."""
        if self.foreground not in ("cam", "image"):
            raise ValueError(f"foreground must be cam or image, got {self.foreground!r}")
        positive("threshold", self.threshold)
        bad = [name for name in self.transforms if name not in TRANSFORMS]
        if bad or not self.transforms or len(set(self.transforms)) < len(self.transforms):
            given = ", ".join(self.transforms) or "none"
            raise ValueError(f"transforms must be one or more of {', '.join(TRANSFORMS)}, each once, got {given}")
        if self.details not in ("mended", "official"):
            raise ValueError(f"details must be mended or official, got {self.details!r}")
        if self.cap is not None:
            at_least("cap", self.cap, 1)

    @property
    def needs_maps(self) -> bool:
        """Whether the foreground comes from class activation maps."""
        return self.foreground == "cam"

    @property
    def other_crops(self) -> bool:
        """Whether the maps are misaligned."""
        return not self.aligned

    def numbers(self, stats: ClassStats) -> NDArray[np.int64]:
        """Generated images ``m_c`` of every class, shape ``[C]``."""
        counts = stats.counts
        wanted = counts.max() + counts.min() - counts
        return wanted if self.cap is None else np.where(counts >= self.cap, 0, np.minimum(wanted, self.cap))

    def draw(
        self,
        index: NDArray[np.int64],
        labels: NDArray[np.int64],
        stats: ClassStats,
        rng: np.random.Generator,
        once: np.random.Generator,
    ) -> tuple[NDArray[np.int64], Draws]:
        """The index, ``transform`` and ``amount``; see :meth:`tailwise.augment.base.Generate.draw`."""
        numbers, kinds = self.numbers(stats), np.array([TRANSFORMS[name] for name in self.transforms], dtype=np.int64)
        classes = labels[index]
        chosen = rng.random(index.shape) < (numbers / (stats.counts + numbers))[classes]
        if not self.fixed:
            # A sampler draws the images of a class uniformly, so what it drew is a source.
            kind = kinds[rng.integers(0, kinds.size, index.shape)]
            amount = rng.random((*index.shape, 2), dtype=np.float32)
            return index, {"transform": np.where(chosen, kind, 0), "amount": amount}
        pools = ClassPools.from_labels(labels, stats.num_classes)
        owner = np.repeat(np.arange(stats.num_classes), np.maximum(numbers, 1))
        source = pools.order[pools.starts[owner] + once.integers(0, pools.sizes[owner])]
        kind = kinds[once.integers(0, kinds.size, owner.size)]
        amount = once.random((owner.size, 2), dtype=np.float32)
        starts = np.cumsum(np.maximum(numbers, 1)) - np.maximum(numbers, 1)
        place = starts[classes] + rng.integers(0, np.maximum(numbers, 1)[classes])
        draws = {"transform": np.where(chosen, kind[place], 0), "amount": amount[place]}
        return np.where(chosen, source[place], index), draws

    def bind(self) -> CamCompose:
        """The module that makes the images."""
        return CamCompose(masked=self.needs_maps, threshold=self.threshold, official=self.details == "official")
