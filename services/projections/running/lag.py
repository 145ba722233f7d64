"""For how long a projection has been behind its log. Knows neither."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from girih.ids import NO_POSITION, Position

_MARKS_MAX: Final = 600
"""Ten minutes of a log that is looked at every second. Beyond that every other one is kept."""


class LagClock:
    """When a log was known to reach where, and so since when something of it is missing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[tuple[Position, float]] = deque()
        self._position = NO_POSITION

    def moved(self, head: Position) -> None:
        """The log ends at `head` now."""
        last = self._marks[-1][0] if self._marks else self._position
        if head <= last:
            return
        if len(self._marks) >= _MARKS_MAX:
            self._marks = deque(list(self._marks)[::2])
        self._marks.append((head, self._clock()))

    def reached(self, position: Position) -> None:
        """Everything up to `position` is there."""
        self._position = position
        while self._marks and self._marks[0][0] <= position:
            self._marks.popleft()

    def lag_s(self) -> float:
        """For how long the oldest event that is missing has been known to be there, to within the
        time between two looks at the log; 0 when none is missing. Also for other threads.
        """
        oldest = next(iter(self._marks.copy()), None)
        return 0.0 if oldest is None else self._clock() - oldest[1]
