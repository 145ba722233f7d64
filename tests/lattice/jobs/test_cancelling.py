"""Jobs that nobody works on are cancelled, whatever is being compiled."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import grpc.aio
import pytest

from girih.ids import TenantId
from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1.simulations_pb2 import Ising
from girih.ops.v1 import ops_pb2 as ops
from services.lattice.domain import LatticeId
from services.lattice.jobs.domain import (
    Cancelling,
    Claimed,
    JobEvent,
    JobId,
    JobRecord,
    JobSpec,
    Progress,
    Progressed,
    Released,
    Started,
    folded,
)
from services.lattice.jobs.journal import JobJournal
from services.lattice.kernels import warm
from services.lattice.state.streams import EventStreams
from tests.authority import Authority
from tests.lattice.jobs.caller import JobCaller
from tests.lattice.serving import Client, refusal, replica, until
from tests.processes import Process

# The first of them starts an event store, which a busy machine takes a minute for.
pytestmark = pytest.mark.timeout(300)


class Compiler:
    """Compiles nothing, for as long as the test likes."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Event()

    def __call__(self, kind: str) -> None:
        self.begun.append(kind)
        if kind != warm.ANSWERS:
            assert self.may_end.wait(timeout=300)

    async def is_at_counting(self) -> bool:
        return self.begun == [warm.ANSWERS, warm.COUNTING]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    compiler = Compiler()
    monkeypatch.setattr(warm, "compile_kind", compiler)
    yield compiler
    compiler.may_end.set()


@pytest.fixture
async def client(
    compiler: Compiler,
    event_store: tuple[Process, str],
    authority: Authority,
    tenant: str,
    tmp_path: Path,
) -> AsyncIterator[Client]:
    """A caller of a replica that compiles what comes behind answers, and does not get on."""
    settings = {
        "LATTICE_STORAGE": str(tmp_path),
        "LATTICE_JOBS_INTERVAL_S": "0.1",
        "LATTICE_JOB_LEASE_S": "0.5",
    }
    async with replica(event_store[1], authority, tenant, **settings) as client:
        await until(compiler.is_at_counting)
        yield client


@pytest.fixture
def jobs(client: Client) -> JobCaller:
    return JobCaller(client)


@pytest.fixture
async def job(client: Client, jobs: JobCaller) -> pb.Job:
    lattice = await client.create(shape=[8, 8])
    return await jobs.start(lattice.lattice_id, Ising(temperature=2.0), 200)


class Elsewhere:
    """Writes into the stream of a job what another replica would."""

    def __init__(self, channel: grpc.aio.Channel, tenant: str, job: pb.Job) -> None:
        self._journal = JobJournal(EventStreams(channel, lambda: 30.0))
        self._job = TenantId(tenant), JobId(job.job_id)
        self._revision = 0

    async def write(self, event: JobEvent) -> None:
        self._revision = await self._journal.append(
            *self._job, event, expected_revision=self._revision, command_id=uuid4()
        )


@pytest.fixture
def elsewhere(events_channel: grpc.aio.Channel, tenant: str, job: pb.Job) -> Elsewhere:
    return Elsewhere(events_channel, tenant, job)


async def test_a_job_that_waits_is_cancelled_and_who_watches_it_is_told(
    jobs: JobCaller, job: pb.Job
) -> None:
    watching = asyncio.create_task(jobs.watch(job.job_id))

    cancelled = await jobs.cancel(job.job_id)
    watched = await watching

    assert (job.state, cancelled.state) == (pb.JOB_STATE_WAITING, pb.JOB_STATE_CANCELLED)
    assert watched[-1] == cancelled


async def test_a_wish_that_is_repeated_is_heard_once(jobs: JobCaller, job: pb.Job) -> None:
    stop, again = {"request_id": str(uuid4())}, {"request_id": str(uuid4())}
    cancelled = await jobs.cancel(job.job_id, **stop)
    repeated = await jobs.cancel(job.job_id, **stop)
    went_on = await jobs.go_on(job.job_id, **again)

    late = await jobs.cancel(job.job_id, **stop)
    other = await refusal(jobs.cancel(job.job_id, **again))

    assert cancelled == repeated
    assert (went_on.state, late.state) == (pb.JOB_STATE_WAITING, pb.JOB_STATE_WAITING)
    assert other.reason == "REQUEST_ID_REUSED"
    await jobs.cancel(job.job_id)
    assert (await jobs.go_on(job.job_id, **again)).state == pb.JOB_STATE_CANCELLED
    assert (await refusal(jobs.go_on(job.job_id, **stop))).reason == "REQUEST_ID_REUSED"


async def test_a_wish_to_cancel_what_runs_is_heard_once(
    jobs: JobCaller, job: pb.Job, elsewhere: Elsewhere
) -> None:
    stop = {"request_id": str(uuid4())}
    await elsewhere.write(Claimed(token=1, replica="gone"))
    await jobs.cancel(job.job_id, **stop)
    await jobs.go_on(job.job_id)

    late = await jobs.cancel(job.job_id, **stop)

    assert (late.state, late.is_cancelling) == (pb.JOB_STATE_WAITING, False)


async def test_a_job_whose_replica_has_gone_is_cancelled(
    jobs: JobCaller, job: pb.Job, elsewhere: Elsewhere
) -> None:
    await elsewhere.write(Claimed(token=1, replica="gone"))
    watching = asyncio.create_task(jobs.watch(job.job_id))

    await jobs.cancel(job.job_id)
    watched = await watching

    assert (watched[-1].state, watched[-1].token) == (pb.JOB_STATE_CANCELLED, 1)


async def test_a_job_that_was_let_go_of_as_it_was_cancelled_ends(
    jobs: JobCaller, job: pb.Job, elsewhere: Elsewhere
) -> None:
    await elsewhere.write(Claimed(token=1, replica="other"))
    await elsewhere.write(Cancelling(job_id=JobId(job.job_id)))
    await elsewhere.write(Released(token=1, progress=Progress()))

    cancelled = await jobs.cancel(job.job_id)

    assert cancelled.state == pb.JOB_STATE_CANCELLED


async def test_what_a_job_waits_for_is_compiled_next(
    client: Client, compiler: Compiler, job: pb.Job
) -> None:
    async def is_seen() -> bool:
        request = ops.GetMetricsRequest(name_prefix="lattice_jobs_waiting")
        answer = await client.metrics.GetMetrics(request, metadata=client.metadata)
        return answer.families[0].samples[0].value == 1

    assert job.state == pb.JOB_STATE_WAITING
    await until(is_seen)

    compiler.may_end.set()
    await until(client.is_serving)

    assert compiler.begun[:3] == [warm.ANSWERS, warm.COUNTING, warm.SIMULATIONS]


def test_a_wish_to_cancel_is_no_word_of_the_replica() -> None:
    job_id, now = JobId("a"), datetime.now(UTC)
    spec = JobSpec(
        job_id=job_id,
        lattice_id=LatticeId("b"),
        simulation=b"",
        steps=2,
        seed=1,
        record_every=1,
        discard_steps=0,
        result_field="",
        updates=1,
        size_bytes=1,
        started_by="user:ada",
    )
    events: list[JobEvent] = [
        Started(spec=spec),
        Claimed(token=1, replica="one"),
        Cancelling(job_id=job_id),
        Progressed(token=1, progress=Progress()),
    ]
    records = [
        JobRecord(revision=revision, recorded_at=now, event=event)
        for revision, event in enumerate(events)
    ]

    jobs = [folded(None, records[: count + 1]) for count in range(len(records))]

    assert [job.worked_revision for job in jobs if job is not None] == [0, 1, 1, 3]
