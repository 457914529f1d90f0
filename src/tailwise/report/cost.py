"""What each recipe cost: size of the network, images, time, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailwise.report.ledger import Result
from tailwise.report.table import NOTHING, statistic


def cost_rows(chosen: Mapping[str, Sequence[Result]]) -> list[dict[str, str]]:
    """The cost of every recipe in words; a dash where a run did not record it.

    Args:
        chosen: Recipe -> results. A change of the classifier costs no training and is left out.

    Returns:
        Per recipe ``name``, ``parameters``, ``images``, ``seconds``, ``speed``, ``memory``, ``memory_of`` (what the
        memory is of) and ``device``. Times are mean and standard deviation over seeds, the memory is the most of all.
    """
    found: list[dict[str, str]] = []
    for name, results in chosen.items():
        if results[0].changed is not None:
            continue
        seconds = statistic([result.seconds for result in results])
        speeds = [
            images / result.seconds
            for result in results
            if result.seconds and (images := _number(result.record.get("images"))) is not None
        ]
        speed = statistic(speeds)
        memory, of = _memory(results)
        found.append(
            {
                "name": name,
                "parameters": _each(results, "parameters"),
                "images": _each(results, "images"),
                "seconds": NOTHING if seconds is None else f"{seconds.show()}",
                "speed": NOTHING if speed is None else f"{speed.mean:,.0f}",
                "memory": memory,
                "memory_of": of,
                "device": _device(results),
            }
        )
    return found


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _each(results: Sequence[Result], key: str) -> str:
    """The values of a field over the seeds, once each."""
    values = [value for result in results if (value := _number(result.record.get(key))) is not None]
    return " / ".join(f"{value:,.0f}" for value in dict.fromkeys(values)) or NOTHING


def _memory(results: Sequence[Result]) -> tuple[str, str]:
    peaks: list[tuple[float, str]] = []
    for result in results:
        record = result.record.get("memory")
        if isinstance(record, Mapping) and (peak := _number(record.get("bytes"))) is not None:
            peaks.append((peak, str(record.get("of") or "")))
    if not peaks:
        return NOTHING, ""
    peak, of = max(peaks)
    return f"{peak / 2**20:,.0f} MiB", of


def _device(results: Sequence[Result]) -> str:
    """Devices of the seeds, and how many runs shared one."""
    found: list[str] = []
    for result in results:
        record = result.record
        world, together = _number(record.get("world_size")) or 1, _number(record.get("at_once")) or 1
        words = [
            str(record.get("device") or ""),
            f"{world:.0f} processes" if world > 1 else "",
            f"{together:.0f} runs at once" if together > 1 else "",
        ]
        found.append(", ".join(word for word in words if word))
    return "; ".join(dict.fromkeys(text for text in found if text)) or NOTHING
