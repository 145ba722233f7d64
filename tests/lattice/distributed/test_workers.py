"""What workers of Dask do is the same to the bit, also when one of them is killed meanwhile."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.region import region_of
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.errors import TransformUnfit
from services.lattice.fields.statistics import StatisticsQuery, summarize, summarize_by_workers
from services.lattice.jobs.runs.chain import decoded, encoded
from services.lattice.structure.components import find_components
from services.lattice.transforms import neighbours, numbers
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.distributing import ChainState
from services.lattice.transforms.step import EdgeChoice
from tests.lattice.distributed.kept import GO, LATTICE, SHAPE, TENANT, Kept
from tests.lattice.transforms.arrays import fit_of
from tests.lattice.worlds import blocked_spec, geometry, held, operations_on


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    pytest.importorskip("distributed")
    kept = Kept(tmp_path)
    yield kept
    await kept.close()


@pytest.mark.timeout(600)
async def test_a_worker_that_is_killed_changes_no_bit(kept: Kept) -> None:
    array = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    chain = Chain.of(
        [neighbours.Diffuse(0.1, 2), numbers.Normalise(0.0, 1.0)],
        fit_of(array, (True, False, False)),
    )
    content = await kept.keep(array)
    pids = await kept.pids()
    known = kept.arrays()

    applying = asyncio.create_task(kept.distributor.apply(TENANT, LATTICE, content, chain))
    await kept.until_one_more(known)
    os.kill(min(pids), signal.SIGKILL)
    made, reports = await applying

    expected, _ = chain.apply(array, GO)
    assert made.digest == (await kept.keep(expected)).digest
    assert all(0 < each.auxiliary_bytes <= each.auxiliary_bytes_max for each in reports)
    # Between the passes nothing is left: the source, the result, and what it is compared with.
    assert len(kept.arrays()) == 3

    await check_statistics(kept, made, expected)
    await check_components(kept)
    await check_refusal(kept, array)


@pytest.mark.timeout(600)
async def test_a_chain_goes_on_behind_the_boxes_that_are_noted(kept: Kept) -> None:
    array = np.random.default_rng(6).normal(size=SHAPE).astype(np.float32)
    chain = Chain.of(
        [numbers.Normalise(0.0, 1.0), neighbours.Diffuse(0.1, 2), numbers.Normalise(0.0, 3.0)],
        fit_of(array, (True, False, False)),
    )
    content, passes = await kept.keep(array), kept.distributor.planned(chain)
    boxes = passes[-1].box_count

    async def carried_out(begun: ChainState | None) -> tuple[object, list[ChainState]]:
        notes: list[ChainState] = []
        done = await kept.distributor.carried_out(
            TENANT, LATTICE, content, chain, passes, begun, notes.append
        )
        return (done[0].digest, done[1]), notes

    expected, notes = await carried_out(None)
    last = [state for state in notes if state.number == len(passes) - 1]
    assert [state.boxes_done for state in last] == list(range(boxes + 1))
    assert len(passes) > 1
    begun = decoded(encoded(last[2]))
    assert begun == last[2]

    result, onwards = await carried_out(begun)

    assert result == expected
    assert [state.boxes_done for state in onwards] == list(range(2, boxes + 1))
    assert {state.target for state in onwards}.isdisjoint({begun.target})
    # Of what was planned otherwise, or is gone, nothing is of use.
    other, all_of_it = await carried_out(replace(begun, plan="another"))
    assert (other, len(all_of_it)) == (expected, len(notes))
    for gone in (begun.target, begun.source.array_id):
        shutil.rmtree(kept.folder / TENANT / LATTICE / gone)
        anew, all_of_it = await carried_out(begun)
        assert (anew, len(all_of_it)) == (expected, len(notes))


@pytest.mark.timeout(600)
async def test_a_pass_that_outlasts_its_array_goes_on_in_a_younger_one(kept: Kept) -> None:
    array = np.random.default_rng(7).normal(size=SHAPE).astype(np.float32)
    chain = Chain.of(
        [numbers.Normalise(0.0, 1.0), neighbours.Diffuse(0.1, 2), numbers.Normalise(0.0, 3.0)],
        fit_of(array, (True, False, False)),
    )
    content, passes = await kept.keep(array), kept.distributor.planned(chain)
    # Of whose time half is over when they begin: each box is in an array of its own.
    hasty = kept.distributor_of(upload_s=0)
    notes: list[ChainState] = []

    made, _ = await hasty.carried_out(TENANT, LATTICE, content, chain, passes, None, notes.append)

    expected, _ = chain.apply(array, GO)
    assert made.digest == (await kept.keep(expected)).digest
    assert len(passes) > 1
    for number, work in enumerate(passes):
        states = [state for state in notes if state.number == number]
        assert len({state.target for state in states}) == work.box_count
        # What it reads is somebody else's in the first pass alone.
        assert len({state.source.array_id for state in states}) == (work.box_count if number else 1)
    assert made.array_id == notes[-1].target


async def check_statistics(kept: Kept, content: FieldContent, array: np.ndarray) -> None:
    """Of one thread and of workers they are the same to the bit."""
    source = await kept.reader.source(TENANT, LATTICE, SHAPE, content)
    query = StatisticsQuery(region=region_of(SHAPE, [1, 0, 0], [], [3, 1, 2]), bins=9)
    limit = WorkLimit(1 << 40)

    alone = await summarize(kept.reader, source, query, kept.compute, limit)
    shared = await summarize_by_workers(
        kept.cluster, kept.array(content), kept.reader, source, query, kept.compute, limit
    )

    figures = [(each.sites, each.low, each.mean, each.deviations) for each in (alone, shared)]
    assert figures[0] == figures[1]
    assert alone.digest.hexdigest() == shared.digest.hexdigest()
    assert alone.sites == array[1::3, :, ::2].size
    assert alone.histogram is not None
    assert shared.histogram is not None
    assert alone.histogram.counts.tolist() == shared.histogram.counts.tolist()


async def check_components(kept: Kept) -> None:
    """Those that one thread has no time for are found by workers, and the same."""
    requested = blocked_spec(geometry(30, 40, 50), 0.6, 1, free=[0])
    alone = operations_on(kept.compute)
    shared = operations_on(
        kept.compute, looks_max=3 * requested.geometry.sites, cluster=kept.cluster
    )

    components = await find_components(shared, held(requested), 100)

    expected = await find_components(alone, held(requested), 100)
    assert (components.count, components.axes) == (expected.count, expected.axes)
    assert components.largest == expected.largest


async def check_refusal(kept: Kept, array: np.ndarray) -> None:
    """A number that a step does not fit is told by the worker that finds it."""
    array[20, 3, 3] = np.nan
    steps = [
        numbers.Scale(2.0, 0.0),
        neighbours.Convolve((3, 1, 1), (1.0,) * 3, EdgeChoice(None, 0.0)),
    ]
    chain = Chain.of(steps, fit_of(array, (True, False, False)))
    content = await kept.keep(array)

    with pytest.raises(TransformUnfit) as refused:
        await kept.distributor.apply(TENANT, LATTICE, content, chain)

    assert refused.value.metadata["step"] == 1
