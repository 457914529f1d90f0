"""The data card for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

#: Longest list that is printed in full; the card itself has everything.
_MOST = 8


def format_card(card: Mapping[str, Any]) -> Group:
    """What :func:`tailwise.data.card.data_card` returned, as something that rich prints.

    Long lists show their beginning. File and class names are printed as they are, never read as markup.
    """
    from rich.console import Group
    from rich.text import Text

    lines = [
        Text(f"{card['source']}: {card['num_images']:,} training images in {card['num_classes']} classes, "
             f"{card['num_test_images']:,} to evaluate on", style="bold"),
        Text(f"imbalance factor {card['imbalance_factor']:.4g} (largest class over smallest), "
             f"Gini coefficient {card['gini']:.3f}"),
        Text(_size_line(card["image_size"])),
    ]  # fmt: skip
    return Group(*lines, _counts_table(card["counts"]), _shots_table(card["shots"]), *map(Text, _findings(card)))


def _size_line(size: Mapping[str, Any] | None) -> str:
    if size is None:
        return "image size: no readable image among those sampled"
    low, middle, high = ("x".join(map(str, size[key])) for key in ("min", "median", "max"))
    if low == high:
        return f"image size: {low} (all of {size['sampled']} sampled)"
    return f"image size: {low} to {high}, median {middle} ({size['sampled']} sampled; width x height)"


def _counts_table(counts: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("class", title="class sizes", title_justify="left")
    table.add_column("train", justify="right")
    table.add_column("test", justify="right")
    half = _MOST if len(counts) > 2 * _MOST + 1 else len(counts)
    for entry in counts[:half]:
        table.add_row(Text(str(entry["class"])), f"{entry['train']:,}", f"{entry['test']:,}")
    if half < len(counts):
        table.add_row(f"... {len(counts) - 2 * half} more", "", "")
        for entry in counts[-half:]:
            table.add_row(Text(str(entry["class"])), f"{entry['train']:,}", f"{entry['test']:,}")
    return table


def _shots_table(shots: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Table:
    from rich.table import Table

    table = Table("protocol", title="classes / images of each group", title_justify="left")
    for group in ("many", "medium", "few"):
        table.add_column(group, justify="right")
    for protocol, groups in shots.items():
        sizes = (f"{groups[group]['classes']:,} / {groups[group]['images']:,}" for group in ("many", "medium", "few"))
        table.add_row(protocol, *sizes)
    return table


def _findings(card: Mapping[str, Any]) -> list[str]:
    lines = _listed("files listed but missing", card["missing"])
    if card["unreadable"] is None:
        lines.append("unreadable files: not checked")
    else:
        bad = [f"{entry['file']} ({entry['split']}): {entry['reason']}" for entry in card["unreadable"]]
        lines += _listed("unreadable files", bad)
    if card["duplicates"] is None:
        return [*lines, "exact duplicates: not checked"]
    for key, words in (
        ("within_train", "groups of identical images within the training set"),
        ("within_test", "groups of identical images within the evaluation set"),
        ("across", "groups of identical images in both sets"),
    ):
        groups = card["duplicates"][key]
        lines += _listed(words, [_group_line(group) for group in groups])
        conflicts = sum(not group["same_label"] for group in groups)
        if conflicts:
            lines.append(f"  {conflicts} of them with different labels")
    return lines


def _group_line(group: Mapping[str, Any]) -> str:
    if group["same_label"]:
        return f"{' = '.join(group['files'])} ({group['classes'][0]})"
    return " = ".join(f"{file} ({name})" for file, name in zip(group["files"], group["classes"], strict=True))


def _listed(words: str, items: Sequence[str]) -> list[str]:
    more = [f"  ... {len(items) - _MOST} more"] if len(items) > _MOST else []
    return [f"{words}: {len(items) or 'none'}", *(f"  {item}" for item in items[:_MOST]), *more]
