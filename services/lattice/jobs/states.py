"""The jobs of tenants: what their events say, cached in bounded memory."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from girih.ids import TenantId
from services.lattice.errors import ChunkDamaged, JobNotFound
from services.lattice.jobs.domain import (
    Continued,
    Ended,
    Job,
    JobId,
    JobRecord,
    JobState,
    Started,
    folded,
)
from services.lattice.jobs.journal import JobJournal
from services.lattice.state.cache import ByteCache
from services.lattice.state.journal import JournalReplaced
from services.plumbing.base64url import from_base64url, to_base64url
from services.plumbing.errors import EventsUnavailable, InvalidInput

R = TypeVar("R")

_JOB_BYTES = 6_000
_LINE_BYTES = 250
_REQUEST_BYTES = 200
_READS_AT_ONCE = 8
_REVISION_MAX = 2**63 - 2


@dataclass(kw_only=True)
class JobList:
    """Which jobs a tenant has, up to a revision of its catalogue."""

    revision: int = -1
    incarnation: str = ""
    places: dict[JobId, int] = field(default_factory=dict)
    """The revisions that they were started at, in that order."""
    open: set[JobId] = field(default_factory=set)
    """Those that wait or run."""

    @property
    def size_bytes(self) -> int:
        return _LINE_BYTES * (1 + len(self.places))

    def add(self, records: Sequence[JobRecord]) -> None:
        for record in records:
            if record.revision <= self.revision:
                continue
            self.revision, self.incarnation = record.revision, record.incarnation
            match record.event:
                case Started(spec=spec):
                    self.places.setdefault(spec.job_id, record.revision)
                    self.open.add(spec.job_id)
                case Continued(job_id=job_id):
                    self.open.add(job_id)
                case Ended(job_id=job_id):
                    self.open.discard(job_id)


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """A page of jobs, the newest first, and the token of the next one, empty on the last."""

    jobs: Sequence[Job]
    next_page_token: str


class JobStates:
    """Tells what jobs there are and how they stand, asking the journal each time.

    While that is away, what was known is told for reading.
    """

    def __init__(self, journal: JobJournal, *, cache_bytes: int) -> None:
        self._journal = journal
        self._jobs: ByteCache[tuple[TenantId, JobId], Job] = ByteCache(cache_bytes // 2)
        self._lists: ByteCache[TenantId, JobList] = ByteCache(cache_bytes // 2)

    async def get(self, tenant: TenantId, job_id: JobId) -> Job:
        """A job, for reading. Raises JobNotFound."""
        known = self._jobs.peek((tenant, job_id))
        try:
            return await self.latest(tenant, job_id)
        except EventsUnavailable:
            if known is None:
                raise
            return known

    async def with_kept(self, tenant: TenantId, job: Job, read: Callable[[Job], Awaitable[R]]) -> R:
        """What is read of the state that a job has kept: of the next one when that has taken the
        place of it meanwhile. Raises what `read` does."""
        while True:
            try:
                return await read(job)
            except ChunkDamaged:
                now = await self.get(tenant, job.job_id)
                if now.checkpoint == job.checkpoint:
                    raise
                job = now

    async def latest(self, tenant: TenantId, job_id: JobId) -> Job:
        """A job as the journal has it now. Raises JobNotFound and EventsUnavailable."""
        known = self._jobs.get((tenant, job_id))
        if known is not None and known.state in (JobState.SUCCEEDED, JobState.FAILED):
            return known
        try:
            job = await self._read_on(tenant, job_id, known)
        except JournalReplaced:
            job = await self._read_on(tenant, job_id, None)
        if job is None:
            raise JobNotFound("there is no such job", job_id=job_id)
        return self.keep(tenant, job)

    def keep(self, tenant: TenantId, job: Job) -> Job:
        """Take note of what is known of a job; the newest that is known."""
        key = (tenant, job.job_id)
        before = self._jobs.peek(key)
        if before and before.incarnation == job.incarnation and before.revision > job.revision:
            return before
        self._jobs.put(key, job, _size_of(job))
        return job

    async def list(self, tenant: TenantId) -> JobList:
        """Which jobs a tenant has now; not to be changed."""
        known = self._lists.get(tenant) or JobList()
        try:
            return await self._list_on(tenant, known)
        except JournalReplaced:
            self._lists.drop(tenant)
            return await self._list_on(tenant, JobList())

    async def page(
        self, tenant: TenantId, page_size: int, page_token: str, *, open_only: bool
    ) -> JobPage:
        """A page of a tenant's jobs. Raises InvalidInput for a token that is none of ours."""
        before = _place(tenant, page_token) if page_token else _REVISION_MAX
        known = await self.list(tenant)
        wanted = [
            (place, job_id)
            for job_id, place in reversed(known.places.items())
            if place < before and (job_id in known.open or not open_only)
        ]
        shown = wanted[:page_size]
        at_once = asyncio.Semaphore(_READS_AT_ONCE)

        async def one(job_id: JobId) -> Job:
            async with at_once:
                return await self.get(tenant, job_id)

        jobs = await asyncio.gather(*(one(job_id) for _, job_id in shown))
        token = _token(tenant, shown[-1][0]) if len(wanted) > len(shown) else ""
        return JobPage(jobs=jobs, next_page_token=token)

    async def _read_on(self, tenant: TenantId, job_id: JobId, known: Job | None) -> Job | None:
        recorded = await self._journal.read(
            tenant,
            job_id,
            after_revision=known.revision if known else -1,
            incarnation=known.incarnation if known else "",
        )
        return folded(known, recorded)

    async def _list_on(self, tenant: TenantId, known: JobList) -> JobList:
        reading = self._journal.catalogue(
            tenant, after_revision=known.revision, incarnation=known.incarnation
        )
        async with aclosing(reading) as batches:
            async for batch in batches:
                known.add(batch)
        self._lists.put(tenant, known, known.size_bytes)
        return known


def _size_of(job: Job) -> int:
    values = sum(len(content.values) for content in job.spec.inputs.values())
    requests = _REQUEST_BYTES * len(job.requests)
    asked = len(job.spec.simulation) + len(job.spec.transform)
    return _JOB_BYTES + asked + values + requests


def _token(tenant: TenantId, place: int) -> str:
    data = place.to_bytes(8)
    return to_base64url(data + _seal(tenant, data))


def _place(tenant: TenantId, token: str) -> int:
    """The place in a token of ours; it grants nothing, so its seal needs no secret."""
    try:
        data = from_base64url(token)[:8]
    except ValueError:
        data = b""
    place = int.from_bytes(data)
    if place > _REVISION_MAX or _token(tenant, place) != token:
        raise InvalidInput.of("page_token", "must be empty or a next_page_token of this list")
    return place


def _seal(tenant: TenantId, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8, key=tenant.encode(), person=b"jobs").digest()
