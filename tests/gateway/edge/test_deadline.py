"""A deadline that is moved at no cost."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.serving.deadline import Deadline


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock a test turns."""

    now_s = 100.0
    made = 0

    def time(self) -> float:
        return self.now_s

    def call_at(  # type: ignore[override] # as far as it is used
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self.made += 1
        return super().call_at(when, callback, *args, context=context)

    def turn(self, seconds: float) -> None:
        self.now_s += seconds
        self.call_soon(self.stop)
        self.run_forever()
        self.call_soon(self.stop)
        self.run_forever()


def rung(*steps: tuple[str, float]) -> list[float]:
    """When a deadline was over, of which these are the moves."""
    loop = Loop()
    at: list[float] = []
    deadline = Deadline(loop, lambda: at.append(loop.now_s))
    try:
        for step, seconds in steps:
            if step == "set":
                deadline.set(seconds)
            elif step == "clear":
                deadline.clear()
            elif step == "close":
                deadline.close()
            else:
                loop.turn(seconds)
        return at
    finally:
        loop.close()


def test_it_is_over_once_its_time_has_come() -> None:
    assert rung(("set", 5), ("turn", 4.5), ("turn", 0.6), ("turn", 9)) == [105.1]


def test_it_is_over_later_when_it_was_moved() -> None:
    assert rung(("set", 5), ("turn", 4), ("set", 5), ("turn", 2), ("turn", 3.1)) == [109.1]


def test_it_is_over_earlier_when_it_was_moved() -> None:
    assert rung(("set", 50), ("turn", 1), ("set", 2), ("turn", 2.1), ("turn", 60)) == [103.1]


def test_it_is_never_over_when_it_was_cleared() -> None:
    assert rung(("set", 5), ("clear", 0), ("turn", 6)) == []


def test_it_can_be_set_again_when_it_was_cleared() -> None:
    assert rung(("set", 5), ("clear", 0), ("set", 1), ("turn", 1.1)) == [101.1]


def test_it_is_never_over_when_it_was_closed() -> None:
    assert rung(("set", 5), ("close", 0), ("turn", 6)) == []


def test_to_move_it_takes_no_timer() -> None:
    loop = Loop()
    deadline = Deadline(loop, lambda: None)
    for _ in range(1_000):
        deadline.set(75)
        deadline.clear()

    loop.close()

    assert loop.made == 1
