"""A moment by which something must have happened, else something is done about it."""

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Moved and cleared again and again at the cost of an assignment.

    A connection has one for each of its requests. Its timer stays where it is as long as it
    comes early enough, and looks when it rings whether there is still something to wait for.
    """

    __slots__ = ("_act", "_at_s", "_loop", "_rings_at_s", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
        """`act` is called when the moment has come."""
        self._loop = loop
        self._act = act
        self._at_s = math.inf
        self._rings_at_s = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, delay_s: float) -> None:
        """From now on so long, whatever was before."""
        self._at_s = self._loop.time() + delay_s
        if self._at_s < self._rings_at_s:
            self._wind()

    def clear(self) -> None:
        self._at_s = math.inf

    def close(self) -> None:
        """Nothing happens any more."""
        self._at_s = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at_s = self._at_s
        self._timer = self._loop.call_at(self._at_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings_at_s = math.inf
        if self._at_s == math.inf:
            return
        if self._loop.time() < self._at_s:
            self._wind()
            return
        self._at_s = math.inf
        self._act()
