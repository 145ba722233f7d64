"""Results of jobs are simulated again when a lattice is verified, as far as a call may."""

from uuid import uuid4

import grpc.aio
import numpy as np
import pytest

from girih.ids import TenantId
from girih.lattice.v1 import history_pb2 as pb
from girih.lattice.v1 import lattice_pb2, transforms_pb2
from girih.lattice.v1.simulations_pb2 import Diffusion, Ising
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.domain import LatticeId
from services.lattice.state import field_records
from services.lattice.state.events_journal import FIELD_WRITTEN, lattice_stream
from services.lattice.state.journal import FieldWritten
from services.lattice.state.streams import EventStreams, json_event
from tests.lattice.history.test_service import LARGE, History, numbers
from tests.lattice.jobs.caller import JobCaller
from tests.lattice.jobs.test_service import RINGS, client, settings
from tests.lattice.serving import Client

__all__ = ["client", "settings"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def history(client: Client) -> History:
    return History(client)


@pytest.fixture
def jobs(client: Client) -> JobCaller:
    return JobCaller(client)


async def outcomes(history: History, lattice_id: str) -> dict[str, list[str]]:
    """What came of each write of each field, by the words of the contract."""
    words: dict[str, list[str]] = {}
    for each in (await history.verified(lattice_id))[:-1]:
        word = pb.VerifiedOutcome.Name(each.event.outcome).removeprefix("VERIFIED_OUTCOME_")
        words.setdefault(each.event.name, []).append(word)
    return words


async def test_what_jobs_left_comes_out_again(history: History, jobs: JobCaller) -> None:
    lattice_id = await history.lattice(numbers(LARGE), boundaries=RINGS * 3)
    spread = Diffusion(diffusivity=0.1, time_step=1.0)
    drawn = await jobs.start(lattice_id, Ising(temperature=2.0), 20, seed=7, result_field="s")
    await jobs.ended(drawn.job_id)
    heat = await jobs.start(lattice_id, spread, 30, initial_field="a", result_field="heat")
    await jobs.ended(heat.job_id)
    await history.transform(lattice_id, {"reflect": {"axes": [0]}})
    all_sites = np.prod(LARGE)
    await history.stub.WriteBlocked(
        transforms_pb2.WriteBlockedRequest(
            lattice_id=lattice_id,
            region=lattice_pb2.Region(origin=lattice_pb2.Site(coordinates=[0, 0, 0]), shape=LARGE),
            blocked=np.packbits(np.ones(all_sites, np.uint8), bitorder="little").tobytes(),
            bit_order=lattice_pb2.BIT_ORDER_LITTLE,
        ),
        metadata=history.metadata,
    )

    words = await outcomes(history, lattice_id)

    assert (words["s"], words["heat"]) == (["REPRODUCED"], ["REPRODUCED"])
    assert (await history.verified(lattice_id))[-1].sums.verified


@pytest.mark.parametrize("settings", [{"LATTICE_LOOKS_MAX": "1000000"}], indirect=True)
async def test_what_would_take_too_long_is_looked_up(
    client: Client, history: History, jobs: JobCaller
) -> None:
    lattice_id = (await client.create(shape=[16, 16], boundaries=RINGS)).lattice_id
    job = await jobs.start(lattice_id, Ising(temperature=2.0), 5_000, result_field="s")
    await jobs.ended(job.job_id)

    verified = await history.verified(lattice_id)

    assert verified[0].event.outcome == pb.VERIFIED_OUTCOME_NOT_REPLAYED
    assert verified[0].event.found == verified[0].event.digest
    assert (verified[-1].sums.not_replayed, verified[-1].sums.verified) == (1, True)


async def test_what_no_job_can_have_left_is_told(
    client: Client,
    history: History,
    jobs: JobCaller,
    events_channel: grpc.aio.Channel,
    tenant: str,
) -> None:
    lattice_id = (await client.create(shape=[8, 8], boundaries=RINGS)).lattice_id
    job = await jobs.start(lattice_id, Ising(temperature=2.0), 20, seed=7, result_field="s")
    await jobs.ended(job.job_id)
    content = FieldContent.inline(NumberType.INT16, (8, 8), bytes(2 * 64))
    streams = EventStreams(events_channel, lambda: 30.0)
    stream = lattice_stream(LatticeId(lattice_id))
    for name in ("s", "other"):
        forged = FieldWritten(
            lattice_id=LatticeId(lattice_id), name=name, content=content, job_id=job.job_id
        )
        event = json_event(stream, FIELD_WRITTEN, field_records.written_to_proto(forged))
        await streams.append(TenantId(tenant), uuid4(), [event], [])

    words = await outcomes(history, lattice_id)

    assert words == {"s": ["REPRODUCED", "DIFFERENT"], "other": ["DIFFERENT"]}
    assert not (await history.verified(lattice_id))[-1].sums.verified
