"""What goes into a log and what is answered of it, as plain values. Knows no wire and no store."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Written:
    """An event as its writer sends it: two that are equal have the same content."""

    id: str
    stream: str
    type: str
    version: int = 0
    json: str = ""
    binary: bytes | None = None
    content_type: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()

    def without_payload(self) -> "Written":
        return replace(self, json="", binary=None)


@dataclass(frozen=True)
class Gone:
    """Why an event's payload is gone, and which event of `$streams` says so."""

    reason: str
    position: int


@dataclass(frozen=True)
class Shown:
    """An event as a reader is given it."""

    position: int
    revision: int
    written: Written
    correlation_id: str
    causation_id: str
    gone: Gone | None = None
    upcast_from: int | None = None
    has_problem: bool = False


@dataclass(frozen=True)
class Query:
    """Which events are meant: those that meet all that is set."""

    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    prefix: str = ""
    category: str = ""
    correlation_id: str = ""


@dataclass(frozen=True)
class OnStream:
    """A stream's last revision, or `absent` or `exists`."""

    stream: str
    expected: int | str


@dataclass(frozen=True)
class NoMatch:
    """No event that a query means lies behind a position; None for none at all."""

    queries: tuple[Query, ...]
    after: int | None


Precondition = OnStream | NoMatch


@dataclass(frozen=True)
class Violation:
    """A precondition that does not hold."""

    index: int
    stream: str = ""
    actual_revision: int | None = None
    position: int = 0
    event_id: str = ""
    read_again: bool = False


class Refused(Exception):
    """What a call is refused with. Where two things are wrong it may be `instead` as well: of the
    one that was found first."""

    def __init__(
        self, reason: str, violations: tuple[Violation, ...] = (), *, instead: str = ""
    ) -> None:
        super().__init__(reason, *violations)
        self.reasons = {reason, instead or reason}
        self.violations = violations

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Refused)
            and self.violations == other.violations
            and not self.reasons.isdisjoint(other.reasons)
        )

    __hash__ = Exception.__hash__


@dataclass(frozen=True)
class Placed:
    """Where an event is."""

    position: int
    revision: int
    already_stored: bool


@dataclass(frozen=True)
class Retention:
    """Which events of a stream are kept."""

    max_age_s: int | None = None
    max_count: int | None = None
    truncate_before: int | None = None


NO_RETENTION = Retention()


@dataclass(frozen=True)
class Described:
    """A stream, from its first event to its last."""

    stream: str
    last_revision: int
    first_position: int
    last_position: int
    first_revision: int
    event_count: int
    ending: str
    created_us: int = 0
    updated_us: int = 0
    metadata: str = ""
    metadata_version: int = 0
    retention: Retention | None = None


@dataclass(frozen=True)
class Span:
    """What to read, and from where."""

    stream: str = ""
    is_backwards: bool = False
    from_position: int | None = None
    from_revision: int | None = None
    from_us: int | None = None
    limit: int = 0
    queries: tuple[Query, ...] = ()
    shows_gone: bool = False
    upcasts: bool = False


@dataclass(frozen=True)
class Traced:
    """An event of a trace, without its payload."""

    shown: Shown
    depth: int
    cause: tuple[int, str, str, str] | None
    """Position, correlation id, stream and type of what caused it."""


@dataclass(frozen=True)
class State:
    """What somebody folded a stream into."""

    revision: int
    version: int
    json: str = ""
    binary: bytes | None = None
