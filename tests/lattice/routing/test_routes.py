"""Routes through stops, simple paths, what is near, and the nearest sources: the plainest way."""

import asyncio
import itertools
import math
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.domain import LatticeSpec, Method, Site
from services.lattice.errors import AnswerTooLarge, WorkTooLarge
from services.lattice.kernels.runs import Path
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.operations.context import OperationContext
from services.lattice.operations.sites import selection
from services.lattice.routing.nearest import NearestQuery, nearest_query, nearest_sources
from services.lattice.routing.reach import reach_query, reachable
from services.lattice.routing.route import _COST_SHARE, Route, find_route, route_query
from services.lattice.routing.simple import find_simple_paths, simple_paths_query
from services.plumbing.errors import InvalidInput, Violations
from tests.lattice.kernels.reference import Plain
from tests.lattice.worlds import blocked_spec, geometry, held, random_spec, spec


def random_costs(requested: LatticeSpec, seed: int) -> SiteCosts | None:
    """Every third lattice has some, and every other of these are means."""
    if seed % 3:
        return None
    values = np.random.default_rng(seed).integers(1, 50, requested.geometry.sites)
    return SiteCosts(values.astype(np.uint8), mean=seed % 2 == 0)


def plain_lengths(
    lattice: Plain, costs: SiteCosts | None, sources: list[Site]
) -> dict[Site, float]:
    if costs is None:
        return lattice.distances(sources)
    return lattice.costly_distances(
        costs.as_floats.reshape(lattice.shape), sources, mean=costs.mean
    )


def walked(lattice: Plain, start: Site, path: Path) -> Site:
    """Take every step, and see that each is one of the lattice."""
    at = start
    for step in np.repeat(path.run_steps, path.run_counts, axis=0).tolist():
        assert lattice.allows(at, tuple(step))
        near = lattice.moved(at, tuple(step))
        assert near is not None
        at = near
    return at


async def route_of(
    operations: OperationContext,
    requested: LatticeSpec,
    stops: Sequence[Sequence[Site]],
    costs: SiteCosts | None = None,
    *,
    message_bytes_max: int = 1 << 20,
) -> Route:
    query = route_query(requested, stops, 0, costs)
    return await find_route(operations, held(requested), query, message_bytes_max=message_bytes_max)


def picked(lattice: Plain, seed: int, count: int) -> list[Site]:
    free = lattice.free_sites()
    places = np.random.default_rng(seed).integers(len(free), size=count)
    return [free[place] for place in places]


@pytest.mark.parametrize("axis_count", [1, 2, 3])
async def test_a_route_is_the_shortest_through_all_stops(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in range(24):
        requested = random_spec(seed, axis_count)
        lattice, costs = Plain.of(requested), random_costs(requested, seed)
        sites = picked(lattice, seed, 7)
        stops = [sites[:2], sites[2:5], sites[5:6], sites[6:]]

        route = await route_of(operations, requested, stops, costs)

        least = math.inf
        for chosen in itertools.product(*stops):
            legs = itertools.pairwise(chosen)
            length = sum(plain_lengths(lattice, costs, [a]).get(b, math.inf) for a, b in legs)
            least = min(least, length)
        check_route(lattice, stops, route, least)


def check_route(lattice: Plain, stops: list[list[Site]], route: Route, least: float) -> None:
    assert bool(route.legs) == (least < math.inf)
    if not route.legs:
        return
    at = stops[0][route.start]
    for stop, leg in zip(stops[1:], route.legs, strict=True):
        assert walked(lattice, at, leg.path) == stop[leg.goal]
        at = stop[leg.goal]
    assert route.length == pytest.approx(least, rel=1e-11)
    assert sum(leg.path.length for leg in route.legs) == pytest.approx(least, rel=1e-11)


async def test_a_route_across_a_quintillion_sites_has_a_closed_form(
    operations: OperationContext,
) -> None:
    requested = spec(10**9, 10**9)
    stops = [[(0, 0)], [(5, 10**9 - 1), (10**8, 7)], [(10**9 - 1, 0), (10**8, 9)]]

    route = await route_of(operations, requested, stops)

    assert [leg.goal for leg in route.legs] == [1, 1]
    assert route.length == 10**8 + 9
    assert route.computation.method is Method.CLOSED_FORM


async def test_a_route_takes_no_more_memory_than_is_reserved_however_many_sites_stops_have(
    operations: OperationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = blocked_spec(geometry(120, 120), 0.2, seed=1, free=[0, 14_399])
    lattice = Plain.of(requested)
    stops = [picked(lattice, seed, 1_000) for seed in range(10)]
    stops[0], stops[-1] = [(0, 0)], [(119, 119)]
    peaks = dict[int, int]()
    compute = operations.compute.run

    async def traced(estimate: Estimate, work: Callable[[Stop], Route]) -> Route:
        def watched(stop: Stop) -> Route:
            tracemalloc.start()
            try:
                return work(stop)
            finally:
                peaks[estimate.size_bytes] = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()

        return await compute(estimate, watched)

    await route_of(operations, requested, stops)
    monkeypatch.setattr(operations.compute, "run", traced)
    route = await route_of(operations, requested, stops)

    assert len(route.legs) == len(stops) - 1
    for reserved, peak in peaks.items():
        assert peak < reserved


async def test_a_leg_whose_end_is_chosen_late_is_searched_twice_and_no_other(
    operations: OperationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = blocked_spec(geometry(40, 40), 0.2, seed=1, free=[0, 1_599, 1_560, 39])
    corners: list[Site] = [(0, 0), (0, 39), (39, 0), (39, 39)]
    looks = list[int]()
    run = operations.compute.run

    async def noted(estimate: Estimate, work: Callable[[Stop], Route]) -> Route:
        looks.append(estimate.looks)
        return await run(estimate, work)

    monkeypatch.setattr(operations.compute, "run", noted)
    await route_of(operations, requested, [corners, [corners[0]] * 2, corners])
    await route_of(operations, requested, [corners[:1], corners, corners])

    each = _COST_SHARE * held(requested).looks_max
    assert looks == [2 * each, 3 * each]


async def test_a_route_with_more_runs_than_a_message_holds_is_refused_before_all_are_held(
    operations: OperationContext,
) -> None:
    requested = blocked_spec(geometry(60, 60), 0.2, seed=1, free=[0, 3_599])
    ends: list[Site] = [(0, 0), (59, 59)]
    turns = [[ends[n % 2]] for n in range(20)]
    bent = len((await route_of(operations, requested, turns[:2])).legs[0].path.run_counts)

    fitting = await route_of(operations, requested, turns, message_bytes_max=19 * 10 * bent)

    assert len(fitting.legs) == 19
    with pytest.raises(AnswerTooLarge):
        await route_of(operations, requested, turns, message_bytes_max=4 * bent)


async def test_that_no_route_leads_is_an_answer_whatever_its_legs_would_take(
    operations: OperationContext,
) -> None:
    walls = np.zeros((60, 60), bool)
    walls[:, 57] = True
    bitmap = np.packbits(walls, bitorder="little").tobytes()
    requested = LatticeSpec(geometry=geometry(60, 60), blocked=bitmap)

    route = await route_of(
        operations, requested, [[(0, 0)], [(0, 50)], [(0, 59)]], message_bytes_max=1
    )

    assert not route.legs


def plain_simple_paths(
    lattice: Plain, costs: SiteCosts | None, start: Site, goal: Site, length_max: float
) -> set[tuple[Site, ...]]:
    paths = set()

    def go(path: list[Site], length: float) -> None:
        if path[-1] == goal:
            paths.add(tuple(path))
            return
        for near, cost in lattice.neighbours(path[-1]).items():
            if costs is not None:
                values = costs.as_floats.reshape(lattice.shape)
                paid = (values[path[-1]] + values[near]) / 2 if costs.mean else values[near]
            else:
                paid = 1.0
            further = length + cost * paid
            if near not in path and further <= length_max * (1 + 1e-12):
                go([*path, near], further)

    go([start], 0.0)
    return paths


@pytest.mark.parametrize("axis_count", [1, 2, 3])
async def test_simple_paths_are_all_there_are_and_each_once(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in range(24):
        requested = random_spec(seed, axis_count, sites_max=30)
        lattice, costs = Plain.of(requested), random_costs(requested, seed)
        start, goal = picked(lattice, seed, 2)
        least = plain_lengths(lattice, costs, [start]).get(goal, 1.0)
        length_max = least + (2 if costs is None else 20)
        expected = plain_simple_paths(lattice, costs, start, goal, length_max)

        paths = await all_simple_paths(
            operations, requested, start, goal, length_max=length_max, costs=costs
        )

        assert len(paths) == len(expected)
        assert {tuple(sites) for sites in paths} == expected


@pytest.mark.parametrize("with_costs", [False, True])
@pytest.mark.parametrize("obstructed", [False, True])
async def test_the_greatest_length_is_one_that_all_paths_are_within(
    operations: OperationContext, obstructed: bool, with_costs: bool
) -> None:
    requested = blocked_spec(geometry(3, 4), 0.3 * obstructed, seed=2, free=[0, 11])
    lattice = Plain.of(requested)
    costs = SiteCosts(np.ones(12), mean=True) if with_costs else None
    near = reach_query(requested, [(0, 0)], sys.float_info.max, None, costs)

    paths = await all_simple_paths(
        operations, requested, (0, 0), (2, 3), length_max=sys.float_info.max, costs=costs
    )
    (answer,) = [part async for part in reachable(operations, held(requested), near)]

    expected = plain_simple_paths(lattice, costs, (0, 0), (2, 3), math.inf)
    assert {tuple(sites) for sites in paths} == expected
    assert answer.count == len(lattice.distances([(0, 0)]))


async def test_no_path_leads_to_what_is_walled_in_however_long(
    operations: OperationContext,
) -> None:
    walls = np.zeros((20, 20), bool)
    walls[:, 18] = True
    bitmap = np.packbits(walls, bitorder="little").tobytes()
    requested = LatticeSpec(geometry=geometry(20, 20), blocked=bitmap)

    async with asyncio.timeout(120):
        paths = await all_simple_paths(
            operations, requested, (0, 0), (19, 19), length_max=sys.float_info.max
        )

    assert not paths


async def all_simple_paths(
    operations: OperationContext, requested: LatticeSpec, start: Site, goal: Site, **fields: Any
) -> list[list[Site]]:
    asked = {"steps_max": 0, "paths_max": 1_000_000, "costs": None} | fields
    query = simple_paths_query(requested, start, goal, **asked)
    frame = requested.geometry
    paths: list[list[Site]] = []
    async for answer in find_simple_paths(operations, held(requested), query):
        assert answer.first_path == len(paths)
        for path in answer.paths:
            sites = path.listing(frame.shape, frame.periodic, start, 10_000).sites
            paths.append([tuple(site) for site in sites.tolist()])
        if answer.is_last:
            assert answer.is_complete
    return paths


@pytest.mark.parametrize(("n", "count"), [(2, 2), (3, 12), (4, 184), (5, 8_512)])
async def test_walks_from_corner_to_corner_are_as_many_as_published(
    operations: OperationContext, n: int, count: int
) -> None:
    """A007764."""
    paths = await all_simple_paths(
        operations, spec(n, n), (0, 0), (n - 1, n - 1), length_max=n * n - 1
    )

    assert len(paths) == count


@pytest.mark.parametrize(("length", "count"), [(1, 4), (2, 12), (3, 36), (4, 100), (5, 284)])
async def test_self_avoiding_walks_on_the_square_lattice_are_as_many_as_published(
    operations: OperationContext, length: int, count: int
) -> None:
    """A001411: those of exactly that length, to all sites at most so far away."""
    middle, frame = (10**8, 10**8), spec(10**9, 10**9)
    walks = 0
    for offset in itertools.product(range(-length, length + 1), repeat=2):
        if 0 < sum(map(abs, offset)) <= length:
            goal = (middle[0] + offset[0], middle[1] + offset[1])
            paths = await all_simple_paths(operations, frame, middle, goal, length_max=length)
            walks += sum(len(sites) == length + 1 for sites in paths)

    assert walks == count


async def test_no_more_paths_are_told_than_wanted(operations: OperationContext) -> None:
    requested = spec(10**9, 10**9)
    query = simple_paths_query(
        requested, (0, 0), (3, 3), length_max=8, steps_max=0, paths_max=7, costs=None
    )

    (answer,) = [part async for part in find_simple_paths(operations, held(requested), query)]

    assert (len(answer.paths), answer.is_last, answer.is_complete) == (7, True, False)


async def test_paths_that_could_pass_too_many_sites_are_refused(
    operations: OperationContext,
) -> None:
    requested = spec(10**6, 10**6, 10**6)
    query = simple_paths_query(
        requested, (0, 0, 0), (1, 1, 1), length_max=10**5, steps_max=10_000, paths_max=0, costs=None
    )

    with pytest.raises(WorkTooLarge) as refusal:
        await anext(find_simple_paths(operations, held(requested), query))

    assert refusal.value.metadata["limit"] == 33_554_432


@pytest.mark.parametrize("axis_count", [1, 2, 3])
async def test_what_is_near_is_what_the_plainest_search_finds(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in range(30):
        requested = random_spec(seed, axis_count)
        lattice, costs = Plain.of(requested), random_costs(requested, seed)
        sources = picked(lattice, seed, 1 + seed % 3)
        length_max = seed / 4 * (1 if costs is None else 20)
        known = plain_lengths(lattice, costs, sources)
        expected = sorted(
            site for site, length in known.items() if length <= length_max * (1 + 1e-12)
        )

        query = reach_query(requested, sources, length_max, None, costs)
        answers = [part async for part in reachable(operations, held(requested), query)]

        sites = [tuple(site) for part in answers for site in part.sites.tolist()]
        assert sites == expected
        assert answers[0].count == len(expected)
        for site, length in zip(sites, answers[0].distances, strict=True):
            assert length == pytest.approx(known[site], rel=1e-11, abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "radius", "count"),
    [
        ((10**9, 10**9), 10, 221),
        ((10**6,) * 3, 10, 1_561),
        ((10**9, 10**9), 10**8, 2 * 10**16 + 2 * 10**8 + 1),
    ],
)
async def test_balls_are_as_large_as_published(
    operations: OperationContext, shape: tuple[int, ...], radius: int, count: int
) -> None:
    requested = spec(*shape)
    middle = tuple(length // 2 for length in shape)
    query = reach_query(requested, [middle], radius, 0, None)

    (answer,) = [part async for part in reachable(operations, held(requested), query)]

    assert answer.count == count
    assert answer.computation is not None
    assert answer.computation.exact


@pytest.mark.parametrize("axis_count", [1, 2, 3])
async def test_balls_are_counted_as_they_are_listed(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in range(0, 40, 2):
        requested = random_spec(seed, axis_count)
        if requested.geometry.moore:
            continue
        (centre,) = picked(Plain.of(requested), seed, 1)
        query = reach_query(requested, [centre], seed / 8, None, None)

        (listed,) = [part async for part in reachable(operations, held(requested), query)]

        assert requested.geometry.ball(centre, seed // 8) == len(listed.sites)


@pytest.mark.parametrize("obstructed", [False, True])
@pytest.mark.parametrize("with_costs", [False, True])
async def test_sites_that_are_not_taken_yet_are_held_of_the_send_budget(
    operations: OperationContext, obstructed: bool, with_costs: bool
) -> None:
    requested = blocked_spec(geometry(300, 300), 0.1 * obstructed, seed=1, free=[0])
    costs = SiteCosts(np.ones(90_000, np.uint8), mean=False) if with_costs else None
    query = reach_query(requested, [(0, 0)], 1e9, None, costs)

    async with aclosing(reachable(operations, held(requested), query)) as parts:
        left = [(part, operations.send_budget.lent) async for part in parts]

    count = left[0][0].count
    assert count > 60_000
    for part, lent in left:
        assert lent == 16 * (count - part.first_index - len(part.sites))


@pytest.mark.parametrize(("cost", "side"), [(None, 5), (1, 7), (2, 5)])
async def test_no_more_is_reserved_than_lies_within_reach(
    operations: OperationContext, monkeypatch: pytest.MonkeyPatch, cost: int | None, side: int
) -> None:
    requested = blocked_spec(geometry(300, 300), 0.1, seed=1, free=[0, 299])
    costs = None if cost is None else SiteCosts(np.full(90_000, cost, np.uint8), mean=False)
    query = reach_query(requested, [(0, 0), (0, 299)], 2.5, None, costs)
    budget, reserved = operations.send_budget, list[int]()
    compute = operations.compute.run

    async def noted(estimate: Estimate, work: Callable[[Stop], Any]) -> Any:
        reserved.append(budget.lent)
        return await compute(estimate, work)

    monkeypatch.setattr(operations.compute, "run", noted)
    (answer,) = [part async for part in reachable(operations, held(requested), query)]

    assert reserved[-1] == 16 * 2 * side * side
    assert len(answer.sites) == answer.count <= 2 * 6


@pytest.mark.parametrize("share", [0.0, 0.1])
async def test_what_is_near_and_not_listed_is_let_go(
    operations: OperationContext, share: float
) -> None:
    requested = held(blocked_spec(geometry(300, 300), share, seed=1, free=[0]))
    query = reach_query(requested.spec, [(0, 0)], 1e9, 3, None)
    async with aclosing(reachable(operations, requested, query)) as parts:
        answer = await anext(parts)
        assert len(answer.sites) == len(answer.distances) == 3

    tracemalloc.start()
    try:
        async with aclosing(reachable(operations, requested, query)) as parts:
            await anext(parts)
            taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken < 200_000


@pytest.mark.parametrize("axis_count", [1, 2, 3])
async def test_nearest_sources_are_those_of_the_plainest_search(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in range(24):
        requested = random_spec(seed, axis_count)
        lattice, costs = Plain.of(requested), random_costs(requested, seed)
        sources = picked(lattice, seed, 5)
        lengths = [plain_lengths(lattice, costs, [source]) for source in sources]

        query = nearest_query(requested, sources, 3, [], None, costs)
        answers = [part async for part in nearest_sources(operations, held(requested), query)]

        nearest = np.concatenate([part.sources for part in answers])
        distances = np.concatenate([part.distances for part in answers])
        for site, ranks, far in zip(lattice.sites(), nearest, distances, strict=True):
            known = sorted(one[site] for one in lengths if site in one)[:3]
            reached = [rank for rank in ranks.tolist() if rank >= 0]
            assert far[: len(known)] == pytest.approx(known, rel=1e-11, abs=1e-9)
            assert far[len(known) :].tolist() == [-1] * (3 - len(known))
            assert [lengths[rank][site] for rank in reached] == pytest.approx(known, abs=1e-9)
            assert len(set(reached)) == len(reached) == len(known)


async def test_nearest_sources_that_were_sent_are_let_go_of(operations: OperationContext) -> None:
    requested = blocked_spec(geometry(300, 300), 0.1, seed=1, free=[0])
    query = nearest_query(requested, [(0, 0)], 1, [], None, None)

    async with aclosing(nearest_sources(operations, held(requested), query)) as parts:
        first = weakref.ref(await anext(parts))
        await anext(parts)

        assert first() is None


@pytest.mark.parametrize("is_obstructed", [False, True])
async def test_of_sources_that_are_equally_far_the_one_listed_first_comes_first(
    operations: OperationContext, is_obstructed: bool
) -> None:
    blocked = bytes([0, 1]) if is_obstructed else b""
    requested = LatticeSpec(geometry=geometry(9), blocked=blocked)
    bad = Violations()
    selected = selection(requested.geometry, [[2]], None, bad)
    assert selected is not None
    query = NearestQuery(sources=((4,), (0,)), k=2, selected=selected)

    (answer,) = [part async for part in nearest_sources(operations, held(requested), query)]

    assert answer.sources.tolist() == [[0, 1]]


def test_bounds_that_make_no_sense_are_refused() -> None:
    requested = spec(5)
    with pytest.raises(InvalidInput) as wrong:
        nearest_query(requested, [[0], [1]], 3, [], None, None)
    assert [one.field for one in wrong.value.violations] == ["k"]
