"""The rpcs of JobService: convert, call, convert back."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from girih.lattice.v1 import jobs_pb2 as pb
from services.lattice import domain as lattice_domain
from services.lattice.arrays.chunking import CHUNK_BYTES
from services.lattice.calls import Calls, plan, tenant
from services.lattice.fields.convert import body_pieces
from services.lattice.jobs import convert, domain
from services.lattice.jobs.commands import Jobs
from services.lattice.jobs.domain import Job
from services.lattice.jobs.journal import JobJournal
from services.lattice.jobs.messages import job_to_proto
from services.lattice.jobs.watching import watch
from services.lattice.simulations.running import RECORDS_MAX, rows_of_state
from services.plumbing import correlation, validation

Context = grpc.aio.ServicerContext[Any, Any]

SERIALIZED = ("ReadSeries",)
"""The rpcs whose answers are bytes: they are copied once."""

_READ_BYTES = 2 * CHUNK_BYTES
"""What is read of a state beyond its records: a chunk, twice."""
_CELL_BYTES = 60
"""A number as it is kept, as Python has it in between, and as text."""


class JobServicer:
    """Serves simulations and transforms as jobs to whoever calls, each tenant its own."""

    def __init__(self, calls: Calls, jobs: Jobs, journal: JobJournal) -> None:
        self._calls, self._jobs, self._journal = calls, jobs, journal
        self._operations = calls.operations

    async def StartJob(self, request: pb.StartJobRequest, _context: Context) -> pb.StartJobResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        new = convert.new_job(request, held.spec.geometry)
        lattice_id = held.lattice.lattice_id
        job = await self._jobs.start(tenant(), lattice_id, new, plan(), _subject())
        return pb.StartJobResponse(job=job_to_proto(job))

    async def StartTransformJob(
        self, request: pb.StartTransformJobRequest, _context: Context
    ) -> pb.StartTransformJobResponse:
        await self._calls.checked(request)
        lattice_id = lattice_domain.lattice_id(request.lattice_id)
        new = convert.new_transform(request)
        job = await self._jobs.start_transform(tenant(), lattice_id, new, plan(), _subject())
        return pb.StartTransformJobResponse(job=job_to_proto(job))

    async def StartComponentLabelsJob(
        self, request: pb.StartComponentLabelsJobRequest, _context: Context
    ) -> pb.StartComponentLabelsJobResponse:
        validation.check(request)
        lattice_id = lattice_domain.lattice_id(request.lattice_id)
        job = await self._jobs.start_labels(
            tenant(), lattice_id, request.result_field, request.request_id, plan(), _subject()
        )
        return pb.StartComponentLabelsJobResponse(job=job_to_proto(job))

    async def GetJob(self, request: pb.GetJobRequest, _context: Context) -> pb.GetJobResponse:
        validation.check(request)
        return pb.GetJobResponse(job=job_to_proto(await self._job(request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, _context: Context) -> pb.ListJobsResponse:
        validation.check(request)
        page = await self._jobs.states.page(
            tenant(),
            convert.page_size(request),
            request.page_token,
            open_only=request.open_only,
        )
        await self._jobs.find_open(tenant())
        return convert.page_to_proto(page)

    async def WatchJob(
        self, request: pb.WatchJobRequest, _context: Context
    ) -> AsyncGenerator[pb.WatchJobResponse]:
        validation.check(request)
        job_id, jobs = domain.job_id(request.job_id), self._jobs
        watching = watch(self._journal, jobs.states, jobs.scheduler, tenant(), job_id)
        async with aclosing(watching) as seen:
            async for job in seen:
                yield pb.WatchJobResponse(job=job_to_proto(job))

    async def CancelJob(
        self, request: pb.CancelJobRequest, _context: Context
    ) -> pb.CancelJobResponse:
        validation.check(request)
        job_id, request_id = domain.job_id(request.job_id), request.request_id.lower()
        job = await self._jobs.cancel(tenant(), job_id, request_id)
        return pb.CancelJobResponse(job=job_to_proto(job))

    async def ContinueJob(
        self, request: pb.ContinueJobRequest, _context: Context
    ) -> pb.ContinueJobResponse:
        validation.check(request)
        job_id, request_id = domain.job_id(request.job_id), request.request_id.lower()
        job = await self._jobs.go_on(tenant(), job_id, plan(), request_id)
        return pb.ContinueJobResponse(job=job_to_proto(job))

    async def ReadSeries(
        self, request: pb.ReadSeriesRequest, _context: Context
    ) -> AsyncGenerator[bytes]:
        validation.check(request)
        job = await self._jobs.states.get(tenant(), domain.job_id(request.job_id))
        async with self._operations.send_budget.reserved(_series_bytes_max(job)):
            columns, rows = await self._jobs.states.with_kept(tenant(), job, self._series)
            data = await asyncio.to_thread(convert.series_bytes, request, columns, rows)
            for message in body_pieces(convert.media_type(request), data):
                async with self._operations.consumed_in_time():
                    yield message

    async def _job(self, job_id: str) -> Job:
        """A job, as it is at this moment where it runs here."""
        wanted = domain.job_id(job_id)
        job = await self._jobs.states.get(tenant(), wanted)
        live = self._jobs.scheduler.live(tenant(), wanted)
        return live if live is not None and live.token >= job.token and job.state.is_open else job

    async def _series(self, job: Job) -> tuple[Sequence[str], NDArray[np.float64]]:
        """What was recorded up to the last checkpoint."""
        if job.simulated is None:
            columns = [each.name for each in job.progress.observables]
            return columns, np.empty((0, 1 + len(columns)))
        begin = await self._jobs.storage.records(tenant(), job.job_id, job.simulated)
        return await asyncio.to_thread(rows_of_state, begin)


def _series_bytes_max(job: Job) -> int:
    """The memory that the series of a job takes while it is read and written out, at most."""
    if job.simulated is None:
        return 1
    recorded_steps = max(0, job.simulated.steps_done - job.spec.discard_steps)
    records = min(recorded_steps // job.spec.record_every + 1, RECORDS_MAX + 1)
    return _READ_BYTES + _CELL_BYTES * records * (1 + len(job.progress.observables))


def _subject() -> str:
    principal = correlation.current().principal
    assert principal is not None, "only who is signed in may call"
    return principal.subject
