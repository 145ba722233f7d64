"""Does at random to a log what can be done to it, and compares each answer with the model's.

One sequence has a log of its own. Whatever was done, the log is read once more at its end, in
every way and through both replicas.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2, schemas_pb2, snapshots_pb2
from tests.events.model import calls, oracle, schemas
from tests.events.model.comparison import Comparison
from tests.events.model.inputs import (
    CALLS,
    FILLING,
    MISSING,
    STREAMS,
    drafts,
    filters,
    places,
    repeats,
    replicas,
    retentions,
    streams,
    wishes,
)
from tests.events.model.replicas import Replicas
from tests.events.model.values import (
    Described,
    Query,
    Refused,
    Retention,
    Span,
    State,
)


class LogMachine(Comparison):
    """One sequence of calls."""

    # Appends

    @initialize(
        some=st.lists(drafts, min_size=1, max_size=3),
        is_long=st.sampled_from((False,) * 15 + (True,)),
    )
    def begin(self, some: list[tuple[str, str, tuple[str, ...], int]], is_long: bool) -> None:
        filling = [self._new("filling", "filled", (), 5) for _ in range(FILLING * is_long)]
        self._append(0, [*(self._new(*draft) for draft in some), *filling], (), "call-1", "")

    @rule(
        at=replicas,
        some=st.lists(drafts, min_size=1, max_size=4),
        call=st.sampled_from(CALLS),
        cause=places,
        repeat=repeats,
    )
    def append(
        self,
        at: int,
        some: list[tuple[str, str, tuple[str, ...], int]],
        call: str,
        cause: int,
        repeat: str,
    ) -> None:
        events = self._repeating([self._new(*draft) for draft in some], repeat, cause)
        self._append(at, events, (), call, self._cause(cause))

    @rule(
        at=replicas,
        some=st.lists(drafts, min_size=1, max_size=2),
        wished=st.lists(wishes, min_size=1, max_size=3),
        asked=filters,
        after=st.sampled_from((None, 0, -3, -1, 0, 1)),
        repeat=repeats,
    )
    def append_when(
        self,
        at: int,
        some: list[tuple[str, str, tuple[str, ...], int]],
        wished: list[tuple[str, str, int]],
        asked: tuple[Query, ...],
        after: int | None,
        repeat: str,
    ) -> None:
        behind = None if after is None else max(0, self.log.head + after)
        wanted = [self._wanted(*one, asked, behind) for one in wished]
        events = self._repeating([self._new(*draft) for draft in some], repeat, len(asked))
        self._append(at, events, wanted, "call-2", "")

    @rule(
        some=st.tuples(drafts, drafts),
        wished=wishes,
        asked=filters,
        is_dated=st.booleans(),
    )
    def race(
        self,
        some: tuple[Any, Any],
        wished: tuple[str, str, int],
        asked: tuple[Query, ...],
        is_dated: bool,
    ) -> None:
        """Two append through two replicas at once, on the same condition."""
        wanted = [self._wanted(*wished, asked, self.log.head if is_dated else None)]
        first, second = ([self._new(*draft)] for draft in some)
        self._raced(
            (self._appending(0, first, wanted), self._appending(1, second, wanted)),
            (
                lambda log: log.append(first, wanted, "call-1", ""),
                lambda log: log.append(second, wanted, "call-1", ""),
            ),
        )

    @rule(draft=drafts, wished=wishes, is_tombstone=st.booleans())
    def race_with_an_end(
        self,
        draft: tuple[str, str, tuple[str, ...], int],
        wished: tuple[str, str, int],
        is_tombstone: bool,
    ) -> None:
        """One appends to a stream that another one deletes through the other replica."""
        events = [self._new(*draft)]
        stream, wanted = events[0].stream, [self._wanted(*wished, (Query(tags=("r",)),), None)]
        written = oracle.rule_event(
            self._next_id(), "tombstoned" if is_tombstone else "deleted", stream
        )
        self._raced(
            (
                self._appending(0, events, wanted),
                self._ending(1, written, stream, None, is_tombstone=is_tombstone),
            ),
            (
                lambda log: log.append(events, wanted, "call-1", ""),
                lambda log: log.end(written, stream, None, is_tombstone=is_tombstone),
            ),
        )

    # Reads

    @rule(
        at=replicas,
        asked=st.none() | filters,
        is_backwards=st.booleans(),
        start=st.none() | places,
        limit=st.sampled_from((0, 0, 1, 3)),
        shows_gone=st.booleans(),
        upcasts=st.booleans(),
        progress=st.booleans(),
    )
    def read_log(
        self,
        at: int,
        asked: tuple[Query, ...] | None,
        is_backwards: bool,
        start: int | None,
        limit: int,
        shows_gone: bool,
        upcasts: bool,
        progress: bool,
    ) -> None:
        position = None if start is None else 1 + start % (self.log.head + 2)
        span = Span("", is_backwards, position, None, None, limit, asked or (), shows_gone, upcasts)
        self._read(at, span, progress=progress)

    @rule(
        at=replicas,
        stream=st.sampled_from((*STREAMS, "$streams", "nobody")),
        is_backwards=st.booleans(),
        start=st.none() | places,
        by_revision=st.booleans(),
        limit=st.sampled_from((0, 0, 2)),
        shows_gone=st.booleans(),
        upcasts=st.booleans(),
    )
    def read_stream(
        self,
        at: int,
        stream: str,
        is_backwards: bool,
        start: int | None,
        by_revision: bool,
        limit: int,
        shows_gone: bool,
        upcasts: bool,
    ) -> None:
        length = len(self.log.of(stream)) if by_revision else self.log.head
        place = None if start is None else start % (length + 2)
        position = None if place is None or by_revision else place + 1
        revision = place if by_revision else None
        self._read(
            at,
            Span(stream, is_backwards, position, revision, None, limit, (), shows_gone, upcasts),
        )

    @rule(at=replicas, which=places, off=st.sampled_from((-1, 0, 1)), is_backwards=st.booleans())
    def read_from_a_time(self, at: int, which: int, off: int, is_backwards: bool) -> None:
        time_us = self.log.events[which % self.log.head].column_us + off
        request = pb.GetPositionRequest(time=calls.timestamp(time_us))
        call = self.service.each[at].events.GetPosition(request, metadata=self.metadata)
        assert self._answer(call).position == self.log.position_at(time_us)
        self._read(at, Span(is_backwards=is_backwards, from_us=time_us))

    @rule(at=replicas, asked=st.none() | filters, start=st.none() | places, upcasts=st.booleans())
    def follow(
        self, at: int, asked: tuple[Query, ...] | None, start: int | None, upcasts: bool
    ) -> None:
        position = None if start is None else 1 + start % (self.log.head + 3)
        span = Span(from_position=position, queries=asked or (), upcasts=upcasts)
        if position is not None and position > self.log.head + 1:
            expected: Any = Refused("BEYOND_END")
        else:
            expected = self.log.read(span)
        call = calls.follow(self.service.each[at], self.metadata, span)
        actual = self._outcome(call)
        if isinstance(actual, Refused):
            assert actual == expected, (actual, expected)
            return
        self._compare(span, actual, expected)
        assert actual.signals[-1] == (len(actual.events), self.log.head)

    @rule(at=replicas, call=st.sampled_from(CALLS), page_size=st.sampled_from((0, 1, 3)))
    def trace(self, at: int, call: str, page_size: int) -> None:
        left, token = self.log.traced(call), ""
        while True:
            called = calls.trace(self.service.each[at], self.metadata, call, page_size, token)
            actual, token = self._answer(called)
            assert len(actual) <= (page_size or 100)
            page, left = left[: len(actual)], left[len(actual) :]
            assert actual == self.log.tree(page), (actual, self.log.tree(page))
            if not token:
                break
        assert not left

    # Streams

    @rule(at=replicas, stream=st.sampled_from((*STREAMS, "$streams", "nobody")))
    def describe(self, at: int, stream: str) -> None:
        request = pb.GetStreamRequest(stream=stream)
        call = self.service.each[at].events.GetStream(request, metadata=self.metadata)
        actual = self._outcome(call)
        actual = actual if isinstance(actual, Refused) else calls.described(actual)
        expected = self._expected(lambda: self.log.described(stream))
        assert actual == expected, (actual, expected)

    @rule(
        at=replicas,
        prefix=st.sampled_from(("", "a", "a-", "b-1", "$", "c")),
        is_category=st.booleans(),
        page_size=st.sampled_from((0, 1, 3)),
    )
    def list_streams(self, at: int, prefix: str, is_category: bool, page_size: int) -> None:
        is_category = is_category and "-" not in prefix
        named = {"category": prefix} if is_category else {"prefix": prefix}
        actual: list[Described] = []
        token = ""
        while True:
            request = pb.ListStreamsRequest(page_size=page_size, page_token=token, **named)
            page = self._answer(
                self.service.each[at].events.ListStreams(request, metadata=self.metadata)
            )
            assert len(page.streams) <= (page_size or 100)
            actual += map(calls.described, page.streams)
            if not (token := page.next_page_token):
                break
        expected = self.log.listed(**named)
        assert actual == expected, (actual, expected)

    @rule(at=replicas)
    def count(self, at: int) -> None:
        events = self.service.each[at].events
        categories = self._answer(
            events.ListCategories(keeping_pb2.ListCategoriesRequest(), metadata=self.metadata)
        )
        types = self._answer(
            events.ListEventTypes(keeping_pb2.ListEventTypesRequest(), metadata=self.metadata)
        )
        actual = {c.category: (c.stream_count, c.event_count) for c in categories.categories}
        assert actual == self.log.categories(), (actual, self.log.categories())
        assert {t.type: t.event_count for t in types.types} == self.log.types()
        assert types.counted_position == self.log.head

    # Rules

    @rule(
        at=replicas,
        stream=st.sampled_from((*STREAMS, "$streams")),
        expected=st.sampled_from((None, None, "right", "wrong")),
        repeat=repeats,
    )
    def set_metadata(self, at: int, stream: str, expected: str | None, repeat: str) -> None:
        text = f'{{"owner": {self.id_count}}}'
        version = self._right_or_wrong(expected, self.log.rule(stream).metadata_version)
        written = self._rule_event("metadata-set", stream, repeat)
        # Its metadata stands in the event as it was spelled.
        content = f'{{"stream":"{stream}","metadata":{text}}}'
        written = written if written.json else replace(written, json=content)
        request = keeping_pb2.SetStreamMetadataRequest(
            stream=stream, metadata=text, expected_version=version, id=written.id
        )
        self._rule(
            self.service.each[at].events.SetStreamMetadata(
                request, metadata=self._carrying(written.type)
            ),
            lambda: self.log.set_metadata(replace(written, json=content), stream, text, version),
        )

    @rule(at=replicas, stream=st.sampled_from((*STREAMS, "$schemas")), kept=retentions)
    def set_retention(self, at: int, stream: str, kept: Retention) -> None:
        parts = oracle.retention_parts(kept)
        written = oracle.rule_event(self._next_id(), "retention-set", stream, **parts)
        request = keeping_pb2.SetStreamRetentionRequest(
            stream=stream, retention=keeping_pb2.Retention(**vars(kept)), id=written.id
        )
        self._rule(
            self.service.each[at].events.SetStreamRetention(
                request, metadata=self._carrying(written.type)
            ),
            lambda: self.log.set_retention(written, stream, kept),
        )

    @rule(
        at=replicas,
        stream=streams,
        is_tombstone=st.sampled_from((False, False, False, True)),
        expected=st.sampled_from((None, "right", "wrong")),
    )
    def end(self, at: int, stream: str, is_tombstone: bool, expected: str | None) -> None:
        revision = self._right_or_wrong(expected, max(0, len(self.log.of(stream)) - 1))
        kind = "tombstoned" if is_tombstone else "deleted"
        revision_text = None if revision is None else str(revision)
        written = oracle.rule_event(self._next_id(), kind, stream, expectedRevision=revision_text)
        self._rule(
            self._ending(at, written, stream, revision, is_tombstone=is_tombstone),
            lambda: self.log.end(written, stream, revision, is_tombstone=is_tombstone),
        )

    @rule(at=replicas, which=places, of_saved=st.booleans())
    def redact(self, at: int, which: int, of_saved: bool) -> None:
        position = 1 + which % (self.log.head + 1)
        if of_saved and (known := self._in_snapshots()):
            position = known[which % len(known)]
        parts: dict[str, str] = {}
        stream = ""
        if position <= self.log.head:
            written = self.log.events[position - 1].written
            stream, parts = written.stream, {"position": str(position), "eventId": written.id}
        written = oracle.rule_event(self._next_id(), "redacted", stream, **parts, reason="asked")
        request = keeping_pb2.RedactEventRequest(position=position, reason="asked", id=written.id)
        self._rule(
            self.service.each[at].events.RedactEvent(request, metadata=self._carrying("redacted")),
            lambda: self.log.redact(written, position),
        )

    def _in_snapshots(self) -> list[int]:
        """The positions of events that somebody has folded into a state."""
        newest = {name: max(kept) for name, kept in self.log.snapshots.items() if kept}
        return [
            one.position
            for one in self.log.events
            if one.revision <= newest.get(one.written.stream, -1)
        ]

    @rule()
    def grow_older(self) -> None:
        self.service.run(self.service.make_older(self.tenant))
        self.log.age()

    @rule()
    def take_payloads(self) -> None:
        self.service.run(self.service.take(self.tenant))
        self.log.take()

    # Schemas

    @rule(
        at=replicas,
        name=st.sampled_from(("x", "y")),
        version=st.integers(0, 3),
        schema=st.sampled_from(schemas.NAMES),
        compatibility=st.sampled_from(("NONE", "NONE", "UNSPECIFIED", "BACKWARD")),
    )
    def register_schema(
        self, at: int, name: str, version: int, schema: str, compatibility: str
    ) -> None:
        request = calls.schema_request(name, version, schemas.TEXTS[schema], compatibility)
        registry, before = self.log.registry, self.log.head
        call = self.service.each[at].schemas.RegisterSchema(
            request, metadata=self._carrying("registered")
        )
        actual = self._outcome(call)
        expected = self._expected(lambda: registry.register(name, version, schema, compatibility))
        if isinstance(actual, Refused) or isinstance(expected, Refused):
            assert actual == expected, (actual, expected)
            return
        assert actual.already_registered == expected
        if not expected:
            self._learn_registration(before)

    @rule(
        at=replicas,
        name=st.sampled_from(("x", "y")),
        version=st.integers(0, 2),
        on=st.sampled_from((1, 1, 1, 2)),
        upcaster=st.sampled_from(tuple(schemas.UPCASTERS)),
    )
    def register_upcaster(self, at: int, name: str, version: int, on: int, upcaster: str) -> None:
        registry, target = self.log.registry, version + on
        known = registry.types.get(name, schemas.EventType()).schemas
        pair = (known.get(version), known.get(target))
        if None not in pair and (upcaster, *pair) not in schemas.ASKED:
            return
        message = schemas_pb2.Upcaster(
            from_version=version, to_version=target, steps=schemas.UPCASTERS[upcaster]
        )
        request = schemas_pb2.RegisterUpcasterRequest(type=name, upcaster=message)
        call = self.service.each[at].schemas.RegisterUpcaster(
            request, metadata=self._carrying("registered")
        )
        self._register(
            call,
            lambda: registry.register_upcaster(name, version, target, upcaster),
            lambda actual: actual.to_version,
        )

    @precondition(lambda self: len(self.log.registry.types) > 0)
    @rule(at=replicas, name=st.sampled_from(("x", "y")))
    def delete_schemas(self, at: int, name: str) -> None:
        request = schemas_pb2.DeleteSchemasRequest(type=name)
        call = self.service.each[at].schemas.DeleteSchemas(
            request, metadata=self._carrying("registered")
        )
        self._register(
            call, lambda: self.log.registry.delete(name), lambda actual: actual.version_count
        )

    @rule(at=replicas)
    def list_schemas(self, at: int) -> None:
        request = schemas_pb2.ListSchemasRequest()
        page = self._answer(
            self.service.each[at].schemas.ListSchemas(request, metadata=self.metadata)
        )
        actual = [(one.type, one.version, one.has_upcaster) for one in page.versions]
        assert actual == self.log.registry.versions()

    # Snapshots

    @rule(
        at=replicas,
        named=places,
        which=places,
        version=st.integers(0, 2),
        is_json=st.booleans(),
        read=st.sampled_from((None, 0, 0, -2)),
    )
    def save(
        self, at: int, named: int, which: int, version: int, is_json: bool, read: int | None
    ) -> None:
        names = [name for name in self.log.names() if name[0] != "$"]
        stream = "nobody" if named == MISSING else names[named % len(names)]
        length = len(self.log.of(stream))
        revision = length if which == MISSING else which % max(1, length)
        text = f'{{ "at": {self.id_count}}}'
        self.id_count += 1
        state = State(
            revision, version, text if is_json else "", None if is_json else text.encode()
        )
        read_position = None if read is None else max(0, self.log.head + read)
        request = snapshots_pb2.SaveSnapshotRequest(
            stream=stream, revision=revision, schema_version=version, read_position=read_position
        )
        if is_json:
            request.json = text
        else:
            request.binary = text.encode()
        call = self.service.each[at].snapshots.SaveSnapshot(request, metadata=self.metadata)
        actual = self._outcome(call)
        actual = actual if isinstance(actual, Refused) else actual.kept
        self.saved.add(stream)
        expected = self._expected(lambda: self.log.save(stream, state, read_position))
        assert actual == expected, (actual, expected)

    @rule(at=replicas, stream=streams, known_version=st.integers(0, 2))
    def load(self, at: int, stream: str, known_version: int) -> None:
        self._load(at, stream, known_version)

    def _load(self, at: int, stream: str, known_version: int) -> None:
        call = calls.load(self.service.each[at], self.metadata, stream, known_version)
        state, is_older, events = self._answer(call)
        expected, behind = self.log.load(stream, known_version)
        assert state == expected, (state, expected)
        assert events == behind, (events, behind)
        assert is_older == (state is not None and state.version < known_version)

    # The end

    def teardown(self) -> None:
        if self.is_left:
            return
        for at in (0, 1):
            self._read(at, Span())
            self._read(at, Span(shows_gone=True, is_backwards=True))
        for stream in sorted(self.saved):
            self._load(1, stream, 0)
        self._read(0, Span(queries=(Query(tags=("r",)), Query(category="b"))), progress=True)
        self._read(1, Span(queries=(Query(types=("x",)),), is_backwards=True))
        head = self._answer(
            self.service.each[0].events.GetLog(pb.GetLogRequest(), metadata=self.metadata)
        )
        assert head.head_position == self.log.head


def machine_on(service: Replicas, begun: Callable[[int], None]) -> type[LogMachine]:
    """A machine that calls these replicas; `begun` is told of each sequence."""
    return type("Machine", (LogMachine,), {"service": service, "begun": staticmethod(begun)})
