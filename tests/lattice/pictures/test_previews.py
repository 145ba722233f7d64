"""Pictures of what is kept nowhere: what a chain would make, and what a job has computed so far."""

import asyncio
from typing import Any

import grpc.aio
import numpy as np
import pytest

from girih.lattice.v1 import chains_pb2 as chains
from girih.lattice.v1 import jobs_pb2, lattice_pb2, transforms_pb2
from girih.lattice.v1 import pictures_pb2 as pb
from girih.lattice.v1.pictures_pb2_grpc import PictureServiceStub
from girih.lattice.v1.simulations_pb2 import Diffusion, Ising
from services.plumbing.grpc.errors import from_rpc_error
from tests.lattice.history.test_service import LARGE, SMALL, History, numbers
from tests.lattice.jobs.caller import JobCaller
from tests.lattice.jobs.test_service import ENDLESS, RINGS, client, settings
from tests.lattice.serving import Client, refusal, site, until

pytestmark = pytest.mark.timeout(300)

__all__ = ["client", "settings"]

CHAIN: list[dict[str, Any]] = [{"reflect": {"axes": [0]}}, {"scale": {"factor": 2.0}}]


@pytest.fixture
def history(client: Client) -> History:
    return History(client)


async def preview(
    client: Client, lattice_id: str, *transforms: dict[str, Any], **view: Any
) -> pb.PreviewTransformResponse:
    request = pb.PreviewTransformRequest(
        lattice_id=lattice_id, name="a", transforms=transforms, view=pb.PictureView(**view)
    )
    stub = PictureServiceStub(client.channel)
    answer: pb.PreviewTransformResponse = await stub.PreviewTransform(
        request, metadata=client.metadata
    )
    return answer


async def job_drawn(client: Client, job_id: str, **view: Any) -> pb.RenderJobResponse:
    request = pb.RenderJobRequest(job_id=job_id, view=pb.PictureView(**view))
    stub = PictureServiceStub(client.channel)
    answer: pb.RenderJobResponse = await stub.RenderJob(request, metadata=client.metadata)
    return answer


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
async def test_a_preview_is_the_picture_of_what_the_chain_makes_and_changes_nothing(
    shape: tuple[int, ...], client: Client, history: History
) -> None:
    lattice_id = await history.lattice(numbers(shape).astype("float64"))
    before = await history.digest(lattice_id)

    shown = await preview(client, lattice_id, *CHAIN, pixels_max=64)

    assert await history.digest(lattice_id) == before
    assert [report.transform for report in shown.reports] == ["reflect", "scale"]
    applied = await history.transform(lattice_id, *CHAIN)
    assert shown.png == await history.drawn(lattice_id=lattice_id, name="a", pixels_max=64)
    assert shown.invertibility == applied.invertibility
    past = await history.ask("GetHistory", lattice_id=lattice_id, name="a")
    kinds = [change.kind for change in past.changes]
    assert kinds[-1] == chains.CHANGE_KIND_TRANSFORMED
    assert kinds.count(chains.CHANGE_KIND_TRANSFORMED) == 1


@pytest.mark.parametrize(
    ("field", "step", "view"),
    [
        ("transforms[0].translate.offset", {"translate": {"offset": [1]}}, {}),
        ("view.column_axis", CHAIN[0], {"column_axis": 5}),
        ("view.high", CHAIN[0], {"low": 2.0, "high": 1.0}),
    ],
    ids=str,
)
async def test_a_preview_that_makes_no_sense_is_refused_by_name(
    field: str, step: dict[str, Any], view: dict[str, Any], client: Client, history: History
) -> None:
    lattice_id = await history.lattice(numbers())

    refused = await refusal(preview(client, lattice_id, step, **view))

    assert refused.reason == "INVALID_INPUT"
    assert field in str(refused.violations)


async def test_a_running_job_is_shown_and_what_is_shown_is_what_its_result_would_be(
    client: Client, history: History
) -> None:
    jobs = JobCaller(client)
    lattice = await client.create(shape=[16, 16], boundaries=RINGS)
    model = lattice.lattice_id, Ising(temperature=2.3)
    job = await jobs.start(*model, ENDLESS, seed=3)
    steps: list[int] = []

    async def is_ahead() -> bool:
        try:
            steps.append((await job_drawn(client, job.job_id)).steps_done)
        except grpc.aio.AioRpcError as error:
            if from_rpc_error(error).reason != "JOB_NOT_BEGUN":
                raise
        return len(steps) > 1 and steps[-1] > steps[0] > 0

    await until(is_ahead)
    await jobs.cancel(job.job_id)
    kept = await job_drawn(client, job.job_id, pixels_max=32)

    same = await jobs.start(*model, kept.steps_done, seed=3, result_field="spins")
    assert (await jobs.ended(same.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED
    result = await history.drawn(lattice_id=lattice.lattice_id, name="spins", pixels_max=32)
    assert kept.png == result
    assert (await refusal(job_drawn(client, same.job_id))).reason == "JOB_ENDED"


async def test_a_job_is_looked_at_while_the_state_that_it_has_kept_is_replaced(
    client: Client,
) -> None:
    jobs = JobCaller(client)
    lattice = await client.create(shape=[16, 16])
    job = await jobs.start(lattice.lattice_id, Ising(temperature=2.5), ENDLESS)
    await jobs.until(job.job_id, 1)
    await jobs.cancel(job.job_id)
    await jobs.ended(job.job_id)

    for _ in range(3):
        before = await job_drawn(client, job.job_id)
        await jobs.go_on(job.job_id)
        await jobs.until(job.job_id, before.steps_done + 1)
        looks = [asyncio.create_task(job_drawn(client, job.job_id)) for _ in range(8)]
        await jobs.cancel(job.job_id)

        assert min(look.steps_done for look in await asyncio.gather(*looks)) >= before.steps_done
        await jobs.ended(job.job_id)


async def test_a_job_is_shown_with_the_sites_that_were_blocked_when_it_was_started(
    client: Client, history: History
) -> None:
    jobs = JobCaller(client)
    lattice_id = (await client.create(shape=[16, 16])).lattice_id
    await history.fields.write(lattice_id, "zeros", np.zeros((16, 16)))
    free = await history.drawn(lattice_id=lattice_id, name="zeros", pixels_max=16)
    job = await jobs.start(lattice_id, Diffusion(diffusivity=0.2, time_step=1.0), ENDLESS)
    await jobs.until(job.job_id, 1)
    whole = lattice_pb2.Region(origin=site([0, 0]), shape=[16, 16])
    await history.stub.WriteBlocked(
        transforms_pb2.WriteBlockedRequest(
            lattice_id=lattice_id,
            region=whole,
            blocked=b"\xff" * 32,
            bit_order=lattice_pb2.BIT_ORDER_LITTLE,
        ),
        metadata=client.metadata,
    )

    running = await job_drawn(client, job.job_id, pixels_max=16)
    await jobs.cancel(job.job_id)
    kept = await job_drawn(client, job.job_id, pixels_max=16)

    assert running.png == kept.png == free
