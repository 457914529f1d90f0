"""Learning rates against the numbers of the codes they are named after (protocol facts 3.4)."""

from __future__ import annotations

import math

import pytest

from tailwise.engine.recipe import Optim, Stage
from tailwise.engine.schedule import Constant, Cosine, MultiStep
from tailwise.engine.span import spans


def rates(schedule: Constant | Cosine | MultiStep, epochs: int, lr: float = 0.1) -> list[float]:
    return [lr * schedule.factor(epoch, 0.0, epochs) for epoch in range(epochs)]


def test_ldam_drw_rates() -> None:
    got = rates(MultiStep(milestones=(160, 180), gamma=0.01, warmup_epochs=5, warmup="linear"), 200)
    assert got[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert got[159:161] == pytest.approx([0.1, 1e-3])
    assert got[179:181] == pytest.approx([1e-3, 1e-5])


def test_bag_of_tricks_rates_begin_at_a_third_and_step_one_epoch_earlier() -> None:
    got = rates(MultiStep(milestones=(159, 179), gamma=0.01, warmup_epochs=5, warmup="third"), 200, lr=1.0)
    assert got[:6] == pytest.approx([0.466667, 0.6, 0.733333, 0.866667, 1.0, 1.0], abs=1e-6)
    assert got[158:160] == pytest.approx([1.0, 0.01])


def test_cui_rates_grow_with_every_step() -> None:
    schedule = MultiStep(warmup="step")
    assert schedule.factor(0, 0.0, 200) == 0
    assert schedule.factor(2, 0.5, 200) == pytest.approx(0.5)
    assert schedule.factor(5, 0.0, 200) == 1


def test_reslt_imagenet_rates() -> None:
    got = rates(Cosine(warmup_epochs=5, warmup_counts=4), 180)
    expected = [0.1 * (e + 1) / 5 if e < 5 else 0.05 * (1 + math.cos(math.pi * (e - 4) / 176)) for e in range(180)]
    assert got == pytest.approx(expected)


def test_classifier_balancing_ends_at_zero_because_it_steps_before_the_epoch() -> None:
    got = rates(Cosine(shift=1), 90)
    assert got[-1] == pytest.approx(0.0, abs=1e-12)
    assert got[0] == pytest.approx(0.05 * (1 + math.cos(math.pi / 90)))


def test_inaturalist_cosine_covers_all_epochs() -> None:
    got = rates(Cosine(), 200)
    assert got[0] == pytest.approx(0.1)
    assert got[100] == pytest.approx(0.05)


def test_a_carried_on_optimiser_keeps_its_schedule_over_stages() -> None:
    schedule = MultiStep(milestones=(3, 5), gamma=0.1, warmup_epochs=0)
    stages = (
        Stage(epochs=4, optim=Optim(lr=1.0, schedule=schedule)),
        Stage(epochs=2),
        Stage(epochs=2, optim=Optim(lr=0.5, schedule=Cosine())),
    )
    found = spans(stages, 1280)
    got = [span.learning_rate(stages, epoch, 0.0) for span in found for epoch in range(span.epochs)]
    assert got == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.5, 0.25])
    assert [span.first_epoch for span in found] == [0, 4, 6]


def test_a_stage_in_steps_ends_in_mid_epoch() -> None:
    (span,) = spans((Stage(steps=25, optim=Optim()),), 1280)
    assert (span.epochs, span.steps_per_epoch, span.steps) == (3, 10, 25)
    assert [span.steps_in(epoch) for epoch in range(3)] == [10, 10, 5]


@pytest.mark.parametrize("bad", [{"milestones": (180, 160)}, {"gamma": 0.0}, {"warmup_epochs": -1}])
def test_impossible_schedules_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        MultiStep(**bad)  # pyright: ignore[reportArgumentType]
