"""Feature space augmentation against a slow reference, its labels, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tailwise.augment.feature_masks import choose, drawn_positions, generic, specific
from tailwise.augment.feature_space import FeatureSpace
from tailwise.core.errors import TailwiseError
from tailwise.core.types import MixedTarget
from tests.unit.augment import feature_space_reference as reference

TAIL, EACH, HEAD, WIDTH, CLASSES = 4, 3, 5, 6, 5
BATCH = TAIL * (1 + EACH) + HEAD


def example(seed: int, size: tuple[int, int] = (3, 4)) -> tuple[Tensor, dict[str, Any], Tensor]:
    """Sparse maps in float64, as after a rectifier; labels by stream; a classifier."""
    rng = np.random.default_rng(seed)
    maps = np.maximum(rng.normal(size=(BATCH, WIDTH, *size)) - 0.5, 0)
    maps *= rng.random((BATCH, 1, *size)) < 0.7  # whole vectors that are zero
    sizes = {"tail": TAIL, "confusing": TAIL * EACH, "head": HEAD}
    targets = {name: torch.from_numpy(rng.integers(0, CLASSES, size)) for name, size in sizes.items()}
    return torch.from_numpy(maps), targets, torch.from_numpy(rng.normal(size=(CLASSES, WIDTH)))


def row_of(aug: FeatureSpace, positions: int, seed: int = 0) -> dict[str, Tensor]:
    draws = aug.draw_for(np.random.default_rng(seed), 1, BATCH, positions)
    return {name: torch.from_numpy(array[0]) for name, array in draws.items()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("taus", [(0.5, 0.5), (0.8, 0.2), (0.99, 0.01)])
def test_fused_samples_equal_a_slow_version_of_algorithm_1(seed: int, taus: tuple[float, float]) -> None:
    maps, targets, weight = example(seed)
    aug = FeatureSpace(tau_specific=taus[0], tau_generic=taus[1])
    row = row_of(aug, 12, seed)
    found: Any = aug.counted(maps, targets, weight, row)
    result, changed, counts = found
    expected, empty = maps.mean((2, 3)).numpy().copy(), 0
    images, classes = maps.numpy(), weight.numpy()
    fallen: set[tuple[str, int]] = set()
    for number in range(TAIL * EACH):
        own, place = number % TAIL, TAIL + number
        label, other = int(targets["tail"][own]), int(targets["confusing"][number])
        expected[place], fell = reference.fused(
            images[own], images[place], (classes[label], classes[other]), taus, int(row["count"][place]),
            row["pick"][place].numpy(),
        )  # fmt: skip
        assert changed["confusing"][number] == label
        _, fell_own = reference.vectors(
            images[own], reference.activation(images[own], classes[label]), lambda value: value >= taus[0], max
        )
        if fell_own:
            fallen.add(("tail", own))
        if fell - fell_own:
            fallen.add(("confusing", number))
    empty = len(fallen)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-14)
    assert int(counts["fallbacks"]) == empty
    for name in ("tail", "head"):
        assert torch.equal(changed[name], targets[name])


def test_sparse_features_do_fall_back() -> None:
    """The comparison above would not see a wrong fallback if none of its examples had one."""
    total = 0
    for seed in range(4):
        maps, targets, weight = example(seed)
        aug = FeatureSpace(tau_specific=0.99, tau_generic=0.01)
        total += int(aug.counted(maps, targets, weight, row_of(aug, 12, seed))[2]["fallbacks"])
    assert total > 0


def test_inside_the_network_places_are_kept_and_equal_a_slow_version() -> None:
    maps, targets, weight = example(0)
    aug = FeatureSpace(layer="layer2")
    rng = np.random.default_rng(3)
    row = row_of(aug, 12) | {"cam": torch.from_numpy(rng.random((BATCH, 3, 4)))}
    result = aug.at_place("layer2", maps, targets, row)
    images, cams = maps.numpy(), row["cam"].float().numpy()
    for number in range(TAIL * EACH):
        own, place = number % TAIL, TAIL + number
        expected = reference.replaced(
            images[own], images[place], (cams[own], cams[place]), 0.5, int(row["count"][place]),
            row["pick"][place].numpy(),
        )  # fmt: skip
        np.testing.assert_array_equal(result[place].numpy(), expected)
    kept = [*range(TAIL), *range(BATCH - HEAD, BATCH)]
    assert torch.equal(result[kept], maps[kept])
    found: Any = aug.counted(result, targets, weight, row)
    same, changed, _ = found
    assert same is result
    assert torch.equal(changed["confusing"], targets["tail"].repeat(EACH))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_no_drawn_vector_is_zero_where_an_image_has_others(seed: int, tau_s: float, tau_g: float) -> None:
    maps, _, _ = example(seed, (2, 2))
    rng = np.random.default_rng(seed)
    cam = torch.from_numpy(rng.random((BATCH, 2, 2)))
    pick = torch.from_numpy(rng.random((BATCH, 7)))
    filled = (maps != 0).any(1).flatten(1)
    for mask, weight in ((specific(cam, tau_s), cam), (generic(cam, tau_g), 1 - cam)):
        chosen = choose(maps, mask, weight)
        places = drawn_positions(chosen, pick)
        assert (filled.gather(1, places) | ~filled.any(1, keepdim=True)).all()
        inside = mask.flatten(1).gather(1, places) | chosen.fell_back[:, None]
        assert inside.all()


def test_masks_are_those_of_equations_2_and_3() -> None:
    cam = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0])
    assert specific(cam, 0.5).tolist() == [False, False, True, True, True]
    assert generic(cam, 0.2).tolist() == [True, True, False, False, False]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 64), st.integers(0, 1000))
def test_counts_are_the_rounded_share_and_leave_a_draw_of_each_kind(positions: int, seed: int) -> None:
    draws = FeatureSpace().draw_for(np.random.default_rng(seed), 5, 8, positions)
    gamma = np.random.default_rng(seed).random((5, 8))
    assert draws["count"].tolist() == np.clip(np.rint(gamma * positions), 1, positions - 1).tolist()
    assert draws["pick"].shape == (5, 8, positions)
    assert draws["pick"].dtype == np.float32
    assert ((draws["pick"] >= 0) & (draws["pick"] < 1)).all()


def test_gamma_is_uniform() -> None:
    count = FeatureSpace().draw_for(np.random.default_rng(0), 200, 50, 10)["count"]
    share = np.bincount(count.ravel(), minlength=11) / count.size
    assert share[0] == share[10] == 0
    np.testing.assert_allclose(share[[1, 9]], 0.15, atol=0.02)
    np.testing.assert_allclose(share[2:9], 0.1, atol=0.02)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_fuse_what_one_process_fuses(world: int) -> None:
    maps, targets, weight = example(1)
    keep = TAIL * (1 + EACH)
    maps, targets = maps[: keep + 4], {**targets, "head": targets["head"][:4]}
    aug = FeatureSpace()
    row = {name: value[: keep + 4] for name, value in row_of(aug, 12).items()}
    result: Any = aug(maps, targets, weight, row)
    whole, labels = result
    for rank in range(world):
        share, names = slice(rank, None, world), list(targets)
        part: Any = aug(
            maps[share],
            {name: targets[name][share] for name in names},
            weight,
            {name: value[share] for name, value in row.items()},
        )
        own, changed = part
        torch.testing.assert_close(own, whole[share], rtol=0, atol=0)
        assert all(torch.equal(changed[name], labels[name][share]) for name in names)


def test_it_compiles_as_one_graph_and_keeps_types() -> None:
    maps, targets, weight = example(2)
    for aug in (FeatureSpace(), FeatureSpace(layer="layer2")):
        row = row_of(aug, 12) | {"cam": torch.rand(BATCH, 3, 4).half()}

        def step(aug: FeatureSpace, x: Tensor, row: dict[str, Tensor]) -> Any:
            if aug.places:
                x = aug.at_place("layer2", x, targets, row)
            result, changed, _ = aug.counted(x, targets, weight, row)
            return result, changed["confusing"]

        torch.compiler.reset()
        compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
        for left, right in zip(compiled(aug, maps, row), step(aug, maps, row), strict=True):
            assert torch.equal(left, right)
        for kind in (torch.float32, torch.bfloat16):
            assert step(aug, maps.to(kind), row)[0].dtype == kind


def test_nothing_waits_for_a_value_on_the_device() -> None:
    maps, targets, weight = example(2)
    targets = {name: label.to("meta") for name, label in targets.items()}
    for aug in (FeatureSpace(), FeatureSpace(layer="layer2")):
        row = row_of(aug, 12) | {"cam": torch.rand(BATCH, 3, 4)}
        row = {name: value.to("meta") for name, value in row.items()}
        x = maps.to("meta")
        if aug.places:
            x = aug.at_place("layer2", x, targets, row)
        result, _, counts = aug.counted(x, targets, weight.to("meta"), row)
        assert result.is_meta
        assert counts["fallbacks"].is_meta


def test_streams_that_it_does_not_know_stay_as_they_are() -> None:
    maps, targets, weight = example(0)
    aug = FeatureSpace()
    result, changed = aug(maps, {"main": targets["head"]}, weight, row_of(aug, 12))
    assert result is maps
    assert changed == {"main": targets["head"]}
    mixed = MixedTarget(targets["tail"], targets["tail"], torch.ones(TAIL))
    with pytest.raises(ValueError, match="needs plain labels, and those of its streams are mixed"):
        aug(maps, {**targets, "tail": mixed}, weight, row_of(aug, 12))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tau_specific": 0.0}, "tau_specific (tau_s) must be above 0 and below 1, got 0.0"),
        ({"tau_specific": 1.0}, "tau_specific (tau_s) must be above 0 and below 1, got 1.0"),
        ({"tau_generic": -0.1}, "tau_generic (tau_g) must be above 0 and below 1, got -0.1"),
        ({"tau_generic": float("nan")}, "tau_generic (tau_g) must be above 0 and below 1, got nan"),
        ({"layer": "fc"}, "layer must be pool or a layer of the backbone, got 'fc'"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        FeatureSpace(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("streams", "positions", "message"),
    [
        ({"main": 8}, 16, "feature_space needs the streams tail and confusing; the stage has main"),
        (
            {"tail": 4, "confusing": 6},
            16,
            "feature_space fuses every image of stream tail with equally many of stream confusing; 6 is no multiple of "
            "4",
        ),
        (
            {"tail": 4, "confusing": 8},
            1,
            "feature_space draws from the positions of a map, and here a map has one only; take a backbone with larger "
            "maps (for small images resnet32 or resnet18_small) or larger images (--image-size)",
        ),
    ],
)
def test_a_stage_it_cannot_act_in_is_refused(streams: dict[str, int], positions: int, message: str) -> None:
    with pytest.raises(TailwiseError) as error:
        FeatureSpace().check(streams, positions)
    assert str(error.value) == message
