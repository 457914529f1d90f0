"""Generated images: which draws show one, what their foreground is, and what a transform makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tailwise.augment.cam_compose import CamCompose
from tailwise.augment.cam_mask import bounding_box, foreground
from tailwise.augment.cam_transform import CamTransform
from tailwise.augment.cam_warp import TRANSFORMS
from tailwise.augment.crop_resize import pixel_centres
from tailwise.augment.pixel import Pixel
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import from_plain, to_plain
from tailwise.core.stats import ClassStats
from tailwise.data.plan import make_plan
from tailwise.engine.recipe import Data, Optim, Stage, Stream
from tailwise.samplers.over import Over
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive
from tailwise.samplers.under import Under
from tests.unit.augment import cam_reference as reference

COUNTS = np.array([40, 25, 10, 4])
STATS = ClassStats(COUNTS)
LABELS = np.repeat(np.arange(4), COUNTS)
SIZE = 8


def inputs(seed: int, count: int = 6, size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """Images with black pixels among them, maps with one bump each, and amounts."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (count, 3, size, size)) * (rng.random((count, 3, size, size)) > 0.1)
    rows, columns = np.mgrid[0:5, 0:6]
    middle = rng.uniform(1, 4, (2, count, 1, 1))
    bump = np.exp(-((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / 2)
    maps = (0.9 * bump + 0.1 * rng.random(bump.shape)).astype(np.float16)
    amount = rng.random((count, 2), dtype=np.float32)
    return torch.from_numpy(image.astype(np.uint8)), torch.from_numpy(maps), torch.from_numpy(amount)


def stream_of(image: Tensor, amount: Tensor, kind: int | Tensor) -> dict[str, Tensor]:
    kinds = torch.full((len(image),), kind) if isinstance(kind, int) else kind
    return {"image": image, "index": torch.arange(len(image)), "transform": kinds, "amount": amount}


def bound(maps: Tensor | None, **settings: Any) -> CamCompose:
    module = CamTransform(**settings).bind()
    module.maps = maps
    return module


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("threshold", [1.0, 0.75, 1.4])
def test_the_mask_and_its_box_are_those_of_the_reference(official: bool, threshold: float) -> None:
    _, maps, _ = inputs(1, count=20)
    mask = foreground(maps, SIZE, threshold, official=official)
    box = bounding_box(mask, official=official)
    for number in range(20):
        expected = reference.mask_of(maps[number].double().numpy(), SIZE, threshold, official)
        assert np.array_equal(mask[number].numpy(), expected)
        assert box[number].tolist() == list(reference.box_of(expected, official))
    assert 0 < mask.float().mean() < 1


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_composition_is_that_of_the_reference(name: str, official: bool) -> None:
    changed = 0
    for seed in range(4):
        image, maps, amount = inputs(seed)
        module = bound(maps, details="official" if official else "mended")
        out = module(stream_of(image, amount, TRANSFORMS[name]))
        assert out.dtype == torch.uint8
        for number in range(len(image)):
            mask = reference.mask_of(maps[number].double().numpy(), SIZE, 1.0, official)
            box = reference.box_of(mask, official)
            first, second = amount[number].tolist()
            expected = reference.compose(image[number].double().numpy(), mask, name, (first, second), box, official)
            difference = np.abs(out[number].double().numpy() - expected)
            # In float32 a value may fall on the other side of a half, or a place on the other side of a pixel's edge.
            assert difference.max() <= 1 or (difference > 1).any(axis=0).sum() <= 1
            changed += int((out[number] != image[number]).any())
    assert changed > 20


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(sorted(TRANSFORMS)))
def test_pixels_outside_the_old_and_the_moved_foreground_stay(seed: int, name: str) -> None:
    image, maps, amount = inputs(seed, count=3)
    module = bound(maps)
    mask = module.mask(torch.arange(3), SIZE)
    # A white image of the mask itself shows where the foreground went.
    shown = (mask[:, None] * torch.full((1, 3, 1, 1), 255)).to(torch.uint8)
    union = mask | (module(stream_of(shown, amount, TRANSFORMS[name])) > 0).any(1)
    out = module(stream_of(image, amount, TRANSFORMS[name]))
    outside = (~union)[:, None].expand_as(image)
    assert torch.equal(out[outside], image[outside])


def test_an_image_that_is_not_generated_stays_and_so_does_one_without_foreground() -> None:
    image, maps, amount = inputs(0)
    assert torch.equal(bound(maps)(stream_of(image, amount, 0)), image)
    for official in ("mended", "official"):
        module = bound(torch.zeros_like(maps), details=official)
        for kind in TRANSFORMS.values():
            assert torch.equal(module(stream_of(image, amount, kind)), image)
    kinds = torch.tensor([0, 1, 0, 2, 0, 3])
    mixed = bound(maps)(stream_of(image, amount, kinds))
    assert torch.equal(mixed[kinds == 0], image[kinds == 0])
    assert all((mixed[row] != image[row]).any() for row in (1, 3, 5))


def test_a_rotation_by_nothing_and_a_scaling_by_one_are_the_identity() -> None:
    image, maps, _ = inputs(0)
    middle = torch.full((len(image), 2), 0.5)
    for name in ("rotate", "scale", "rotate_scale"):
        for maker in (bound(maps), bound(None, foreground="image")):
            torch.testing.assert_close(maker(stream_of(image, middle, TRANSFORMS[name])), image, rtol=0, atol=0)


def test_the_flip_of_a_mask_is_the_mask_of_the_flip() -> None:
    image, maps, amount = inputs(3)
    assert torch.equal(foreground(maps.flip(2), SIZE, 1.0), foreground(maps, SIZE, 1.0).flip(2))
    mirrored = bound(maps.flip(2))(stream_of(image.flip(3), amount, TRANSFORMS["flip"]))
    assert torch.equal(mirrored, bound(maps)(stream_of(image, amount, TRANSFORMS["flip"])).flip(3))
    whole = bound(None, foreground="image")(stream_of(image, amount, TRANSFORMS["flip"]))
    assert torch.equal(whole, image.flip(3))


def test_a_translated_foreground_stays_inside_and_the_official_box_lets_it_leave() -> None:
    maps = torch.zeros(400, SIZE, SIZE, dtype=torch.float16)
    maps[:, 2:5, 3:7] = 1
    amount = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    shown = (maps[:, None].expand(-1, 3, -1, -1) * 255).to(torch.uint8)
    pixels = {}
    for details in ("mended", "official"):
        module = bound(maps, details=details)
        old = module.mask(torch.arange(400), SIZE)
        out = module(stream_of(shown, amount, TRANSFORMS["translate"]))[:, 0] > 0
        pixels[details] = (out | old).sum((1, 2)) if details == "official" else out.sum((1, 2))
    # Every pixel of the object reappears; where nothing came in, the old ones are kept.
    assert (pixels["mended"] >= 12).all()
    corners = bounding_box(maps > 0, official=True)
    assert corners[0].tolist() == [2, 3, 3, 4]
    assert bounding_box(maps > 0)[0].tolist() == [2, 3, 4, 6]


def test_floating_point_images_are_not_rounded() -> None:
    image, maps, amount = inputs(0)
    amount = amount * 0.4
    kinds = TRANSFORMS["rotate_scale"]
    whole, exact = bound(maps)(stream_of(image, amount, kinds)), bound(maps)(stream_of(image.float(), amount, kinds))
    assert exact.dtype == torch.float32
    assert torch.equal(exact.round().to(torch.uint8), whole)
    assert (exact != exact.round()).any()


def test_crops_of_packed_images_are_crops_of_the_generated_images() -> None:
    image, maps, amount = inputs(5)
    count, kinds = len(image), torch.tensor([1, 2, 3, 4, 5, 0])
    flat = image.permute(0, 2, 3, 1).reshape(-1, 3)
    sides = torch.full((count,), SIZE)
    packed = {
        "flat": flat,
        "offset": torch.arange(count) * SIZE * SIZE,
        "height": sides,
        "width": sides,
        "box": torch.tensor([[0, 0, SIZE, SIZE]]).expand(count, -1),
        "flip": torch.tensor([False, True] * 3),
        "grid": pixel_centres(SIZE, torch.device("cpu")),
    }
    stream = {**stream_of(image, amount, kinds), **packed}
    module = bound(maps)
    crops = module(stream)
    squares = module(stream_of(image.float(), amount, kinds))
    squares = torch.where(packed["flip"].view(-1, 1, 1, 1), squares.flip(3), squares)
    assert crops.dtype == torch.float32
    torch.testing.assert_close(crops, squares, rtol=0, atol=2e-3)

    pixel = Pixel(0, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    stream = {key: value for key, value in stream.items() if key != "image"}
    torch.testing.assert_close(pixel.augment(stream, module), pixel(crops))


def plan(generate: CamTransform, sampler: Any, *, epoch: int = 0, seed: int = 0, steps: int = 400) -> Any:
    stage = Stage(streams={"main": Stream(sampler=sampler, batch=50, generate=generate)}, optim=Optim())
    return make_plan(
        stage, Data(), LABELS, STATS, seed=seed, stage_number=1, epoch=epoch, progress=0.5, steps=steps
    ).streams["main"]


SAMPLERS = [Power(q=0.0), Power(q=0.5), Progressive(), Over(), Under()]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: f"{sampler.name}{getattr(sampler, 'q', '')}")
@pytest.mark.parametrize("fixed", [False, True])
def test_a_class_shows_its_share_of_generated_images(sampler: Any, fixed: bool) -> None:
    drawn = plan(CamTransform(fixed=fixed), sampler)
    classes = LABELS[drawn.index]
    assert COUNTS.max() + COUNTS.min() == 44
    for label, count in enumerate(COUNTS):
        of_class = drawn.transform[classes == label]
        share, expected = (of_class > 0).mean(), (44 - count) / 44
        assert abs(share - expected) < 4 * np.sqrt(0.25 / of_class.size)
        kinds = np.bincount(of_class[of_class > 0], minlength=6)[1:5] / (of_class > 0).sum()
        # A fixed set of four images cannot have every transform equally often.
        assert fixed or (np.abs(kinds - 0.25) < 4 * np.sqrt(0.25 / (of_class > 0).sum())).all()
    # The class probabilities are those of the original counts.
    plain = sampler.draw(LABELS, STATS, 0.5, 20000, np.random.default_rng(1))
    assert np.abs(np.bincount(classes.ravel()) / 20000 - np.bincount(LABELS[plain]) / 20000).max() < 0.02


def test_a_capped_class_gets_no_more() -> None:
    assert CamTransform().numbers(STATS).tolist() == [4, 19, 34, 40]
    assert CamTransform(cap=12).numbers(STATS).tolist() == [0, 0, 12, 12]
    drawn = plan(CamTransform(cap=12), Power(q=0.0))
    generated = np.array([(drawn.transform[LABELS[drawn.index] == label] > 0).mean() for label in range(4)])
    np.testing.assert_allclose(generated, [0, 0, 12 / 22, 12 / 16], atol=0.04)
    none = plan(CamTransform(cap=3, fixed=True), Power(q=0.0))
    assert not none.transform.any()


def test_draws_repeat_by_seed_and_epoch_and_are_sliced_by_rank() -> None:
    generate = CamTransform()
    first, again = plan(generate, Power(q=0.0), steps=3), plan(generate, Power(q=0.0), steps=3)
    later = plan(generate, Power(q=0.0), steps=3, epoch=1)
    for name in ("index", "transform", "amount"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(later, name))
        slices = [getattr(first.rank_slice(rank, 2), name) for rank in range(2)]
        assert np.array_equal(np.stack(slices, axis=2).reshape(getattr(first, name).shape), getattr(first, name))
    arrays = first.device_arrays(LABELS)
    assert {"index", "transform", "amount", "label", "crop", "flip"} == set(arrays)
    # Nothing else of a plan changes, and a stream without generated images has none of this.
    plain = make_plan(
        Stage(streams={"main": Stream(sampler=Power(q=0.0), batch=50)}, optim=Optim()),
        Data(), LABELS, STATS, seed=0, stage_number=1, epoch=0, progress=0.5, steps=3,
    ).streams["main"]  # fmt: skip
    assert np.array_equal(plain.index, first.index)
    assert np.array_equal(plain.crop, first.crop)
    assert plain.transform is None
    assert "transform" not in plain.device_arrays(LABELS)


def test_a_fixed_set_is_the_same_in_every_epoch_and_has_as_many_images_as_it_says() -> None:
    def shown(epoch: int) -> set[tuple[Any, ...]]:
        drawn = plan(CamTransform(fixed=True), Power(q=0.0), epoch=epoch)
        rows = zip(drawn.index.ravel(), drawn.transform.ravel(), *drawn.amount.reshape(-1, 2).T, strict=True)
        return {row for row in rows if row[1] > 0}

    first: set[tuple[Any, ...]] = shown(0)
    assert first == shown(3)
    assert np.bincount([LABELS[row[0]] for row in first]).tolist() == [4, 19, 34, 40]
    assert first != {row for row in _other_seed() if row[1] > 0}


def _other_seed() -> set[tuple[Any, ...]]:
    drawn = plan(CamTransform(fixed=True), Power(q=0.0), seed=1)
    return set(zip(drawn.index.ravel(), drawn.transform.ravel(), *drawn.amount.reshape(-1, 2).T, strict=True))


@pytest.mark.parametrize("name", ["cam", "cam_official", "image_trans"])
def test_it_never_waits_for_a_value_and_its_record_gives_it_back(name: str) -> None:
    generate: CamTransform = REGISTRY.make("generators", name)
    assert from_plain(CamTransform, to_plain(generate)) == generate
    image, maps, amount = inputs(0)
    module = generate.bind()
    module.maps = maps.to("meta")
    stream = stream_of(image, amount, torch.arange(6))
    assert module({key: value.to("meta") for key, value in stream.items()}).is_meta


def test_it_compiles_as_one_graph() -> None:
    torch.compiler.reset()
    image, maps, amount = inputs(0)
    module, stream = bound(maps), stream_of(image, amount, torch.arange(6))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(stream), module(stream))


def refused(message: str, **settings: Any) -> None:
    with pytest.raises(ValueError) as error:
        CamTransform(**settings)
    assert str(error.value) == message


def test_wrong_settings_are_refused() -> None:
    refused("foreground must be cam or image, got 'all'", foreground="all")
    refused("threshold must be a positive number, got 0", threshold=0)
    known = "flip, translate, rotate, scale, rotate_scale"
    refused(f"transforms must be one or more of {known}, each once, got flip, shear", transforms=("flip", "shear"))
    refused(f"transforms must be one or more of {known}, each once, got flip, flip", transforms=("flip", "flip"))
    refused(f"transforms must be one or more of {known}, each once, got none", transforms=())
    refused("details must be mended or official, got 'new'", details="new")
    refused("cap must be at least 1, got 0", cap=0)
