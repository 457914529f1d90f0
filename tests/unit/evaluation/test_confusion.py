"""The accumulator against numpy, scikit-learn and torchmetrics, on one process and on two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score
from torchmetrics.classification import MulticlassCalibrationError

from tailwise.core.errors import DataError
from tailwise.evaluation.confusion import Accumulator, Evaluation

WORKER = """
import json, os, sys
import torch
import torch.distributed as dist
from tailwise.evaluation.confusion import Accumulator
rank, folder, cuts = int(os.environ["RANK"]), sys.argv[1], json.loads(sys.argv[2])
dist.init_process_group("gloo")
data = torch.load(f"{folder}/data.pt")
for cut in cuts:
    part = slice(0, cut) if rank == 0 else slice(cut, None)
    logits, target = data["logits"][part], data["target"][part]
    accumulator = Accumulator(logits.shape[1])
    for start in range(0, len(target), 16):
        accumulator.update(logits[start:start + 16], target[start:start + 16])
    found = accumulator.compute()
    with open(f"{folder}/{cut}-{rank}.json", "w") as file:
        json.dump([found.confusion.tolist(), found.top5_hits, found.nll, found.ece, found.reliability.to_plain()], file)
dist.barrier()
dist.destroy_process_group()
"""


def make(images: int, classes: int, scale: float = 3.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), target] += 1.0
    return scale * logits, target


def evaluate(logits: torch.Tensor, target: torch.Tensor, batch: int = 32) -> Evaluation:
    accumulator = Accumulator(logits.shape[1])
    for start in range(0, len(target), batch):
        accumulator.update(logits[start : start + batch], target[start : start + batch])
    return accumulator.compute()


def softmax(logits: torch.Tensor) -> NDArray[np.float64]:
    z = logits.double().numpy()
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_counts_agree_with_scikit_learn() -> None:
    logits, target = make(501, 12)
    found = evaluate(logits, target)
    y, p = target.numpy(), softmax(logits)
    assert found.confusion.dtype == np.int64
    np.testing.assert_array_equal(found.confusion, confusion_matrix(y, p.argmax(axis=1), labels=np.arange(12)))
    assert found.top5_hits == top_k_accuracy_score(y, p, k=5, labels=np.arange(12), normalize=False)
    np.testing.assert_allclose(found.nll, log_loss(y, p, labels=np.arange(12)), rtol=1e-6)
    assert found.num_images == 501


def test_rows_are_the_true_class() -> None:
    logits = torch.tensor([[0.0, 9.0, 0.0]])
    found = evaluate(logits, torch.tensor([2]))
    assert found.confusion[2, 1] == 1
    assert found.confusion.sum() == 1


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_calibration_error_equals_torchmetrics(scale: float) -> None:
    logits, target = make(700, 6, scale)
    reference = MulticlassCalibrationError(6, n_bins=15, norm="l1")
    reference.update(logits.softmax(dim=1), target)
    np.testing.assert_allclose(evaluate(logits, target).ece, float(reference.compute()), rtol=1e-5)


def test_calibration_error_equals_a_plain_loop_and_confidence_one_is_in_the_last_bin() -> None:
    logits, target = make(300, 5, scale=40.0)
    p = logits.softmax(dim=1).numpy()  # float32, as measured: many confidences are exactly 1
    confidence, right = p.max(axis=1).astype(np.float64), p.argmax(axis=1) == target.numpy()
    assert (confidence == 1.0).sum() > 50
    expected = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & ((confidence < (low + 1) / 15) | (low == 14))
        if inside.any():
            expected += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean()
    found = evaluate(logits, target)
    np.testing.assert_allclose(found.ece, expected, rtol=1e-6)
    assert found.reliability.count.sum() == 300
    assert found.reliability.edges[[0, -1]].tolist() == [0.0, 1.0]


def test_empty_bins_are_none_in_the_record() -> None:
    found = evaluate(torch.tensor([[20.0, 0.0], [20.0, 0.0]]), torch.tensor([0, 1]))
    plain = found.reliability.to_plain()
    assert plain["accuracy"][:14] == [None] * 14
    assert plain["accuracy"][14] == 0.5
    assert plain["count"][14] == 2
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_fewer_than_five_classes_always_hit_the_top_five() -> None:
    logits, target = make(40, 3)
    assert evaluate(logits, target).top5_hits == 40


def test_batch_size_does_not_change_the_result() -> None:
    logits, target = make(131, 7)
    one, many = evaluate(logits, target, 131), evaluate(logits, target, 10)
    np.testing.assert_array_equal(one.confusion, many.confusion)
    assert one.top5_hits == many.top5_hits
    np.testing.assert_allclose([one.nll, one.ece], [many.nll, many.ece], rtol=1e-12)


def test_half_precision_logits_are_computed_in_float32() -> None:
    logits, target = make(64, 4)
    half = logits.bfloat16()
    assert evaluate(half, target).nll == evaluate(half.float(), target).nll


def test_logits_that_are_not_finite_still_count() -> None:
    logits, target = make(10, 3)
    logits[0] = float("nan")
    found = evaluate(logits, target)
    assert found.num_images == 10
    assert np.isnan(found.nll)
    assert np.isnan(found.ece)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected logits \[B, 3\]"):
        Accumulator(3).update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match=r"got \[4, 3\] and \[5\]"):
        Accumulator(3).update(torch.zeros(4, 3), torch.zeros(5, dtype=torch.int64))


def test_no_image_is_an_error() -> None:
    with pytest.raises(DataError, match="no image"):
        Accumulator(3).compute()


@pytest.mark.slow
def test_two_processes_with_unequal_or_empty_slices_equal_one(tmp_path: Path) -> None:
    logits, target = make(137, 6)
    torch.save({"logits": logits, "target": target}, tmp_path / "data.pt")
    cuts = [101, 0]
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONWARNINGS": "error:The ``compute`` method:UserWarning"}
    run = subprocess.run(
        [*launcher, str(tmp_path / "worker.py"), str(tmp_path), json.dumps(cuts)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    whole = evaluate(logits, target)
    for cut in cuts:
        for rank in range(2):
            confusion, top5, nll, ece, bins = json.loads((tmp_path / f"{cut}-{rank}.json").read_text())
            np.testing.assert_array_equal(confusion, whole.confusion)
            assert top5 == whole.top5_hits
            np.testing.assert_allclose([nll, ece], [whole.nll, whole.ece], rtol=1e-12)
            assert bins["count"] == whole.reliability.count.tolist()
