"""Makes calls, has the model say what they must answer, and compares. Chooses nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID

from hypothesis import reject
from hypothesis.stateful import RuleBasedStateMachine

from girih.events.v1 import keeping_pb2
from tests.authority import USER
from tests.events.model import calls, oracle
from tests.events.model.inputs import PAYLOADS
from tests.events.model.replicas import Replicas
from tests.events.model.values import (
    NoMatch,
    OnStream,
    Placed,
    Precondition,
    Query,
    Refused,
    Span,
    Written,
)

SLOW: Final = {"DATABASE_UNAVAILABLE", "DATABASE_BUSY", "SCHEMA_CHECK_TOO_LONG", "SCHEMAS_BUSY"}


class Comparison(RuleBasedStateMachine):
    """A log of the service, and the model of it."""

    service: ClassVar[Replicas]
    begun: ClassVar[Callable[[int], None]]

    def __init__(self) -> None:
        super().__init__()
        self.is_left = False
        """Broken off: whatever would be compared proves nothing."""
        self.tenant, self.metadata = self.service.next_tenant()
        type(self).begun(self.service.tenant_count)
        self.log = oracle.Log()
        self.id_count = 0
        self.saved = set[str]()
        """Streams of which a snapshot was saved."""

    def _new(self, stream: str, kind: str, tags: tuple[str, ...], payload: int) -> Written:
        return Written(self._next_id(), stream, kind, tags=tags, **PAYLOADS[payload])

    def _next_id(self) -> str:
        self.id_count += 1
        return str(UUID(int=self.id_count))

    def _repeating(self, events: list[Written], repeat: str, which: int) -> list[Written]:
        """The same with an event that is there, or with its id, in place of the first."""
        if repeat == "new":
            return events
        there = self.log.events[which % self.log.head].written
        if repeat == "other" or there.stream.startswith("$"):
            return [replace(events[0], id=there.id), *events[1:]]
        return [there, *events[1:]]

    def _cause(self, which: int) -> str:
        """The id of an event, of none, or none at all."""
        if which % 3 == 0:
            return ""
        return self.log.events[which % self.log.head].written.id if which % 3 == 1 else "elsewhere"

    def _wanted(
        self, kind: str, stream: str, off: int, asked: tuple[Query, ...], after: int | None
    ) -> Precondition:
        if kind == "no_match":
            return NoMatch(asked, after)
        if kind == "revision":
            return OnStream(stream, max(0, len(self.log.of(stream)) - 1 - (off % 4) // 3))
        return OnStream(stream, kind)

    def _right_or_wrong(self, expected: str | None, right: int) -> int | None:
        return None if expected is None else right + (expected == "wrong")

    def _rule_event(self, kind: str, stream: str, repeat: str) -> Written:
        """An event of `$streams` with an id of its own, or with that of the last of its kind."""
        there = [event.written for event in self.log.of("$streams") if event.written.type == kind]
        if repeat == "new" or not there:
            return Written(self._next_id(), "$streams", kind, tags=(stream,))
        return replace(there[-1], tags=(stream,))

    def _carrying(self, call: str, cause: str = "") -> calls.Metadata:
        carried = [*self.metadata, ("x-correlation-id", call)]
        return [*carried, ("x-causation-id", cause)] if cause else carried

    def _append(
        self,
        at: int,
        events: Sequence[Written],
        wanted: Sequence[Precondition],
        call: str,
        cause: str,
    ) -> None:
        if len({event.id for event in events}) < len(events):
            return
        called = calls.append(self.service.each[at], self._carrying(call, cause), events, wanted)
        actual = self._outcome(called)
        expected = self._expected(lambda: self.log.append(events, wanted, call, cause))
        if isinstance(actual, Refused):
            assert actual == expected, (actual, expected)
            return
        placed, times = actual
        assert placed == expected, (placed, expected)
        for one, time_us in zip(placed, times, strict=True):
            older_us = self.log.events[one.position - 1].older_s * 1_000_000
            self._learn_time(one.position, time_us + older_us)

    async def _appending(
        self, at: int, events: Sequence[Written], wanted: Sequence[Precondition]
    ) -> list[Placed]:
        replica, metadata = self.service.each[at], self._carrying("call-1")
        return (await calls.append(replica, metadata, events, wanted))[0]

    async def _ending(
        self, at: int, written: Written, stream: str, revision: int | None, *, is_tombstone: bool
    ) -> int:
        """The position of the event that says it, once the stream is deleted, or closed."""
        events = self.service.each[at].events
        metadata = self._carrying(written.type)
        call = (
            events.TombstoneStream(
                keeping_pb2.TombstoneStreamRequest(
                    stream=stream, expected_revision=revision, id=written.id
                ),
                metadata=metadata,
            )
            if is_tombstone
            else events.DeleteStream(
                keeping_pb2.DeleteStreamRequest(
                    stream=stream, expected_revision=revision, id=written.id
                ),
                metadata=metadata,
            )
        )
        return int((await calls.answered(call)).position)

    def _raced(
        self,
        both: tuple[Awaitable[Any], Awaitable[Any]],
        expected: tuple[Callable[[oracle.Log], Any], Callable[[oracle.Log], Any]],
    ) -> None:
        """Make two calls at once: what they are answered is so whichever came first."""
        actual = self._answer(_gathered(*both))
        possible = []
        for order in ((0, 1), (1, 0)):
            log, outcomes = deepcopy(self.log), [None, None]
            for index in order:
                outcomes[index] = self._expected(partial(expected[index], log))
            if actual == outcomes:
                self.log = log
                self._learn_all()
                return
            possible.append(outcomes)
        raise AssertionError(actual, possible)

    def _rule(self, call: Any, ruled: Callable[[], int]) -> None:
        before, actual = self.log.head, self._outcome(call)
        expected = self._expected(ruled)
        if isinstance(actual, Refused) or isinstance(expected, Refused):
            assert actual == expected, (actual, expected)
            return
        position = actual
        if not isinstance(actual, int):
            position = actual.version if hasattr(actual, "version") else actual.position
        assert position == expected, (position, expected)
        if self.log.head > before:
            self._learn_all()

    def _register(
        self, call: Any, registered: Callable[[], int], answer: Callable[[Any], int]
    ) -> None:
        before, actual = self.log.head, self._outcome(call)
        expected = self._expected(registered)
        if isinstance(actual, Refused) or isinstance(expected, Refused):
            assert actual == expected, (actual, expected)
            return
        assert answer(actual) == expected
        self._learn_registration(before)

    def _learn_registration(self, before: int) -> None:
        """What says that something was registered is the store's own: it is taken as it is."""
        span = Span(stream="$schemas", from_position=before + 1)
        read = self._answer(calls.read(self.service.each[1], self.metadata, span, progress=False))
        (event,) = read.events
        self.log.add_registration(event.written)
        assert event.position == self.log.head
        assert event.correlation_id == "registered"
        self.log.events[-1].correlation_id = "registered"
        self._learn_time(event.position, read.recorded_us[event.position])

    def _learn_all(self) -> None:
        """When those events were recorded whose answers did not tell."""
        new = [one.position for one in self.log.events if not one.recorded_us]
        if new:
            self._read(1, Span(from_position=new[0], shows_gone=True))

    def _learn_time(self, position: int, time_us: int) -> None:
        event = self.log.events[position - 1]
        assert event.recorded_us in (0, time_us)
        event.recorded_us = time_us
        if position > 1:
            assert self.log.events[position - 2].recorded_us <= time_us

    def _read(self, at: int, span: Span, *, progress: bool = False) -> None:
        call = calls.read(self.service.each[at], self.metadata, span, progress=progress)
        self._compare(span, self._answer(call), self.log.read(span))

    def _compare(self, span: Span, actual: calls.Read, expected: Sequence[Any]) -> None:
        assert actual.events == expected, (actual.events, expected)
        for position, time_us in sorted(actual.recorded_us.items()):
            self._learn_time(position, time_us)
        for position, (time_us, actor) in actual.gone_at.items():
            assert time_us == self.log.events[position - 1].recorded_us
            assert actor == USER
        self._compare_signals(span, actual.signals, expected)

    def _compare_signals(
        self, span: Span, signals: Sequence[calls.Signal], expected: Sequence[Any]
    ) -> None:
        """No position is told before all events up to it have come."""
        for count, position in signals:
            left = expected[count:]
            if span.is_backwards:
                assert all(event.position < position for event in left), (position, left)
            else:
                assert all(event.position > position for event in left), (position, left)
                assert position <= self.log.head

    def _outcome(self, call: Any) -> Any:
        """The answer, or what was refused."""
        try:
            return self._answer(call)
        except Refused as refused:
            return refused

    def _answer(self, call: Any) -> Any:
        """The answer. A database that is too slow ends the sequence, which proves nothing."""
        try:
            return self.service.run(calls.answered(call))
        except Refused as refused:
            if refused.reasons.isdisjoint(SLOW):
                raise
            self.is_left = True
            self.service.left.update(refused.reasons & SLOW)
            reject()

    def _expected(self, made: Callable[[], Any]) -> Any:
        try:
            return made()
        except Refused as refused:
            return refused


async def _gathered(*both: Awaitable[Any]) -> list[Any]:
    """What each is answered, or was refused with. Raises what a slow database says."""

    async def outcome(call: Awaitable[Any]) -> Any:
        try:
            return await call
        except Refused as refused:
            if not refused.reasons.isdisjoint(SLOW):
                raise
            return refused

    return list(await asyncio.gather(*map(outcome, both)))
