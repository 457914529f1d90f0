"""Your own data: from a folder or table to a trained, measured and calibrated run."""

from __future__ import annotations

from tailwise.own.choose import Choice, choose
from tailwise.own.collect import Examples, collect
from tailwise.own.fit import Fitted, fit
from tailwise.own.hold_out import hold_out

__all__ = ["Choice", "Examples", "Fitted", "choose", "collect", "fit", "hold_out"]
