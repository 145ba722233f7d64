"""A state folded from one stream, and what was decided on it and is not saved. Knows no call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from girih.client.aggregates.fold import Fold
from girih.client.cursors import Batch
from girih.client.errors import HistoryUnusable
from girih.client.events import ABSENT, NewEvent, Placement, RecordedEvent, Snapshot
from girih.ids import NO_POSITION, Position, Revision, uuid7

S = TypeVar("S")
A = TypeVar("A", bound="Aggregate[Any]")


@dataclass(frozen=True, slots=True)
class Pending:
    """An event that was decided on, and is not saved yet."""

    event: object
    tags: tuple[str, ...]


class Aggregate(Generic[S]):
    """What commands decide on: everything that its stream says, and nothing else.

        class PermitAggregate(Aggregate[Permit]):
            category = "permit"
            fold = fold

            def grant(self, by: str) -> None:
                if self.state.granted_by:
                    raise AlreadyGranted(self.id)
                self.record(Granted(by))

    Its methods are commands: they look at `state`, raise what the rules say, and `record` events.
    Its stream is named by its category and its id. `AsyncRepository` and `Repository` load and
    save it; without them it needs no server, which is how its rules are tested.
    """

    category: ClassVar[str]
    """The name of its streams up to their first `-`."""
    fold: Fold[S]
    snapshot_every: ClassVar[int] = 100
    """A snapshot is saved when so many events lie behind the newest; 0 for none."""

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - those of other bases
        super().__init_subclass__(**options)
        category = getattr(cls, "category", "none-yet")
        if "category" in vars(cls) and ("-" in category or not category):
            raise ValueError("category must be a name without -")
        if cls.snapshot_every < 0:
            raise ValueError("snapshot_every must be at least 0")

    def __init__(self, id: str) -> None:  # noqa: A002 - what its users call it
        if not id:
            raise ValueError("an aggregate must have an id")
        self.id = id
        self.stream = f"{self.category}-{id}"
        self._state = self.fold.initial
        self._revision = ABSENT
        self._pending: list[Pending] = []
        self._command_id = ""
        self._snapshot_revision = ABSENT
        self.incarnation = ""
        """Of the log in which its last event was seen."""
        self.read_position = NO_POSITION
        """Where the log ended when it was loaded."""

    @property
    def state(self) -> S:
        """The state behind all events, those that are not saved yet included."""
        return self._state

    @property
    def revision(self) -> Revision:
        """Of the last event that is saved; ABSENT when there is none."""
        return self._revision

    @property
    def exists(self) -> bool:
        """Whether anything was recorded of it, saved or not."""
        return self._revision != ABSENT or bool(self._pending)

    @property
    def pending(self) -> Sequence[Pending]:
        """What is not saved yet, in order."""
        return tuple(self._pending)

    @property
    def command_id(self) -> str:
        """Stays while something is pending: saving it again, when it is not known whether it was
        saved, is harmless."""
        return self._command_id

    def record(self, event: object, *, tags: tuple[str, ...] = ()) -> None:
        """Take an event into the state, to be saved; raises TypeError when nothing handles it."""
        self._state = self.fold.evolve(self._state, event)
        if not self._pending:
            self._command_id = str(uuid7())
        self._pending.append(Pending(event, tags))

    def add(self, batch: Batch) -> None:
        """Take events of the stream into the state, in order, as a `Follower` gives them. Raises
        HistoryUnusable, and ValueError while something is pending: that was decided before.
        """
        if self._pending:
            raise ValueError("what is pending must be saved, or the aggregate loaded again")
        self._state = self.fold(self._state, batch)
        self._revision = batch[-1].revision
        self.incarnation = batch[-1].incarnation or self.incarnation

    def reset(
        self, snapshot: Snapshot | None, incarnation: str, read_position: Position = NO_POSITION
    ) -> bool:
        """Begin anew: from a snapshot or from nothing. Answers whether it fits; without, or when
        it does not, the state is the initial one, and all events are to be added.
        """
        state = self.fold.restored(snapshot.state, snapshot.schema_version) if snapshot else None
        fits = snapshot is not None and state is not None
        self._state = self.fold.initial if state is None else state
        self._revision = snapshot.revision if snapshot and fits else ABSENT
        # One of an earlier layout serves for now, and the next save makes another.
        is_older = snapshot is not None and snapshot.schema_version != self.fold.version
        self._snapshot_revision = ABSENT if is_older else self._revision
        self._pending.clear()
        self.incarnation = incarnation
        self.read_position = read_position
        return fits

    def new_events(self, ids: Sequence[str], first_tags: tuple[str, ...]) -> list[NewEvent]:
        """What is pending, as it is appended with these ids, the first with more tags."""
        return [
            self.fold.new_event(
                self.stream, one.event, id=event_id, tags=one.tags + (() if n else first_tags)
            )
            for n, (one, event_id) in enumerate(zip(self._pending, ids, strict=True))
        ]

    def saved(self, placements: Sequence[Placement]) -> None:
        """What was pending is stored."""
        self.incarnation = placements[-1].incarnation or self.incarnation
        self._revision = max(self._revision, *(one.revision for one in placements))
        self._pending.clear()

    @property
    def is_snapshot_due(self) -> bool:
        """Whether enough lies behind the newest snapshot that is known."""
        behind = self._revision - self._snapshot_revision
        return 0 < self.snapshot_every <= behind

    def snapshot_saved(self) -> None:
        """There is one of the present revision."""
        self._snapshot_revision = self._revision


def must_begin(first: RecordedEvent, before: RecordedEvent | None) -> None:
    """Raise HistoryUnusable where a stream does not begin with the event that is its first now:
    what was before it was not deleted with the stream, but is gone by its retention.
    """
    is_deleted = before is None or before.gone is None or before.gone.reason.value == "deleted"
    if not is_deleted and before is not None:
        raise HistoryUnusable.at(
            first.stream, before.revision, before.type, "retention does not keep it"
        )
