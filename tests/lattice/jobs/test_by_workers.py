"""Chains of transforms as jobs, which workers of Dask do."""

import uuid
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
import scipy.ndimage as nd

from girih.ids import TenantId
from girih.lattice.v1 import history_pb2
from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1.chains_pb2 import CHANGE_KIND_TRANSFORMED
from girih.lattice.v1.history_pb2_grpc import HistoryServiceStub
from services.lattice.jobs.domain import Claimed, JobId
from services.lattice.jobs.journal import JobJournal
from services.lattice.state.streams import EventStreams
from tests.authority import Authority
from tests.lattice.fields.caller import Fields
from tests.lattice.jobs.caller import JobCaller
from tests.lattice.serving import Client, refusal, replica, until
from tests.lattice.transforms.caller import Transforms
from tests.processes import Process

pytestmark = [
    pytest.mark.timeout(300),
    # Looked for and not imported: that takes a second, in each process that collects.
    pytest.mark.skipif(find_spec("distributed") is None, reason="distributed is not installed"),
]

SHAPE = (20, 40, 50)
SMOOTH = ({"diffuse": {"rate": 0.1, "steps": 5}}, {"scale": {"factor": 2, "offset": 1}})
ENDLESS = ({"normalise": {"low": 0, "high": 1}}, {"diffuse": {"rate": 0.1, "steps": 1_000_000}})
"""Its first box is done soon."""


@pytest.fixture
async def client(
    event_store: tuple[Process, str], authority: Authority, tenant: str, tmp_path: Path
) -> AsyncIterator[Client]:
    settings = {
        "LATTICE_STORAGE": str(tmp_path),
        "LATTICE_JOBS_INTERVAL_S": "0.1",
        "LATTICE_JOB_LEASE_S": "2",
        "LATTICE_DASK_WORKERS": "1",
        "LATTICE_DASK_WORKER_BYTES": str(1 << 30),
    }
    async with replica(event_store[1], authority, tenant, **settings) as client:
        await until(client.is_serving)
        yield client


@pytest.fixture
def jobs(client: Client) -> JobCaller:
    return JobCaller(client)


@pytest.fixture
def transforms(client: Client) -> Transforms:
    return Transforms(client)


@pytest.fixture
def numbers() -> np.ndarray:
    return np.random.default_rng(3).normal(size=SHAPE)


async def history(client: Client, lattice_id: str) -> list[Any]:
    request = history_pb2.GetHistoryRequest(lattice_id=lattice_id, name="a")
    answer = await HistoryServiceStub(client.channel).GetHistory(request, metadata=client.metadata)
    return list(answer.changes)


async def test_a_chain_leaves_what_a_call_would_and_one_event_whoever_began_it(
    client: Client,
    events_channel: grpc.aio.Channel,
    tenant: str,
    jobs: JobCaller,
    transforms: Transforms,
    numbers: np.ndarray,
) -> None:
    lattice_id = await transforms.lattice(numbers)
    await transforms.fields.write(lattice_id, "b", numbers)
    expected = await transforms.transform(lattice_id, *SMOOTH, name="b")
    request = {"request_id": str(uuid.uuid4())}
    first = await jobs.transform(lattice_id, "b", *ENDLESS)
    await jobs.until(first.job_id, 1)

    # It waits: workers do one job of a tenant at a time.
    started = await jobs.transform(lattice_id, "a", *SMOOTH, **request)
    gone = Claimed(token=9, replica="gone")
    await JobJournal(EventStreams(events_channel, lambda: 30.0)).append(
        TenantId(tenant),
        JobId(started.job_id),
        gone,
        expected_revision=0,
        command_id=uuid.uuid4(),
    )
    await jobs.cancel(first.job_id)
    ended = await jobs.ended(started.job_id)

    assert (ended.state, ended.failure, ended.token) == (pb.JOB_STATE_SUCCEEDED, "", 10)
    assert ended.progress.steps_done == ended.steps == started.steps > 0
    assert ended.result_digest == expected.field.digest
    assert (await transforms.fields.get(lattice_id, "a")).digest == expected.field.digest
    *_, change = changes = await history(client, lattice_id)
    assert [each.kind for each in changes].count(CHANGE_KIND_TRANSFORMED) == 1
    assert list(change.applied.transforms) == list(started.transform.transforms)
    # The same request is not done twice, whatever the field is by now.
    assert (await jobs.transform(lattice_id, "a", *SMOOTH, **request)).job_id == started.job_id
    reused = await refusal(jobs.transform(lattice_id, "a", SMOOTH[0], **request))
    assert reused.reason == "REQUEST_ID_REUSED"


async def test_a_chain_that_is_cancelled_changes_nothing_and_one_whose_field_moved_fails(
    client: Client, jobs: JobCaller, transforms: Transforms, numbers: np.ndarray, tmp_path: Path
) -> None:
    lattice_id = await transforms.lattice(numbers)
    before = await transforms.fields.get(lattice_id, "a")
    changes = await history(client, lattice_id)
    job = await jobs.transform(lattice_id, "a", *ENDLESS)
    await jobs.until(job.job_id, 1)

    cancelled = await jobs.cancel(job.job_id)

    assert (cancelled.state, cancelled.is_cancelling) == (pb.JOB_STATE_CANCELLED, False)
    assert await transforms.fields.get(lattice_id, "a") == before
    assert await history(client, lattice_id) == changes
    written = await transforms.fields.write(lattice_id, "a", numbers + 1)
    await jobs.go_on(job.job_id)
    ended = await jobs.ended(job.job_id)
    assert ended.state == pb.JOB_STATE_FAILED
    assert ended.failure.endswith(f"is at {written.revision} now")
    assert (await transforms.fields.get(lattice_id, "a")).digest == written.digest


async def test_labels_are_those_of_a_call_and_of_the_sites_blocked_at_the_start(
    client: Client, jobs: JobCaller
) -> None:
    blocked = np.random.default_rng(4).random((64, 256, 256)) < 0.6
    bitmap = np.packbits(blocked, axis=None, bitorder="little").tobytes()
    lattice = await client.create(shape=blocked.shape, blocked=bitmap)
    request = {"request_id": str(uuid.uuid4())}
    expected, _ = nd.label(~blocked)

    job = await jobs.label(lattice.lattice_id, "labels", **request)
    again = await jobs.label(lattice.lattice_id, "labels", **request)
    ended = await jobs.ended(job.job_id)

    assert (again.job_id, ended.state, ended.failure) == (job.job_id, pb.JOB_STATE_SUCCEEDED, "")
    assert ended.progress.steps_done == ended.steps
    labels = np.frombuffer(await Fields(client).read(lattice.lattice_id, "labels"), "<i4")
    # Both number components by their first sites.
    assert np.array_equal(labels.reshape(blocked.shape), expected - 1)
    free = await client.create(shape=[9, 9])
    assert (await refusal(jobs.label(free.lattice_id, "labels"))).reason == "WORK_TOO_LARGE"


async def test_what_needs_all_numbers_at_once_is_refused_with_its_step(
    jobs: JobCaller, transforms: Transforms, numbers: np.ndarray
) -> None:
    lattice_id = await transforms.lattice(numbers)

    exactly = await refusal(jobs.transform(lattice_id, "a", {"diffuse_exactly": {"time": 1}}))
    moved = await refusal(jobs.transform(lattice_id, "a", *SMOOTH, expected_revision=7))

    assert (exactly.reason, exactly.metadata["transform"]) == ("WORK_TOO_LARGE", "diffuse_exactly")
    assert moved.reason == "LATTICE_CHANGED"
    assert not (await jobs.list()).jobs
