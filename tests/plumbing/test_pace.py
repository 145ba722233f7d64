"""How long new work would wait, by what was done of late."""

import pytest

from services.plumbing.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def done_each(pace: Pace, clock: Clock, seconds: float, count: int = 50) -> None:
    """So much work, all of it waiting from the begin, done one after the other."""
    began_s = pace.begin_s()
    for _ in range(count):
        clock.now_s += seconds
        pace.done(began_s)


def test_nothing_is_expected_while_nothing_is_known(clock: Clock) -> None:
    assert Pace(clock).expected_s(1_000) == 0.0


def test_what_waits_is_expected_to_be_done_as_fast_as_what_was_done(clock: Clock) -> None:
    pace = Pace(clock)
    done_each(pace, clock, 0.25)

    assert pace.expected_s(8) == pytest.approx(2.0, rel=0.01)


def test_time_without_work_counts_for_nothing(clock: Clock) -> None:
    pace = Pace(clock)
    done_each(pace, clock, 0.25)
    for _ in range(20):
        clock.now_s += 3_600.0
        done_each(pace, clock, 0.25, count=1)

    assert pace.expected_s(8) == pytest.approx(2.0, rel=0.01)


def test_a_pace_that_has_changed_is_soon_known(clock: Clock) -> None:
    pace = Pace(clock)
    done_each(pace, clock, 10.0)
    done_each(pace, clock, 0.01, count=800)

    assert pace.expected_s(100) < 2.0


def test_what_is_done_in_batches_is_known_by_the_mean(clock: Clock) -> None:
    pace = Pace(clock)
    for _ in range(50):
        began_s = pace.begin_s()
        clock.now_s += 0.2
        for _ in range(100):
            pace.done(began_s)

    assert pace.expected_s(1_000) == pytest.approx(2.0, rel=0.2)
