"""Paths and distances: that they are what they claim, and that they stop when told."""

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from girih.ids import TenantId
from services.lattice.computing.compute import Compute, Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import BitOrder, LatticeSpec, Method, Site
from services.lattice.errors import ComputeBusy, ConsumerTooSlow, WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.runs import Path
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.operations.bitmaps import read_blocked
from services.lattice.operations.context import OperationContext
from services.lattice.operations.distances import DistanceQuery, find_distances
from services.lattice.operations.paths import (
    PathQuery,
    PathsQuery,
    find_path,
    find_paths,
    path_query,
)
from services.lattice.operations.sites import Region
from services.plumbing.correlation import Call, bind
from services.plumbing.errors import InvalidInput
from tests.lattice.worlds import blocked_spec, geometry, held, operations_on, spec


@pytest.fixture
async def compute() -> AsyncIterator[Compute]:
    compute = Compute(threads=2, bytes_max=2 << 30, waiting_max=100)
    yield compute
    await compute.close()


@pytest.fixture
def operations(compute: Compute) -> OperationContext:
    return operations_on(compute)


def paths_query(queries: Sequence[PathQuery], sites_max: int) -> PathsQuery:
    return PathsQuery(queries=queries, sites_max=sites_max)


def neighbours(requested: LatticeSpec, site: Site) -> Iterator[tuple[Site, float]]:
    """The plainest account of where one step leads, and what it costs."""
    frame = requested.geometry
    for step in itertools.product((-1, 0, 1), repeat=len(site)):
        moves = sum(map(abs, step))
        if moves == 0 or (moves > 1 and not frame.moore):
            continue
        boxes = list(itertools.product(*({0, by} for by in step)))
        passed = [_moved(frame, site, part) for part in (boxes if frame.no_cutting else [step])]
        if all(place is not None and not requested.blocks(place) for place in passed):
            goal = _moved(frame, site, step)
            assert goal is not None
            yield goal, math.sqrt(moves)


def _moved(frame: Geometry, site: Site, step: Site) -> Site | None:
    moved = []
    for at, by, length, ring in zip(site, step, frame.shape, frame.periodic, strict=True):
        if not ring and not 0 <= at + by < length:
            return None
        moved.append((at + by) % length)
    return tuple(moved)


def site_of(frame: Geometry, index: int) -> Site:
    return tuple(int(at) for at in np.unravel_index(index, frame.shape))


def all_distances(requested: LatticeSpec, sources: list[Site]) -> dict[Site, float]:
    """Dijkstra's algorithm as in a textbook."""
    result: dict[Site, float] = {}
    waiting = [(0.0, source) for source in sources]
    while waiting:
        length, site = heapq.heappop(waiting)
        if site in result:
            continue
        result[site] = length
        for near, cost in neighbours(requested, site):
            if near not in result:
                heapq.heappush(waiting, (length + cost, near))
    return result


def walk(requested: LatticeSpec, start: Site, path: Path) -> list[Site]:
    """Take every step of a path's runs, and see that each is a step of the lattice."""
    sites = [start]
    for step, count in zip(path.run_steps.tolist(), path.run_counts.tolist(), strict=True):
        assert count >= 1
        for _ in range(count):
            near = _moved(requested.geometry, sites[-1], tuple(step))
            assert near is not None
            assert near in dict(neighbours(requested, sites[-1]))
            sites.append(near)
    return sites


@st.composite
def worlds(draw: st.DrawFn) -> tuple[LatticeSpec, Site, Site]:
    """A small lattice of any kind, and two of its free sites."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    frame = Geometry(
        shape,
        tuple(draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))),
        moore=draw(st.booleans()),
        no_cutting=draw(st.booleans()),
    )
    ends = draw(st.lists(st.integers(0, frame.sites - 1), min_size=2, max_size=2))
    share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.5]))
    requested = blocked_spec(frame, share, draw(st.integers(0, 1000)), free=ends)
    return requested, site_of(frame, ends[0]), site_of(frame, ends[1])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds(), listed_max=st.integers(0, 20))
async def test_a_path_leads_from_start_to_goal_over_free_sites_at_the_least_length(
    world: tuple[LatticeSpec, Site, Site], listed_max: int
) -> None:
    requested, start, goal = world
    compute = Compute(threads=1, bytes_max=1 << 30, waiting_max=10)

    answer = await find_path(
        operations_on(compute),
        held(requested),
        paths_query([PathQuery(start=start, goal=goal)], listed_max),
    )

    path, least = answer.path, all_distances(requested, [start]).get(goal)
    await compute.close()
    assert path.found == (least is not None)
    if least is not None:
        sites = walk(requested, start, path)
        assert (sites[-1], len(sites) - 1) == (goal, path.steps)
        assert path.length == pytest.approx(least, rel=1e-12)
        assert [tuple(site) for site in path.sites.tolist()] == sites[:listed_max]


@pytest.mark.parametrize("costs", [None, "costs"], ids=str)
@pytest.mark.parametrize("moore", [False, True], ids=["straight", "diagonal"])
@pytest.mark.parametrize("shape", [(40, 50), (12, 13, 14)], ids=str)
async def test_what_a_search_has_looked_at_is_told_of_a_part(
    shape: tuple[int, ...], moore: bool, costs: str | None, operations: OperationContext
) -> None:
    frame = Geometry(shape, (False,) * len(shape), moore=moore, no_cutting=False)
    requested = blocked_spec(frame, 0.3, 5, free=(0, 3))
    plain_costs = None if costs is None else SiteCosts(np.ones(frame.sites), mean=False)
    begin, goal = site_of(frame, 0), site_of(frame, 3)
    end = tuple(length // 2 for length in shape)

    async def looked_at(origin: Site, lengths: Site) -> np.ndarray[Any, Any]:
        query = path_query(requested, begin, goal, 0, plain_costs, (origin, lengths))
        bits = np.frombuffer((await find_path(operations, held(requested), query)).looked_at, "u1")
        return np.unpackbits(bits, count=math.prod(lengths), bitorder="little").reshape(lengths)

    whole = await looked_at((0,) * len(shape), shape)
    part = await looked_at((1,) * len(shape), end)

    blocked = [requested.blocks(site_of(frame, index)) for index in range(frame.sites)]
    assert whole[begin] == 1
    assert 1 < whole.sum() < (~np.array(blocked)).sum()
    assert not (whole.reshape(-1) & np.array(blocked)).any()
    box = tuple(slice(1, 1 + length) for length in end)
    np.testing.assert_array_equal(part, whole[box])


async def test_in_closed_form_nothing_is_looked_at(operations: OperationContext) -> None:
    query = path_query(spec(9, 9), (0, 0), (8, 8), 0, region=((0, 0), (9, 9)))

    answer = await find_path(operations, held(spec(9, 9)), query)

    assert answer.looked_at == bytes(11)


def test_of_more_sites_than_the_contract_says_nothing_is_told() -> None:
    with pytest.raises(InvalidInput, match="region"):
        path_query(spec(3000, 3000), (0, 0), (1, 1), 0, region=((0, 0), (3000, 3000)))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
async def test_distances_are_those_of_the_plainest_search(
    world: tuple[LatticeSpec, Site, Site],
) -> None:
    requested, *sources = world
    frame = requested.geometry
    compute = Compute(threads=1, bytes_max=1 << 30, waiting_max=10)
    query = DistanceQuery(
        sources=tuple(sources), region=Region(origin=(0,) * len(frame.shape), shape=frame.shape)
    )

    parts = [part async for part in find_distances(operations_on(compute), held(requested), query)]

    response = np.concatenate([part.distances for part in parts])
    least = all_distances(requested, sources)
    await compute.close()
    expected = [least.get(site_of(frame, index), -1.0) for index in range(frame.sites)]
    np.testing.assert_allclose(response, expected, rtol=1e-12)


async def test_a_path_over_a_quintillion_sites_is_found_in_closed_form(
    operations: OperationContext,
) -> None:
    huge = held(spec(10**9, 10**9, moore=True))
    query = PathQuery(start=(0, 0), goal=(10**9 - 1, 10**8))

    answer = await find_path(operations, huge, paths_query([query], 1_000))

    assert answer.path.length == pytest.approx(10**8 * math.sqrt(2) + 9 * 10**8 - 1, rel=1e-15)
    assert answer.path.steps == 10**9 - 1
    assert answer.path.sites.shape == (1_000, 2)
    assert answer.computation.method == Method.CLOSED_FORM
    assert answer.computation.sites_expanded == 0


async def test_sites_are_listed_across_the_edge_of_the_longest_ring(
    operations: OperationContext,
) -> None:
    ring = held(spec(2**63 - 1, periodic=True))
    query = PathQuery(start=(2**63 - 3,), goal=(2,))

    answer = await find_path(operations, ring, paths_query([query], 10))

    listed = answer.path.sites[:, 0].tolist()
    assert listed == [2**63 - 3, 2**63 - 2, 0, 1, 2]


@pytest.mark.parametrize("moore", [False, True])
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("share", [0.0, 1e-4])
async def test_a_box_is_told_its_part_of_the_whole(
    operations: OperationContext, moore: bool, as_bytes: bool, share: float
) -> None:
    frame = Geometry((50, 61, 97), (False, True, False), moore=moore, no_cutting=True)
    requested = held(blocked_spec(frame, share, seed=1, free=[0]))
    whole = Region(origin=(0, 0, 0), shape=frame.shape)
    box = Region(origin=(3, 1, 5), shape=(47, 59, 91))

    async def field(region: Region) -> np.ndarray[Any, Any]:
        query = DistanceQuery(sources=((0, 0, 0), (9, 60, 3)), region=region, as_bytes=as_bytes)
        answers = [part.distances async for part in find_distances(operations, requested, query)]
        return np.concatenate(answers).reshape(region.shape)

    everything, part = await field(whole), await field(box)
    np.testing.assert_array_equal(part, everything[3:, 1:60, 5:96])
    assert everything[0, 60, 0] == 1


async def test_that_there_is_no_path_is_an_answer(operations: OperationContext) -> None:
    parted = LatticeSpec(geometry=geometry(3), blocked=bytes([0b010]))

    answer = await find_path(
        operations, held(parted), paths_query([PathQuery(start=(0,), goal=(2,))], 10)
    )

    assert not answer.path.found
    assert (answer.path.length, answer.path.steps) == (0, 0)
    assert len(answer.path.sites) == 0


async def test_where_no_path_leads_is_known_once_a_search_took_long(
    operations: OperationContext,
) -> None:
    walled = np.random.default_rng(seed=1).random((300, 300)) < 0.25
    walled[:, 150] = True
    for row, column in ((0, 0), (299, 299), (150, 299), (299, 149)):
        walled[row, column] = False
    bits = np.packbits(walled, bitorder="little").tobytes()
    requested = held(LatticeSpec(geometry=geometry(300, 300), blocked=bits))

    async def expanded(goal: Site) -> int:
        query = paths_query([PathQuery(start=(0, 0), goal=goal)], 10)
        answer = await find_path(operations, requested, query)
        assert answer.path.found == (goal[1] < 150)
        return answer.computation.sites_expanded

    await expanded((299, 299))
    assert await expanded((150, 299)) == 0
    assert await expanded((299, 149)) > 0
    operations.forget(requested)
    assert operations.components.bytes_held == 0


async def test_a_batch_that_nobody_reads_on_computes_no_more_than_some_parts(
    compute: Compute, operations: OperationContext
) -> None:
    requested = held(blocked_spec(geometry(300, 300), 0.3, seed=3, free=[0, 89_999]))
    queries = [PathQuery(start=(0, 0), goal=(299, 299))] * 2_000

    async with aclosing(find_paths(operations, requested, paths_query(queries, 0))) as parts:
        first = await anext(parts)
        assert first.first_query == 0
        await until_idle(compute)
        assert compute.bytes_lent == 0

    assert operations.send_budget.lent == 0


@pytest.mark.parametrize("share", [0.0, 0.3])
async def test_a_batch_is_answered_whole_and_in_order(
    operations: OperationContext, share: float
) -> None:
    frame = geometry(40, 40)
    requested = blocked_spec(frame, share, seed=3, free=range(40))
    queries = [PathQuery(start=(0, n % 40), goal=(0, 39 - n % 40)) for n in range(1_000)]

    answered = [
        part async for part in find_paths(operations, held(requested), paths_query(queries, 3))
    ]

    paths = [path for part in answered for path in part.paths]
    firsts = np.cumsum([0, *(len(part.paths) for part in answered)])[:-1]
    assert [part.first_query for part in answered] == firsts.tolist()
    assert len(paths) == 1_000
    for query, path in zip(queries, paths, strict=True):
        assert walk(requested, query.start, path)[-1] == query.goal


async def test_a_batch_with_long_answers_comes_in_parts_of_bounded_size(
    operations: OperationContext,
) -> None:
    queries = [PathQuery(start=(0,), goal=(10**9,))] * 20

    parts = [
        part
        async for part in find_paths(operations, held(spec(2**40)), paths_query(queries, 100_000))
    ]

    largest = max(path.nbytes for part in parts for path in part.paths)
    assert len(parts) > 5
    for part in parts:
        assert sum(path.nbytes for path in part.paths) <= (1 << 20) + largest


async def test_what_is_told_of_a_search_is_what_it_took(operations: OperationContext) -> None:
    requested = blocked_spec(geometry(50, 50), 0.2, seed=1, free=[0, 2_499])
    query = PathQuery(start=(0, 0), goal=(49, 49))

    computation = (
        await find_path(operations, held(requested), paths_query([query], 0))
    ).computation

    assert computation.method == Method.A_STAR
    assert computation.exact
    assert 98 <= computation.sites_expanded <= 2_500
    assert computation.elapsed_ns > 0
    assert computation.memory_bytes >= 2 * 2_500


async def test_the_whole_computation_of_distances_is_told_first(
    operations: OperationContext,
) -> None:
    requested = blocked_spec(geometry(300, 300), 0.3, seed=2, free=[0])
    query = DistanceQuery(sources=((0, 0),), region=Region(origin=(0, 0), shape=(300, 300)))

    parts = [part async for part in find_distances(operations, held(requested), query)]

    assert [part.first_index for part in parts] == [0, 65_536]
    assert parts[0].computation is not None
    assert parts[0].computation.sites_expanded > 50_000
    assert parts[1].computation is None


async def test_distances_of_targets_come_in_the_order_asked(operations: OperationContext) -> None:
    requested = blocked_spec(geometry(20, 20), 0.3, seed=2, free=[0])
    targets = tuple((r, c) for c in range(20) for r in range(19, -1, -1))
    query = DistanceQuery(sources=((0, 0),), targets=targets)

    (part,) = [part async for part in find_distances(operations, held(requested), query)]

    least = all_distances(requested, [(0, 0)])
    assert part.distances.tolist() == [least.get(target, -1.0) for target in targets]


async def test_distances_on_a_huge_free_lattice_never_take_more_than_a_part(
    operations: OperationContext,
) -> None:
    huge = held(spec(10**9, 10**9))
    region = Region(origin=(10**8, 10**8), shape=(1_000, 1_000))
    query = DistanceQuery(sources=((0, 0), (10**9 - 1, 0)), region=region)

    parts = [part async for part in find_distances(operations, huge, query)]

    response = np.concatenate([part.distances for part in parts])
    assert max(len(part.distances) for part in parts) == 65_536
    assert response.tolist() == [2 * 10**8 + r + c for r in range(1_000) for c in range(1_000)]
    assert all(part.computation is not None for part in parts)


@pytest.mark.parametrize("limit", [100, 3_000])
async def test_work_of_more_than_a_call_may_have_done_is_refused_with_the_numbers(
    compute: Compute, limit: int
) -> None:
    operations = operations_on(compute, looks_max=limit)
    requested = held(blocked_spec(geometry(50, 50), 0.05, seed=1, free=[0, 1, 2_499]))
    everywhere = DistanceQuery(sources=((0, 0),), region=Region(origin=(0, 0), shape=(50, 50)))
    far = DistanceQuery(sources=((0, 0),), targets=((49, 49),))
    path = paths_query([PathQuery(start=(0, 0), goal=(49, 49))], 0)

    for call in (
        anext(find_distances(operations, requested, everywhere)),
        anext(find_distances(operations, requested, far)),
        find_path(operations, requested, path),
    ):
        with pytest.raises(WorkTooLarge) as refusal:
            await call

        assert refusal.value.metadata == {"estimate": 2_500 + 4 * 50 * 49, "limit": limit}
        assert refusal.value.retry_after_s is None


async def test_what_is_near_is_found_however_much_there_is_to_look_at(compute: Compute) -> None:
    operations = operations_on(compute, looks_max=3_000)
    requested = held(blocked_spec(geometry(50, 50), 0.05, seed=1, free=[0, 1]))
    query = PathQuery(start=(0, 0), goal=(0, 1))
    near = DistanceQuery(sources=((0, 0),), targets=((0, 1),))

    answer = await find_path(operations, requested, paths_query([query], 0))
    part = await anext(find_distances(operations, requested, near))

    assert answer.path.steps == 1
    assert part.distances.tolist() == [1]


async def test_a_call_that_has_little_time_may_have_little_looked_at(
    operations: OperationContext,
) -> None:
    requested = held(blocked_spec(geometry(2_000, 2_000), 0.01, seed=1, free=[0]))
    region = Region(origin=(0, 0), shape=(2_000, 2_000))
    query = DistanceQuery(sources=((0, 0),), region=region)
    hurried = Call(correlation_id="x", tenant=TenantId("a"), deadline_s=time.monotonic() + 0.1)

    with bind(hurried), pytest.raises(WorkTooLarge):
        await anext(find_distances(operations, requested, query))


def maze() -> HeldLattice:
    """A lattice on which a search takes seconds: the goal is walled in, far away."""
    frame = geometry(200, 200, 200, moore=True)
    blocked = np.zeros((200, 200, 200), bool)
    blocked[-3:, -3:, -3:] = True
    blocked[-1, -1, -1] = False
    bitmap = np.packbits(blocked.ravel(), bitorder="little").tobytes()
    return held(LatticeSpec(geometry=frame, blocked=bitmap))


async def until_idle(compute: Compute) -> None:
    async with asyncio.timeout(60):
        while compute.running:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


async def until_running(compute: Compute) -> None:
    async with asyncio.timeout(60):
        while not compute.running:  # noqa: ASYNC110 - a thread begins
            await asyncio.sleep(0.001)


async def test_a_search_that_nobody_waits_for_does_not_go_on(compute: Compute) -> None:
    operations = operations_on(compute, components_bytes=0)
    query = PathQuery(start=(0, 0, 0), goal=(199, 199, 199))
    requested = maze()
    began_s = time.process_time()
    await asyncio.gather(
        find_path(operations, requested, paths_query([query], 0)), return_exceptions=True
    )
    whole_s = time.process_time() - began_s
    task = asyncio.create_task(find_path(operations, requested, paths_query([query], 0)))
    await until_running(compute)
    began_s = time.process_time()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while compute.running or compute.bytes_lent:  # noqa: ASYNC110 - a thread ends
        await asyncio.sleep(0.01)

    assert time.process_time() - began_s < whole_s / 2


async def test_the_loop_goes_on_while_kernels_search(
    compute: Compute, operations: OperationContext
) -> None:
    query = PathQuery(start=(0, 0, 0), goal=(199, 199, 199))
    task = asyncio.create_task(find_path(operations, maze(), paths_query([query], 0)))
    await until_running(compute)
    for _ in range(10):
        await asyncio.sleep(0.001)

    assert not task.done()
    task.cancel()


async def test_a_batch_that_is_not_read_on_holds_nothing(
    compute: Compute, operations: OperationContext
) -> None:
    requested = held(blocked_spec(geometry(500, 500), 0.1, seed=1, free=[0, 249_999]))
    queries = [PathQuery(start=(0, 0), goal=(499, 499))] * 1_000

    answers = find_paths(operations, requested, paths_query(queries, 100))
    await anext(answers)
    await asyncio.sleep(0.05)

    assert (compute.bytes_lent, compute.running) == (0, 0)
    await answers.aclose()


async def linger(parts: AsyncGenerator[object]) -> None:
    """Take the first part, and never come back for the next."""
    async with aclosing(parts):
        async for _ in parts:
            await asyncio.Event().wait()


async def test_distances_that_are_not_read_on_hold_no_more_than_what_is_left(
    compute: Compute, operations: OperationContext
) -> None:
    requested = held(blocked_spec(geometry(512, 512), 0.1, seed=1, free=[0]))
    query = DistanceQuery(sources=((0, 0),), region=Region(origin=(0, 0), shape=(512, 512)))

    async with aclosing(find_distances(operations, requested, query)) as parts:
        left = [operations.send_budget.lent async for _ in parts]

    assert left == [3 * 65_536 * 2, 2 * 65_536 * 2, 65_536 * 2, 0]
    assert compute.bytes_lent == 0


async def test_readers_that_stop_hold_up_no_computing_of_their_tenant() -> None:
    compute = Compute(threads=2, bytes_max=2 << 20, waiting_max=10)
    operations = operations_on(compute, send_bytes=8 << 20)
    requested = held(blocked_spec(geometry(512, 512), 0.1, seed=1, free=[0, 1]))
    query = DistanceQuery(sources=((0, 0),), region=Region(origin=(0, 0), shape=(512, 512)))
    stopped = [find_distances(operations, requested, query) for _ in range(3)]
    for parts in stopped:
        await anext(parts)

    answer = await find_path(
        operations, requested, paths_query([PathQuery(start=(0, 0), goal=(0, 1))], 10)
    )

    assert answer.path.found
    assert (compute.bytes_lent, compute.running) == (0, 0)
    for parts in stopped:
        await parts.aclose()
    await compute.close()


async def test_distances_of_few_sites_hold_nothing_while_they_are_read(
    compute: Compute, operations: OperationContext
) -> None:
    requested = held(blocked_spec(geometry(512, 512), 0.1, seed=1, free=[0]))
    query = DistanceQuery(sources=((0, 0),), targets=((5, 5),))

    async with aclosing(find_distances(operations, requested, query)) as parts:
        await anext(parts)

        assert compute.bytes_lent == 0


async def test_a_reader_that_stops_keeps_others_waiting_for_a_bounded_time() -> None:
    compute = Compute(threads=1, bytes_max=1, waiting_max=10)
    operations = operations_on(compute, part_timeout_s=0.1)
    requested = held(blocked_spec(geometry(512, 512), 0.1, seed=1, free=[0]))
    query = DistanceQuery(sources=((0, 0),), region=Region(origin=(0, 0), shape=(512, 512)))
    stopped = asyncio.create_task(linger(find_distances(operations, requested, query)))

    async with asyncio.timeout(60):
        parts = [part async for part in find_distances(operations, requested, query)]

    assert len(parts) == 4
    with pytest.raises(ConsumerTooSlow):
        await stopped
    assert compute.bytes_lent == 0
    await compute.close()


@pytest.mark.parametrize("sites", [1, 9, 524_288, 524_289, 3_000_000])
async def test_a_bitmap_is_told_whole_in_pieces(
    compute: Compute, operations: OperationContext, sites: int
) -> None:
    requested = held(blocked_spec(geometry(sites), 1.0, seed=1))

    async with aclosing(read_blocked(operations, requested.spec, BitOrder.LITTLE)) as pieces:
        response = [piece async for piece in pieces]

    assert b"".join(response) == requested.spec.blocked
    assert all(0 < len(piece) <= 65_536 for piece in response)
    assert compute.bytes_lent == 0


async def test_where_no_site_is_blocked_one_empty_piece_is_told(
    operations: OperationContext,
) -> None:
    pieces = read_blocked(operations, held(spec(10**9)).spec, BitOrder.LITTLE)

    assert [piece async for piece in pieces] == [b""]


async def test_bitmaps_being_read_hold_no_more_than_answers_may() -> None:
    compute = Compute(threads=1, bytes_max=1, waiting_max=10)
    operations = operations_on(compute, send_bytes=2_000)
    requested = held(blocked_spec(geometry(8 * 1_000), 0.5, seed=1))
    readers = [read_blocked(operations, requested.spec, BitOrder.LITTLE) for _ in range(2)]
    await anext(readers[0])
    second = asyncio.ensure_future(anext(readers[1]))
    await asyncio.sleep(0.01)

    assert not second.done()
    await readers[0].aclose()
    assert await second == requested.spec.blocked
    await readers[1].aclose()
    await compute.close()


@pytest.mark.parametrize("share", [0.0, 0.1])
async def test_a_part_that_nobody_takes_ends_the_reading(compute: Compute, share: float) -> None:
    operations = operations_on(compute, part_timeout_s=0.05)
    requested = held(blocked_spec(geometry(512, 512), share, seed=1, free=[0]))
    region = Region(origin=(0, 0), shape=(512, 512))
    batch = [PathQuery(start=(0, 0), goal=(0, 0))] * 10

    for parts in (
        find_paths(operations, requested, paths_query(batch, 0)),
        find_distances(operations, requested, DistanceQuery(sources=((0, 0),), region=region)),
        read_blocked(operations, requested.spec, BitOrder.LITTLE),
    ):
        with pytest.raises(ConsumerTooSlow):
            await linger(parts)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_reader_that_is_cancelled_is_cancelled(
    compute: Compute, operations: OperationContext
) -> None:
    requested = held(blocked_spec(geometry(512, 512), 0.1, seed=1, free=[0]))
    region = Region(origin=(0, 0), shape=(512, 512))
    query = DistanceQuery(sources=((0, 0),), region=region)
    reader = asyncio.create_task(linger(find_distances(operations, requested, query)))
    budget = operations.send_budget
    while budget.lent != 3 * 65_536 * 2:  # noqa: ASYNC110 - a thread ends
        await asyncio.sleep(0.001)

    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert budget.lent == 0


def until_stopped(begun: threading.Event, stop: Stop) -> None:
    """Work that ends when nobody waits for it."""
    begun.set()
    while True:
        stop.check()
        time.sleep(0.001)


async def test_a_batch_that_has_begun_waits_its_turn_instead_of_being_refused() -> None:
    compute = Compute(threads=1, bytes_max=2 << 30, waiting_max=0)
    operations = operations_on(compute)
    queries = [PathQuery(start=(0,), goal=(10**9,))] * 10
    answers = find_paths(operations, held(spec(2**40)), paths_query(queries, 100_000))
    await anext(answers)
    begun = threading.Event()
    other = asyncio.create_task(
        compute.run(Estimate(size_bytes=0, looks=0), partial(until_stopped, begun))
    )
    assert await asyncio.to_thread(begun.wait, 60)

    going_on = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0.05)
    assert not going_on.done()
    other.cancel()

    assert (await going_on).paths
    await answers.aclose()
    await compute.close()


async def test_a_call_beyond_what_waits_is_refused() -> None:
    compute = Compute(threads=1, bytes_max=2 << 30, waiting_max=0)
    operations = operations_on(compute)
    requested = maze()
    query = PathQuery(start=(0, 0, 0), goal=(199, 199, 199))
    task = asyncio.create_task(find_path(operations, requested, paths_query([query], 0)))
    await until_running(compute)

    with pytest.raises(ComputeBusy):
        await find_path(operations, requested, paths_query([query], 0))

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await compute.close()


@pytest.mark.parametrize(("length", "exact"), [(74, True), (75, False)])
async def test_a_length_beyond_what_is_compared_exactly_is_told_not_to_be_exact(
    operations: OperationContext, length: int, exact: bool
) -> None:
    frame = geometry(2, 2, 2, 2, 2, 2, 100, moore=True)
    requested = held(LatticeSpec(geometry=frame, blocked=bytes(frame.sites // 8 - 1) + b"\x80"))
    start, goal = (0,) * 7, (0,) * 6 + (length,)

    path = await find_path(
        operations, requested, paths_query([PathQuery(start=start, goal=goal)], 0)
    )
    query = DistanceQuery(sources=(start,), targets=(goal, start))
    (part,) = [part async for part in find_distances(operations, requested, query)]

    assert path.computation.exact == exact
    assert part.computation is not None
    assert part.computation.exact == exact
    assert path.path.length == part.distances[0] == length


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
async def test_a_path_is_as_long_as_its_goal_is_distant_to_the_last_bit(
    world: tuple[LatticeSpec, Site, Site],
) -> None:
    requested, start, goal = world
    compute = Compute(threads=1, bytes_max=1 << 30, waiting_max=10)
    operations = operations_on(compute)

    path = await find_path(
        operations, held(requested), paths_query([PathQuery(start=start, goal=goal)], 0)
    )
    query = DistanceQuery(sources=(start,), targets=(goal,))
    (part,) = [part async for part in find_distances(operations, held(requested), query)]

    await compute.close()
    assert part.distances[0] == (path.path.length if path.path.found else -1)


async def test_over_a_quintillion_sites_a_path_is_as_long_as_its_goal_is_distant(
    operations: OperationContext,
) -> None:
    huge = held(spec(10**6, 10**6, 10**6, moore=True))
    goals = np.random.default_rng(3).integers(0, 10**6, (200, 3)).tolist()
    targets = tuple(tuple(goal) for goal in goals)

    query = DistanceQuery(sources=((0, 0, 0),), targets=targets)
    (part,) = [part async for part in find_distances(operations, huge, query)]
    batch = [PathQuery(start=(0, 0, 0), goal=goal) for goal in targets]
    answers = [answer async for answer in find_paths(operations, huge, paths_query(batch, 0))]

    lengths = [path.length for answer in answers for path in answer.paths]
    assert part.distances.tolist() == lengths
