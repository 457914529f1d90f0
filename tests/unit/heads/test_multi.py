"""The main head with auxiliary ones beside it: what predicts is the main head, and the others can be taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tailwise.heads import LWS, Cosine, HeadModule, Linear, Multi
from tailwise.heads.linear import LinearModule
from tailwise.heads.multi import MultiModule
from tailwise.posthoc.tau_norm import TauNorm

MAPS = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0)).double()


def build(head: Multi, seed: int = 3) -> MultiModule:
    torch.manual_seed(seed)
    return head.build(5, 7).double()


def test_every_output_is_its_layer_on_the_shared_features() -> None:
    module = build(Multi(rotation=True, hidden=4))
    assert module.names == ("main", "auxiliary", "rotation")
    outputs = module(MAPS)
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    pooled = MAPS.numpy().mean((2, 3))
    features = np.maximum(pooled @ state["shared.weight"].T + state["shared.bias"], 0)
    layers = {"main": "main.fc", "auxiliary": "extra.auxiliary", "rotation": "extra.rotation"}
    for name, layer in layers.items():
        expected = features @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        np.testing.assert_allclose(outputs[name].detach().numpy(), expected, rtol=1e-12)
    assert [outputs[name].shape[1] for name in layers] == [7, 7, 4]
    assert torch.equal(module.predict(outputs), outputs["main"])


@pytest.mark.parametrize("main", [Linear(), Linear(bias=False), Cosine(), LWS()])
@pytest.mark.parametrize("hidden", [None, 4])
def test_the_head_for_inference_predicts_the_same_and_has_no_auxiliary_parameters(
    main: Linear | Cosine | LWS, hidden: int | None
) -> None:
    module = build(Multi(main=main, rotation=True, hidden=hidden)).eval()
    bare = module.for_inference()
    assert torch.equal(bare.predict(bare(MAPS)), module.predict(module(MAPS)))
    assert bare.names == module.main.names
    assert not any("extra" in name for name in bare.state_dict())
    assert {id(item) for item in bare.parameters()} < {id(item) for item in module.parameters()}
    assert (type(bare) is type(module.main)) == (hidden is None)
    assert not bare.training


def test_a_plain_linear_head_is_what_is_left() -> None:
    bare = build(Multi()).for_inference()
    assert type(bare) is LinearModule
    assert sorted(bare.state_dict()) == ["fc.bias", "fc.weight"]
    assert bare.for_inference() is bare


@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("rotation", [True, False])
@pytest.mark.parametrize("pooled", [True, False])
def test_a_stack_of_heads_gives_what_each_gives_alone(hidden: int | None, rotation: bool, pooled: bool) -> None:
    modules = [build(Multi(rotation=rotation, hidden=hidden), seed) for seed in range(3)]
    maps = torch.randn(6, 3, 5, 3, 3, generator=torch.Generator().manual_seed(1)).double()
    maps = maps.mean((3, 4)) if pooled else maps
    outputs = MultiModule.forward_stacked(modules, maps)
    expected = [module(maps[:, number]) for number, module in enumerate(modules)]
    assert list(outputs) == list(expected[0])
    for name, value in outputs.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in expected], 1), rtol=1e-12, atol=1e-12)
    sum(value.square().sum() for value in outputs.values()).backward()  # type: ignore[union-attr]
    mine = [[item.grad for item in module.parameters()] for module in modules]
    for module in modules:
        module.zero_grad()
    sum(value.square().sum() for one in expected for value in one.values()).backward()  # type: ignore[union-attr]
    for module, gradients in zip(modules, mine, strict=True):
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-10, atol=1e-10)


def test_a_new_head_keeps_the_layer_of_the_features() -> None:
    old, new = build(Multi(hidden=4), 0), build(Multi(hidden=4), 1)
    new.keep_extractor(old)
    assert torch.equal(new.shared.weight, old.shared.weight)  # type: ignore[union-attr]
    assert not torch.equal(new.classifier_weight, old.classifier_weight)
    before = new.state_dict()["shared.weight"].clone()
    new.keep_extractor(torch.nn.Identity())  # type: ignore[arg-type]
    assert torch.equal(new.state_dict()["shared.weight"], before)


def test_the_classifier_can_be_changed_after_training() -> None:
    module = build(Multi(hidden=4))
    changed = TauNorm(tau=1.0).apply(module, None)  # type: ignore[arg-type]
    torch.testing.assert_close(changed.classifier_weight.norm(dim=1), torch.ones(7).double())
    assert torch.equal(changed(MAPS)["auxiliary"], module(MAPS)["auxiliary"])


def test_messages() -> None:
    with pytest.raises(ValueError, match="hidden must be at least 1, got 0"):
        Multi(hidden=0)
    with pytest.raises(ValueError, match="the main head 'multi' has an output named 'auxiliary' of its own"):
        Multi(main=Multi()).build(5, 7)
    assert isinstance(Multi(main=Multi(auxiliary=False)).build(5, 7), HeadModule)
