"""Changes of the classifier: every check on everything registered, and every check shown to fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tailwise.core.registry import REGISTRY
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import HeadModule
from tailwise.posthoc.base import PostHoc, TrainingFeatures
from tailwise.posthoc.logit_adjustment import LogitAdjustment
from tailwise.posthoc.ncm import NCM
from tailwise.posthoc.tau_norm import TauNorm
from tests.conformance import checks_posthocs
from tests.conformance.cases import Check, parameters

MORE = (
    TauNorm(tau=0.5, bias="keep"),
    TauNorm(tau=-0.25),
    LogitAdjustment(tau=0.3),
    NCM(features="normalized"),
    NCM(similarity="euclidean"),
    NCM(similarity="euclidean", features="normalized"),
    NCM(features="centered"),
)


@pytest.mark.parametrize(("name", "check"), parameters("posthocs", checks_posthocs.CHECKS))
def test_posthoc(name: str, check: Check) -> None:
    check(REGISTRY.make("posthocs", name))


@pytest.mark.parametrize("posthoc", MORE, ids=lambda posthoc: posthoc.label)
def test_other_hyper_parameters(posthoc: PostHoc) -> None:
    for check in checks_posthocs.CHECKS:
        check(posthoc)


def test_registered_changes_have_a_summary_and_their_own_name() -> None:
    entries = REGISTRY.entries("posthocs")
    assert {"logit_adjustment", "ncm", "tau_norm"} <= {entry.name for entry in entries}
    for entry in entries:
        assert entry.summary.endswith((".", "`.")), entry.name
        assert entry.target.__module__.rsplit(".", 1)[-1] == entry.name
        assert entry.target.__name__.lower() == entry.name.replace("_", "")


class Wrapped(HeadModule):
    """A head whose forward pass is followed by something."""

    def __init__(self, head: HeadModule, then: Any) -> None:
        super().__init__()
        self.head, self.then = head, then

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        return {"main": self.then(self.head(maps)["main"], maps)}

    @property
    def classifier_weight(self) -> Tensor:
        return self.head.classifier_weight


def broken(then: Any) -> PostHoc:
    """Tau-normalisation, and then something."""

    def apply(self: Any, head: HeadModule, stats: ClassStats, features: TrainingFeatures | None = None) -> HeadModule:
        return Wrapped(TauNorm(tau=0.5).apply(head, stats, features), then)

    return frozen(type("Broken", (TauNorm,), {"apply": apply}))()


def the_head_itself(self: Any, head: HeadModule, stats: ClassStats, features: Any = None) -> HeadModule:
    return head


@frozen
class Unregistered(TauNorm):
    """Its record and its label name its base class."""


BROKEN: dict[Check, PostHoc] = {
    checks_posthocs.check_logits: broken(lambda logits, maps: logits if maps.ndim == 4 else -logits),
    checks_posthocs.check_leaves_the_head: frozen(type("Broken", (TauNorm,), {"apply": the_head_itself}))(),
    checks_posthocs.check_deterministic: broken(lambda logits, maps: logits + torch.rand(1)),
    checks_posthocs.check_class_order: broken(lambda logits, maps: logits + torch.arange(5)),
    checks_posthocs.check_samples_independent: broken(lambda logits, maps: logits - logits.mean(0)),
    checks_posthocs.check_precision: broken(lambda logits, maps: logits.float()),
    checks_posthocs.check_label: Unregistered(),
    checks_posthocs.check_record: Unregistered(),
}


def test_every_check_is_shown_to_fail() -> None:
    assert set(BROKEN) == set(checks_posthocs.CHECKS)


@pytest.mark.parametrize("check", BROKEN, ids=lambda check: check.__name__)
def test_a_broken_change_fails(check: Check) -> None:
    with pytest.raises(AssertionError):
        check(BROKEN[check])


@pytest.mark.parametrize("check", checks_posthocs.CHECKS[:-2], ids=lambda check: check.__name__)
def test_the_same_without_the_fault_passes(check: Check) -> None:
    check(broken(lambda logits, maps: logits))
