"""What calls carry beside their request: who caused them, and until when they matter.

Travels in a `ContextVar`, so that every call made on behalf of one carries the same ids.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from girih.ids import new_correlation_id

CORRELATION_KEY = "x-correlation-id"
CAUSATION_KEY = "x-causation-id"
TRACEPARENT_KEY = "traceparent"

ACCEPTED_S_MAX: Final = 70.0
"""So long a server may take to accept a stream that may be quiet, or to refuse it: longer than it
waits for its database, which it may do twice. To begin anew sooner would throw that away."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What caused a call. Ids are 1 to 64 characters of A-Z a-z 0-9 . _ -; empty means unknown."""

    correlation_id: str = ""
    """Shared by everything that one request from outside causes. Empty gets a new one."""
    causation_id: str = ""
    """What directly caused the call, for example the id of the event being handled."""
    traceparent: str = ""
    """The trace it belongs to, as W3C Trace Context writes it."""
    deadline_s: float | None = None
    """No call goes on beyond it: on the clock of `time.monotonic()`. None means no deadline."""

    def remaining_s(self) -> float:
        """How long calls may still take, at least 0; infinite without a deadline."""
        if self.deadline_s is None:
            return float("inf")
        return max(0.0, self.deadline_s - time.monotonic())

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """As gRPC metadata."""
        pairs = (
            (CORRELATION_KEY, self.correlation_id or new_correlation_id()),
            (CAUSATION_KEY, self.causation_id),
            (TRACEPARENT_KEY, self.traceparent),
        )
        return tuple(pair for pair in pairs if pair[1])


ContextSource = Callable[[], CallContext]
"""Asked once for every call, at its start."""

_current: ContextVar[CallContext | None] = ContextVar("girih_client_context", default=None)


def current_context() -> CallContext:
    """The context bound here, or an empty one."""
    return _current.get() or CallContext()


def is_accepted(initial_metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
    """Whether a server has taken a call that it answers with a stream, as far as it has said
    so: in what it refuses there is no id ahead of the answer."""
    return any(key == CORRELATION_KEY for key, _ in initial_metadata or ())


@contextmanager
def bind_context(context: CallContext) -> Iterator[None]:
    """Calls begun inside the block carry `context`."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
