"""How many events are applied in one transaction: as many as take a moment. Knows no events."""

from typing import Final

EVENT_COUNT_FIRST: Final = 200
LONG_S: Final = 0.5
"""A transaction that takes longer was too large: what it locks and may lose is much."""
SHORT_S: Final = 0.1
"""One that is done sooner may be larger."""


class BatchSize:
    """Grows while transactions are short and full, and shrinks when one was long."""

    def __init__(self, event_count_max: int) -> None:
        self._event_count_max = event_count_max
        self.event_count = min(EVENT_COUNT_FIRST, event_count_max)

    def took(self, event_count: int, duration_s: float) -> None:
        """A transaction with so many events took so long."""
        if duration_s > LONG_S:
            self.event_count = max(1, min(self.event_count, event_count) // 2)
        elif duration_s < SHORT_S and event_count >= self.event_count:
            self.event_count = min(self._event_count_max, self.event_count * 2)
