"""Learning curves over all stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tailwise.analysis.figure import INK, look, new_figure, short, style


def curves(histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> Figure:
    """Test accuracy and training loss against the epoch, one line per seed, dotted lines where a stage begins.

    Args:
        histories: Recipe -> one list of log records per seed, as ``read_metrics`` returns them. Where a resumed run
            wrote an epoch twice, the later record counts. A loss that is not a number is left out.
    """
    with style():
        figure, (accuracy, loss) = new_figure(2.9, 1, 2)
        for number, (recipe, runs) in enumerate(histories.items()):
            colour, _, dashes = look(number)
            looks: dict[str, Any] = {"color": colour, "linestyle": dashes, "alpha": 1.0 if len(runs) == 1 else 0.65}
            for seed, records in enumerate(runs):
                label = short(recipe, 30) if seed == 0 else None
                tested = _series(records, "evaluation", "top1")
                accuracy.plot(*tested, label=label, **looks, **_marker(tested))
                trained = _series(records, "epoch", "loss")
                loss.plot(*trained, **looks, **_marker(trained))
            for start in _stage_starts(runs[0]) if runs else ():
                for axes in (accuracy, loss):
                    axes.axvline(start, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
        accuracy.set_title("test accuracy (top-1, %)")
        loss.set_title("training loss (each recipe's own)")
        loss.set_ylim(bottom=min(0.0, loss.get_ylim()[0]))
        for axes in (accuracy, loss):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        figure.legend(loc="outside upper left", ncols=4, fontsize=8.5)
        return figure


def _series(records: Sequence[Mapping[str, Any]], event: str, key: str) -> tuple[list[int], list[float]]:
    by_epoch = {
        int(record["epoch"]): float(record[key])
        for record in records
        if record.get("event") == event and isinstance(record.get(key), int | float) and "epoch" in record
    }
    finite = {epoch: value for epoch, value in sorted(by_epoch.items()) if abs(value) < float("inf")}
    return list(finite), list(finite.values())


def _stage_starts(records: Sequence[Mapping[str, Any]]) -> list[float]:
    first: dict[int, int] = {}
    for record in records:
        if record.get("event") == "epoch":
            stage, epoch = int(record.get("stage", 0)), int(record["epoch"])
            first[stage] = min(epoch, first.get(stage, epoch))
    return [epoch - 0.5 for stage, epoch in first.items() if stage > 0]


def _marker(series: tuple[list[int], list[float]]) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3} if len(series[0]) < 15 else {}
