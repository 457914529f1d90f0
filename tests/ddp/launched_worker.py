"""What a program does that asks for two processes with `--devices 2`; each leaves its findings as a file."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import torch

from tailwise import cli
from tailwise.engine.progress import Silent, is_main_process, make_reporter
from tailwise.engine.runtime import Runtime


def run(arguments: Sequence[str]) -> int:
    """The command behind `COMMAND FOLDER meet|die`."""
    from rich.console import Console

    folder, what = Path(arguments[0]), arguments[1]
    runtime = Runtime("cpu", "fp32", devices=2)
    with runtime.guarded():
        total = runtime.sum(torch.tensor([1.0 + runtime.rank]))
        again = Runtime("cpu", "fp32", devices=2)
        found = {
            "rank": runtime.rank,
            "world": runtime.world,
            "sum": total.tolist(),
            "again": [again.rank, again.world],
            "main": [runtime.is_main, is_main_process()],
            "silent": isinstance(make_reporter(Console()), Silent),
        }
        (folder / f"{os.getpid()}.json").write_text(json.dumps(found))
        if what == "die":
            if runtime.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(100)
    return 0


def main() -> int:
    with patch.object(cli, "COMMANDS", {"work": ("tests.ddp.launched_worker", "")}):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
