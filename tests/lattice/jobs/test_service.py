"""Jobs through gRPC: started, watched, cancelled, gone on with, and what is left of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1.simulations_pb2 import Ising
from tests.authority import Authority
from tests.lattice.jobs.caller import JobCaller
from tests.lattice.serving import Client, replica, until
from tests.processes import Process

RINGS = [lattice_pb2.BOUNDARY_PERIODIC]


@pytest.fixture
async def client(
    event_store: tuple[Process, str], authority: Authority, tenant: str, tmp_path: Path
) -> AsyncIterator[Client]:
    settings = {
        "LATTICE_STORAGE": str(tmp_path),
        "LATTICE_JOBS_INTERVAL_S": "0.1",
        "LATTICE_JOB_CHECKPOINT_S": "0.3",
        "LATTICE_JOB_LEASE_S": "2",
    }
    async with replica(event_store[1], authority, tenant, **settings) as client:
        await until(client.is_serving)
        yield client


@pytest.fixture
def jobs(client: Client) -> JobCaller:
    return JobCaller(client)


async def test_a_job_runs_to_its_end_and_tells_its_observables(
    client: Client, jobs: JobCaller
) -> None:
    lattice = await client.create(shape=[8, 8], boundaries=RINGS)

    started = await jobs.start(lattice.lattice_id, Ising(temperature=2.0), 200, seed=7)
    told = await jobs.watch(started.job_id)

    assert started.state == pb.JOB_STATE_WAITING
    assert told[-1].state == pb.JOB_STATE_SUCCEEDED
    assert told[-1].progress.steps_done == 200
    names = [each.name for each in told[-1].progress.observables]
    assert names == ["energy", "magnetisation", "magnetisation_abs"]
    assert (await jobs.array(started.job_id)).shape == (200, 4)
