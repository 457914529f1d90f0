"""Range checks for ``__post_init__``: ``ValueError`` with the field, the limit and the value."""

from __future__ import annotations

import math


def at_least(name: str, value: float, least: float) -> None:
    """Refuses a value below the limit (and NaN)."""
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuses a value outside the closed interval (and NaN)."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def from_and_below(name: str, value: float, low: float, high: float) -> None:
    """Refuses a value outside the half-open interval (and NaN)."""
    if not low <= value < high:
        raise ValueError(f"{name} must be at least {low} and below {high}, got {value}")


def finite(name: str, value: float) -> None:
    """Refuses infinity and NaN."""
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")


def positive(name: str, value: float) -> None:
    """Refuses zero, negative numbers, infinity and NaN."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a positive number, got {value}")


def between(name: str, value: float, low: float, high: float) -> None:
    """Refuses a value outside the open interval (and NaN)."""
    if not low < value < high:
        raise ValueError(f"{name} must be above {low} and below {high}, got {value}")
