"""One process: nothing is exchanged or guarded; names, precisions and devices that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tailwise.core.errors import RunError, UnknownName
from tailwise.engine import runtime as module
from tailwise.engine.runtime import Runtime


def test_one_process_sums_to_itself_and_guards_nothing() -> None:
    runtime = Runtime("cpu", "fp32")
    value = torch.ones(3)
    assert runtime.sum(value) is value
    assert (runtime.rank, runtime.world, runtime.is_main) == (0, 1, True)
    with runtime.guarded():
        pass
    with pytest.raises(ZeroDivisionError), runtime.guarded():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("precision", "weight", "activation"),
    [
        ("fp32", torch.float32, torch.float32),
        ("bf16", torch.float32, torch.bfloat16),
        ("fp64", torch.float64, torch.float64),
    ],
)
def test_each_precision_computes_in_its_type(precision: Any, weight: torch.dtype, activation: torch.dtype) -> None:
    seen: list[torch.dtype] = []

    class Layer(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            output = super().forward(input)
            seen.append(output.dtype)
            return output

    runtime = Runtime("cpu", precision)
    task = Layer(4, 2)
    wrapped, optimizer = runtime.setup(task, torch.optim.SGD(task.parameters(), lr=0.1))
    before = task.weight.detach().clone()
    runtime.backward(wrapped(torch.ones(3, 4)).sum())
    optimizer.step()
    assert seen == [activation]
    assert task.weight.dtype == weight
    torch.testing.assert_close(task.weight.detach(), before - 0.3)
    assert runtime.precision_state() == {}
    runtime.restore_precision({})


@pytest.mark.gpu
def test_fp16_scales_the_loss_and_its_scale_survives_a_resume() -> None:
    runtime = Runtime("cuda", "fp16")
    task = torch.nn.Linear(4, 2)
    wrapped, optimizer = runtime.setup(task, torch.optim.SGD(task.parameters(), lr=0.1))
    before = task.weight.detach().clone()
    runtime.backward(wrapped(torch.ones(3, 4, device=runtime.device)).sum())
    state = runtime.precision_state()
    assert task.weight.grad is not None
    torch.testing.assert_close(task.weight.grad, torch.full_like(before, 3.0 * state["scale"]))
    optimizer.step()
    torch.testing.assert_close(task.weight.detach(), before - 0.3)
    other = Runtime("cuda", "fp16")
    other.restore_precision({**state, "scale": 8.0})
    assert other.precision_state()["scale"] == 8.0


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("cpu", "fp16"), {}, RunError, "precision fp16 needs a CUDA device; allowed on a CPU: fp32, bf16, fp64"),
        (
            ("cpu", "fp8"),
            {},
            UnknownName,
            "unknown precision 'fp8'; did you mean 'fp64'?; allowed: bf16, fp16, fp32, fp64",
        ),
        (
            ("cpu", "fp32"),
            {"strategy": "fsdp"},
            RunError,
            "strategy 'fsdp' shards the weights, but a checkpoint here holds the whole model; allowed: auto, ddp, "
            "ddp_find_unused_parameters_true",
        ),
        (
            ("cpu", "fp32"),
            {"strategy": "dp"},
            UnknownName,
            "unknown strategy 'dp'; did you mean 'ddp'?; allowed: auto, ddp, ddp_find_unused_parameters_true",
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Runtime(*arguments, **options)
    assert str(caught.value) == message


def test_more_processes_than_gpus_are_refused_before_any_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module, "Fabric", None)
    with pytest.raises(RunError, match=r"^4 processes on this machine, but only 2 CUDA devices$"):
        Runtime("cuda", "fp32", devices=4)
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_NAME": "train",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=r"only 2 CUDA devices \(with SLURM, ask for --gpus-per-node, not --gpus-per-"):
        Runtime("auto", "fp32")
