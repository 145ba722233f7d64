"""Streams of the event store, for the principal of the call being served. Knows no lattices."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TypeVar
from uuid import UUID, uuid5

import grpc.aio
from google.protobuf import json_format
from google.protobuf.message import Message

from girih.client import (
    EventIdReused,
    EventStoreClient,
    Follower,
    GirihError,
    LogReplaced,
    NewEvent,
    Placement,
    Precondition,
    PreconditionFailed,
    RecordedEvent,
    RetryPolicy,
    Unauthenticated,
)
from girih.client.cursors import Batch
from girih.ids import TenantId
from services.lattice.state.journal import DamagedRecord, JournalReplaced, StreamChanged
from services.plumbing import correlation
from services.plumbing.auth.tokens import Issuer
from services.plumbing.grpc.channel import Bearer
from services.plumbing.grpc.event_store import events_unavailable_named, served_context
from services.plumbing.logging import get_logger
from services.policy import EVENTS

P = TypeVar("P", bound=Message)

_SCOPES = ("events.append", "events.read")
_SCHEMA_VERSION = 1

_log = get_logger("lattice")


def acting_bearer(issuer: Issuer) -> Bearer:
    """For `open_channel`: this service's own token, for whoever makes the current call.

    What is asked for nobody, as whether the event store serves, carries none.
    """

    def bearer() -> str:
        call = correlation.bound()
        if call is None or not call.tenant:
            return ""
        if call.principal is None or call.principal.tenant != call.tenant:
            raise RuntimeError("nobody of the tenant makes this call")
        return issuer.service_token(EVENTS, call.tenant, _SCOPES, call.principal)

    return bearer


class EventStreams:
    """Appends to and reads streams through the client of the event store.

    Every call is made for the principal of the call being served, on a channel with
    `acting_bearer`. `answer_timeout_s` gives how long an answer is waited for at the moment, once.
    Everything raises EventsUnavailable while the event store is away.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        answer_timeout_s: Callable[[], float],
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_answer` is called when an append was answered, refusals of what it expects
        included."""
        self._events = EventStoreClient(channel, context=served_context)
        self._answer_timeout_s = answer_timeout_s
        self._on_answer = on_answer

    async def append(
        self,
        tenant: TenantId,
        command_id: UUID,
        events: Sequence[NewEvent],
        preconditions: Sequence[Precondition],
    ) -> Sequence[Placement]:
        """Append all or nothing; again with the same command and content changes nothing.

        Raises StreamChanged with the first stream that is not as it was expected.
        """
        identified = [
            replace(event, id=str(uuid5(command_id, str(ordinal))))
            for ordinal, event in enumerate(events)
        ]
        try:
            with _errors_translated(), on_behalf_of(tenant, command_id):
                placements = await self._client().append(identified, preconditions)
        except StreamChanged:
            self._on_answer()
            raise
        self._on_answer()
        return placements

    async def read(
        self, tenant: TenantId, stream: str, from_revision: int, incarnation: str
    ) -> list[RecordedEvent]:
        """What is in a stream from a revision on. Raises JournalReplaced."""
        reading = self.read_batches(tenant, stream, from_revision, incarnation)
        async with aclosing(reading) as batches:
            return [event async for batch in batches for event in batch]

    async def read_batches(
        self,
        tenant: TenantId,
        stream: str,
        from_revision: int,
        incarnation: str,
        limit: int | None = None,
    ) -> AsyncGenerator[Sequence[RecordedEvent]]:
        """The same, as it comes, or so many of it."""
        reading = self._client().read_batches(
            stream, from_revision=from_revision, limit=limit, incarnation=incarnation
        )
        async with aclosing(reading) as batches:
            while True:
                # Not around the yield: what is bound here would be bound for the reader too.
                with _errors_translated(), on_behalf_of(tenant):
                    batch = await anext(batches, None)
                if batch is None:
                    return
                yield batch

    async def head_revision(self, stream: str) -> int:
        """The revision that a stream of the caller's tenant ends at."""
        return await self._events.head_revision(stream)

    def follower(
        self,
        stream: str,
        fold: Callable[[Batch], None],
        *,
        start: Callable[[], Awaitable[int]] | None = None,
        on_interrupted: Callable[[GirihError], None] | None = None,
    ) -> Follower:
        """Folds what is recorded in a stream for as long as it runs."""
        return Follower(
            self._events, fold, stream=stream, start=start, on_interrupted=on_interrupted
        )

    def _client(self) -> EventStoreClient:
        """The client for one call, which is not repeated: who called us may repeat theirs."""
        answer_timeout_s = self._answer_timeout_s()
        once = RetryPolicy(
            timeout_s=answer_timeout_s, attempt_timeout_s=answer_timeout_s, attempt_count_max=1
        )
        return self._events.acting(retry=once)


def json_event(stream: str, event_type: str, payload: Message) -> NewEvent:
    """A message as the payload of an event."""
    return NewEvent(
        stream=stream,
        type=event_type,
        schema_version=_SCHEMA_VERSION,
        json=json_format.MessageToJson(payload, indent=None),
    )


def payload_of(event: RecordedEvent, empty: P) -> P:
    """The message that an event's payload is; raises DamagedRecord when it is none.

    Python's and protobuf's parsers raise any of these on odd JSON, and in their words
    repeat some of it.
    """
    try:
        return json_format.Parse(event.json or "", empty, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedRecord(f"the payload is not that of {event.type}") from error


@contextmanager
def on_behalf_of(tenant: TenantId, command_id: UUID | None = None) -> Iterator[None]:
    """Calls begun inside are for this tenant, and tell what caused them unless the caller did.

    Who makes them stays who made the call being served, also in a task that goes on for
    others when it has ended: the event store is told who began it.
    """
    call = correlation.current()
    cause = call.causation_id or str(command_id or "")
    with correlation.bind(replace(call, tenant=tenant, causation_id=cause)):
        yield


@contextmanager
def _errors_translated() -> Iterator[None]:
    """What the event store refuses, in the journal's terms. The rest is a bug, ours or its."""
    try:
        with events_unavailable_named(), _refused_token_logged():
            yield
    except (PreconditionFailed, EventIdReused) as error:
        # The metadata has the first that does not hold.
        raise StreamChanged(error.message, stream=error.metadata.get("stream", "")) from error
    except LogReplaced as error:
        raise JournalReplaced(error.message) from error
    except GirihError as error:
        raise RuntimeError(f"the event store refused a call: {error}") from error


@contextmanager
def _refused_token_logged() -> Iterator[None]:
    """While keys are exchanged the event store may not know ours yet. Callers would take that
    for a problem of their own tokens, so only the log has it."""
    try:
        yield
    except Unauthenticated as error:
        _log.error("the event store refuses our token", reason=error.reason)
        raise
