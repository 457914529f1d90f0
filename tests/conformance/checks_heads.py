"""What every head must do. Each check takes a head with any hyper-parameters and raises when it does not."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.testing import assert_close

from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule
from tests.conformance.cases import check_record as check_component_record

FEATURES, CLASSES, BATCH = 12, 5, 6
STATS = ClassStats((50, 7, 200, 3, 20))


def maps() -> Tensor:
    """Feature maps as they come out of a rectifier."""
    return torch.randn(BATCH, FEATURES, 3, 3, generator=torch.Generator().manual_seed(0)).relu()


def build(head: Head) -> HeadModule:
    """A module from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return head.build(FEATURES, CLASSES, STATS)


def check_logits(head: Head) -> None:
    """Maps and pooled features give finite main logits and a prediction of shape [B, C]."""
    module = build(head)
    for features in (maps(), maps().mean((2, 3))):
        outputs = module(features)
        assert outputs["main"].shape == (BATCH, CLASSES)
        assert module.predict(outputs).shape == (BATCH, CLASSES)
        assert all(value.isfinite().all() for value in outputs.values())


def check_pooled(head: Head) -> None:
    """Pooled features give the prediction that their maps give."""
    module = build(head).eval()
    pooled = module.predict(module(HeadModule.pool(maps())))
    assert_close(pooled, module.predict(module(maps())), rtol=1e-5, atol=1e-5)


def check_classifier_weight(head: Head) -> None:
    """The classifier weight is one vector per class, and the gradient flows through it."""
    for classes in (2, CLASSES):
        weight = head.build(FEATURES, classes, None if classes == 2 else STATS).classifier_weight
        assert weight.shape == (classes, FEATURES)
        assert weight.requires_grad


def check_gradients(head: Head) -> None:
    """Every trainable parameter and the maps receive a gradient that is not zero."""
    module, features = build(head), maps().requires_grad_()
    target = torch.arange(BATCH) % CLASSES
    sum(torch.nn.functional.cross_entropy(value, target) for value in module(features).values()).backward()  # type: ignore[union-attr]
    for parameter in (features, *(p for p in module.parameters() if p.requires_grad)):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


def check_samples_independent(head: Head) -> None:
    """At test time the logits of an image do not depend on its batch."""
    module = build(head).eval()
    alone = torch.cat([module.predict(module(maps()[i : i + 1])) for i in range(BATCH)])
    assert_close(module.predict(module(maps())), alone, rtol=1e-5, atol=1e-5)


def check_precision(head: Head) -> None:
    """Under bfloat16 autocast and with channels-last maps, predictions stay near those in float32."""
    module = build(head).eval()
    expected = module.predict(module(maps()))
    assert_close(module.predict(module(maps().contiguous(memory_format=torch.channels_last))), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = module.predict(module(maps()))
    assert_close(value.float(), expected, rtol=0, atol=0.03 * float(expected.detach().abs().max()))


def check_compiles(head: Head) -> None:
    """Dynamo traces the head as one graph."""
    module = build(head).eval()
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    assert_close(compiled(maps())["main"], module(maps())["main"])


def check_meta(head: Head) -> None:
    """It runs without data, so nothing in it waits for a value on the device."""
    with torch.device("meta"):
        module = head.build(FEATURES, CLASSES, STATS)
    outputs = module(maps().to("meta"))
    assert module.predict(outputs).is_meta


def check_state(head: Head) -> None:
    """The state dict holds everything; two modules share nothing; one seed gives one initialisation."""
    first, second = build(head).eval(), head.build(FEATURES, CLASSES, STATS).eval()
    expected = first(maps())["main"]
    assert torch.equal(build(head).eval()(maps())["main"], expected)
    assert not torch.equal(second(maps())["main"], expected)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert torch.equal(second(maps())["main"], expected)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.equal(first(maps())["main"], expected)


def stacked_maps(count: int) -> Tensor:
    """Maps as several networks that are computed as one give them: a view of channels-last memory."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(BATCH, count * FEATURES, 3, 2, generator=generator, dtype=torch.float64).relu()
    return maps.contiguous(memory_format=torch.channels_last).unflatten(1, (count, FEATURES))


def check_stacked(head: Head) -> None:
    """Several heads at once give the logits, gradients and statistics that each head gives alone."""
    torch.compiler.reset()
    for count in (1, 3):
        modules = [head.build(FEATURES, CLASSES, STATS).double() for _ in range(count)]
        if count > 1:
            modules[-1].requires_grad_(False)
        kind = type(modules[0])
        compiled = torch.compile(kind.forward_stacked, fullgraph=True, backend="eager")
        for features in (stacked_maps(count), stacked_maps(count).mean((3, 4))):
            for forward in (kind.forward_stacked, compiled):
                twins = copy.deepcopy(modules)
                mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
                torch.manual_seed(0)
                outputs = forward(modules, mine)
                torch.manual_seed(0)
                expected = [twin(theirs[:, number]) for number, twin in enumerate(twins)]
                assert set(outputs) == set(expected[0])
                for name, value in outputs.items():
                    assert_close(value, torch.stack([one[name] for one in expected], 1), rtol=1e-10, atol=1e-10)
                for module in modules:
                    module.zero_grad()
                sum(value.sin().sum() for value in outputs.values()).backward()  # type: ignore[union-attr]
                sum(value.sin().sum() for one in expected for value in one.values()).backward()  # type: ignore[union-attr]
                assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-10)
                for module, twin in zip(modules, twins, strict=True):
                    for one, two in zip(module.parameters(), twin.parameters(), strict=True):
                        assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-10)
                    assert_close(module.state_dict(), twin.state_dict(), rtol=1e-10, atol=1e-10)


def check_export(head: Head) -> None:
    """The exported head predicts what the head itself does, after training has moved its statistics."""
    module = build(head).double()
    for _ in range(3):
        module(maps().double() + 1.0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    exported = module.eval().for_export().eval()
    for features in (maps().double(), maps().double().mean((2, 3))):
        expected = module.predict(module(features))
        assert_close(exported.predict(exported(features)), expected, rtol=1e-9, atol=1e-9)


def check_record(head: Head) -> None:
    """The head survives pickle, YAML and plain data."""
    check_component_record(head, Head)


CHECKS = (
    check_logits,
    check_pooled,
    check_classifier_weight,
    check_gradients,
    check_samples_independent,
    check_precision,
    check_compiles,
    check_meta,
    check_state,
    check_stacked,
    check_export,
    check_record,
)
