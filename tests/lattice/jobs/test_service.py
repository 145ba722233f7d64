"""Jobs through gRPC: started, watched, cancelled, gone on with, and what is left of them."""

import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from numpy.typing import NDArray

from girih.ids import TenantId
from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import lattice_pb2, transforms_pb2
from girih.lattice.v1.simulations_pb2 import (
    CellularAutomaton,
    Diffusion,
    Ising,
    PercolationGrowth,
    RandomWalks,
    Sandpile,
)
from girih.lattice.v1.transforms_pb2_grpc import TransformServiceStub
from services.lattice.jobs.domain import RECORDS_DEFAULT, JobId, Progressed
from services.lattice.jobs.journal import JobJournal
from services.lattice.settings import Settings
from services.lattice.simulations import models
from services.lattice.state.streams import EventStreams
from services.plumbing.beside.work import NICENESS_MAX
from tests.authority import Authority
from tests.lattice.fields.caller import Fields
from tests.lattice.jobs.caller import JobCaller
from tests.lattice.serving import ABSENT, Client, refusal, replica, site, until
from tests.lattice.simulations.runs import Done, box, run
from tests.lattice.worlds import plan
from tests.processes import Process

pytestmark = pytest.mark.timeout(300)

RINGS = [lattice_pb2.BOUNDARY_PERIODIC]
ENDLESS = 10**9
STEPS = 300_000
"""They last some seconds on `SHAPE`: long enough to be stopped in the middle."""
SHAPE = (64, 64)


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Of a replica, with what a test wants otherwise."""
    return {
        "LATTICE_STORAGE": str(tmp_path),
        "LATTICE_JOBS_INTERVAL_S": "0.1",
        "LATTICE_JOB_CHECKPOINT_S": "0.3",
        "LATTICE_JOB_LEASE_S": "3",
        "LATTICE_JOB_THREADS": "1",
        **getattr(request, "param", {}),
    }


@pytest.fixture
async def client(
    event_store: tuple[Process, str], authority: Authority, tenant: str, settings: dict[str, str]
) -> AsyncIterator[Client]:
    async with replica(event_store[1], authority, tenant, **settings) as client:
        await until(client.is_serving)
        yield client


@pytest.fixture
def jobs(client: Client) -> JobCaller:
    return JobCaller(client)


@pytest.fixture(scope="module")
def undisturbed() -> Done:
    """What `STEPS` on `SHAPE` come to where nobody stops them."""
    model = models.Ising(temperature=2.3)
    return run(box(*SHAPE, ring=True), model, STEPS, seed=3, every=STEPS // RECORDS_DEFAULT)


def test_simulations_are_not_kept_from_the_cores_for_ever_unless_somebody_says_so() -> None:
    assert 0 < Settings.model_fields["job_niceness"].default < NICENESS_MAX


async def test_a_job_runs_to_its_end_and_leaves_its_observables_and_its_result(
    client: Client, jobs: JobCaller
) -> None:
    lattice = await client.create(shape=[8, 8], boundaries=RINGS)

    started = await jobs.start(
        lattice.lattice_id, Ising(temperature=2.0), 200, seed=7, result_field="spins"
    )
    watched = await jobs.watch(started.job_id)

    ended = watched[-1]
    assert started.state in (pb.JOB_STATE_WAITING, pb.JOB_STATE_RUNNING)
    assert (ended.state, ended.progress.steps_done) == (pb.JOB_STATE_SUCCEEDED, 200)
    names = [each.name for each in ended.progress.observables]
    assert names == ["energy", "magnetisation", "magnetisation_abs"]
    rows, lines = await jobs.array(started.job_id), (await jobs.text(started.job_id)).split("\r\n")
    assert rows.shape == (200, 4)
    assert lines[0] == "step,energy,magnetisation,magnetisation_abs"
    assert [float(cell) for cell in lines[200].split(",")] == rows[-1].tolist()
    fields = Fields(client)
    field = await fields.get(lattice.lattice_id, "spins")
    assert field.digest == ended.result_digest
    spins = np.frombuffer(await fields.read(lattice.lattice_id, "spins"), "<i2")
    assert spins.mean() == pytest.approx(ended.progress.observables[1].last)


async def test_what_was_cancelled_stops_at_once_and_goes_on_to_the_same_result(
    client: Client, jobs: JobCaller, undisturbed: Done
) -> None:
    lattice = await client.create(shape=SHAPE, boundaries=RINGS)
    model = lattice.lattice_id, Ising(temperature=2.3)
    job = await jobs.start(*model, STEPS, seed=3, result_field="in_parts")
    await jobs.until(job.job_id, 1)

    cancelled = await jobs.cancel(job.job_id)
    again = await jobs.cancel(job.job_id)
    await jobs.go_on(job.job_id)
    ended = await jobs.ended(job.job_id)

    assert (cancelled.state, again) == (pb.JOB_STATE_CANCELLED, cancelled)
    assert 0 < cancelled.progress.steps_done < STEPS
    assert (ended.state, ended.token) == (pb.JOB_STATE_SUCCEEDED, 2)
    assert np.array_equal(
        await spins_of(client, lattice.lattice_id, "in_parts"), undisturbed.result
    )
    assert np.array_equal(await jobs.array(job.job_id), undisturbed.rows)


async def spins_of(client: Client, lattice_id: str, name: str) -> NDArray[np.int16]:
    return np.frombuffer(await Fields(client).read(lattice_id, name), "<i2").reshape(SHAPE)


async def test_another_replica_goes_on_where_the_first_was_stopped(
    event_store: tuple[Process, str], authority: Authority, tenant: str, settings: dict[str, str]
) -> None:
    async with AsyncExitStack() as second:
        async with replica(event_store[1], authority, tenant, **settings) as client:
            await until(client.is_serving)
            lattice = await client.create(shape=[64, 64], boundaries=RINGS)
            jobs = JobCaller(client)
            job = await jobs.start(lattice.lattice_id, Ising(temperature=2.3), ENDLESS)
            await jobs.until(job.job_id, 1)
            other = await second.enter_async_context(
                replica(event_store[1], authority, tenant, **settings)
            )
            await until(other.is_serving)
        jobs = JobCaller(other)

        async def is_taken_over() -> bool:
            return (await jobs.get(job.job_id)).token == 2

        await until(is_taken_over)

        assert (await jobs.get(job.job_id)).progress.steps_done > 0
        assert (await jobs.cancel(job.job_id)).state == pb.JOB_STATE_CANCELLED


@pytest.mark.parametrize("settings", [{"LATTICE_JOB_LEASE_S": "0.5"}], indirect=True)
async def test_a_lease_is_kept_while_the_process_of_a_job_begins(
    client: Client, jobs: JobCaller, events_channel: grpc.aio.Channel, tenant: str
) -> None:
    lattice = await client.create(shape=[8, 8], boundaries=RINGS)
    job = await jobs.start(lattice.lattice_id, Ising(temperature=2.0), 20)
    await jobs.ended(job.job_id)

    journal = JobJournal(EventStreams(events_channel, lambda: 30.0))
    recorded = await journal.read(TenantId(tenant), JobId(job.job_id))

    progress = [one.event.progress for one in recorded if isinstance(one.event, Progressed)]
    assert progress
    assert progress[0].steps_done == 0


async def test_a_long_job_makes_room_for_another_tenant_and_goes_on(
    event_store: tuple[Process, str], authority: Authority, tenant: str, settings: dict[str, str]
) -> None:
    one_at_a_time = settings | {"LATTICE_JOBS_AT_ONCE": "1", "LATTICE_JOB_TURN_S": "0.2"}
    async with replica(event_store[1], authority, tenant, **one_at_a_time) as client:
        await until(client.is_serving)
        jobs, other = JobCaller(client), client.as_caller(f"{tenant}-other")
        lattice = await client.create(shape=[32, 32], boundaries=RINGS)
        theirs = await other.create(shape=[8, 8], boundaries=RINGS)
        endless = await jobs.start(lattice.lattice_id, Ising(temperature=2.3), ENDLESS)
        before = await jobs.until(endless.job_id, 1)

        short = await JobCaller(other).start(theirs.lattice_id, Ising(temperature=2.0), 5)
        ended = await JobCaller(other).ended(short.job_id)

        async def goes_on() -> bool:
            return (await jobs.get(endless.job_id)).token > before.token

        await until(goes_on)
        assert ended.state == pb.JOB_STATE_SUCCEEDED
        assert (await jobs.get(endless.job_id)).progress.steps_done > 0
        await jobs.cancel(endless.job_id)


async def test_the_series_of_a_job_is_read_without_its_state(
    client: Client, jobs: JobCaller, tenant: str, tmp_path: Path
) -> None:
    lattice_id = (await client.create(shape=[1_500, 1_500])).lattice_id
    diffusion = Diffusion(diffusivity=0.2, time_step=1.0)
    job = await jobs.start(lattice_id, diffusion, 100_000, record_every=1)
    await jobs.until(job.job_id, 3)
    cancelled = await jobs.cancel(job.job_id)
    (kept,) = (tmp_path / "girih-jobs" / tenant / job.job_id).glob("*")
    for chunk in kept.glob("c.*"):
        if chunk.name != "c.0":
            chunk.unlink()

    rows = await jobs.array(job.job_id)

    assert rows[:, 0].tolist() == list(range(1, cancelled.progress.steps_done + 1))


async def test_without_its_state_a_job_begins_anew_and_comes_to_the_same_result(
    client: Client, jobs: JobCaller, tenant: str, tmp_path: Path, undisturbed: Done
) -> None:
    lattice = await client.create(shape=SHAPE, boundaries=RINGS)
    model = lattice.lattice_id, Ising(temperature=2.3)
    job = await jobs.start(*model, STEPS, seed=3, result_field="anew")
    await jobs.until(job.job_id, 1)
    await jobs.cancel(job.job_id)

    # The run that was cancelled may be dropping older states of it at this moment.
    shutil.rmtree(tmp_path / "girih-jobs" / tenant / job.job_id, ignore_errors=True)
    await jobs.go_on(job.job_id)

    assert (await jobs.ended(job.job_id)).state == pb.JOB_STATE_SUCCEEDED
    assert np.array_equal(await spins_of(client, lattice.lattice_id, "anew"), undisturbed.result)


async def test_a_job_starts_from_a_field_as_it_is_when_it_is_started(
    client: Client, jobs: JobCaller, tenant: str, tmp_path: Path
) -> None:
    lattice, fields = await client.create(shape=[200, 200]), Fields(client)
    initial, source = np.zeros((200, 200)), np.zeros((200, 200))
    initial[7, 7], source[150, 20] = 5.0, 1.0
    await fields.write(lattice.lattice_id, "heat", initial)
    await fields.write(lattice.lattice_id, "fire", source)
    model = Diffusion(diffusivity=1.0, time_step=0.25, source_field="fire")

    job = await jobs.start(lattice.lattice_id, model, 8, initial_field="heat", result_field="heat")
    await fields.write(lattice.lattice_id, "fire", np.ones((200, 200)))
    ended = await jobs.ended(job.job_id)

    total = {each.name: each.last for each in ended.progress.observables}["total"]
    assert total == pytest.approx(5.0 + 8 * 0.25)
    # Of what was copied for it nothing stays but its series.
    kept = tmp_path / "girih-jobs" / tenant / job.job_id

    async def is_alone() -> bool:
        return len(list(kept.iterdir())) == 1

    await until(is_alone)


async def test_who_is_refused_leaves_no_copies(client: Client, tenant: str, tmp_path: Path) -> None:
    lattice, one = await client.create(shape=[200, 200]), plan(jobs=1).claim()
    await Fields(client).write(lattice.lattice_id, "heat", np.eye(200))
    jobs = JobCaller(client.as_caller(tenant, plan=one))
    model = lattice.lattice_id, Ising(temperature=2.0)
    first = await jobs.start(*model, ENDLESS)

    beyond = await refusal(jobs.start(*model, 5, initial_field="heat"))

    assert beyond.reason == "PLAN_LIMIT"
    assert [path.name for path in (tmp_path / "girih-jobs" / tenant).glob("*")] in (
        [],
        [first.job_id],
    )
    await jobs.cancel(first.job_id)


async def test_a_job_has_the_sites_that_were_blocked_when_it_was_started(
    client: Client, jobs: JobCaller, undisturbed: Done
) -> None:
    lattice = await client.create(shape=SHAPE, boundaries=RINGS)
    model = lattice.lattice_id, Ising(temperature=2.3)
    request = {"request_id": str(uuid.uuid4())}
    job = await jobs.start(*model, STEPS, seed=3, result_field="b", **request)
    await jobs.until(job.job_id, 1)
    cancelled = await jobs.cancel(job.job_id)

    await block(client, lattice.lattice_id, [3, 4])
    again = await jobs.start(*model, STEPS, seed=3, result_field="b", **request)
    await jobs.go_on(job.job_id)
    ended = await jobs.ended(job.job_id)

    assert cancelled.state == pb.JOB_STATE_CANCELLED
    assert again.job_id == job.job_id
    assert (ended.state, ended.failure) == (pb.JOB_STATE_SUCCEEDED, "")
    assert np.array_equal(await spins_of(client, lattice.lattice_id, "b"), undisturbed.result)


async def block(client: Client, lattice_id: str, coordinates: list[int]) -> None:
    request = transforms_pb2.WriteBlockedRequest(
        lattice_id=lattice_id,
        region={"origin": {"coordinates": coordinates}, "shape": [1, 1]},
        blocked=b"\x01",
        bit_order=lattice_pb2.BIT_ORDER_LITTLE,
    )
    stub = TransformServiceStub(client.channel)
    await stub.WriteBlocked(request, metadata=client.metadata)


async def test_what_makes_no_sense_is_refused_by_name(client: Client, jobs: JobCaller) -> None:
    ring = (await client.create(shape=[6, 6], boundaries=RINGS)).lattice_id
    moore = (
        await client.create(shape=[6, 6], neighbourhood=lattice_pb2.NEIGHBOURHOOD_MOORE)
    ).lattice_id
    huge = (await client.create(shape=[2**20, 2**20, 2**20])).lattice_id
    refused: list[tuple[str, Any, dict[str, Any], str, str]] = [
        (ring, Ising(temperature=0), {}, "INVALID_INPUT", "simulation.ising.temperature"),
        (ring, Ising(temperature=-1), {}, "INVALID_INPUT", "must be above 0"),
        (moore, CellularAutomaton(rule="B3-S23"), {}, "INVALID_INPUT", "B3/S23"),
        (moore, CellularAutomaton(rule="B3/S9"), {}, "INVALID_INPUT", "no number above 8"),
        (ring, Diffusion(diffusivity=2, time_step=0.2), {}, "INVALID_INPUT", "at most 0.125"),
        (ring, Sandpile(), {}, "INVALID_INPUT", "never be lost"),
        (ring, RandomWalks(walkers=1, start=site([6, 0])), {}, "INVALID_INPUT", "must be 0 to 5"),
        (ring, PercolationGrowth(probability=1.5), {}, "INVALID_INPUT", "must be 0 to 1"),
        (ring, RandomWalks(walkers=1), {"initial_field": "x"}, "INVALID_INPUT", "must be empty"),
        (ring, Ising(temperature=1), {"initial_field": "x"}, "FIELD_NOT_FOUND", ""),
        (ring, Ising(temperature=1), {"discard_steps": 5}, "INVALID_INPUT", "discard_steps"),
        (ring, Ising(temperature=1), {"steps": 0}, "INVALID_INPUT", "steps"),
        (ring, Ising(temperature=1), {"steps": 10**13}, "INVALID_INPUT", "steps"),
        (
            ring,
            Ising(temperature=1),
            {"steps": 10**11, "record_every": 1},
            "INVALID_INPUT",
            "least",
        ),
        (huge, Ising(temperature=1), {}, "WORK_TOO_LARGE", ""),
        (huge, RandomWalks(walkers=10_000_000), {"steps": 10**9}, "WORK_TOO_LARGE", ""),
        (huge, RandomWalks(walkers=1), {"result_field": "x"}, "WORK_TOO_LARGE", ""),
        (ABSENT, Ising(temperature=1), {}, "LATTICE_NOT_FOUND", ""),
    ]

    for lattice_id, model, more, reason, words in refused:
        steps = more.pop("steps", 5)
        error = await refusal(jobs.start(lattice_id, model, steps, **more))

        assert error.reason == reason, (model, error)
        assert words in str(error) + str(error.violations), (model, error)
    assert list((await jobs.list()).jobs) == []


async def test_a_request_starts_one_job_and_a_plan_bounds_how_many(
    client: Client, jobs: JobCaller, tenant: str, authority: Authority
) -> None:
    lattice = await client.create(shape=[6, 6], boundaries=RINGS)
    model = lattice.lattice_id, Ising(temperature=2.0)
    request_id = str(uuid.uuid4())

    first = await jobs.start(*model, ENDLESS, request_id=request_id)
    again = await jobs.start(*model, ENDLESS, request_id=request_id)
    other = await refusal(jobs.start(*model, 5, request_id=request_id))
    small = JobCaller(client.as_caller(tenant, plan=plan(jobs=1).claim()))
    beyond = await refusal(small.start(*model, ENDLESS))

    assert (first.job_id, first.seed) == (again.job_id, again.seed)
    assert (other.reason, beyond.reason) == ("REQUEST_ID_REUSED", "PLAN_LIMIT")
    assert [job.job_id for job in (await jobs.list(open_only=True)).jobs] == [first.job_id]
    await jobs.cancel(first.job_id)
    assert list((await jobs.list(open_only=True)).jobs) == []
    assert (await jobs.ended((await small.start(*model, 5)).job_id)).progress.steps_done == 5


async def test_pages_have_each_job_once_and_strangers_none(
    client: Client, jobs: JobCaller, tenant: str
) -> None:
    lattice = await client.create(shape=[6, 6], boundaries=RINGS)
    started = [
        (await jobs.start(lattice.lattice_id, Ising(temperature=2.0), 3)).job_id for _ in range(3)
    ]

    first = await jobs.list(page_size=2)
    second = await jobs.list(page_size=2, page_token=first.next_page_token)

    assert [job.job_id for job in [*first.jobs, *second.jobs]] == started[::-1]
    assert second.next_page_token == ""
    stranger = JobCaller(client.as_caller(f"{tenant}-else"))
    for call in (stranger.get, stranger.cancel, stranger.go_on, stranger.watch, stranger.text):
        assert (await refusal(call(started[0]))).reason == "JOB_NOT_FOUND"
    for each in started:
        await jobs.ended(each)
    assert (await refusal(jobs.cancel(started[0]))).reason == "JOB_ENDED"
    assert (await refusal(jobs.go_on(started[0]))).reason == "JOB_NOT_CANCELLED"
    assert (await refusal(jobs.get(ABSENT))).reason == "JOB_NOT_FOUND"
