"""How long to pause before the next attempt. Knows not at what."""

import random


class Backoff:
    """Pauses that grow exponentially, with jitter: who failed together returns apart."""

    def __init__(self, pause_s_min: float, pause_s_max: float) -> None:
        self._pause_s_min = pause_s_min
        self._pause_s_max = pause_s_max
        self.count = 0
        """The pauses since the beginning, or the last progress."""

    def next_s(self, asked_s: float | None = None) -> float:
        """The next pause: half to all of what it may be, and up to a quarter above `asked_s`.

        The first is `pause_s_min` at most, each later one twice the one before, up to
        `pause_s_max`.
        """
        grown_s = self._pause_s_min * 2.0 ** min(self.count, 30)
        self.count += 1
        return max(
            min(self._pause_s_max, grown_s) * random.uniform(0.5, 1.0),  # noqa: S311 - no secret
            (asked_s or 0.0) * random.uniform(1.0, 1.25),  # noqa: S311
        )

    def reset(self) -> None:
        """Begin with the shortest again: there was progress."""
        self.count = 0
