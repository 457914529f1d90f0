"""Who reports an error, and what the numbers of a launcher say about who speaks. Two processes: tests/ddp."""

from __future__ import annotations

import socket

import pytest
from torch import distributed

from tailwise.core.errors import DataError, RunError
from tailwise.engine import watchdog
from tailwise.engine.progress import is_main_process
from tailwise.engine.watchdog import TOLD, Watchdog, told_elsewhere

NUMBERS = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")


@pytest.mark.parametrize(
    ("env", "main"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"SLURM_PROCID": "1", "RANK": "0"}, True),
    ],
)
def test_the_first_process_is_known_by_its_launcher(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], main: bool
) -> None:
    for name in NUMBERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() is main


def test_the_first_process_reports_and_the_others_only_what_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(watchdog.time, "sleep", slept.append)
    told = DataError("no images")
    told.add_note(TOLD)
    caused = RunError("no images. Go on with: tailwise train")
    caused.__cause__ = told
    monkeypatch.setenv("RANK", "0")
    assert not told_elsewhere(told)
    monkeypatch.setenv("RANK", "1")
    assert told_elsewhere(told)
    assert told_elsewhere(caused)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    assert not told_elsewhere(DataError("my disk is gone"))
    assert slept == []
    # Before the processes have met, the launcher may end this one while it waits.
    monkeypatch.setattr(distributed, "is_initialized", lambda: False)
    assert not told_elsewhere(DataError("no such folder"))
    assert slept == [watchdog.DEFERENCE]


def test_a_store_that_is_gone_before_the_first_look_ends_the_process_with_a_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    ended: list[int] = []
    with (
        pytest.raises(distributed.DistError),
        Watchdog("127.0.0.1", port, 1, 2, interval=0.1, silence=1.0, end=ended.append),
    ):
        raise AssertionError("the block must not be entered")
    assert ended == [watchdog.STORE_GONE.code]
    assert capsys.readouterr().err == (
        "stopped: process 0 of 2 is gone, and with it the store in which the processes met\n"
    )
