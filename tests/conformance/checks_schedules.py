"""What every learning-rate schedule must do."""

from __future__ import annotations

import math

from tailwise.engine.schedule import Schedule
from tests.conformance.cases import check_record as records

LENGTHS = (1, 2, 5, 30, 200)


def check_factor_is_a_share_of_the_base_rate(schedule: Schedule) -> None:
    """Finite and in [0, 1] at every position of runs of any length, and above 0 somewhere."""
    for total in LENGTHS:
        factors = [schedule.factor(epoch, part, total) for epoch in range(total) for part in (0.0, 0.5, 0.99)]
        assert all(math.isfinite(factor) and 0 <= factor <= 1 + 1e-12 for factor in factors)
        assert max(factors) > 0


def check_factor_is_pure(schedule: Schedule) -> None:
    """The same position gives the same factor, whatever was asked before."""
    positions = [(epoch, 0.5) for epoch in range(30)]
    forwards = [schedule.factor(*position, 30) for position in positions]
    backwards = [schedule.factor(*position, 30) for position in reversed(positions)]
    assert forwards == backwards[::-1]


def check_rescale_keeps_the_end(schedule: Schedule) -> None:
    """A run stretched by ten ends at the rate at which the original ends."""
    stretched = schedule.rescale(10.0)
    assert type(stretched) is type(schedule)
    assert math.isclose(stretched.factor(1999, 0.0, 2000), schedule.factor(199, 0.0, 200), abs_tol=1e-3)


def check_record(schedule: Schedule) -> None:
    """Pickle, plain data and YAML give it back."""
    records(schedule, Schedule)


CHECKS = (
    check_factor_is_a_share_of_the_base_rate,
    check_factor_is_pure,
    check_rescale_keeps_the_end,
    check_record,
)
