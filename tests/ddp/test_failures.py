"""When one of two processes fails, dies or hangs, the other ends soon and says why; leaving early is no failure.

The pairs are started in every way in which a launcher tells processes their numbers; torchrun and `--devices` have
tests of their own.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.ddp.conftest import Pairs
from tests.ddp.scenarios import SILENCE


@pytest.fixture(scope="module")
def found(pairs: Pairs) -> dict[str, list[dict[str, Any]]]:
    return pairs.found


def last_line(process: dict[str, Any]) -> str:
    return (process["said"].strip().splitlines() or [""])[-1]


def test_an_error_of_another_process_ends_this_one_with_its_message_and_status(found: dict[str, Any]) -> None:
    zero, one = found["rank_1_raises"]
    assert zero["said"] == "stopped: process 1 of 2 failed: the images of process 1 are gone\n"
    assert one["said"] == ""  # process 0 has said it
    assert zero["code"] == one["code"] == 2
    assert max(zero["seconds"], one["seconds"]) < 60


def test_a_bug_in_another_process_ends_this_one_inside_an_exchange(found: dict[str, Any]) -> None:
    zero, one = found["rank_1_has_a_bug"]
    assert last_line(zero) == "stopped: process 1 of 2 failed: ZeroDivisionError: 1 / 0"
    assert last_line(one) == "ZeroDivisionError: 1 / 0"
    assert "Traceback" in one["said"]
    assert zero["code"] == 1
    assert zero["seconds"] < 60


def test_an_error_of_the_first_process_ends_those_that_wait_for_it(found: dict[str, Any]) -> None:
    zero, one = found["rank_0_raises"]
    assert zero["said"] == "error: another process is training in runs/x\n"
    assert last_line(one) == "stopped: process 0 of 2 failed: another process is training in runs/x"
    assert zero["code"] == one["code"] == 2
    assert one["seconds"] < 60


@pytest.mark.parametrize("scenario", ["rank_1_is_killed", "rank_1_is_suspended"])
def test_a_process_that_falls_silent_ends_the_others(found: dict[str, Any], scenario: str) -> None:
    zero, _ = found[scenario]
    assert zero["said"] == f"stopped: process 1 of 2 has not answered for {SILENCE:.0f} seconds\n"
    assert zero["code"] == 1
    assert zero["seconds"] < 60


def test_a_connection_lost_in_an_exchange_names_the_process_that_is_gone(found: dict[str, Any]) -> None:
    zero, one = found["rank_1_is_killed_in_an_exchange"]
    assert last_line(zero) == "error: process 1 of 2 is gone without a message (killed, or its machine is lost)"
    assert (zero["code"], one["code"]) == (2, -9)


def test_the_death_of_the_first_process_ends_the_others(found: dict[str, Any]) -> None:
    zero, one = found["rank_0_is_killed"]
    assert last_line(one) == "stopped: process 0 of 2 is gone, and with it the store in which the processes met"
    assert (zero["code"], one["code"]) == (-9, 1)


def test_an_error_that_all_processes_have_is_said_once(found: dict[str, Any]) -> None:
    zero, one = found["both_raise"]
    assert zero["said"] == "error: nobody can read the images\n"
    assert one["said"] == ""
    assert zero["code"] == one["code"] == 2


def test_a_batch_that_the_processes_cannot_share_is_said_once(pairs: Pairs) -> None:
    zero, one = pairs.found["bad_batch"]
    assert zero["said"] == (
        "error: stream 'main' has a global batch of 33, which 2 processes cannot share evenly; the nearest batch that "
        "works is 32\n"
    )
    assert one["said"] == ""
    assert zero["code"] == one["code"] == 2
    assert not (pairs.folder / "bad-batch").exists()


@pytest.mark.parametrize("scenario", ["slurm_tasks_meet", "machines_meet"])
def test_processes_of_other_launchers_meet(found: dict[str, Any], scenario: str) -> None:
    assert [(process["code"], process["said"]) for process in found[scenario]] == [(0, ""), (0, "")]


@pytest.mark.parametrize("scenario", ["rank_0_leaves_first", "rank_1_leaves_first"])
def test_leaving_before_the_others_is_no_failure(found: dict[str, Any], scenario: str) -> None:
    for process in found[scenario]:
        assert process["said"] == ""
        assert process["code"] == 0
