"""What loading, saving and executing do, step after step: once, for both stacks of gRPC.

A flow yields steps, is sent what they answer or has thrown into it what they raise, and returns its
result. Who runs it makes the calls; see `AsyncRepository` and `Repository`.
"""

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from girih.client.aggregates.aggregate import Aggregate, must_begin
from girih.client.aggregates.commands import PAUSES_S, Command
from girih.client.cursors import Batch
from girih.client.errors import EventIdReused, GirihError, LogReplaced, PreconditionFailed
from girih.client.events import (
    LoadedStream,
    NewEvent,
    Placement,
    Precondition,
    Query,
    RecordedEvent,
)

A = TypeVar("A", bound=Aggregate[Any])
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Load:
    """Answers a LoadedStream."""

    stream: str
    schema_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Gives each batch to `take`, until that answers False; answers None."""

    take: Callable[[Batch], bool]
    stream: str | None = None
    query: Query | None = None
    from_revision: int | None = None
    limit: int | None = None
    include_gone: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """Answers placements."""

    events: Sequence[NewEvent]
    expected: Precondition


@dataclass(frozen=True, slots=True)
class SaveSnapshot:
    """Answers whether it is kept."""

    stream: str
    revision: int
    state: bytes
    schema_version: int
    incarnation: str
    read_position: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Waits so many seconds."""

    pause_s: float


Step = Load | Read | Append | SaveSnapshot | Pause
Flow = Generator[Step, Any, R]


@dataclass(frozen=True)
class Flows(Generic[A]):
    """What a repository does, and what it was told when it was made."""

    kind: type[A]
    pauses_s: Sequence[float] = PAUSES_S
    on_snapshot_failed: Callable[[GirihError], None] | None = field(default=None)

    def load(self, id: str) -> Flow[A]:  # noqa: A002 - as in the repositories
        """A new aggregate, as its stream has it."""
        aggregate = self.kind(id)
        yield from self.refresh(aggregate)
        return aggregate

    def refresh(self, aggregate: A) -> Flow[None]:
        """The same with one that there is."""
        yield from _loaded(aggregate)

    def save(self, aggregate: A, command_id: str | None) -> Flow[None]:
        """Append what is pending, once."""
        own_id = aggregate.command_id if command_id is None else command_id
        command = Command(aggregate.stream, own_id, command_id is not None, pauses_s=())
        try:
            yield from self._append(aggregate, command)
        except PreconditionFailed as error:
            command.lost(error, aggregate.revision)

    def execute(
        self,
        id: str,  # noqa: A002 - as in the repositories
        decide: Callable[[A], object],
        command_id: str | None,
    ) -> Flow[A]:
        """Load, decide and append, until a race is won or given up."""
        aggregate = self.kind(id)
        command = Command(aggregate.stream, command_id, command_id is not None, self.pauses_s)
        while not (yield from _is_done(aggregate, command)):
            _decide(aggregate, decide)
            try:
                yield from self._append(aggregate, command)
            except (PreconditionFailed, LogReplaced) as error:
                yield Pause(command.lost(error, aggregate.revision))
            except EventIdReused:
                # Somebody carried the same command out meanwhile, and decided otherwise.
                if not (yield from _is_done(aggregate, command)):
                    raise
                break
            else:
                break
        return aggregate

    def _append(self, aggregate: A, command: Command) -> Flow[None]:
        if not aggregate.pending:
            return
        events = aggregate.new_events(command.event_ids(len(aggregate.pending)), command.tags)
        expected = Precondition.at(aggregate.stream, aggregate.revision, aggregate.incarnation)
        placements: list[Placement] = yield Append(events, expected)
        aggregate.saved(placements)
        if aggregate.is_snapshot_due:
            yield from self._save_snapshot(aggregate)

    def _save_snapshot(self, aggregate: A) -> Flow[None]:
        """The events are stored, whatever becomes of it."""
        fold = aggregate.fold
        try:
            yield SaveSnapshot(
                aggregate.stream,
                aggregate.revision,
                fold.snapshot(aggregate.state),
                fold.version,
                aggregate.incarnation,
                aggregate.read_position,
            )
        except GirihError as error:
            if self.on_snapshot_failed is not None:
                self.on_snapshot_failed(error)
        else:
            aggregate.snapshot_saved()


def _decide(aggregate: A, decide: Callable[[A], object]) -> None:
    answer = decide(aggregate)
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("decide must be a plain function")


def _is_done(aggregate: Aggregate[Any], command: Command) -> Flow[bool]:
    """Load it, and look whether the command was carried out: also before the snapshot."""
    wanted = command.event_id(0)
    is_whole, is_seen = yield from _loaded(aggregate, wanted)
    if is_seen or is_whole or not command.is_repeatable:
        return is_seen
    events: list[RecordedEvent] = []

    def take(batch: Batch) -> bool:
        events.extend(event for event in batch if event.id == wanted)
        return not events

    yield Read(query=command.query, take=take)
    return bool(events)


def _loaded(aggregate: Aggregate[Any], event_id: str = "") -> Flow[tuple[bool, bool]]:
    """Load it; answers whether that was from its first event on, and whether the event came."""
    loaded: LoadedStream = yield Load(aggregate.stream, aggregate.fold.version)
    is_restored = aggregate.reset(loaded.snapshot, loaded.incarnation, loaded.head)
    events = loaded.events
    if loaded.snapshot is not None and not is_restored:
        events = tuple((yield from _all_events(aggregate.stream)))
    if events and not is_restored and events[0].revision > 0:
        yield from _must_begin(events[0])
    if events:
        aggregate.add(events)
    return not is_restored, any(event.id == event_id for event in events)


def _all_events(stream: str) -> Flow[list[RecordedEvent]]:
    events: list[RecordedEvent] = []

    def take(batch: Batch) -> bool:
        events.extend(batch)
        return True

    yield Read(stream=stream, take=take)
    return events


def _must_begin(first: RecordedEvent) -> Flow[None]:
    """What lies before the first event was deleted with the stream, or is not kept."""
    before: list[RecordedEvent] = []

    def take(batch: Batch) -> bool:
        before.extend(batch)
        return False

    yield Read(
        stream=first.stream,
        from_revision=first.revision - 1,
        limit=1,
        include_gone=True,
        take=take,
    )
    must_begin(first, before[0] if before else None)
