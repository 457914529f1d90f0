"""What the test images of each shot group are taken for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tailwise.analysis.figure import COLOURS, new_figure, short, style
from tailwise.evaluation.flow import ENDS
from tailwise.evaluation.shots import GROUPS

#: Right in the first colour, wrong ones by the group of the wrong class; the hatches tell them apart without colour.
_LOOKS = {
    "right": ("own class", COLOURS[5], ""),
    "many": ("another many-shot class", COLOURS[4], "///"),
    "medium": ("another medium-shot class", COLOURS[1], "..."),
    "few": ("another few-shot class", COLOURS[3], "xxx"),
    "no group": ("a class in no group", COLOURS[6], ""),
}


def flow_plot(flows: Mapping[str, Mapping[str, Mapping[str, float] | None]]) -> Figure:
    """Stacked bars: a panel for each true shot group, a bar for each recipe.

    Args:
        flows: Recipe -> true group -> share in percent by what became of the image, as ``group_flow`` gives it; None
            for a group without tested classes.
    """
    names = list(flows)
    with style():
        figure, panels = new_figure(1.0 + 0.27 * len(names), 1, len(GROUPS), sharey=True)
        used: dict[str, Any] = {}
        for panel, group in zip(panels, GROUPS, strict=True):
            panel.grid(visible=False)
            for place, name in enumerate(names):
                flow, left = flows[name][group], 0.0
                if flow is None:
                    panel.annotate("\N{EN DASH}", (0, place), (3, 0), textcoords="offset points", va="center")
                    continue
                for end in ENDS:
                    _, colour, hatch = _LOOKS[end]
                    if flow[end] <= 0:
                        continue
                    bar = panel.barh(
                        place,
                        flow[end],
                        left=left,
                        height=0.72,
                        color=colour,
                        hatch=hatch,
                        edgecolor="#ffffff",
                        linewidth=0.6,
                    )
                    used.setdefault(end, bar)
                    if flow[end] >= 9:
                        panel.text(
                            left + flow[end] / 2,
                            place,
                            f"{flow[end]:.0f}",
                            ha="center",
                            va="center",
                            fontsize=8,
                            color="#000000",
                            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2},
                        )
                    left += flow[end]
            panel.set_xlim(0, 100)
            panel.set_title(f"{group}-shot images")
            panel.set_xlabel("test images (%)")
        panels[0].set_yticks(range(len(names)), [short(name, 24) for name in names])
        panels[0].invert_yaxis()
        for panel in panels:
            panel.tick_params(axis="y", length=0)
        order = [end for end in ENDS if end in used]
        handles = [used[end] for end in order]
        figure.legend(handles, [_LOOKS[end][0] for end in order], loc="outside upper left", ncols=5, fontsize=8.5)
        return figure
