"""Checks events by the schemas of their log before they are appended.

What holds: an event is in the log behind a registration only if it was checked by it. Each append
names the schemas that its events were checked by; the sequencer, which decides it on a state
of the log, refuses it when they are not the newest of that state (`SchemasMoved`), whichever
replica registered others; then it is checked again here, and queued again.

Checks come in the order of the calls, and so do those that come again: while some are, nobody
who comes later is queued before them.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from girih.ids import EventId, TenantId
from girih.rules.violations import VIOLATIONS_MAX, FieldViolation
from services.events import ownership, record
from services.events.domain import NewEvent, Placement, Proposal
from services.events.errors import (
    SchemaCheckTooLong,
    SchemasMoved,
    SchemaVersionUnknown,
    SchemaViolated,
)
from services.events.schemas import worker
from services.events.schemas.beside import Beside
from services.events.schemas.compiled import DESCRIBED_HERE_MAX, CompiledSchema, Problem
from services.events.schemas.registries import Registries
from services.events.schemas.registry import EventType, Registry
from services.events.store import EventStore

INLINE_NS_MAX: Final = 2_000_000
"""What a check may take at most to be made here; what may take longer is made beside."""
_ATTEMPTS: Final = 20


class Appender(Protocol):
    """Who appends to the logs."""

    async def look_back(self, tenant: TenantId, proposal: Proposal) -> Proposal:
        """`proposal` as it is to be appended, when that takes looking into the log first."""

    async def append(self, tenant: TenantId, proposal: Proposal) -> Sequence[Placement]:
        """Append all of `proposal` or nothing; it is queued before anything is waited for."""


class EnforcingAppender:
    """Appends what the schemas of its log allow."""

    def __init__(
        self, appender: Appender, registries: Registries, store: EventStore, beside: Beside
    ) -> None:
        self._appender = appender
        self._registries = registries
        self._store = store
        self._beside = beside
        self._lines: dict[TenantId, _Line] = {}

    async def check(self, tenant: TenantId, proposal: Proposal) -> Proposal:
        """`proposal` with what its events were checked by, to be appended.

        Raises `SchemaViolated` and `SchemaVersionUnknown`. Events that are stored already are not
        checked: whoever repeats an append is told where they are, whatever was registered since.
        """
        if (line := self._lines.get(tenant)) is not None:
            async with line.turn:
                pass
        if not any(_may_be_bound(event) for event in proposal.events):
            return proposal
        known = await self._registries.known(tenant)
        try:
            return await self._checked(tenant, proposal, known)
        except (SchemaViolated, SchemaVersionUnknown, SchemaCheckTooLong):
            # By what may have been registered anew, or deleted, through another replica.
            newest = await self._registries.newest(tenant)
            if newest.seen == known.seen:
                raise
        return await self._checked(tenant, proposal, newest)

    async def look_back(self, tenant: TenantId, proposal: Proposal) -> Proposal:
        return await self._appender.look_back(tenant, proposal)

    async def append(self, tenant: TenantId, proposal: Proposal) -> Sequence[Placement]:
        """Append what `check` answered: all of it or nothing."""
        try:
            return await self._appender.append(tenant, proposal)
        except SchemasMoved as moved:
            refusal = moved
        for _ in range(_ATTEMPTS):
            appending = await self._queued_again(tenant, proposal)
            try:
                return await appending
            except SchemasMoved as moved:
                refusal = moved
        raise refusal

    async def _queued_again(
        self, tenant: TenantId, proposal: Proposal
    ) -> "asyncio.Task[Sequence[Placement]]":
        line = self._lines.setdefault(tenant, _Line())
        line.length += 1
        try:
            async with line.turn:
                registry = await self._registries.newest(tenant)
                checked = await self._checked(tenant, proposal, registry)
                appending = asyncio.create_task(
                    self._append(tenant, checked), name="append once more"
                )
                # It is in the queue once its task has begun.
                await asyncio.sleep(0)
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[tenant]
        return appending

    async def _append(self, tenant: TenantId, proposal: Proposal) -> Sequence[Placement]:
        return await self._appender.append(tenant, proposal)

    async def _checked(self, tenant: TenantId, proposal: Proposal, registry: Registry) -> Proposal:
        if registry.types and any(event.type in registry.types for event in proposal.events):
            await self._check_events(tenant, proposal, registry)
        return Proposal(
            proposal.events, proposal.preconditions, proposal.context, schemas=registry.seen
        )

    async def _check_events(self, tenant: TenantId, proposal: Proposal, registry: Registry) -> None:
        refused: list[_Refused] = []
        stored: Collection[EventId] | None = None
        spent_ns = 0
        for index, event, event_type in _bound(proposal, registry):
            refusal, cost_ns = await self._look(tenant, index, event, event_type)
            if refusal is not None:
                if stored is None:
                    stored = await self._stored(tenant, proposal)
                if event.event_id not in stored:
                    refused.append(refusal)
            if len(refused) == VIOLATIONS_MAX:
                break
            spent_ns += cost_ns
            if spent_ns > INLINE_NS_MAX:
                spent_ns = 0
                await asyncio.sleep(0)
        for error in (SchemaViolated, SchemaVersionUnknown):
            if violations := [one.violation for one in refused if one.error is error]:
                raise error(violations=violations)

    async def _stored(self, tenant: TenantId, proposal: Proposal) -> Collection[EventId]:
        """Which are stored already: they are not appended again, whatever became of schemas."""
        return await self._store.log(tenant).find([event.event_id for event in proposal.events])

    async def _look(
        self, tenant: TenantId, index: int, event: NewEvent, event_type: EventType
    ) -> tuple["_Refused | None", int]:
        """What is wrong with an event, and how long this process took to tell, at most."""
        registered = event_type.schemas.get(record.schema_version(event.header))
        if registered is None:
            return _Refused(SchemaVersionUnknown, _unknown_version(index, event_type)), 0
        json = record.json_of(event.payload)
        if json is None:
            must = "must be given, as the type has a schema"
            return _Refused(SchemaViolated, FieldViolation(f"events[{index}].json", must)), 0
        problem, cost_ns = await self._problem(tenant, json, registered.schema)
        if problem is None:
            return None, cost_ns
        return _Refused(SchemaViolated, _violation(index, problem)), cost_ns

    async def _problem(
        self, tenant: TenantId, json: bytes, schema: CompiledSchema
    ) -> tuple[Problem | None, int]:
        cost_ns = schema.cost_ns(json)
        if cost_ns <= INLINE_NS_MAX:
            if schema.takes(json):
                return None, cost_ns
            if schema.description_cost(len(json)) <= DESCRIBED_HERE_MAX:
                return schema.problem(json), INLINE_NS_MAX
        run = self._beside.run
        return await run(tenant, worker.problem, schema.text, json, schema.weight), 0


class _Refused(NamedTuple):
    """What is wrong with an event, and what that is called."""

    error: type[SchemaViolated | SchemaVersionUnknown]
    violation: FieldViolation


class _Line:
    """Who checks again, one after the other."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.length = 0


def _bound(proposal: Proposal, registry: Registry) -> Iterator[tuple[int, NewEvent, EventType]]:
    """The events that a schema binds, each with its index and its type."""
    for index, event in enumerate(proposal.events):
        event_type = registry.types.get(event.type)
        if event_type is not None and _may_be_bound(event):
            yield index, event, event_type


def _may_be_bound(event: NewEvent) -> bool:
    """Streams of girih itself hold what it says, whatever a tenant's types are called."""
    return not event.stream.startswith(ownership.RESERVED)


def _violation(index: int, problem: Problem) -> FieldViolation:
    where, what = problem
    return FieldViolation(f"events[{index}].json", f"{where}: {what}" if where else what)


def _unknown_version(index: int, event_type: EventType) -> FieldViolation:
    versions = ", ".join(map(str, sorted(event_type.schemas)[-10:]))
    return FieldViolation(
        f"events[{index}].schema_version", f"must be a registered version of its type: {versions}"
    )
