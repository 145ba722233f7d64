"""The events of jobs in the event store: a stream for each, and one for which there are.

`$job-<id>` holds everything of one job, `$jobs` when jobs were started, continued and ended.
What a replica writes says which revision the job's stream is at: of two that work on a job the
one that lost its lease is refused.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from girih.client import NewEvent, Precondition
from girih.ids import TenantId
from services.lattice.jobs import records
from services.lattice.jobs.domain import Continued, Ended, JobEvent, JobId, JobRecord, Started
from services.lattice.state import field_records
from services.lattice.state.events_journal import (
    FIELD_WRITTEN,
    change_events,
    lattice_stream,
)
from services.lattice.state.journal import BlockedChanged, FieldWritten
from services.lattice.state.streams import EventStreams, json_event

CATALOGUE_STREAM = "$jobs"

Written = FieldWritten | BlockedChanged
"""What a job leaves in its lattice. The revision that a change of blocked sites has is that of its
event, whatever it says."""


@dataclass(frozen=True, kw_only=True)
class ResultWrite:
    """What is written into the lattice with the end of a job, and the revision it is at."""

    written: Written
    lattice_revision: int


class Following(Protocol):
    """Follows a stream for as long as it runs."""

    async def run(self) -> None: ...


class JobJournal:
    """Records what happens to jobs, and tells it. All raise EventsUnavailable."""

    def __init__(self, streams: EventStreams) -> None:
        self._streams = streams

    async def append(
        self,
        tenant: TenantId,
        job_id: JobId,
        event: JobEvent,
        *,
        expected_revision: int,
        command_id: UUID,
        catalogue_revision: int | None = None,
        result: ResultWrite | None = None,
    ) -> int:
        """Record an event; answers its revision. All that belongs to it is recorded, or nothing.

        Raises StreamChanged with the stream that is at another revision than expected: the job's,
        the catalogue's or the lattice's.
        """
        own = job_stream(job_id)
        events = [json_event(own, *records.to_proto(event))]
        preconditions = [Precondition.at(own, expected_revision)]
        if isinstance(event, Started | Continued | Ended):
            events.append(json_event(CATALOGUE_STREAM, *records.to_proto(_summary(event))))
        if catalogue_revision is not None:
            preconditions.append(Precondition.at(CATALOGUE_STREAM, catalogue_revision))
        if result is not None:
            stream = lattice_stream(result.written.lattice_id)
            events += await _events_of(result)
            preconditions.append(Precondition.at(stream, result.lattice_revision))
        placements = await self._streams.append(tenant, command_id, events, preconditions)
        return placements[0].revision

    async def read(
        self, tenant: TenantId, job_id: JobId, *, after_revision: int = -1, incarnation: str = ""
    ) -> Sequence[JobRecord]:
        """What happened to a job after a revision. Raises JournalReplaced."""
        events = await self._streams.read(
            tenant, job_stream(job_id), after_revision + 1, incarnation
        )
        return [records.record_of(event) for event in events]

    async def catalogue(
        self, tenant: TenantId, *, after_revision: int, incarnation: str = ""
    ) -> AsyncGenerator[Sequence[JobRecord]]:
        """Which jobs were started, continued and ended after a revision. Raises JournalReplaced."""
        reading = self._streams.read_batches(
            tenant, CATALOGUE_STREAM, after_revision + 1, incarnation
        )
        async with aclosing(reading) as batches:
            async for batch in batches:
                yield [records.record_of(event) for event in batch]

    def follower(self, job_id: JobId, fold: Callable[[Sequence[JobRecord]], None]) -> Following:
        """Folds all that happened and happens to a job of the caller's tenant."""
        return self._streams.follower(
            job_stream(job_id), lambda batch: fold([records.record_of(event) for event in batch])
        )


def job_stream(job_id: JobId) -> str:
    return f"$job-{job_id}"


def _summary(event: Started | Continued | Ended) -> Started | Continued | Ended:
    """What the catalogue has of an event: without the numbers that a job starts from."""
    if isinstance(event, Started):
        return Started(spec=replace(event.spec, inputs={}))
    return event


async def _events_of(result: ResultWrite) -> Sequence[NewEvent]:
    written = result.written
    if isinstance(written, BlockedChanged):
        return await change_events(replace(written, revision=result.lattice_revision + 1))
    payload = field_records.written_to_proto(written)
    return [json_event(lattice_stream(written.lattice_id), FIELD_WRITTEN, payload)]
