"""Warnings name the combination, the table and its numbers; what no table shows is not warned of."""

from __future__ import annotations

import dataclasses

import pytest

from tailwise.cli import main
from tailwise.commands.warnings import warn
from tailwise.engine.recipe import Recipe
from tailwise.recipes.bag_of_tricks import table9, table10
from tailwise.recipes.base import base_recipe, make_recipe, replace_stream
from tailwise.recipes.conflicts import conflicts
from tailwise.samplers.over import Over
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive

ORDER = "(errors in % on CIFAR-10-LT 100 and 50, CIFAR-100-LT 100 and 50)"
CLASS_BALANCED = (
    "power(q=0) re-samples from the first epoch: Table 4 has 30.44, 23.97, 67.34 and 61.48, against 30.18, 24.78, "
    f"61.73 and 57.90 without {ORDER}; drs re-samples late, 29.04, 21.34, 59.56 and 55.67 in Table 7"
)


def recipe(name: str, data: str = "cifar100") -> Recipe:
    return make_recipe(name, base_recipe(data))


def test_re_weighting_with_re_sampling_in_one_stage_is_table_9() -> None:
    told = conflicts(table9().recipe("cs-ce-cam-balance", "cifar100-lt-100"))
    assert told == [
        "stage 1 re-weights (cost_sensitive) and re-samples (power(q=0)): Table 9 has 24.82, 18.96, 58.36 and 54.09 "
        f"for both together, 24.63, 18.60, 58.27 and 54.05 for re-sampling alone {ORDER}"
    ]


def test_re_weighting_and_re_sampling_from_the_start_is_told_once() -> None:
    both = replace_stream(recipe("cs-ce"), 0, sampler=Over())
    assert [text.partition(":")[0] for text in conflicts(both)] == [
        "stage 0 re-weights (cost_sensitive) and re-samples (over)"
    ]


def test_re_sampling_from_scratch_is_table_4() -> None:
    assert conflicts(recipe("class-balanced-sampling")) == [CLASS_BALANCED]
    assert conflicts(recipe("under-sampling", "digits")) == [
        "under re-samples from the first epoch: Table 4 has 34.14, 26.91, 67.23 and 60.98, against 30.18, 24.78, 61.73 "
        f"and 57.90 without {ORDER}; drs-under-sampling re-samples late, 28.18, 21.33, 60.21 and 55.97 in Table 7"
    ]
    assert "31.36, 24.84, 64.47 and 59.82" in conflicts(recipe("square-root-sampling", "cifar10"))[0]
    assert "33.24, 26.53, 67.00 and 61.11" in conflicts(recipe("over-sampling"))[0]


def test_re_weighting_from_scratch_is_table_3_where_there_are_many_classes() -> None:
    assert conflicts(recipe("cs-ce")) == [
        "cost_sensitive re-weights from the first epoch: with 100 classes Table 3 has 70.92 and 63.78, against 61.73 "
        "and 57.90 for plain cross-entropy (errors in % on CIFAR-100-LT 100 and 50); drw-cs-ce re-weights late, 58.92 "
        "and 54.57 in Table 8"
    ]
    assert "66.40 and 63.48" in conflicts(recipe("cb-ce"))[0]
    assert conflicts(recipe("cs-ce", "cifar10")) == []


def test_fine_tuning_after_manifold_mixup_is_table_6() -> None:
    told = conflicts(make_recipe("bag-of-tricks/table6/manifold-mixup-fine-tuned", base_recipe("cifar10")))
    assert told == [
        "stage 1 fine-tunes after manifold mixup: Table 6 has 28.88, 22.59, 61.16 and 57.43 with it, 26.61, 21.50, "
        f"60.14 and 56.44 without {ORDER}; fine-tuning after input mixup helps there"
    ]


def test_manifold_mixup_with_generated_images_is_table_10() -> None:
    told = conflicts(table10().recipe("manifold-mixup", "cifar10-lt-100", "official"))
    assert told == [
        "stage 1 has manifold mixup with CAM-based sampling: Table 10 has 22.65, 19.17, 57.20 and 56.94, and 21.88, "
        f"17.94, 53.94 and 50.04 with input mixup {ORDER}"
    ]


@pytest.mark.parametrize(
    "name",
    ["ce", "drs", "drw-cs-ce", "ldam-drw", "mixup-fine-tuned", "bag-of-tricks", "crt", "progressive-sampling",
     "bbn-sampling", "cb-focal", "cam-balance-sampling", "balanced-softmax"],
)  # fmt: skip
def test_what_no_table_shows_to_hurt_is_not_warned_of(name: str) -> None:
    assert conflicts(recipe(name)) == []


def test_tables_of_training_from_scratch_do_not_judge_pretrained_networks() -> None:
    sampled = recipe("class-balanced-sampling")
    assert (
        conflicts(dataclasses.replace(sampled, backbone=dataclasses.replace(sampled.backbone, pretrained=True))) == []
    )


def test_class_balanced_sampling_of_ten_classes_and_other_powers_are_not_in_doubt() -> None:
    assert conflicts(recipe("class-balanced-sampling", "cifar10")) == []
    assert conflicts(replace_stream(recipe("ce"), 0, sampler=Power(q=0.25))) == []
    assert conflicts(replace_stream(recipe("ce"), 0, sampler=Progressive())) == []


def test_a_warning_is_printed_once_for_all_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    sampled = recipe("class-balanced-sampling")
    warn([sampled, dataclasses.replace(sampled, seed=1), recipe("ce")])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"warning: class-balanced-sampling: {CLASS_BALANCED}",
        "Tables of zhang2021bag, not measured here; see docs/guide/which-tricks.md.",
    ]
    warn([recipe("ce")])
    assert capsys.readouterr().err == ""


def test_train_and_compare_warn_before_they_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for command in ("train", "compare"):
        monkeypatch.setattr(f"tailwise.commands.{command}.train_many", stop)
        main([command, "under-sampling", "--data", "digits"])
        assert "warning: under-sampling: under re-samples from the first epoch: Table 4 has" in capsys.readouterr().err
