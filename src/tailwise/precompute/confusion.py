"""Which classes each class is confused with, by a trained classifier on all training images (chu2020feature, Sec. 4.2).

Legend: N images, C classes.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.errors import RunError, TailwiseError
from tailwise.data.plan import Facts
from tailwise.engine.features import training_features
from tailwise.engine.recipe import Stage
from tailwise.engine.task import Task
from tailwise.evaluation.evaluate import measuring
from tailwise.heads.base import HeadModule
from tailwise.models.cam import class_activation_maps
from tailwise.models.network import Network
from tailwise.precompute.base import BeforeStage, check_plain, check_trained


def mean_scores(scores: Tensor, labels: Tensor, num_classes: int) -> NDArray[np.float64]:
    """Mean score of every class over the images of each class, ``[C,C]``: rows are the true class.

    Args:
        scores: ``[N,C]``.
        labels: int64 ``[N]``, every class at least once.
        num_classes: ``C``.
    """
    sums = torch.zeros(num_classes, scores.shape[1], dtype=torch.float64)
    sums.index_add_(0, labels.cpu(), scores.double().cpu())
    counts = torch.bincount(labels.cpu(), minlength=num_classes)
    return (sums / counts[:, None]).numpy()


def confusing_classes(scores: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """The classes with the largest mean scores, the class itself left out; equal ones in label order.

    Args:
        scores: ``[C,C]``, rows are the true class.
        number: ``N_f``, from 1 to ``C - 1``.

    Returns:
        int64 ``[C,N_f]``, the most confusing first.
    """
    others = -scores.astype(np.float64)
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :number].astype(np.int64)


class Confusion(BeforeStage):
    """Confusing classes, and the classifier with which a stage begins.

    Scores are softmax probabilities on plain training images, as the evaluation sees images. The paper restricts the
    confusing classes to no kind, so head and tail classes may be among them.
    """

    event: ClassVar[str] = "confusion"
    kind: ClassVar[str] = "confusion"
    contents: ClassVar[str] = "the confusing classes and the classifier"

    def check(self, network: Network) -> None:
        """Refuses a stage without what it reads, before anything is trained.

        Raises:
            TailwiseError: No trained classifier before the stage, no feature maps or maps of one position, streams
                that do not fit, or plain images that cannot be had.
        """
        for number, stage in enumerate(self.recipe.stages):
            batches = {name: stream.batch for name, stream in stage.streams.items()}
            if stage.images == "plain":
                check_plain(number, "shows plain images", self.recipe, self.prepared)
            if not _reads(stage):
                continue
            where = f"stage {number} draws by the confusions of a classifier"
            aug = stage.feature_aug
            if aug is not None and aug.needs_classifier:
                where = f"stage {number} changes features by class activation maps"
                aug.check(batches, self.positions(stage, network))
                if aug.needs_maps and stage.images != "plain":
                    raise TailwiseError(
                        f"{where} inside the backbone, which are those of plain images; show plain images in this "
                        f"stage (--stages.{number}.images plain)"
                    )
            check_trained(number, self.recipe, where, "it")

    def positions(self, stage: Stage, network: Network) -> int:
        """``h w`` of the maps that a stage's feature augmentation changes."""
        aug = stage.feature_aug
        place = aug.places[0] if aug is not None and aug.places else None
        shape = self.blank_maps(network, place)
        return shape[2] * shape[3]

    def enter(self, number: int, network: Network, task: Task, *, resumed: bool) -> dict[str, Any] | None:
        """Puts the facts of the network that is trained into the task; see :meth:`BeforeStage.enter`."""
        stage = self.recipe.stages[number]
        task.facts, task.classifier, task.cams = None, None, None
        if not _reads(stage):
            return None
        record = None
        if resumed:
            found = self._load(number)
        else:
            start = time.perf_counter()
            self.runtime.share_buffers(task.network)
            found = self._make(stage, task.network)
            self.save(number, found)
            record = {"images": len(self.prepared.index), "seconds": time.perf_counter() - start}
        confusing = found.get("confusing")
        aug, device = stage.feature_aug, self.runtime.device
        changes = aug is not None and aug.needs_classifier
        task.facts = Facts(
            None if confusing is None else confusing.cpu().numpy(),
            self.positions(stage, task.network) if changes else None,
        )
        task.classifier = found["classifier"].to(device)
        task.cams = found["cam"].to(device) if "cam" in found else None
        return record

    def _make(self, stage: Stage, network: Network) -> dict[str, Tensor]:
        weight = network.head.classifier_weight.detach()
        found = {"classifier": weight.clone()}
        number = _confusing(stage)
        if number:
            features = training_features(network, recipe=self.recipe, prepared=self.prepared, runtime=self.runtime)
            head: HeadModule = network.head
            with measuring(network, self.runtime):
                kind = next(head.parameters()).dtype
                logits = head.predict(cast(dict[str, Tensor], head(features.values.to(kind))))
            scores = mean_scores(logits.double().softmax(1), features.labels, logits.shape[1])
            found["confusing"] = torch.from_numpy(confusing_classes(scores, number))
        if stage.feature_aug is not None and stage.feature_aug.needs_maps:
            found["cam"] = self.of_all_images(
                network, lambda maps, label: class_activation_maps(maps, weight, label).half()
            )
        return found

    def _load(self, number: int) -> dict[str, Tensor]:
        found, stage = self.load(number), self.recipe.stages[number]
        classes = self.prepared.index.stats.num_classes
        wanted = {"classifier": classes} | ({"confusing": classes} if _confusing(stage) else {})
        for name, size in wanted.items():
            if name not in found or found[name].ndim != 2 or found[name].shape[0] != size:
                shape = list(found[name].shape) if name in found else "nothing"
                raise RunError(
                    f"{self.path(number)} holds {shape} as {name}; expected a row for each of {size} classes"
                )
        return found


def _confusing(stage: Stage) -> int:
    """The largest number of confusing classes that a stream draws from."""
    samplers: list[Any] = [stream.sampler for stream in stage.streams.values()]
    return max((sampler.num_classes for sampler in samplers if sampler.needs_confusion), default=0)


def _reads(stage: Stage) -> bool:
    aug = stage.feature_aug
    return _confusing(stage) > 0 or (aug is not None and aug.needs_classifier)
