"""Errors that a user can mend: what was given, what is allowed, and the nearest valid choice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TailwiseError(Exception):
    """A mistake in the input. The command line prints its message without a traceback and exits with status 2."""


class UnknownName(TailwiseError):
    """A name that is not among the allowed ones.

    Args:
        what: The kind of thing in the singular, for example ``"loss"``.
        given: The name that was given.
        allowed: Every valid name.
    """

    def __init__(self, what: str, given: str, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        super().__init__(f"unknown {what} {given!r}{suggest(given, names)}; allowed: {', '.join(names) or 'none'}")


class DataError(TailwiseError):
    """Something is wrong with the images, labels, folders or lists that were given."""


class RunError(TailwiseError):
    """A run cannot start or go on: an output folder in use, a full disk, a loss that is not finite."""


def suggest(given: str, allowed: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest allowed name, or an empty string when none is near."""
    by_lower = {name.lower().replace("_", "-"): name for name in allowed}
    near = difflib.get_close_matches(given.lower().replace("_", "-"), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
