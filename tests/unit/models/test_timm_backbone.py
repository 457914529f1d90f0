"""Building by name, and timm models of every layout as backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.models import backbone_names, build_backbone

# Model, image size, feature width, side of the map.
LAYOUTS = [
    ("resnet18", 32, 512, 1),
    ("resnet18", 96, 512, 3),
    ("vit_tiny_patch16_224", 32, 192, 2),
    ("vit_tiny_patch16_224", 80, 192, 5),
    ("deit_tiny_distilled_patch16_224", 48, 192, 3),
    ("swin_tiny_patch4_window7_224", 64, 768, 2),
    ("mobilenetv3_small_100", 64, 576, 2),
    ("convnext_atto", 64, 320, 2),
]


@pytest.mark.parametrize(("name", "size", "features", "side"), LAYOUTS)
def test_every_layout_becomes_maps_and_every_parameter_learns(name: str, size: int, features: int, side: int) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, image_size=size)
    maps = backbone.forward_features(torch.randn(2, 3, size, size))  # type: ignore[operator]
    assert maps.shape == (2, features, side, side)
    assert backbone.num_features == features
    assert maps.isfinite().all()
    (maps * torch.randn_like(maps)).sum().backward()
    without = [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    assert without == []


def test_tokens_return_to_their_place_in_the_image() -> None:
    backbone = build_backbone("vit_tiny_patch16_224", image_size=64).eval()
    seen: list[torch.Tensor] = []
    model: Any = backbone.model
    model.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        maps = backbone(torch.randn(1, 3, 64, 64))
    for row in range(4):
        for column in range(4):
            assert torch.equal(maps[0, :, row, column], seen[0][0, 1 + 4 * row + column])


def test_rows_and_columns_of_channels_last_maps_stay_apart() -> None:
    backbone = build_backbone("swin_tiny_patch4_window7_224", image_size=64).eval()
    model: Any = backbone.model
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        raw, maps = model.forward_features(x), backbone(x)
    assert torch.equal(maps[0, :, 0, 1], raw[0, 0, 1])
    assert torch.equal(maps[0, :, 1, 0], raw[0, 1, 0])


def test_building_leaves_the_model_as_it_was_made() -> None:
    torch.manual_seed(0)
    ours = build_backbone("resnet18")
    torch.manual_seed(0)
    theirs = timm.create_model("resnet18", num_classes=0)
    assert ours.training
    for (name, mine), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(mine, other), name


def test_timm_backbone_compiles_to_one_graph_and_runs_in_bfloat16() -> None:
    backbone = build_backbone("test_vit", image_size=32).eval()
    x = torch.randn(1, 3, 32, 32)
    torch.compiler.reset()
    with torch.no_grad():
        expected = backbone(x)
        compiled = torch.compile(backbone, fullgraph=True, backend="eager")(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = backbone(x)
    torch.testing.assert_close(compiled, expected)
    assert (half.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("extra_layers", [True, False], ids=["with_head", "features_only"])
def test_weights_come_from_a_local_file(tmp_path: Path, extra_layers: bool) -> None:
    saved = timm.create_model("resnet18", num_classes=1000 if extra_layers else 0)
    torch.save(saved.state_dict(), tmp_path / "weights.pth")
    backbone = build_backbone("resnet18", weights=str(tmp_path / "weights.pth")).eval()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(backbone(x), saved.eval().forward_features(x))  # type: ignore[operator]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({f"other.{name}": value for name, value in nn.Linear(3, 3).state_dict().items()}, path)
    with pytest.raises(TailwiseError, match=r"'resnet18': the file '.*weights\.pth' has weights for only 0 of 20"):
        build_backbone("resnet18", weights=str(path))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(TailwiseError, match="backbone 'resnet18': cannot use the weights in"):
        build_backbone("resnet18", weights=str(path))
    with pytest.raises(TailwiseError, match=r"no weights file at '.*absent\.pth'"):
        build_backbone("resnet18", weights=str(tmp_path / "absent.pth"))


def test_without_a_connection_the_local_file_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> nn.Module:
        assert kwargs["pretrained"] is True
        raise OSError("Name or service not known\nmore lines")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        TailwiseError, match=r"cannot fetch pretrained weights \(Name or service not known\).*`weights`"
    ):
        build_backbone("resnet18", pretrained=True)


def test_a_model_without_maps_is_refused() -> None:
    with pytest.raises(TailwiseError, match="'volo_d1_224': its 5 tokens do not form a square grid"):
        build_backbone("volo_d1_224", image_size=32)


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(TailwiseError, match="vit_tiny_patch16_224"):
        build_backbone("vit_tiny_patch16_224", image_size=8)


def test_unknown_names_show_the_nearest_and_not_all_of_timm() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown backbone 'resnt32'; did you mean 'resnet32' or 'resnet\w+'\?"
    ) as caught:
        build_backbone("resnt32")
    assert "or any of timm's" in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(TailwiseError, match=r"Invalid pretrained tag \(nonsense\)"):
        build_backbone("resnet18.nonsense")


def test_own_names_come_first_and_ignore_case() -> None:
    assert backbone_names() == [
        "resnet10",
        "resnet18_small",
        "resnet20",
        "resnet32",
        "resnet34_small",
        "resnet44",
        "ride_resnet20",
        "ride_resnet32",
        "ride_resnet50",
        "ride_resnext50",
    ]
    assert type(build_backbone("ResNet20", width=0.5)).__name__ == "ResNetCifar"


@pytest.mark.parametrize("options", [{"pretrained": True}, {"weights": "weights.pth"}])
def test_own_networks_have_no_pretrained_weights(options: dict[str, Any]) -> None:
    with pytest.raises(TailwiseError, match="backbone 'resnet32' has no pretrained weights"):
        build_backbone("resnet32", **options)


def test_the_width_of_timm_models_is_fixed() -> None:
    with pytest.raises(TailwiseError, match=r"'resnet18' is a timm model, whose width is fixed; got width=0\.5"):
        build_backbone("resnet18", width=0.5)
