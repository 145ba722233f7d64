"""How events change a state: one function for each class of events. Knows no call.

The one fold of a program: aggregates are loaded through it, and a `Follower` can use it as well.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from girih.client.aggregates.values import Codec, NotAsDeclared
from girih.client.errors import HistoryUnusable
from girih.client.events import NewEvent, RecordedEvent

S = TypeVar("S")
E = TypeVar("E")

Handler = Callable[[S, E], S]
"""Takes a state and an event, and answers the state behind it. Changes nothing."""
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the JSON of a state of one version, and answers that of the next."""

CONTENT_TYPE: Final = "application/vnd.girih.aggregate+json"
"""Of the snapshots that are written here."""


@dataclass(frozen=True, slots=True)
class _Handled(Generic[S]):
    """An event type, and what becomes of a state with it."""

    type: str
    schema_version: int
    codec: Codec[Any]
    handler: Handler[S, Any]


class Fold(Generic[S]):
    """Folds events into a state, from `initial` on.

        fold = Fold(Permit())

        @fold.on("granted", Granted)
        def granted(permit: Permit, event: Granted) -> Permit:
            return replace(permit, granted_by=event.by)

    States and events are frozen dataclasses of frozen values, see `girih.client.aggregates.values`.
    `version` is that of the state's layout, and of what its handlers make of events: raise it
    with either, and snapshots of before are upgraded where `upgrade` says how, and else not used.
    """

    def __init__(self, initial: S, *, version: int = 1) -> None:
        """Raises TypeError when the state could be changed in place, or not be written."""
        if version < 1:
            raise ValueError("version must be at least 1")
        self.initial: Final = initial
        self.version: Final = version
        self._codec: Codec[S] = Codec(type(initial))
        self._by_type: dict[str, _Handled[S]] = {}
        self._by_class: dict[type, _Handled[S]] = {}
        self._ignored: set[str] = set()
        self._upgrades: dict[int, Upgrade] = {}
        self._redacted: Handler[S, RecordedEvent] | None = None

    def on(
        self, event_type: str, kind: type[E], *, schema_version: int = 0
    ) -> Callable[[Handler[S, E]], Handler[S, E]]:
        """The decorated function handles events of a type, which are read as `kind`. Those that
        the program records are of the type and version that their class was first given.
        """
        handled_before = event_type in self._by_type or event_type in self._ignored
        if handled_before or not event_type:
            raise ValueError(f"{event_type!r} must be a type that is not handled yet")

        def add(handler: Handler[S, E]) -> Handler[S, E]:
            handled = _Handled(event_type, schema_version, Codec(kind), handler)
            self._by_type[event_type] = handled
            self._by_class.setdefault(kind, handled)
            return handler

        return add

    def ignore(self, *event_types: str) -> None:
        """Events of these types change nothing. Of others that have no handler none is passed
        over: they raise HistoryUnusable."""
        self._ignored.update(event_types)

    def on_redacted(self, handler: Handler[S, RecordedEvent]) -> Handler[S, RecordedEvent]:
        """The decorated function handles events whose payload was taken away, which raise
        HistoryUnusable without."""
        self._redacted = handler
        return handler

    def upgrade(self, from_version: int) -> Callable[[Upgrade], Upgrade]:
        """The decorated function makes the JSON of a snapshot of one version that of the next."""

        def add(upgrade: Upgrade) -> Upgrade:
            self._upgrades[from_version] = upgrade
            return upgrade

        return add

    def __call__(self, state: S, events: Iterable[RecordedEvent]) -> S:
        """The state behind events, in their order. Raises HistoryUnusable."""
        for event in events:
            state = self._apply(state, event)
        return state

    def evolve(self, state: S, event: object) -> S:
        """The state behind an event that is not stored yet; raises TypeError without a handler."""
        return self._handled(event).handler(state, event)

    def new_event(
        self,
        stream: str,
        event: object,
        *,
        id: str,  # noqa: A002 - the field's name in the contract
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> NewEvent:
        """An event as it is appended; raises ValueError for what JSON cannot hold."""
        handled = self._handled(event)
        return NewEvent.with_data(
            stream,
            handled.type,
            handled.codec.write(event),
            id=id,
            schema_version=handled.schema_version,
            tags=tags,
            metadata=metadata or {},
        )

    def snapshot(self, state: S) -> bytes:
        """The whole state, with what tells that its layout is this one."""
        content = {"layout": self._codec.layout, "state": self._codec.write(state)}
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()

    def restored(self, content: bytes, version: int) -> S | None:
        """The state of a snapshot; None where it does not fit: it is of another layout, or of a
        version from which no upgrade leads here. It is complete, or it is not used.
        """
        try:
            parsed = json.loads(content)
            if version == self.version and parsed["layout"] != self._codec.layout:
                return None
            state = parsed["state"]
            for one in range(version, self.version):
                state = self._upgrades[one](state)
            return self._codec.read(state, is_complete=True)
        except (ValueError, LookupError, TypeError, AttributeError):
            # Whatever it is: a snapshot is a cache, and the events are the truth.
            return None

    def _apply(self, state: S, event: RecordedEvent) -> S:
        if event.type in self._ignored:
            return state
        handled = self._by_type.get(event.type)
        if handled is None:
            raise _unusable(event, "no handler knows its type")
        if event.gone is not None:
            if self._redacted is None:
                raise _unusable(event, f"its payload is gone ({event.gone.reason.value})")
            return self._redacted(state, event)
        try:
            data = handled.codec.read({} if event.json is None else event.data)
        except (NotAsDeclared, ValueError, TypeError) as error:
            raise _unusable(event, f"it is not as its class says: {error}") from error
        return handled.handler(state, data)

    def _handled(self, event: object) -> _Handled[S]:
        handled = self._by_class.get(type(event))
        if handled is None:
            raise TypeError(f"{type(event).__qualname__} must be a class that has a handler")
        return handled


def _unusable(event: RecordedEvent, problem: str) -> HistoryUnusable:
    return HistoryUnusable.at(event.stream, event.revision, event.type, problem)
