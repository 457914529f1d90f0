"""Range checks for ``__post_init__``: ``ValueError`` with the field, the limit and the value."""

from __future__ import annotations


def at_least(name: str, value: float, least: float) -> None:
    """Refuses a value below the limit (and NaN)."""
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuses a value outside the closed interval (and NaN)."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")
