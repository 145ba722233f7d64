"""Chains whose replica is killed: another one goes on from where they were."""

import asyncio
import shutil
from pathlib import Path

import grpc.aio
import numpy as np
import pytest

from girih.ids import TenantId
from girih.lattice.v1 import jobs_pb2 as pb
from services.lattice.jobs.domain import Checkpoint, JobId, folded
from services.lattice.jobs.journal import JobJournal
from services.lattice.state.streams import EventStreams
from services.plumbing.grpc.channel import open_channel
from tests.authority import Authority
from tests.lattice.jobs.caller import JobCaller
from tests.lattice.serving import Client, until
from tests.lattice.transforms.caller import Transforms
from tests.processes import PATIENT, Process, ending, lattice_process

pytest.importorskip("distributed")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SHAPE = (20, 40, 50)
ROUNDS = 24
STEPS = ({"normalise": {"low": 0, "high": 1}}, {"diffuse": {"rate": 0.1, "steps": 1_500}}) * ROUNDS
"""Each round is a pass: one box."""


async def test_a_chain_goes_on_behind_the_passes_that_were_done_when_its_replica_was_killed(
    event_store: tuple[Process, str],
    events_channel: grpc.aio.Channel,
    authority: Authority,
    tenant: str,
    tmp_path: Path,
) -> None:
    storage = tmp_path / "storage"
    environ = (
        PATIENT
        | authority.environ
        | {
            "LATTICE_STORAGE": str(storage),
            "LATTICE_JOBS_INTERVAL_S": "0.1",
            "LATTICE_JOB_LEASE_S": "2",
            "LATTICE_JOB_CHECKPOINT_S": "0.1",
            "LATTICE_DASK_WORKERS": "1",
            "LATTICE_DASK_WORKER_BYTES": str(1 << 30),
        }
    )
    process, address = lattice_process(event_store[1], tmp_path, **environ)
    journal = JobJournal(EventStreams(events_channel, lambda: 30.0))
    with ending(process):
        process.start()
        await asyncio.to_thread(process.wait_ready)
        async with open_channel(address) as channel:
            client = Client(channel, authority, tenant)
            await until(client.is_serving)
            jobs, transforms = JobCaller(client), Transforms(client)
            numbers = np.random.default_rng(3).normal(size=SHAPE)
            lattice_id = await transforms.lattice(numbers)
            await transforms.fields.write(lattice_id, "b", numbers)
            expected = await transforms.transform(lattice_id, *STEPS, name="b")
            field = await transforms.fields.get(lattice_id, "a")
            job = await jobs.transform(lattice_id, "a", *STEPS)

            async def checkpoint() -> Checkpoint | None:
                known = folded(None, await journal.read(TenantId(tenant), JobId(job.job_id)))
                return None if known is None else known.checkpoint

            async def is_begun() -> bool:
                kept = await checkpoint()
                return kept is not None and kept.steps_done > 1

            await until(is_begun, within_s=240)
            process.kill()
            # Whoever began anew would miss this.
            shutil.rmtree(storage / field.array)
            process.start()
            await asyncio.to_thread(process.wait_ready)
            await until(client.is_serving)
            ended = await jobs.ended(job.job_id)

            async def is_tidy() -> bool:
                """There is the field that a call has transformed, before and behind that, and the
                result: no state, and nothing that was made on the way."""
                left = [path.name for path in (storage / tenant / lattice_id).iterdir()]
                states = list((storage / "girih-jobs" / tenant).glob("*/*"))
                return (len(left), states) == (3, [])

            await until(is_tidy)

    assert (ended.state, ended.failure, ended.token) == (pb.JOB_STATE_SUCCEEDED, "", 2)
    assert ended.steps == ended.progress.steps_done == ROUNDS
    assert ended.result_digest == expected.field.digest
