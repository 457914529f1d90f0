"""The measures against scikit-learn and hand-computed cases."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from tailwise.core.errors import DataError, UnknownName
from tailwise.evaluation.confusion import Evaluation, Reliability
from tailwise.evaluation.metrics import summarise

KEYS = [
    *("top1", "top5", "balanced_accuracy", "geometric_mean", "harmonic_mean", "worst_class", "macro_f1"),
    *("ece", "nll", "groups", "shots", "per_class"),
]


def evaluation(confusion: Any, top5: int = 0, nll: float = 1.0, ece: float = 0.125) -> Evaluation:
    bins = Reliability(np.linspace(0, 1, 16), np.full(15, np.nan), np.full(15, np.nan), np.zeros(15, dtype=np.int64))
    return Evaluation(np.asarray(confusion, dtype=np.int64), top5, nll, ece, bins)


def test_a_case_computed_by_hand() -> None:
    # recalls 3/4, 1/2, 1; predictions per class 4, 3, 1; F1 6/8, 2/5, 2/2
    found = summarise(evaluation([[3, 1, 0], [1, 1, 0], [0, 0, 2]], top5=8, nll=0.5), [100, 50, 3], "oltr")
    assert list(found) == KEYS
    assert found["top1"] == pytest.approx(75.0)
    assert found["top5"] == pytest.approx(100.0)
    assert found["balanced_accuracy"] == pytest.approx(75.0)
    assert found["geometric_mean"] == pytest.approx(100 * (0.75 * 0.5 * 1) ** (1 / 3))
    assert found["harmonic_mean"] == pytest.approx(100 * 3 / (4 / 3 + 2 + 1))
    assert found["worst_class"] == pytest.approx(50.0)
    assert found["macro_f1"] == pytest.approx(100 * (0.75 + 0.5 + 1) / 3)
    assert found["ece"] == pytest.approx(12.5)
    assert found["nll"] == 0.5
    assert found["per_class"] == pytest.approx([75.0, 50.0, 100.0])
    assert found["shots"] == "oltr"
    assert found["groups"] == {
        "many": {"accuracy": pytest.approx(75.0), "classes": 1, "images": 100},
        "medium": {"accuracy": pytest.approx(50.0), "classes": 1, "images": 50},
        "few": {"accuracy": pytest.approx(100.0), "classes": 1, "images": 3},
    }


@given(labels=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=80))
def test_measures_agree_with_scikit_learn(labels: list[tuple[int, int]]) -> None:
    truth, guess = np.asarray(labels).T
    confusion = np.zeros((6, 6), dtype=np.int64)
    np.add.at(confusion, (truth, guess), 1)
    found = summarise(evaluation(confusion), [200, 150, 90, 50, 20, 3], "kang")
    present = np.unique(truth)
    recall = [np.mean(guess[truth == label] == label) for label in present]
    assert found["top1"] == pytest.approx(100 * accuracy_score(truth, guess))
    if set(guess) <= set(truth) and present.size > 1:  # otherwise scikit-learn only warns
        assert found["balanced_accuracy"] == pytest.approx(100 * balanced_accuracy_score(truth, guess))
    assert found["balanced_accuracy"] == pytest.approx(100 * np.mean(recall))
    assert found["worst_class"] == pytest.approx(100 * np.min(recall))
    f1 = f1_score(truth, guess, labels=present, average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
    assert found["macro_f1"] == pytest.approx(100 * f1)
    assert found["harmonic_mean"] <= found["geometric_mean"] + 1e-9 <= found["balanced_accuracy"] + 2e-9


def test_group_accuracy_is_a_mean_over_classes_not_images() -> None:
    # class 0: 90 of 90; class 1: 0 of 10: per image 90 %, per class 50 %
    found = summarise(evaluation([[90, 0, 0], [10, 0, 0], [0, 0, 5]]), [500, 400, 10], "oltr")
    assert found["groups"]["many"] == {"accuracy": pytest.approx(50.0), "classes": 2, "images": 900}
    assert found["top1"] == pytest.approx(100 * 95 / 105)


def test_one_class_never_right_makes_both_means_zero() -> None:
    found = summarise(evaluation([[5, 0], [5, 0]]), [10, 2], "oltr")
    assert (found["geometric_mean"], found["harmonic_mean"], found["worst_class"]) == (0.0, 0.0, 0.0)


def test_an_empty_group_is_none_not_zero() -> None:
    found = summarise(evaluation(np.eye(3)), [500, 400, 300], "oltr")
    assert found["groups"]["few"] == {"accuracy": None, "classes": 0, "images": 0}


def test_classes_without_test_images_are_left_out_of_class_means() -> None:
    found = summarise(evaluation([[1, 1, 0], [0, 0, 0], [0, 0, 2]]), [30, 20, 10], "kang")
    assert found["per_class"] == [50.0, None, 100.0]
    assert found["balanced_accuracy"] == pytest.approx(75.0)
    assert found["worst_class"] == pytest.approx(50.0)
    assert found["groups"]["medium"] == {"accuracy": pytest.approx(50.0), "classes": 2, "images": 50}


def test_a_group_without_test_images_is_none() -> None:
    found = summarise(evaluation([[2, 0], [0, 0]]), [300, 5], "oltr")
    assert found["groups"]["few"] == {"accuracy": None, "classes": 1, "images": 5}


def test_diverged_logits_give_none_and_valid_json() -> None:
    found = summarise(evaluation(np.eye(2), nll=float("nan"), ece=float("nan")), [3, 2], "thirds")
    assert found["nll"] is None
    assert found["ece"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="3 class counts were given for 2 classes"):
        summarise(evaluation(np.eye(2)), [3, 2, 1], "oltr")
    with pytest.raises(DataError, match="no test image"):
        summarise(evaluation(np.zeros((2, 2))), [3, 2], "oltr")
    with pytest.raises(UnknownName, match="kang"):
        summarise(evaluation(np.eye(2)), [3, 2], "kangg")
