"""The fields of lattices: what the journal says, cached in bounded memory. Knows no numbers."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol
from uuid import UUID, uuid4

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeId
from services.lattice.errors import FieldExists, FieldNotFound, LatticeChanged, LatticeNotFound
from services.lattice.state.cache import ByteCache
from services.lattice.state.journal import (
    BlockedChanged,
    FieldDeleted,
    FieldEvent,
    FieldWritten,
    JournalReplaced,
    LatticeCreated,
    LatticeDeleted,
    LatticeJournal,
    LatticeRecord,
    StreamChanged,
    StreamSlice,
)
from services.plumbing.errors import EventsUnavailable

Key = tuple[TenantId, LatticeId]

_LOST_RACE_DELAYS_S = (0.05, 0.1, 0.2)
_LATTICE_BYTES = 600
_FIELD_BYTES = 700
_REQUEST_BYTES = 200
_PAST_MAX = 10_000
"""Arrays of the past of one lattice: older ones are let go."""
_REQUESTS_MAX = 4_096
"""Older ones the event store knows, whose ids are never taken twice."""


@dataclass(frozen=True, kw_only=True)
class FieldState:
    """A field as an event left it."""

    name: str
    content: FieldContent
    revision: int
    written_at: datetime
    is_sent: bool = True
    """A caller sent its numbers: nobody could compute them again."""


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """Numbers that a caller sent and that were written over: part of their field's past."""

    name: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class LatticeFields:
    """The fields of one lattice up to a revision of its stream."""

    revision: int
    incarnation: str
    fields: Mapping[str, FieldState]
    is_deleted: bool = False
    bitmap_id: str = ""
    """Of the array that holds which sites are blocked, if one does."""
    blocked_revision: int = 0
    """Of the last change of which sites are blocked; 0 is the creation."""
    past: Mapping[str, Replaced] = field(default_factory=lambda: MappingProxyType({}))
    """The arrays of what callers sent that was written over since, by their ids."""
    requests: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The revisions of changes, by the ids of the requests that asked for them: the last ones."""

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        values = sum(len(state.content.values) for state in self.fields.values())
        requests = _REQUEST_BYTES * (len(self.requests) + len(self.past))
        return _LATTICE_BYTES + _FIELD_BYTES * len(self.fields) + values + requests

    @property
    def arrays(self) -> frozenset[str]:
        """The ids of the arrays that hold them, and which sites are blocked."""
        return frozenset(
            {self.bitmap_id, *(state.content.array_id for state in self.fields.values())}
        )

    def arrays_since(self, moment: datetime) -> frozenset[str]:
        """Those, and the ones of the past that were in use at a moment or later."""
        past = (array_id for array_id, replaced in self.past.items() if replaced.at >= moment)
        return self.arrays.union(past)

    def field(self, name: str) -> FieldState:
        """Raises FieldNotFound."""
        state = self.fields.get(name)
        if state is None:
            raise FieldNotFound("the lattice has no field of this name", field=name)
        return state

    def check_new(self, name: str) -> None:
        """Raise FieldExists when there is one of this name."""
        if name in self.fields:
            raise FieldExists("the lattice has a field of this name", field=name)


NO_FIELDS = LatticeFields(revision=-1, incarnation="", fields=MappingProxyType({}))
"""Of a lattice that nothing is known of."""


class EarlierStates(Protocol):
    """Finds fields as they were."""

    async def field_at(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        name: str,
        revision: int,
        *,
        revision_field: str = "at_revision",
    ) -> FieldState:
        """A field behind a revision of its lattice; its numbers can be read. Raises InvalidInput
        naming `revision_field`."""


class FieldStates:
    """Tells and changes what fields lattices have.

    Other processes write, too, so the journal is asked by every call; while it is away, what was
    known is told for reading, and nothing is changed.
    """

    def __init__(
        self, journal: LatticeJournal, *, cache_bytes: int, confirm_timeout_s: float
    ) -> None:
        self._journal = journal
        self._cache: ByteCache[Key, LatticeFields] = ByteCache(cache_bytes)
        self._confirm_timeout_s = confirm_timeout_s

    async def of(self, tenant: TenantId, lattice_id: LatticeId) -> LatticeFields:
        """The fields of a lattice, for reading; raises LatticeNotFound."""
        known = self._cache.get((tenant, lattice_id))
        if known is None:
            return _existing(await self._read_on((tenant, lattice_id), NO_FIELDS), lattice_id)
        try:
            async with asyncio.timeout(self._confirm_timeout_s):
                known = await self._read_on((tenant, lattice_id), known)
        except (EventsUnavailable, TimeoutError):
            pass
        return _existing(known, lattice_id)

    async def confirmed(self, tenant: TenantId, lattice_id: LatticeId) -> LatticeFields:
        """The same as the journal has it now; raises EventsUnavailable while it is away."""
        known = self._cache.get((tenant, lattice_id)) or NO_FIELDS
        return _existing(await self._read_on((tenant, lattice_id), known), lattice_id)

    async def change(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        decide: Callable[[LatticeFields], FieldEvent],
        command_id: UUID | None = None,
    ) -> FieldState | None:
        """Record what `decide` makes of the fields that there are; the field behind it, if any.

        It is asked again when another write came first; it raises what ends the call. What a
        command has recorded it does not record again.
        """
        key, command_id = (tenant, lattice_id), command_id or uuid4()
        for delay_s in (*_LOST_RACE_DELAYS_S, None):
            known = self._cache.get(key) or NO_FIELDS
            known = _existing(await self._read_on(key, known), lattice_id)
            event = decide(known)
            try:
                recorded = await self._journal.append_field(
                    tenant, event, expected_revision=known.revision, command_id=command_id
                )
            except StreamChanged:
                if delay_s is not None:
                    await asyncio.sleep(delay_s)
                continue
            written = StreamSlice(revision=recorded.revision, recorded=[recorded])
            if recorded.revision != known.revision + 1:
                # The command had been recorded before, or by somebody else meanwhile behind what is
                # not known here. What is behind it is not what is now.
                return folded(NO_FIELDS, written).fields.get(event.name)
            behind = folded(known, written)
            self._keep(key, behind)
            return behind.fields.get(event.name)
        raise LatticeChanged("the lattice kept changing meanwhile", lattice_id=lattice_id)

    def forget(self, tenant: TenantId, lattice_id: LatticeId) -> None:
        """Keep nothing of a lattice that was deleted."""
        self._cache.drop((tenant, lattice_id))

    async def _read_on(self, key: Key, known: LatticeFields) -> LatticeFields:
        try:
            reading = await self._journal.read(
                *key, after_revision=known.revision, incarnation=known.incarnation
            )
        except JournalReplaced:
            self._cache.drop(key)
            known, reading = NO_FIELDS, await self._journal.read(*key)
        behind = folded(known, reading)
        self._keep(key, behind)
        return behind

    def _keep(self, key: Key, fields: LatticeFields) -> None:
        before = self._cache.peek(key)
        is_older = before is not None and before.incarnation == fields.incarnation
        if before is not None and is_older and before.revision > fields.revision:
            return
        if fields.revision >= 0:
            self._cache.put(key, fields, fields.size_bytes)


def _existing(known: LatticeFields, lattice_id: LatticeId) -> LatticeFields:
    if known.is_deleted or known.revision < 0:
        raise LatticeNotFound("there is no such lattice", lattice_id=lattice_id)
    return known


def folded(known: LatticeFields, reading: StreamSlice) -> LatticeFields:
    """The fields behind what was read after those known."""
    fields, is_deleted, bitmap_id = dict(known.fields), known.is_deleted, known.bitmap_id
    requests, past = dict(known.requests), dict(known.past)
    blocked_revision = known.blocked_revision
    for recorded in reading.recorded:
        if isinstance(recorded.event, LatticeCreated):
            bitmap_id = recorded.event.array_id
        elif isinstance(recorded.event, BlockedChanged):
            if bitmap_id:
                past[bitmap_id] = Replaced(name="", at=recorded.recorded_at)
            bitmap_id = recorded.event.array_id
            blocked_revision = recorded.revision
        is_deleted = is_deleted or isinstance(recorded.event, LatticeDeleted)
        _fold_past(past, fields, recorded)
        _fold(fields, recorded)
        _fold_request(requests, recorded)
    return LatticeFields(
        revision=max(known.revision, reading.revision),
        incarnation=reading.incarnation or known.incarnation,
        fields=MappingProxyType(fields),
        is_deleted=is_deleted,
        bitmap_id=bitmap_id,
        blocked_revision=blocked_revision,
        requests=MappingProxyType(requests),
        past=MappingProxyType(past),
    )


def _fold(fields: dict[str, FieldState], recorded: LatticeRecord) -> None:
    event = recorded.event
    if isinstance(event, FieldDeleted):
        fields.pop(event.name, None)
    elif isinstance(event, FieldWritten):
        for each in event.contents:
            fields[each.name] = FieldState(
                name=each.name,
                content=each.content,
                revision=recorded.revision,
                written_at=recorded.recorded_at,
                is_sent=event.change is None,
            )


def _fold_past(
    past: dict[str, Replaced], fields: Mapping[str, FieldState], recorded: LatticeRecord
) -> None:
    """Take note of what is written over, and let go of the past of what is deleted."""
    event = recorded.event
    if isinstance(event, FieldDeleted):
        for array_id in [each for each, one in past.items() if one.name == event.name]:
            del past[array_id]
    elif isinstance(event, FieldWritten):
        for each in event.contents:
            before = fields.get(each.name)
            if before is not None and before.is_sent and before.content.array_id:
                past[before.content.array_id] = Replaced(name=each.name, at=recorded.recorded_at)
        while len(past) > _PAST_MAX:
            del past[next(iter(past))]


def _fold_request(requests: dict[str, int], recorded: LatticeRecord) -> None:
    event = recorded.event
    request_id = ""
    if isinstance(event, FieldWritten | BlockedChanged) and event.change is not None:
        request_id = event.change.request_id
    elif isinstance(event, FieldWritten):
        request_id = event.request_id
    if not request_id:
        return
    requests[request_id] = recorded.revision
    while len(requests) > _REQUESTS_MAX:
        del requests[next(iter(requests))]
