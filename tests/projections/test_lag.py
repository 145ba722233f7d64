"""For how long a projection has been behind."""

from girih.ids import Position
from services.projections.running.lag import LagClock


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_lag_is_the_age_of_the_oldest_event_that_is_missing() -> None:
    clock = Clock()
    lag = LagClock(clock)
    for second, head in enumerate([10, 20, 30]):
        clock.now_s = float(second)
        lag.moved(Position(head))
    clock.now_s = 10.0

    seen = [lag.lag_s()]
    for position in (10, 15, 20, 30):
        lag.reached(Position(position))
        seen.append(lag.lag_s())

    assert seen == [10.0, 9.0, 9.0, 8.0, 0.0]


def test_a_log_that_never_rests_leaves_a_bounded_number_of_marks() -> None:
    clock = Clock()
    lag = LagClock(clock)
    for second in range(10_000):
        clock.now_s = float(second)
        lag.moved(Position(second + 1))

    assert lag.lag_s() == 9_999.0
    assert len(lag._marks) <= 600
