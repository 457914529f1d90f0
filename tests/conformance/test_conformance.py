"""Every check on every registered component. A new component is tested without a line being added here."""

from __future__ import annotations

from typing import Any

import pytest

from tailwise.core.registry import REGISTRY
from tests.conformance import checks_backbones, checks_heads, checks_losses, checks_samplers
from tests.conformance.cases import EXPECTED_FAILURES, Check, parameters, stale

CHECKS: dict[str, Any] = {
    "losses": checks_losses.CHECKS,
    "samplers": checks_samplers.CHECKS,
    "heads": checks_heads.CHECKS,
    "backbones": checks_backbones.CHECKS,
}


@pytest.mark.parametrize(("name", "check"), parameters("losses", checks_losses.CHECKS))
def test_loss(name: str, check: Check) -> None:
    check(REGISTRY.make("losses", name))


@pytest.mark.parametrize(("name", "check"), parameters("samplers", checks_samplers.CHECKS))
def test_sampler(name: str, check: Check) -> None:
    check(REGISTRY.make("samplers", name))


@pytest.mark.parametrize(("name", "check"), parameters("heads", checks_heads.CHECKS))
def test_head(name: str, check: Check) -> None:
    check(REGISTRY.make("heads", name))


@pytest.mark.parametrize(("name", "check"), parameters("backbones", checks_backbones.CHECKS))
def test_backbone(name: str, check: Check) -> None:
    check(lambda width: REGISTRY.make("backbones", name, width=width))


@pytest.mark.parametrize("kind", CHECKS)
def test_registered_components_have_a_summary_and_their_own_name(kind: str) -> None:
    entries = REGISTRY.entries(kind)
    assert entries
    for entry in entries:
        assert entry.summary.endswith((".", "`.")), entry.name
        if isinstance(entry.target, type):
            assert entry.target.__module__.rsplit(".", 1)[-1] == entry.name
            assert entry.target.__name__.lower() == entry.name.replace("_", "")


def test_expected_failures_name_existing_components_and_checks() -> None:
    assert stale(EXPECTED_FAILURES, CHECKS) == []
    wrong = {
        ("losses", "no_such_loss", "check_shift"): "reason",
        ("losses", "cross_entropy", "check_nothing"): "reason",
        ("losses", "cross_entropy", "check_shift"): " ",
    }
    assert len(stale(wrong, CHECKS)) == 3
    assert stale({("losses", "cross_entropy", "check_shift"): "a reason"}, CHECKS) == []
