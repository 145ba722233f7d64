"""What a follower was sent, as spans of the call that follows: one a second at most, since a call
may follow for an hour and its own span is there when it is over."""

import time
from typing import Final

from services.plumbing.telemetry import tracing

_EVERY_NS: Final = 1_000_000_000


class Deliveries:
    """Of one follower. Costs a look at a variable where nothing is traced."""

    def __init__(self) -> None:
        self._began_ns = 0
        self._counts: dict[str, int] = {}

    def delivered(self, source: str, record_count: int) -> None:
        """A response of so many records is about to be sent, which came from there."""
        if not tracing.is_on():
            return
        now_ns = time.time_ns()
        self._counts[source] = self._counts.get(source, 0) + record_count
        if now_ns - self._began_ns >= _EVERY_NS:
            self._record_span(self._began_ns or now_ns, now_ns)

    def _record_span(self, began_ns: int, ended_ns: int) -> None:
        counts = {f"girih.events_from_{source}": n for source, n in self._counts.items()}
        span = tracing.child("deliver to a follower", "internal", counts, began_ns)
        if span is not None:
            span.end(ended_ns=ended_ns)
        self._began_ns, self._counts = ended_ns, {}
