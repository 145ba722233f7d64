"""Rules over streams: decides each on what holds, and has it appended to `$streams`.

A rule is an event like others, so it is ordered with all appends, on any replica, and whoever
follows the log learns of it. What it is decided on is read first, and the append then demands that
no rule came between; if one did, it is read and decided again. Knows neither wire nor tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from girih.ids import RULES_STREAM, Position, Revision, TenantId
from services.events import ownership
from services.events.domain import (
    NO_CONTEXT,
    CallContext,
    NewEvent,
    Placement,
    Precondition,
    Proposal,
    StreamState,
)
from services.events.errors import (
    EventGone,
    EventIdReused,
    EventNotFound,
    MetadataChanged,
    PreconditionFailed,
    StreamNotFound,
    StreamOwned,
    StreamTombstoned,
)
from services.events.rules.stream_rules import (
    RedactionTarget,
    StreamChange,
    StreamEnding,
    StreamRules,
)
from services.events.store import EventStore
from services.plumbing.errors import InvalidInput, ServiceError
from services.plumbing.telemetry import lines

ATTEMPTS_MAX: Final = 20
"""So often a rule is decided again because another one came first."""


class Appender(Protocol):
    """Who appends to the logs."""

    async def append(self, tenant: TenantId, proposal: Proposal) -> Sequence[Placement]:
        """Append all of `proposal` or nothing; returns once it is durable."""


@dataclass(frozen=True)
class Ruling:
    """What is asked about a stream, and the event of `$streams` that will say it."""

    change: StreamChange
    event: NewEvent
    context: CallContext = NO_CONTEXT
    expected_revision: Revision | None = None
    """Of the stream's last event; None expects nothing."""
    expected_version: int | None = None
    """Of its metadata."""


class StreamKeeper:
    """Rules over the streams of all logs."""

    def __init__(
        self, appender: Appender, store: EventStore, changed: Callable[[TenantId], None]
    ) -> None:
        """`changed` is told of a log whose rules have changed, before the caller is answered."""
        self._appender = appender
        self._store = store
        self._changed = changed

    async def rule(self, tenant: TenantId, ruling: Ruling) -> Placement:
        """Where the event is that says it, once it holds.

        Raises `StreamNotFound`, `StreamOwned`, `StreamTombstoned`, `MetadataChanged`,
        `PreconditionFailed`, `InvalidInput`, and what an append raises. Repeated with the same id
        it answers the same.
        """
        stream = ruling.change.stream
        if ownership.owner_of(stream):
            raise StreamOwned([stream])
        for _ in range(ATTEMPTS_MAX - 1):
            try:
                return await self._attempt(tenant, ruling)
            except PreconditionFailed as error:
                theirs = [one for one in error.violations if one.stream != RULES_STREAM]
                if theirs:
                    raise PreconditionFailed(theirs) from None
        return await self._attempt(tenant, ruling)

    async def event_at(self, tenant: TenantId, position: Position) -> RedactionTarget:
        """The event that is to be redacted. Raises `EventNotFound` and `StreamOwned`."""
        target = await self._store.event_at(tenant, position)
        if target is None:
            raise EventNotFound(f"no event is at position {position}", position=position)
        if ownership.owner_of(target.stream):
            raise StreamOwned([target.stream])
        return target

    async def redact(self, tenant: TenantId, target: RedactionTarget, ruling: Ruling) -> Placement:
        """As `rule`. Raises `EventGone` as well."""
        if target.gone is not None:
            known = await self._known(tenant, ruling)
            if known is not None:
                return known
            reason = target.gone.name.lower()
            raise EventGone(f"the event is gone already: {reason}", gone_reason=reason)
        return await self.rule(tenant, ruling)

    async def _attempt(self, tenant: TenantId, ruling: Ruling) -> Placement:
        stream = ruling.change.stream
        rules = await self._store.stream_rules(tenant, stream)
        if rules is None:
            raise StreamNotFound(f"the stream {stream} does not exist", stream=stream)
        try:
            _check(ruling, rules)
        except ServiceError:
            # What does not hold any longer may be so because of this very call.
            known = await self._known(tenant, ruling)
            if known is not None:
                return known
            raise
        (placement,) = await self._appender.append(tenant, _proposal(ruling, rules))
        self._changed(tenant)
        lines.business("what a stream keeps was changed", position=placement.position)
        return placement

    async def _known(self, tenant: TenantId, ruling: Ruling) -> Placement | None:
        """Where the event is already, if it is."""
        event = ruling.event
        stored = (await self._store.log(tenant).find([event.event_id])).get(event.event_id)
        if stored is None:
            return None
        if stored.digest != event.digest:
            raise EventIdReused([event.event_id])
        place = (stored.position, stored.revision, stored.recorded_at)
        return Placement(event.event_id, *place, already_stored=True)


def _check(ruling: Ruling, rules: StreamRules) -> None:
    """Raise what forbids it, as far as no precondition of an append says so."""
    change = ruling.change
    if rules.ending is StreamEnding.TOMBSTONED:
        raise StreamTombstoned([change.stream])
    if ruling.expected_version not in (None, rules.metadata_version):
        raise MetadataChanged(
            f"the metadata is at version {rules.metadata_version}",
            actual_version=rules.metadata_version,
        )
    before = change.retention.truncate_before if change.retention is not None else None
    if before is not None and before > rules.last_revision + 1:
        raise InvalidInput.of(
            "retention.truncate_before",
            f"must be at most {rules.last_revision + 1}, one more than the last revision",
        )


def _proposal(ruling: Ruling, rules: StreamRules) -> Proposal:
    preconditions = [_rules_at(rules.rules_revision)]
    if ruling.expected_revision is not None:
        expected = Precondition(ruling.change.stream, ruling.expected_revision)
        preconditions.insert(0, expected)
    return Proposal([ruling.event], preconditions, ruling.context, change=ruling.change)


def _rules_at(revision: Revision) -> Precondition:
    """No rule came since."""
    is_first = revision < 0
    return Precondition(RULES_STREAM, StreamState.ABSENT if is_first else revision)
