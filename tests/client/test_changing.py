"""Transforms, history and jobs of lattices from Python, with asyncio and without."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import numpy as np
import pytest

from girih.client import (
    AsyncClient,
    Client,
    Conflict,
    GirihError,
    InvalidRequest,
    JobState,
    NotFound,
    RetryPolicy,
)
from tests.authority import Authority

RETRY = RetryPolicy(timeout_s=240.0, attempt_timeout_s=240.0, pause_s_min=0.01, pause_s_max=0.1)
FOREVER = 10**9

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def girih(
    address: str, lattice_address: str, authority: Authority, tenant: str
) -> AsyncIterator[AsyncClient]:
    token = authority.token(tenant)
    async with AsyncClient(
        events=address, lattice=lattice_address, token=token, retry=RETRY
    ) as girih:
        yield girih


@pytest.fixture
def blocking(
    address: str, lattice_address: str, authority: Authority, tenant: str
) -> Iterator[Client]:
    token = authority.token(tenant)
    with Client(events=address, lattice=lattice_address, token=token, retry=RETRY) as girih:
        yield girih


async def test_what_a_chain_changed_is_undone_done_again_compared_and_verified(
    girih: AsyncClient,
) -> None:
    array = np.arange(20, dtype=np.int32).reshape(4, 5)
    lattice = await girih.lattices.create(array.shape)
    written = await girih.lattices.fields.write(lattice, "a", array)
    transforms, history = girih.lattices.transforms, girih.lattices.history

    made = await transforms.field(lattice, "a", [{"reflect": {"axes": [0]}}, {"clip": {"high": 9}}])
    difference = await history.diff(lattice, "a", written.revision)
    undone = await history.undo(lattice, "a", expected_revision=made.field.revision)
    redone = await history.redo(lattice.id, "a")

    assert [each.transform for each in made.reports] == ["reflect", "clip"]
    assert (made.invertibility, made.before_digest) == ("NONE", written.digest)
    expected = array[::-1].clip(max=9)
    np.testing.assert_array_equal(await girih.lattices.fields.read(lattice, "a"), expected)
    assert (difference.differing, difference.greatest) == ((expected != array).sum(), 15)
    assert difference.regions[0].origin == (0, 0)
    assert (undone.field.digest, undone.of_revision) == (written.digest, made.field.revision)
    assert (redone.field.digest, redone.by_inverse) == (made.field.digest, False)
    _, *changes = [change async for change in history.changes(lattice, "a")]
    assert [each.kind for each in changes] == ["WRITTEN", "TRANSFORMED", "UNDONE", "REDONE"]
    assert changes[1].chain[0] == {"reflect": {"axes": [0]}}
    before = await history.state(lattice, written.revision)
    assert [each.digest for each in before.fields] == [written.digest]
    assert (await history.state(lattice, changes[-1].recorded_at)).revision == redone.field.revision
    verification = await history.verify(lattice)
    assert verification
    assert {each.outcome for each in verification.events} <= {"KEPT", "REPRODUCED"}


async def test_what_makes_no_sense_is_refused_by_name(girih: AsyncClient) -> None:
    lattice = await girih.lattices.create((4, 5))
    await girih.lattices.fields.create(lattice, "a")
    transforms, history, jobs = (
        girih.lattices.transforms,
        girih.lattices.history,
        girih.lattices.jobs,
    )

    with pytest.raises(ValueError, match="no step"):
        await transforms.field(lattice, "a", [{"nonsense": {}}])
    with pytest.raises(InvalidRequest):
        await transforms.field(lattice, "a", [{"xorKey": {"seed": 1}}, {"reflect": {"axes": [7]}}])
    with pytest.raises(Conflict):
        await transforms.field(lattice, "a", [{"reflect": {"axes": [0]}}], expected_revision=9)
    with pytest.raises(GirihError) as nothing:
        await history.undo(lattice, "a")
    assert nothing.value.reason == "NOTHING_TO_UNDO"
    with pytest.raises(ValueError, match="time zone"):
        await history.state(lattice, datetime(2026, 1, 1))  # noqa: DTZ001 - that is refused
    with pytest.raises(ValueError, match="no simulation"):
        await jobs.start(lattice, {"nonsense": {}}, 1)
    with pytest.raises(InvalidRequest):
        await jobs.start(lattice, {"ising": {"temperature": -1}}, 1)
    with pytest.raises(GirihError) as apart:
        await jobs.transform(lattice, "a", [{"fourier": {}}])
    assert apart.value.reason in ("TRANSFORM_UNFIT", "WORK_TOO_LARGE")
    with pytest.raises(GirihError) as unfit:
        await jobs.transform_blocked(lattice, [{"scale": {"factor": 2}}])
    assert unfit.value.reason == "TRANSFORM_UNFIT"
    with pytest.raises(Conflict):
        await jobs.transform_blocked(lattice, [{"erode": {}}], expected_revision=9)
    with pytest.raises(NotFound):
        await jobs.get("00000000-0000-7000-8000-000000000000")


async def test_blocked_sites_are_transformed_and_undone(
    girih: AsyncClient, blocking: Client
) -> None:
    blocked = np.zeros((4, 5), bool)
    blocked[0, 1:3] = True
    lattice = await girih.lattices.create(blocked=blocked)

    made = await girih.lattices.transforms.blocked(lattice, [{"reflect": {"axes": [0]}}])

    np.testing.assert_array_equal(await girih.lattices.blocked(lattice), blocked[::-1])
    undone = await asyncio.to_thread(blocking.lattices.history.undo_blocked, lattice)
    assert (undone.state.digest, undone.by_inverse) == (made.before_digest, True)
    redone = await girih.lattices.history.redo_blocked(lattice)
    assert redone.state.digest == made.state.digest


async def test_a_simulation_is_started_watched_stopped_and_read(
    girih: AsyncClient, blocking: Client
) -> None:
    lattice = await girih.lattices.create((8, 8), boundaries="periodic")
    jobs = girih.lattices.jobs
    ising = {"ising": {"temperature": 2.0}}
    job = await jobs.start(lattice, ising, 200, seed=7, result_field="spins")

    news = [each async for each in jobs.watch(job)]

    ended = news[-1]
    assert (ended.state, ended.steps_done, ended.model) == (JobState.SUCCEEDED, 200, "ising")
    series = await jobs.series(job)
    assert series.shape == (200, 1 + len(ended.observables))
    assert series[:, 1].mean() == pytest.approx(ended.observables[0].mean)
    field = await girih.lattices.fields.get(lattice, "spins")
    assert field.digest == ended.result_digest
    # Without asyncio, the same.
    others = blocking.lattices.jobs
    endless = await asyncio.to_thread(others.start, lattice.id, ising, FOREVER)
    watching = others.watch(endless.id)
    assert not (await asyncio.to_thread(next, watching)).has_ended
    await asyncio.to_thread(watching.close)
    cancelled = await asyncio.to_thread(others.cancel, endless)
    assert cancelled.state is JobState.CANCELLED
    assert [each.id for each in await asyncio.to_thread(lambda: list(others.list()))] == [
        endless.id,
        job.id,
    ]
    assert (await asyncio.to_thread(others.series, job)).shape == series.shape
    again = await asyncio.to_thread(others.continue_, endless)
    assert not again.has_ended
    await jobs.cancel(again)
