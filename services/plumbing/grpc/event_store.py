"""The event store as our processes call it: for the call being served, and away by one name."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

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


_SERVICE = "girih.events.v1.EventStoreService"


class EventsNotServing(Exception):
    """The event store answers, and says that it does not serve."""


class EventStoreHealth:
    """Whether the event store serves, as it said when it was asked last."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = health_pb2_grpc.HealthStub(channel)
        self._serves = False

    def is_serving(self) -> bool:
        return self._serves

    async def probe(self) -> None:
        """Ask; raises unless it serves."""
        request = health_pb2.HealthCheckRequest(service=_SERVICE)
        serves = False
        try:
            response = await self._stub.Check(request)
            serves = response.status == health_pb2.HealthCheckResponse.SERVING
        finally:
            # Also when nobody waits for the answer any longer: it took too long.
            self._serves = serves
        if not serves:
            raise EventsNotServing("the event store does not serve")
