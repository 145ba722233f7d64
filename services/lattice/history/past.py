"""What a lattice's events say of its fields at any revision. Computes nothing."""

from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.domain import LatticeId
from services.lattice.errors import (
    FieldNotFound,
    LatticeNotFound,
    WorkTooLarge,
)
from services.lattice.fields.states import NO_FIELDS, LatticeFields, folded
from services.lattice.state.journal import (
    BlockedChanged,
    FieldDeleted,
    FieldWritten,
    LatticeCreated,
    LatticeJournal,
    LatticeRecord,
    StreamSlice,
)
from services.plumbing.errors import InvalidInput

EVENTS_MAX = 100_000
"""Of one lattice that are looked through by one call."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The fields of a lattice behind an event."""

    fields: LatticeFields
    revision: int
    recorded_at: datetime
    blocked: LatticeRecord
    """The creation, or the last change of blocked sites."""


@dataclass(frozen=True, kw_only=True)
class WrittenRecord:
    """A write of a field, with its place in the lattice's stream."""

    revision: int
    recorded_at: datetime
    written: FieldWritten

    @property
    def names(self) -> Sequence[str]:
        """The fields that it wrote: with imaginary parts two."""
        return [each.name for each in self.written.contents]

    def content(self, name: str) -> FieldContent:
        """What it wrote into a field."""
        return next(each.content for each in self.written.contents if each.name == name)


class Ledger:
    """The writes of all fields of a lattice, by field and by revision."""

    def __init__(self) -> None:
        self.records: dict[int, WrittenRecord] = {}
        self._of: dict[str, list[int]] = {}
        self._deleted: dict[str, int] = {}

    def add(self, record: LatticeRecord) -> None:
        """Take note of what was recorded next. What was deleted has no past."""
        event = record.event
        if isinstance(event, FieldDeleted):
            self._of.pop(event.name, None)
            self._deleted[event.name] = record.revision
        elif isinstance(event, FieldWritten):
            written = WrittenRecord(
                revision=record.revision, recorded_at=record.recorded_at, written=event
            )
            self.records[record.revision] = written
            for name in written.names:
                self._of.setdefault(name, []).append(record.revision)

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in self._of

    def has_lost(self, name: str, revision: int) -> bool:
        """Whether a deletion took away what a field was at a revision."""
        return revision < self._deleted.get(name, -1)

    def writes(self, name: str) -> Sequence[WrittenRecord]:
        """Those of a field since it was created, oldest first; raises FieldNotFound."""
        if name not in self._of:
            raise _not_found(name, self._deleted.get(name, -1))
        return [self.records[revision] for revision in self._of[name]]

    def with_digest(self, name: str, digest: str) -> WrittenRecord | None:
        """The last write that left a field with a digest, if one did."""
        for revision in reversed(self._of.get(name, [])):
            if self.records[revision].content(name).digest == digest:
                return self.records[revision]
        return None

    def before(self, name: str, revision: int) -> WrittenRecord | None:
        """The last write of a field before a revision."""
        return self._last(name, revision - 1)

    def behind(self, name: str, revision: int) -> WrittenRecord | None:
        """The last write of a field up to a revision."""
        return self._last(name, revision)

    def _last(self, name: str, revision: int) -> WrittenRecord | None:
        revisions = self._of.get(name, [])
        at = bisect_right(revisions, revision)
        return self.records[revisions[at - 1]] if at else None


class Past:
    """Reads what happened to lattices, oldest first, a batch in memory at a time."""

    def __init__(self, journal: LatticeJournal) -> None:
        self._journal = journal

    async def records(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        limit: int | None = None,
    ) -> AsyncGenerator[LatticeRecord]:
        """Yield what happened after a revision; raises EventsUnavailable."""
        history = self._journal.history(
            tenant, lattice_id, after_revision=after_revision, limit=limit
        )
        count = 0
        async with aclosing(history) as batches:
            async for batch in batches:
                count += len(batch)
                if count > EVENTS_MAX:
                    raise WorkTooLarge(
                        "the lattice has more events than a call may look through",
                        estimate=count,
                        limit=EVENTS_MAX,
                    )
                for record in batch:
                    yield record

    async def at(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        revision: int | None = None,
        time: datetime | None = None,
        field: str = "revision",
    ) -> Moment:
        """The fields behind a revision, or behind what was recorded by a time, or now.

        Raises LatticeNotFound, and InvalidInput naming `field` where there is no such revision.
        """

        def is_part(record: LatticeRecord) -> bool:
            if revision is not None:
                return record.revision <= revision
            return time is None or record.recorded_at <= time

        moment = await self._folded(tenant, lattice_id, is_part)
        if moment is None or moment.fields.is_deleted:
            raise LatticeNotFound("there was no such lattice", lattice_id=lattice_id)
        if revision is not None and moment.revision < revision:
            raise InvalidInput.of(field, f"must be 0 to {moment.revision}")
        return moment

    async def created(self, tenant: TenantId, lattice_id: LatticeId) -> LatticeCreated:
        """The creation of a lattice, with its blocked sites or where they are.

        Raises LatticeNotFound.
        """
        reading = await self._journal.read(tenant, lattice_id)
        for record in reading.recorded:
            if isinstance(record.event, LatticeCreated):
                return record.event
        raise LatticeNotFound("there was no such lattice", lattice_id=lattice_id)

    async def ledger(self, tenant: TenantId, lattice_id: LatticeId) -> "Ledger":
        """All that was written into the fields of a lattice; raises EventsUnavailable."""
        ledger = Ledger()
        async for record in self.records(tenant, lattice_id):
            ledger.add(record)
        return ledger

    async def _folded(
        self, tenant: TenantId, lattice_id: LatticeId, is_part: Callable[[LatticeRecord], bool]
    ) -> Moment | None:
        moment, known, blocked = None, NO_FIELDS, None
        async for record in self.records(tenant, lattice_id):
            if not is_part(record):
                break
            if blocked is None or isinstance(record.event, BlockedChanged):
                blocked = record
            known = folded(known, StreamSlice(revision=record.revision, recorded=[record]))
            moment = Moment(
                fields=known,
                revision=record.revision,
                recorded_at=record.recorded_at,
                blocked=blocked,
            )
        return moment


def _not_found(name: str, deleted_revision: int) -> FieldNotFound:
    if deleted_revision >= 0:
        return FieldNotFound(
            "the field was deleted since", field=name, deleted_revision=deleted_revision
        )
    return FieldNotFound("the lattice has no field of this name", field=name)
