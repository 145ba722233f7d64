"""How fast work gets done of which more is waiting, and so how long what comes now would wait.

Knows not what the work is.
"""

import math
import time
from collections.abc import Callable
from typing import Final

_MEMORY_S: Final = 2.0
"""What was done so long ago, of the time in which there was work, counts a third of what is done
now. Longer than from one batch to the next, where work is done in batches."""


class Pace:
    """From one piece of work done to the next, while there is always one to be done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done_at_s = 0.0
        self._busy_s = 0.0
        self._done_count = 0.0
        """How much was done within how much time, the more of each the later."""

    def begin_s(self) -> float:
        """When work begins that begins now: for `done`."""
        return self._clock()

    def done(self, began_s: float) -> None:
        """Work is done that began then."""
        now_s = self._clock()
        took_s = now_s - max(began_s, self._done_at_s)
        self._done_at_s = now_s
        kept = math.exp(-took_s / _MEMORY_S)
        self._busy_s = kept * self._busy_s + took_s
        self._done_count = kept * self._done_count + 1.0

    def expected_s(self, waiting_count: int) -> float:
        """How long it takes as things go until so many are done; 0 while nothing is known."""
        if not self._done_count:
            return 0.0
        return waiting_count * self._busy_s / self._done_count
