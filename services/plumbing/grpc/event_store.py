"""The event store as our processes call it: for the call being served, and away by one name."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

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


_SERVICE: Final = "girih.events.v1.EventStoreService"
_ANSWERING_S: Final = 2.0
"""For so long an answer tells that there is somebody to wait for: no longer than a question of how
it is may take, so that one that is frozen is not waited for beyond that."""


class EventsNotServing(Exception):
    """The event store answers, and says that it does not serve."""


class EventStoreHealth:
    """Whether the event store serves, as it said when it was asked last, and whether it answers."""

    def __init__(
        self, channel: grpc.aio.Channel, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stub = health_pb2_grpc.HealthStub(channel)
        self._clock = clock
        self._serves = False
        self._answered_at_s = -math.inf
        """When it last answered a call that was no question of how it is."""

    def is_serving(self) -> bool:
        return self._serves

    def answered(self) -> None:
        """It answered a call just now."""
        self._answered_at_s = self._clock()

    def is_answering(self) -> bool:
        """Whether it is worth waiting for: it serves, or answered a call a moment ago and has not
        said since that it does not. One that has more to do than it can is late to say anything,
        and not away; if calls were given up as if it were, it would do all of that for nobody."""
        return self._serves or self._clock() - self._answered_at_s < _ANSWERING_S

    async def probe(self) -> None:
        """Ask; raises unless it serves."""
        request = health_pb2.HealthCheckRequest(service=_SERVICE)
        serves, is_away = False, False
        try:
            response = await self._stub.Check(request)
            serves = response.status == health_pb2.HealthCheckResponse.SERVING
            is_away = not serves
        except grpc.aio.AioRpcError as error:
            # Any other tells of one that is there, and has too much to do.
            is_away = error.code() is grpc.StatusCode.UNAVAILABLE
            raise
        finally:
            # Also when nobody waits for the answer any longer: it took too long.
            self._serves = serves
            if is_away:
                self._answered_at_s = -math.inf
        if not serves:
            raise EventsNotServing("the event store does not serve")
