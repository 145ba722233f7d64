"""The event store as our processes call it: for the call being served, and away by one name."""

from collections.abc import Iterator
from contextlib import contextmanager

from girih.client import CallContext, Unauthenticated, Unavailable
from services.plumbing import correlation
from services.plumbing.errors import EventsUnavailable


def served_context() -> CallContext:
    """For clients: the ids, the trace and the deadline of the call being served."""
    call = correlation.current()
    return CallContext(call.correlation_id, call.causation_id, call.traceparent, call.deadline_s)


@contextmanager
def events_unavailable_named() -> Iterator[None]:
    """Raises EventsUnavailable for a store that is away, or does not know our key yet."""
    try:
        yield
    except (Unavailable, Unauthenticated) as error:
        raise EventsUnavailable(
            "the event store cannot be reached", retry_after_s=error.retry_after_s or 1.0
        ) from error
