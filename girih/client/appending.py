"""Many appends over one call: each with its own outcome, in order, over any number of calls."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc.aio

from girih.client import wire
from girih.client.caller import Caller, Metadata
from girih.client.calls import WrittenCall, begun, metadata_of, next_response
from girih.client.channel import MESSAGE_BYTES_MAX
from girih.client.errors import CallEnded, GirihError, RequestTooLarge, Unavailable
from girih.client.events import NewEvent, NoMatch, Placement, Precondition, Query
from girih.client.refusals import from_status
from girih.client.retry import Attempts
from girih.events.v1 import events_pb2 as pb

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

IN_FLIGHT_MAX: Final = 64
"""As many as the server works on at once."""
_IN_FLIGHT_BYTES_MAX: Final = 16 * 2**20

AppendCall = WrittenCall[pb.AppendStreamResponse]


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """An append whose outcome is not known yet."""

    request: pb.AppendStreamRequest
    byte_count: int
    outcome: "asyncio.Future[list[Placement]]"


class AppendStream:
    """Appends to one log, several of them under way at once.

        async with events.append_stream() as appends:
            outcomes = [await appends.begin([event]) for event in many]
            placements = [await outcome for outcome in outcomes]

    It may be silent for as long as it likes: a call that the event store ends meanwhile is
    replaced when there is something to send.

    Outcomes come in the order of `begin`. When the call breaks off, or the event store is too
    busy for an append, everything without an outcome is sent again with the same ids, so nothing
    is stored twice. What an append stores lies behind what those begun before it store; one for
    which the event store was too busy may come to lie behind later ones, so await each outcome
    before the next `begin` where that matters.
    """

    def __init__(
        self, stub: "EventStoreServiceAsyncStub", caller: Caller, in_flight_max: int
    ) -> None:
        if in_flight_max < 1:
            raise ValueError("in_flight_max must be at least 1")
        self._stub = stub
        self._caller = caller
        self._in_flight_max = in_flight_max
        self._unanswered: deque[_Unanswered] = deque()
        self._byte_count = 0
        self._written_count = 0
        """So many of `_unanswered`, from the left, were written to the call at hand."""
        self._changed = asyncio.Event()
        self._is_ending = False
        self._failure: Exception | None = None

    async def begin(
        self,
        events: Sequence[NewEvent],
        preconditions: Sequence[Precondition | NoMatch] = (),
        *,
        unless: Query | Sequence[Query] = (),
        after: int | None = None,
        incarnation: str = "",
    ) -> "asyncio.Future[list[Placement]]":
        """Send an append, once fewer than `in_flight_max` of them, of 16 MiB, are without outcome.

        The answer is awaited for its outcome: where each event is, or what
        `EventStoreClient.append` raises. Raises what has ended the stream. An append that no
        message can hold is not sent, and its outcome is known at once: `RequestTooLarge`.
        """
        conditions = wire.all_preconditions(preconditions, unless, after, incarnation)
        request = wire.append_stream_request(events, conditions)
        byte_count = request.ByteSize()
        await self._until(lambda: self._has_capacity() or self._failure or self._is_ending)
        if self._failure is not None:
            raise self._failure
        if self._is_ending:
            raise RuntimeError("begin must be called within the block")
        outcome: asyncio.Future[list[Placement]] = asyncio.get_running_loop().create_future()
        if byte_count > MESSAGE_BYTES_MAX:
            # gRPC would end the call over it, with all that is under way.
            outcome.set_exception(RequestTooLarge.unsent(byte_count, MESSAGE_BYTES_MAX))
            return outcome
        self._unanswered.append(_Unanswered(request, byte_count, outcome))
        self._byte_count += byte_count
        self._changed.set()
        return outcome

    def end(self) -> None:
        """Nothing more is to begin: `run` returns when all outcomes are known."""
        self._is_ending = True
        self._changed.set()

    async def run(self) -> None:
        """Send and receive, until `end`. Raises what ended the stream early, as outcomes do."""
        context = self._caller.context()
        context_metadata = context.metadata()
        attempts = self._caller.attempts(context)
        try:
            while await self._has_work(attempts):
                try:
                    await self._one_call(context_metadata, attempts)
                except GirihError as error:
                    await asyncio.sleep(attempts.pause_after(error))
        except Exception as error:
            self._failure = error
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Whatever has no outcome yet ends with what ended the stream, or is cancelled."""
        for one in self._unanswered:
            if self._failure is None or one.outcome.done():
                one.outcome.cancel()
            else:
                one.outcome.set_exception(self._failure)
                # Whoever awaits none of them learns it from the block.
                one.outcome.exception()
        self._unanswered.clear()
        self.end()

    async def _one_call(self, context_metadata: Metadata, attempts: Attempts) -> None:
        attempt_s = attempts.begin()
        metadata = await metadata_of(self._caller, context_metadata, attempt_s)
        call: AppendCall = WrittenCall(begun(self._stub.AppendStream, metadata=metadata))
        self._written_count = 0
        writing = asyncio.create_task(self._write(call), name="write appends")
        has_answered = False
        try:
            while True:
                was_silent = not self._unanswered
                has_work = await self._has_work(attempts)
                if was_silent and call.done():
                    return  # It ended while nothing was under way: that concerns nobody.
                if not has_work:
                    break
                self._answer(await _next(call, attempt_s))
                has_answered = True
                attempts.progressed()
                attempt_s = attempts.begin()
            await call.done_writing()
            await next_response(call, attempt_s)
        except CallEnded:
            # It ended while what is to be sent now was on its way. A call that has answered
            # nothing is no better for being made again at once.
            if not has_answered:
                raise
        except GirihError as error:
            self._caller.note(error, metadata)
            raise
        finally:
            call.cancel()
            writing.cancel()
            await asyncio.wait([writing])

    async def _write(self, call: AppendCall) -> None:
        # Why a call takes no more is learnt from reading its answers.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._until(lambda: self._written_count < len(self._unanswered))
                request = self._unanswered[self._written_count].request
                self._written_count += 1
                await call.write(request)

    def _answer(self, response: pb.AppendStreamResponse) -> None:
        """Raises Unavailable where the oldest append is to be sent again."""
        error = from_status(response.refusal) if response.HasField("refusal") else None
        if isinstance(error, Unavailable):
            raise error
        answered = self._unanswered.popleft()
        self._byte_count -= answered.byte_count
        self._written_count -= 1
        self._changed.set()
        if answered.outcome.cancelled():
            return
        if error is not None:
            answered.outcome.set_exception(error)
        else:
            answered.outcome.set_result(wire.placements(response))

    def _has_capacity(self) -> bool:
        is_full = len(self._unanswered) >= self._in_flight_max
        return not is_full and self._byte_count < _IN_FLIGHT_BYTES_MAX

    async def _has_work(self, attempts: Attempts) -> bool:
        """Wait until something is to be answered; False when there will be nothing."""
        if not self._unanswered:
            await self._until(lambda: self._unanswered or self._is_ending)
            attempts.progressed()  # an answer was not waited for
        return bool(self._unanswered)

    async def _until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()


async def _next(call: AppendCall, timeout_s: float) -> pb.AppendStreamResponse:
    response = await next_response(call, timeout_s)
    if response is None:
        raise Unavailable.no_answer("the event store ended the call")
    return response
