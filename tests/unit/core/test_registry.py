from __future__ import annotations

import pkgutil
from typing import ClassVar

import pytest

import tailwise.losses
import tailwise.samplers
from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.registry import PACKAGES, REGISTRY, Entry, Registry
from tailwise.core.spec import frozen
from tailwise.samplers.base import Sampler


@pytest.mark.parametrize("kind", list(PACKAGES))
def test_every_entry_is_found_by_its_name_and_has_a_summary(kind: str) -> None:
    for entry in REGISTRY.entries(kind):
        assert REGISTRY.find(kind, entry.name.replace("_", "-")) is entry
        assert len(entry.summary) > 10


@pytest.mark.parametrize("kind", ["losses", "samplers", "heads", "objectives"])
def test_file_class_and_key_have_one_name(kind: str) -> None:
    for entry in REGISTRY.entries(kind):
        module = entry.target.__module__.rsplit(".", 1)[1]
        assert entry.name == module
        assert entry.target.__name__.lower() == module.replace("_", "")


def test_every_loss_and_sampler_is_public() -> None:
    for package, kind in ((tailwise.losses, "losses"), (tailwise.samplers, "samplers")):
        modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
        for entry in REGISTRY.entries(kind):
            assert entry.name in modules
            assert getattr(package, entry.target.__name__) is entry.target


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'balanced_softmax'"):
        REGISTRY.find("losses", "balanced_sofmax")
    with pytest.raises(UnknownName, match="did you mean 'losses'"):
        REGISTRY.entries("loses")


def test_unknown_hyper_parameters_and_refused_values_are_told() -> None:
    with pytest.raises(TailwiseError, match=r"'smothing'; did you mean 'smoothing'"):
        REGISTRY.make("losses", "cross_entropy", smothing=0.1)
    with pytest.raises(TailwiseError, match="got 7"):
        REGISTRY.make("losses", "cross_entropy", smoothing=7)


def test_presets_fix_hyper_parameters() -> None:
    assert REGISTRY.make("samplers", "class-balanced").q == 0.0
    assert REGISTRY.make("samplers", "square_root", within="cycle").q == 0.5


def test_two_things_of_one_name_are_refused() -> None:
    @frozen
    class One(Sampler):
        note: ClassVar[str] = ""

    registry = Registry()
    registry.add(Entry("samplers", "one", One, "first"))
    with pytest.raises(ValueError, match="two samplers"):
        registry.add(Entry("samplers", "one", object, "second"))
