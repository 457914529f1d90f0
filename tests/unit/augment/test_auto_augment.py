"""AutoAugment: the policies, the draws, and every operation of a batch against torchvision's on single images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from tailwise.augment.auto_augment import auto_augment, operate
from tailwise.augment.auto_policy import OPERATIONS, SIGNED, AutoPolicy, draw_auto, policies, strength
from tailwise.core.errors import UnknownName
from tailwise.data.auto_item import auto_augment_item

#: Products that are cut to whole numbers; everything else is computed with integers.
WITHIN_ONE = ("color", "contrast", "sharpness", "brightness")
POLICIES: tuple[AutoPolicy, ...] = ("cifar10", "imagenet")


def images(size: int) -> torch.Tensor:
    """Noise, few values, one value, one value in a channel, a ramp."""
    noise = torch.randint(0, 256, (6, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise[1] = noise[1] // 4 + 50
    noise[2] = 77
    noise[3, 0] = 5
    noise[4] = (torch.arange(size) * 200 // size).to(torch.uint8).expand(3, size, size)
    return noise


def levels_of(operation: str) -> set[int | None]:
    """The levels with which the policies use an operation."""
    return {step[2] for name in POLICIES for pair in policies(name) for step in pair if step[0] == operation}


@pytest.mark.parametrize("size", [8, 32, 33])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_torchvision_s(operation: str, size: int) -> None:
    batch, number = images(size), OPERATIONS.index(operation)
    for level in levels_of(operation) or {None}:
        for sign in (1, -1) if operation in SIGNED else (1,):
            value = float(np.float32(sign * strength(operation, level, size)))
            mine = operate(batch, torch.full((6,), number), torch.full((6,), value))
            expected = torch.stack([auto_augment_item(image, [number], [value], False) for image in batch])
            worst = int((mine.int() - expected.int()).abs().max())
            assert worst <= (1 if operation in WITHIN_ONE else 0), (level, sign)
            if operation != "identity" and value and size > 8:  # a small turn moves no pixel of eight
                assert not torch.equal(mine, batch)


@pytest.mark.parametrize(
    "operation", ["posterize", "solarize", "color", "sharpness", "contrast", "brightness", "rotate"]
)
def test_every_level_is_within_one_of_torchvision(operation: str) -> None:
    batch, number = images(16), OPERATIONS.index(operation)
    for level in range(10):
        value = float(np.float32(strength(operation, level, 16)))
        mine = operate(batch, torch.full((6,), number), torch.full((6,), value))
        expected = torch.stack([auto_augment_item(image, [number], [value], False) for image in batch])
        assert int((mine.int() - expected.int()).abs().max()) <= 1, level


@pytest.mark.parametrize("name", POLICIES)
def test_policies_and_strengths_are_torchvision_s(name: AutoPolicy) -> None:
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy(name))
    spelled = [
        tuple((step[0].lower(), step[1], step[2]) for step in pair)
        for pair in theirs._policies  # pyright: ignore[reportPrivateUsage]
    ]
    ours = [tuple((step[0].replace("_", ""), step[1], step[2]) for step in pair) for pair in policies(name)]
    assert ours == spelled
    space = {key.lower(): value for key, value in theirs._AUGMENTATION_SPACE.items()}  # pyright: ignore
    for pair in policies(name):
        for operation, _, level in pair:
            values, signed = space[operation.replace("_", "")]
            assert signed == (operation in SIGNED)
            if level is not None:
                expected = float(values(10, 32, 32)[level]) * (255 if operation == "solarize" else 1)
                # A translation is cut to whole pixels when it is applied.
                expected = int(expected) if operation.startswith("translate") else expected
                assert strength(operation, level, 32) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", POLICIES)
def test_operations_are_drawn_with_their_probabilities_and_signs(name: AutoPolicy) -> None:
    operation, magnitude = draw_auto(name, (40, 500), 32, np.random.default_rng(0))
    assert operation.shape == magnitude.shape == (40, 500, 2)
    assert (operation.dtype, magnitude.dtype) == (np.int64, np.float32)
    for turn in range(2):
        for number, wanted in enumerate(OPERATIONS[1:], 1):
            expected = np.mean([pair[turn][1] * (pair[turn][0] == wanted) for pair in policies(name)])
            assert abs((operation[..., turn] == number).mean() - expected) < 0.012, wanted
    signed = np.isin(operation, [OPERATIONS.index(item) for item in SIGNED]) & (magnitude != 0)
    assert abs((magnitude[signed] < 0).mean() - 0.5) < 0.02
    assert (magnitude[~signed] >= 0).all()
    assert (magnitude[operation == 0] == 0).all()


def test_both_operations_of_each_image_act_in_their_order() -> None:
    batch = images(16)
    operation, magnitude = draw_auto("cifar10", (6,), 16, np.random.default_rng(3))
    assert len({tuple(row) for row in operation.tolist()}) > 3
    mine = auto_augment(batch, torch.from_numpy(operation), torch.from_numpy(magnitude))
    for image, numbers, values, got in zip(batch, operation.tolist(), magnitude.tolist(), mine, strict=True):
        expected = auto_augment_item(image, numbers, values, False)
        assert int((got.int() - expected.int()).abs().max()) <= 2  # a level for each of the two


def test_an_image_that_will_be_mirrored_is_changed_as_if_it_were() -> None:
    image = images(16)[0]
    rotate = [OPERATIONS.index("rotate"), 0]
    mirrored = auto_augment_item(image.flip(-1), rotate, [20.0, 0.0], False)
    assert torch.equal(auto_augment_item(image, rotate, [20.0, 0.0], True).flip(-1), mirrored)
    assert not torch.equal(auto_augment_item(image, rotate, [20.0, 0.0], False).flip(-1), mirrored)


def test_the_operations_are_one_graph_and_need_no_values() -> None:
    batch = images(12)
    operation, magnitude = (
        torch.from_numpy(item) for item in draw_auto("imagenet", (6,), 12, np.random.default_rng(0))
    )
    torch.compiler.reset()
    compiled = torch.compile(auto_augment, fullgraph=True, backend="eager")
    assert torch.equal(compiled(batch, operation, magnitude), auto_augment(batch, operation, magnitude))
    assert auto_augment(batch.to("meta"), operation.to("meta"), magnitude.to("meta")).is_meta


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown AutoAugment policy 'cifar'; did you mean 'cifar10'"):
        policies("cifar")  # type: ignore[arg-type]
