"""Residual branches against ordinary layers, their fusions, their classifier and what they fold into."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tailwise.core.errors import TailwiseError
from tailwise.core.registry import REGISTRY
from tailwise.core.stats import ClassStats
from tailwise.heads import ResLT
from tailwise.heads.branches import BranchNorm, ConvBnRelu, GroupedConv, SeparateConv
from tailwise.heads.reslt import ResLTModule
from tailwise.posthoc import TauNorm

WIDTH, CLASSES = 6, 5
LINEAR = ("batch_norm", "grouped_conv", "separate_conv")


def maps(seed: int = 0, size: int = 8) -> Tensor:
    return torch.randn(size, WIDTH, 3, 2, generator=torch.Generator().manual_seed(seed)).double().relu() * 3


def build(seed: int = 0, **values: Any) -> ResLTModule:
    """A head in float64 with parameters and statistics that nothing starts with."""
    torch.manual_seed(seed)
    head = ResLT(**values).build(WIDTH, CLASSES).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    head(maps(seed + 10))  # moves the running statistics
    return head


def test_branches_are_three_batch_norms_with_one_classifier() -> None:
    head = build()
    norm = cast(BranchNorm, head.transform)
    layers = nn.ModuleList(nn.BatchNorm2d(WIDTH) for _ in range(3)).double()
    for layer, scale, shift in zip(layers, cast(Tensor, norm.weight), cast(Tensor, norm.bias), strict=True):
        plain = cast(nn.BatchNorm2d, layer)
        plain.load_state_dict({"weight": scale, "bias": shift, "running_mean": norm.running_mean, "running_var": norm.running_var, "num_batches_tracked": norm.num_batches_tracked})  # fmt: skip  # noqa: E501
    classifier = copy.deepcopy(head.fc)
    for training in (True, True, False):
        head.train(training)
        layers.train(training)
        mine, theirs = maps(1).requires_grad_(), maps(1).requires_grad_()
        head.zero_grad()
        layers.zero_grad()
        outputs = head(mine)
        expected = [classifier(layer(theirs).mean((2, 3))) for layer in layers]
        for number, logits in enumerate(expected):
            assert_close(outputs[f"branch{number}"], logits)
        assert_close(outputs["main"], sum(expected))
        torch.stack([value.sin().sum() for value in outputs.values()]).sum().backward()
        (
            torch.stack([value.sin().sum() for value in expected]).sum() + torch.stack(expected).sum(0).sin().sum()
        ).backward()
        assert_close(mine.grad, theirs.grad)
        assert_close(cast(Tensor, norm.weight).grad, torch.stack([cast(Tensor, layer.weight.grad) for layer in layers]))
        for layer in layers:
            assert_close(norm.running_mean, layer.running_mean)
            assert_close(norm.running_var, layer.running_var)
    assert int(norm.num_batches_tracked) == int(cast(Tensor, layers[0].num_batches_tracked)) == 3


def test_one_value_per_channel_is_refused_in_training() -> None:
    head = build()
    with pytest.raises(ValueError, match="expected more than 1 value per channel when training"):
        head(maps(size=1).mean((2, 3)))
    head.eval()
    assert head(maps(size=1).mean((2, 3)))["main"].shape == (1, CLASSES)


def test_grouped_convolution_is_torchs_on_copies_of_the_maps_and_equals_separate_ones() -> None:
    head = build(branch="grouped_conv")
    conv = cast(GroupedConv, head.transform).conv
    features = torch.conv2d(maps().repeat(1, 3, 1, 1), conv.weight, groups=3).mean((2, 3)).unflatten(1, (3, WIDTH))
    assert_close(head(maps())["main"], head.fc(features).sum(1))
    separate = build(branch="separate_conv")
    with torch.no_grad():
        for own, weight in zip(cast(SeparateConv, separate.transform).convs, conv.weight.chunk(3), strict=True):
            cast(nn.Conv2d, own).weight.copy_(weight)
        separate.fc.load_state_dict(head.fc.state_dict())
    for name, value in head(maps()).items():
        assert_close(separate(maps())[name], value)


@pytest.mark.parametrize(("pool", "in_training", "in_evaluation"), [("after", "after", "after"), ("before", "before", "before"), ("official", "after", "before")])  # fmt: skip  # noqa: E501
def test_order_of_pooling_and_convolution(pool: Any, in_training: str, in_evaluation: str) -> None:
    head = build(branch="conv_bn_relu", pool=pool)
    for training, order in ((True, in_training), (False, in_evaluation)):
        head.train(training)
        layers = copy.deepcopy(cast(ConvBnRelu, head.transform))
        x = maps(2)
        if order == "before":
            x = x.mean((2, 3), keepdim=True)
        features = layers.bn(layers.conv(x)).relu().mean((2, 3)).unflatten(1, (3, WIDTH))
        assert_close(head(maps(2))["branch2"], head.fc(features)[:, 2])


def test_features_of_another_shape_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected maps \[B, D, h, w\] or pooled features \[B, D\], got shape \[8, 6, 3\]"
    ):
        build()(maps()[..., 0])


def test_statistics_of_pooled_features() -> None:
    head = build(pool="before")
    norm, pooled = cast(BranchNorm, head.transform), maps(3).mean((2, 3))
    unit = (pooled - pooled.mean(0)) / (pooled.var(0, correction=0) + norm.eps).sqrt()
    features = unit[:, None] * cast(Tensor, norm.weight) + cast(Tensor, norm.bias)
    assert_close(head(maps(3))["branch1"], head.fc(features)[:, 1])


def test_fusions() -> None:
    heads = {fusion: build(fusion=fusion).eval() for fusion in ("sum", "main", "max", "probabilities")}
    branches = torch.stack([heads["sum"](maps())[f"branch{number}"] for number in range(3)])
    assert_close(heads["sum"](maps())["main"], branches.sum(0))
    assert_close(heads["main"](maps())["main"], branches[0])
    assert_close(heads["max"](maps())["main"], branches.amax(0))
    assert_close(heads["probabilities"](maps())["main"].exp(), branches.softmax(-1).mean(0))
    assert [head.branches for head in heads.values()] == [("branch0", "branch1", "branch2")] * 4


def test_the_bias_counts_once_for_every_branch() -> None:
    head = build().eval()
    before = head(maps())["main"]
    with torch.no_grad():
        head.fc.bias.add_(1.0)
    assert_close(head(maps())["main"], before + 3)


@pytest.mark.parametrize("branch", ["batch_norm", "grouped_conv", "conv_bn_relu"])
def test_without_specialised_parameters_all_branches_are_equal(branch: Any) -> None:
    outputs = build(branch=branch, specialized=False)(maps())
    assert_close(outputs["branch1"], outputs["branch0"])
    assert_close(outputs["main"], 3 * outputs["branch2"])
    assert not torch.allclose(build(branch=branch)(maps())["branch1"], build(branch=branch)(maps())["branch0"])


@pytest.mark.parametrize("branch", LINEAR)
@pytest.mark.parametrize("fusion", ["sum", "main"])
@pytest.mark.parametrize("bias", [True, False])
def test_folded_branches_are_one_linear_classifier(branch: Any, fusion: Any, bias: bool) -> None:
    head = build(branch=branch, fusion=fusion, bias=bias, branches=4).eval()
    folded = head.fold()
    assert_close(folded(maps(4))["main"], head(maps(4))["main"])
    assert_close(folded.classifier_weight, head.classifier_weight)
    single = head.float()
    assert_close(single.fold()(maps(4).float())["main"], single(maps(4).float())["main"], rtol=1e-5, atol=1e-5)
    assert folded.fc.weight.data_ptr() != head.fc.weight.data_ptr()


def test_what_cannot_be_folded_says_why() -> None:
    with pytest.raises(TailwiseError) as rectified:
        build(branch="conv_bn_relu").fold()
    assert str(rectified.value) == (
        "branches with a rectifier cannot be folded into one linear classifier; batch_norm and plain convolutions "
        "fused by sum or main can"
    )
    with pytest.raises(TailwiseError, match=r"^the fusion max cannot be folded"):
        build(fusion="max").fold()


def test_classifier_weight_is_the_gradient_of_the_prediction() -> None:
    for branch in LINEAR:
        head = build(branch=branch).eval()
        pooled = maps().mean((2, 3))[:1].requires_grad_()
        rows = [torch.autograd.grad(head(pooled)["main"][0, c], pooled)[0][0] for c in range(CLASSES)]
        assert_close(head.classifier_weight, torch.stack(rows))


@pytest.mark.parametrize("branch", [*LINEAR, "conv_bn_relu"])
@pytest.mark.parametrize("tau", [0.0, 0.3, 0.7])
def test_tau_normalisation_acts_in_every_branch_and_drops_the_bias(branch: Any, tau: float) -> None:
    head = build(branch=branch).eval()
    changed = TauNorm(tau=tau).apply(head, ClassStats(range(1, CLASSES + 1))).eval()
    weight = head.fc.weight / head.fc.weight.norm(dim=1, keepdim=True) ** tau
    features = head.transform(maps())
    assert_close(changed(maps())["main"], (features @ weight.T).sum(1))
    assert_close(changed(maps())["branch1"], features[:, 1] @ weight.T)


FORMS: list[dict[str, Any]] = [
    {"branches": 2},
    {"fusion": "max"},
    {"bias": False},
    {"specialized": False},
    {"pool": "before"},
    {"branch": "grouped_conv", "branches": 5},
    {"branch": "separate_conv"},
    {"branch": "conv_bn_relu", "pool": "official"},
]


@pytest.mark.parametrize("values", FORMS, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_several_heads_at_once_give_what_each_gives(values: dict[str, Any], training: bool) -> None:
    heads = [build(seed, **values).train(training) for seed in range(3)]
    twins = copy.deepcopy(heads)
    features = torch.stack([maps(seed) for seed in range(3)], dim=1)
    outputs = ResLTModule.forward_stacked(heads, features)
    assert tuple(outputs) == heads[0].names
    for number, twin in enumerate(twins):
        for name, value in twin(features[:, number]).items():
            assert_close(outputs[name][:, number], value)
        assert_close(heads[number].state_dict(), twin.state_dict())


def test_heads_in_different_modes_or_of_different_forms_are_computed_one_by_one() -> None:
    features = torch.stack([maps(0), maps(1)], dim=1)
    for heads in ([build(0), build(1).eval()], [build(0), build(1, fusion="max")], [build(0), build(1, bias=False)]):
        outputs = ResLTModule.forward_stacked(heads, features)
        for number, head in enumerate(copy.deepcopy(heads)):
            assert_close(outputs["main"][:, number], head(features[:, number])["main"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"branches": 6}, "head 'reslt': branches must be from 2 to 5, got 6"),
        (
            {"branch": "separate_conv", "specialized": False},
            "head 'reslt': separate_conv has parameters for every branch; use grouped_conv with specialized=False",
        ),
        ({"pool": "official"}, "head 'reslt': pool=official is for branch=conv_bn_relu, got branch=batch_norm"),
    ],
)
def test_forms_that_do_not_exist_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TailwiseError) as error:
        REGISTRY.make("heads", "reslt", **values)
    assert str(error.value) == message
