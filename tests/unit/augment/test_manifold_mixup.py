"""Manifold mixup: which numbers are mixed, with whom, and whose turn it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.augment import FeatureAug, ManifoldMixup
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import SpecError, from_plain, to_plain
from tailwise.core.types import MixedTarget
from tests.unit.augment import reference

WEIGHT = torch.zeros(4, 3, dtype=torch.float64)


def label_of(target: Any) -> MixedTarget:
    assert isinstance(target, MixedTarget)
    return target


@settings(deadline=None)
@given(per=st.sampled_from(["batch", "sample"]), seed=st.integers(0, 99))
def test_one_layer_is_mixed_by_the_printed_equation(per: Any, seed: int) -> None:
    maps, label = reference.batch_of(6, seed=seed)
    for layer in ("layer2", "fc", "input"):
        aug = ManifoldMixup(layer=layer, alpha=2.0, per=per)
        assert aug.places == (layer,)
        row = reference.row_of(aug.draw(np.random.default_rng(seed), 1, 6))
        np.testing.assert_allclose(
            aug.at_place(layer, maps, {"main": label}, row), reference.mixup(maps, row), rtol=1e-6, atol=1e-7
        )
        unchanged, targets = aug(maps, {"main": label}, WEIGHT, row)
        assert unchanged is maps
        target = label_of(targets["main"])
        assert target.first.tolist() == label.tolist()
        assert target.second.tolist() == label[reference.partner_of(row["order"])].tolist()
        assert target.lam.tolist() == reference.shares(row["lam"], 6)


def test_at_the_pooling_layer_pooled_features_are_mixed() -> None:
    aug = ManifoldMixup()
    assert aug.places == ()
    maps, label = reference.batch_of(6)
    row = reference.row_of(aug.draw(np.random.default_rng(0), 1, 6))
    mixed, _ = aug(maps, {"main": label}, WEIGHT, row)
    assert mixed.shape == (6, 3)
    np.testing.assert_allclose(mixed, reference.mixup(maps.mean((2, 3)), row), rtol=1e-6)
    again, _ = aug(maps.mean((2, 3)), {"main": label}, WEIGHT, row)
    assert torch.equal(mixed, again)


def test_of_several_layers_one_has_its_turn_in_every_step() -> None:
    aug = REGISTRY.make("feature_augs", "manifold_mixup_random")
    assert aug == ManifoldMixup(layer=("input", "layer1", "layer2"), alpha=2.0)
    draws = aug.draw(np.random.default_rng(0), 300, 6)
    assert draws["layer"].shape == (300,)
    assert np.bincount(draws["layer"], minlength=3).min() > 70
    maps, label = reference.batch_of(6)
    for step in range(6):
        row = reference.row_of(draws, step)
        for number, layer in enumerate(aug.layers):
            got = aug.at_place(layer, maps, {"main": label}, row)
            expected = reference.mixup(maps, row) if number == int(row["layer"]) else maps
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)
        _, targets = aug(maps, {"main": label}, WEIGHT, row)
        assert label_of(targets["main"]).lam.tolist() == reference.shares(row["lam"], 6)


def test_several_layers_may_include_the_pooled_features() -> None:
    aug = ManifoldMixup(layer=("layer1", "pool"))
    assert aug.places == ("layer1",)
    maps, label = reference.batch_of(6)
    for step in range(4):
        row = reference.row_of(aug.draw(np.random.default_rng(step), 1, 6))
        pooled, _ = aug(maps, {"main": label}, WEIGHT, row)
        own = maps.mean((2, 3))
        expected = reference.mixup(own, row) if int(row["layer"]) == 1 else own
        np.testing.assert_allclose(pooled, expected, rtol=1e-6, atol=1e-9)


def test_streams_are_mixed_among_themselves_and_views_stay() -> None:
    aug = ManifoldMixup(layer="layer1", per="sample")
    maps, _ = reference.batch_of(12)
    targets = {"main": torch.arange(6), "balanced": torch.arange(10, 14), "turned": torch.arange(2)}
    row = reference.row_of(aug.draw(np.random.default_rng(0), 1, 10))
    mixed = aug.at_place("layer1", maps, targets, row)
    assert torch.equal(mixed[10:], maps[10:])
    _, new = aug(maps, targets, WEIGHT, row)
    assert new["turned"] is targets["turned"]
    for name, start, end in (("main", 0, 6), ("balanced", 6, 10)):
        part = {key: value[start:end] for key, value in row.items()}
        np.testing.assert_allclose(mixed[start:end], reference.mixup(maps[start:end], part), rtol=1e-6, atol=1e-7)
        target = label_of(new[name])
        assert target.second.tolist() == targets[name][reference.partner_of(part["order"])].tolist()
        assert target.lam.tolist() == part["lam"].tolist()


def test_labels_are_not_mixed_twice() -> None:
    aug = ManifoldMixup()
    maps, label = reference.batch_of(6)
    row = reference.row_of(aug.draw(np.random.default_rng(0), 1, 6))
    with pytest.raises(ValueError, match="the labels of stream 'main' are mixed already"):
        aug(maps, {"main": MixedTarget(label, label, row["lam"].expand(6))}, WEIGHT, row)


def test_a_layer_is_a_name_or_several_in_a_recipe() -> None:
    assert from_plain(FeatureAug, "manifold_mixup(layer='layer3', alpha=2)") == ManifoldMixup(layer="layer3", alpha=2.0)
    several = from_plain(FeatureAug, {"_type": "manifold_mixup", "layer": ["layer1", "fc"]})
    assert several == ManifoldMixup(layer=("layer1", "fc"))
    assert to_plain(several)["layer"] == ["layer1", "fc"]


@pytest.mark.parametrize("layer", ["", [], ["pool", "pool"], ["layer1", ""]])
def test_no_layer_or_one_twice_is_refused(layer: str | list[str]) -> None:
    with pytest.raises(SpecError) as error:
        from_plain(FeatureAug, {"_type": "manifold_mixup", "layer": layer}, "aug")
    shown = tuple(layer) if isinstance(layer, list) else layer
    assert str(error.value) == f"aug: layer must be one name or several different ones, got {shown!r}"


def test_alpha_must_be_positive() -> None:
    with pytest.raises(SpecError) as error:
        from_plain(FeatureAug, "manifold_mixup(alpha=0)", "aug")
    assert str(error.value) == "aug: alpha must be a positive number, got 0.0"
    with pytest.raises(ValueError, match="per must be batch or sample, got 'layer'"):
        ManifoldMixup(per="layer")  # type: ignore[arg-type]
