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
from girih.lattice.v1 import transforms_pb2 as pb_transforms
from girih.lattice.v1.chains_pb2 import CHANGE_KIND_CREATED, CHANGE_KIND_TRANSFORMED
from girih.lattice.v1.history_pb2_grpc import HistoryServiceStub
from girih.lattice.v1.transforms_pb2_grpc import TransformServiceStub
from services.lattice.jobs.domain import Claimed, JobId
from services.lattice.jobs.journal import JobJournal
from services.lattice.state.streams import EventStreams
from services.lattice.transforms.blocked.changing import blocked_digest
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
OF_SITES = (
    {"translate": {"offset": [3, -5, 400]}},
    {"xor_key": {"seed": 7}},
    {"dilate": {"radius": 2}},
    {"reflect": {"axes": [2, 0]}},
)


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


def arrays(storage: Path, lattice_id: str) -> list[str]:
    """What is kept of a lattice."""
    return sorted(path.name for path in storage.glob(f"*/{lattice_id}/*"))


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


async def test_blocked_sites_are_left_as_by_a_call_in_one_event_whoever_began_it(
    client: Client,
    events_channel: grpc.aio.Channel,
    tenant: str,
    jobs: JobCaller,
    transforms: Transforms,
    numbers: np.ndarray,
) -> None:
    blocked = np.random.default_rng(5).random((31, 111, 1_337)) < 0.3
    bitmap = np.packbits(blocked, axis=None, bitorder="little").tobytes()
    lattice, other = [await client.create(shape=blocked.shape, blocked=bitmap) for _ in range(2)]
    lattice_id, history = lattice.lattice_id, HistoryServiceStub(client.channel)
    by_call = pb_transforms.TransformBlockedRequest(
        lattice_id=other.lattice_id, transforms=OF_SITES
    )
    stub = TransformServiceStub(client.channel)
    expected = await stub.TransformBlocked(by_call, metadata=client.metadata)
    of_field = await transforms.lattice(numbers)
    first = await jobs.transform(of_field, "a", *ENDLESS)
    await jobs.until(first.job_id, 1)
    request = {"request_id": str(uuid.uuid4()), "expected_revision": 0}

    started = await jobs.transform(lattice_id, "", *OF_SITES, **request)
    await JobJournal(EventStreams(events_channel, lambda: 30.0)).append(
        TenantId(tenant),
        JobId(started.job_id),
        Claimed(token=9, replica="gone"),
        expected_revision=0,
        command_id=uuid.uuid4(),
    )
    await jobs.cancel(first.job_id)
    ended = await jobs.ended(started.job_id)

    assert (ended.state, ended.failure, ended.token) == (pb.JOB_STATE_SUCCEEDED, "", 10)
    assert ended.progress.steps_done == ended.steps == started.steps > 1
    assert ended.result_digest == expected.state.digest != blocked_digest(bitmap)
    past = history_pb2.GetHistoryRequest(lattice_id=lattice_id)
    changes = (await history.GetHistory(past, metadata=client.metadata)).changes
    assert [each.kind for each in changes] == [CHANGE_KIND_CREATED, CHANGE_KIND_TRANSFORMED]
    assert list(changes[1].applied.transforms) == list(started.transform.transforms)

    async def is_known() -> bool:
        now = await client.get(lattice_id)
        return (now.vertices, now.edges) == (expected.state.vertices, expected.state.edges)

    await until(is_known)
    assert (await jobs.transform(lattice_id, "", *OF_SITES, **request)).job_id == started.job_id
    undo = history_pb2.UndoBlockedRequest(lattice_id=lattice_id)
    undone = await history.UndoBlocked(undo, metadata=client.metadata)
    assert undone.state.digest == blocked_digest(bitmap)


async def test_sites_that_are_cancelled_stay_and_those_changed_meanwhile_fail_it(
    client: Client, jobs: JobCaller, tmp_path: Path
) -> None:
    blocked = np.random.default_rng(6).random((64, 256, 512)) < 0.3
    bitmap = np.packbits(blocked, axis=None, bitorder="little").tobytes()
    lattice_id = (await client.create(shape=blocked.shape, blocked=bitmap)).lattice_id
    kept = arrays(tmp_path, lattice_id)
    before = await client.get(lattice_id)
    endless = [{"erode": {"radius": 3}}, {"dilate": {"radius": 3}}] * 32
    job = await jobs.transform(lattice_id, "", *endless)
    await jobs.until(job.job_id, 1)

    cancelled = await jobs.cancel(job.job_id)

    assert (cancelled.state, cancelled.is_cancelling) == (pb.JOB_STATE_CANCELLED, False)
    assert await client.get(lattice_id) == before
    turned = pb_transforms.TransformBlockedRequest(
        lattice_id=lattice_id, transforms=[{"reflect": {"axes": [0]}}]
    )
    stub = TransformServiceStub(client.channel)
    written = (await stub.TransformBlocked(turned, metadata=client.metadata)).state
    await jobs.go_on(job.job_id)
    ended = await jobs.ended(job.job_id)
    assert ended.state == pb.JOB_STATE_FAILED
    assert f"are at revision {written.revision}, not 0" in ended.failure

    async def is_removed() -> bool:
        return arrays(tmp_path, lattice_id) == kept

    await until(is_removed)
    moved = await refusal(jobs.transform(lattice_id, "", *OF_SITES, expected_revision=0))
    assert moved.reason == "LATTICE_CHANGED"
    unfit = await refusal(jobs.transform(lattice_id, "", {"scale": {"factor": 2}}))
    assert unfit.reason == "TRANSFORM_UNFIT"


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
