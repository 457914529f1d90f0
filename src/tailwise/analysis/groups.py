"""Accuracy over all, many-, medium- and few-shot classes."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from tailwise.analysis.figure import COLOURS, INK, new_figure, short, style


def groups(
    values: Mapping[str, Mapping[str, tuple[float, float | None] | None]], labels: Mapping[str, str] | None = None
) -> Figure:
    """Grouped bars with the value above each and the spread over seeds as a whisker.

    Args:
        values: Recipe -> group -> mean and standard deviation in percent (no deviation with one seed), ``None`` for a
            group without classes.
        labels: Group -> text under it; the group's name by default.
    """
    names = list(dict.fromkeys(group for row in values.values() for group in row))
    width = 0.8 / max(len(values), 1)
    with style():
        figure, (axes,) = new_figure(2.9)
        for number, (recipe, row) in enumerate(values.items()):
            colour = COLOURS[number % len(COLOURS)]
            for place, group in enumerate(names):
                cell = row.get(group)
                x = place + (number - (len(values) - 1) / 2) * width
                if cell is None:
                    axes.annotate("\N{EN DASH}", (x, 0), (0, 3), textcoords="offset points", ha="center", fontsize=8)
                    continue
                mean, spread = cell
                axes.bar(x, mean, width=width * 0.9, color=colour, label=short(recipe, 30) if place == 0 else None)
                if spread is not None:
                    axes.errorbar(x, mean, yerr=spread, color=INK, linewidth=1, capsize=2.5)
                axes.annotate(
                    f"{mean:.1f}",
                    (x, mean + (spread or 0)),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                )
        axes.set_xticks(range(len(names)), [(labels or {}).get(name, name) for name in names])
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(0, 108)
        axes.set_ylabel("accuracy (%)")
        figure.legend(loc="outside upper right", ncols=4, fontsize=8.5)
        return figure
