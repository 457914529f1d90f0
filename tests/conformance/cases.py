"""What the conformance tests run over: every registered component, with the failures that are expected and why."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tailwise.core.registry import REGISTRY, Slot
from tailwise.core.spec import from_plain, from_yaml, spec_hash, to_plain, to_yaml

#: ``(kind, name, check) -> reason``. A check that is listed here must fail; one that passes is taken off the list.
EXPECTED_FAILURES: Mapping[tuple[str, str, str], str] = {
    ("samplers", "head_classes", "check_pool_may_grow"): "the check adds images to a tail class, which it never draws"
} | {
    ("losses", "seql_drawn", f"check_{check}"): "draws anew at every call, as printed; `seql` runs this check"
    for check in (
        "gradient",
        "class_order",
        "shift",
        "samples_independent",
        "pure",
        "reductions",
        "precision",
        "record",
        "compiles",
        "moves",
    )
}

#: ``(kind, name)`` of components so large that their checks are slow, beside a smaller one built by the same code.
SLOW: frozenset[tuple[str, str]] = frozenset({("backbones", "ride_resnet50"), ("backbones", "ride_resnext50")})

Check = Callable[[Any], None]


def parameters(kind: str, checks: Sequence[Check]) -> list[Any]:
    """Every check on every component of a kind and on its presets, as ``pytest.param(component, check)``."""
    found: list[Any] = []
    for name in REGISTRY.names(kind):
        for check in checks:
            reason = EXPECTED_FAILURES.get((kind, name, check.__name__))
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            marks += [pytest.mark.slow] if (kind, name) in SLOW else []
            found.append(pytest.param(name, check, id=f"{name}-{check.__name__.removeprefix('check_')}", marks=marks))
    return found


def stale(table: Mapping[tuple[str, str, str], str], checks: Mapping[str, Sequence[Check]]) -> list[str]:
    """Entries of a table of expected failures that name no component or no check, or give no reason."""
    known = {(kind, name, check.__name__) for kind in checks for name in REGISTRY.names(kind) for check in checks[kind]}
    return [str(key) for key, reason in table.items() if key not in known or not reason.strip()]


def check_record(component: Slot, base: type[Slot]) -> None:
    """Pickle, plain data and YAML give back an equal component with the same hashes, and it cannot be changed."""
    plain = to_plain(component)
    for copy in (
        pickle.loads(pickle.dumps(component)),
        from_plain(base, plain),
        from_yaml(base, to_yaml(component), "record"),
    ):
        assert type(copy) is type(component)
        assert copy == component
        assert hash(copy) == hash(component)
        assert spec_hash(copy) == spec_hash(component)
    with pytest.raises(AttributeError):
        component.kind = "other"  # type: ignore[misc]
