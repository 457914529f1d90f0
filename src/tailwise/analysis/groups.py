"""Accuracy over all, many-, medium- and few-shot classes."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from tailwise.analysis.figure import COLOURS, INK, look, new_figure, short, style

#: Bars of more series than colours are told apart by these.
HATCHES = (None, "////", "....", "xxxx")
#: Up to so many recipes the value stands above each bar.
NUMBERED = 6


def groups(
    values: Mapping[str, Mapping[str, tuple[float, float | None] | None]], labels: Mapping[str, str] | None = None
) -> Figure:
    """Grouped bars with the value above each (of up to six recipes) and the spread over seeds as a whisker.

    Args:
        values: Recipe -> group -> mean and standard deviation in percent (no deviation with one seed), ``None`` for a
            group without classes.
        labels: Group -> text under it; the group's name by default.
    """
    names = list(dict.fromkeys(group for row in values.values() for group in row))
    width, labelled = 0.8 / max(len(values), 1), set[str]()
    with style():
        figure, (axes,) = new_figure(2.9)
        for number, (recipe, row) in enumerate(values.items()):
            colour, _, _ = look(number)
            hatch = HATCHES[number // len(COLOURS) % len(HATCHES)]
            for place, group in enumerate(names):
                cell = row.get(group)
                x = place + (number - (len(values) - 1) / 2) * width
                if cell is None:
                    axes.annotate("\N{EN DASH}", (x, 0), (0, 3), textcoords="offset points", ha="center", fontsize=8)
                    continue
                mean, spread = cell
                axes.bar(
                    x,
                    mean,
                    width=width * 0.9,
                    color=colour,
                    hatch=hatch,
                    edgecolor="#ffffff",
                    linewidth=0,
                    label=short(recipe, 30) if recipe not in labelled else None,
                )
                labelled.add(recipe)
                if spread is not None:
                    axes.errorbar(x, mean, yerr=spread, color=INK, linewidth=1, capsize=2.5)
                if len(values) > NUMBERED:
                    continue
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
        figure.legend(loc="outside upper left", ncols=4, fontsize=8.5)
        return figure
