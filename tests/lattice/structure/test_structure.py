"""What lattices are like as graphs, against plain linear algebra and published values."""

import asyncio
import math
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.lattice.computing.compute import Compute, Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.domain import LatticeSpec, Method
from services.lattice.errors import ConsumerTooSlow, WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.operations.context import OperationContext
from services.lattice.operations.sites import Selection, selection
from services.lattice.structure.centrality import Measure, centrality_query, find_centrality
from services.lattice.structure.components import find_components, label_components
from services.lattice.structure.degrees import count_degrees
from services.lattice.structure.extent import measure_extent
from services.lattice.structure.heat import find_heat, find_resistances, heat_query
from services.lattice.structure.partitions import find_colouring, find_communities
from services.lattice.structure.percolation import percolate, sweep_query
from services.lattice.structure.spectrum import count_trees, find_spectrum
from services.lattice.structure.tree import find_tree
from services.plumbing.errors import InvalidInput, Violations
from tests.lattice.kernels.reference import Plain
from tests.lattice.structure.plain import PlainGraph
from tests.lattice.worlds import blocked_spec, geometry, held, operations_on, random_spec, spec

SEEDS = range(16)
AXES = pytest.mark.parametrize("axis_count", [1, 2, 3])


def everything(requested: LatticeSpec) -> Selection:
    chosen = selection(requested.geometry, [], None, Violations())
    assert chosen is not None
    return chosen


async def all_of(parts: AsyncGenerator[Any], name: str) -> np.ndarray[Any, Any]:
    return np.concatenate([getattr(part, name) async for part in parts])


@AXES
async def test_sites_have_as_many_neighbours_as_they_have(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        degrees = PlainGraph(requested).degrees.astype(int)

        actual = await count_degrees(operations, held(requested))

        assert list(actual.counts) == sorted(
            (int(one), int((degrees == one).sum())) for one in set(degrees)
        )


async def test_a_quintillion_sites_are_counted_by_their_degrees(
    operations: OperationContext,
) -> None:
    n = 10**6 - 2
    actual = await count_degrees(operations, held(spec(10**6, 10**6, 10**6)))

    assert list(actual.counts) == [(3, 8), (4, 12 * n), (5, 6 * n**2), (6, n**3)]
    assert actual.computation.method is Method.CLOSED_FORM


@AXES
async def test_components_are_those_that_paths_join(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count, share=0.5)
        graph = PlainGraph(requested)
        labels = graph.labels()
        sizes = np.bincount(labels)

        components = await find_components(operations, held(requested), 1_000)
        actual = await all_of(
            label_components(operations, held(requested), everything(requested)), "labels"
        )

        assert actual.tolist() == graph.spread(labels.astype(float), -1)
        assert components.count == len(sizes)
        assert [one.size for one in components.largest] == sorted(sizes, reverse=True)
        for one in components.largest:
            members = [graph.sites[n] for n in np.flatnonzero(labels == one.label).tolist()]
            assert one.first == members[0]
            faces = [
                {site[axis] for site in members} >= {0, length - 1}
                for axis, length in enumerate(requested.geometry.shape)
            ]
            assert list(one.spanning) == faces


async def test_a_ring_is_led_around_unless_it_is_cut(operations: OperationContext) -> None:
    ring = geometry(5, 4, periodic=True)
    bits = np.zeros((5, 4), bool)
    bits[2] = True
    cut = LatticeSpec(geometry=ring, blocked=np.packbits(bits, bitorder="little").tobytes())
    bits[2, 1] = False
    gap = LatticeSpec(geometry=ring, blocked=np.packbits(bits, bitorder="little").tobytes())

    wraps = [
        list((await find_components(operations, held(one), 1)).largest[0].wrapping)
        for one in (cut, gap, spec(5, 4, periodic=True))
    ]

    assert wraps == [[False, True], [True, True], [True, True]]


@AXES
async def test_sites_are_as_far_apart_as_the_plainest_search_says(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        graph = PlainGraph(requested)
        distances = graph.distances()
        finite = distances[np.isfinite(distances) & ~np.eye(len(graph.sites), dtype=bool)]
        longest = np.where(np.isfinite(distances), distances, -1).max(axis=1)
        lattice = held(requested)

        whole = await measure_extent(operations, lattice, [])
        some = await measure_extent(operations, lattice, graph.sites[:5])

        assert whole.diameter == longest.max()
        assert whole.radius == longest.min()
        assert whole.mean_distance == pytest.approx(finite.mean() if len(finite) else 0, rel=1e-12)
        assert list(some.eccentricities) == longest[:5].tolist()


async def test_a_quintillion_sites_are_as_far_apart_as_a_formula_says(
    operations: OperationContext,
) -> None:
    actual = await measure_extent(operations, held(spec(10**9, 10**9)), [])

    assert (actual.diameter, actual.radius) == (2 * 10**9 - 2, 10**9)
    assert actual.mean_distance == pytest.approx(2 * 10**9 / 3, rel=1e-9)


def plain_centrality(graph: PlainGraph, measure: Measure, damping: float) -> Any:
    count = len(graph.sites)
    distances = graph.distances()
    finite = np.where(np.isfinite(distances), distances, 0)
    if measure is Measure.DEGREE:
        return graph.degrees
    if measure is Measure.CLOSENESS:
        others = np.isfinite(distances).sum(axis=1) - 1
        far = np.maximum(finite.sum(axis=1), 1)
        return others / far * others / max(1, count - 1)
    if measure is Measure.HARMONIC:
        return np.where(finite > 0, 1 / np.maximum(finite, 1), 0).sum(axis=1)
    if measure is Measure.BETWEENNESS:
        return graph.betweenness()
    if measure is Measure.KATZ:
        return np.linalg.solve(np.eye(count) - damping * graph.adjacency, np.ones(count))
    lone = graph.degrees == 0
    walk = np.where(lone, 1 / count, graph.adjacency / np.maximum(graph.degrees, 1))
    return np.linalg.solve(np.eye(count) - damping * walk, np.full(count, (1 - damping) / count))


@AXES
@pytest.mark.parametrize("measure", [one for one in Measure if one is not Measure.EIGENVECTOR])
async def test_centralities_are_those_of_plain_linear_algebra(
    operations: OperationContext, axis_count: int, measure: Measure
) -> None:
    for seed in range(16):
        requested = random_spec(seed, axis_count, sites_max=60)
        graph = PlainGraph(requested)
        damping = 0.5 / max(1.0, float(np.linalg.eigvalsh(graph.adjacency)[-1]))
        if measure is Measure.PAGERANK:
            damping = 0.85
        expected = plain_centrality(graph, measure, damping)

        query = centrality_query(requested, measure, [], None, 0, damping)
        actual = await all_of(find_centrality(operations, held(requested), query), "values")

        np.testing.assert_allclose(actual, graph.spread(expected, 0), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("measure", Measure)
@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 1, 1)])
async def test_a_site_that_is_alone_is_as_central_as_one_among_blocked_ones(
    operations: OperationContext, measure: Measure, shape: tuple[int, ...]
) -> None:
    two = geometry(*shape[1:], 2)
    among = LatticeSpec(geometry=two, blocked=np.packbits([0, 1], bitorder="little").tobytes())

    values = []
    for requested in (spec(*shape), among):
        query = centrality_query(requested, measure, [(0,) * len(shape)], None, 0, 0.5)
        centralities = await all_of(find_centrality(operations, held(requested), query), "values")
        values.append(centralities.tolist())

    assert values[0] == pytest.approx(values[1])


@AXES
async def test_the_eigenvector_is_one_and_as_long_as_it_should_be(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in range(0, 16, 2):
        requested = random_spec(seed, axis_count, sites_max=60)
        graph = PlainGraph(requested)

        query = centrality_query(requested, Measure.EIGENVECTOR, [], None, 0, 0)
        actual = await all_of(find_centrality(operations, held(requested), query), "values")

        largest = np.linalg.eigvalsh(graph.adjacency)[-1]
        np.testing.assert_allclose(graph.adjacency @ actual, largest * actual, atol=1e-7)
        assert np.linalg.norm(actual) == pytest.approx(1)
        assert (actual >= 0).all()


@pytest.mark.parametrize(
    ("shape", "site", "value"),
    [
        ((10, 10, 10), (4, 4, 4), 13284.239055966711),
        ((100, 100, 100), (49, 49, 49), 169004648.0112),
        # The sum of 1 / C(a + b, a) over 0 < a, b < 1000: paths from side to side.
        ((1000, 1000), (0, 0), 13.966939719098688),
    ],
)
async def test_betweenness_is_as_published(
    operations: OperationContext, shape: tuple[int, ...], site: tuple[int, ...], value: float
) -> None:
    requested = spec(*shape)
    query = centrality_query(requested, Measure.BETWEENNESS, [site], None, 0, 0)

    (actual,) = await all_of(find_centrality(operations, held(requested), query), "values")

    assert actual == pytest.approx(value, rel=1e-9)


async def test_the_most_central_sites_come_first(operations: OperationContext) -> None:
    requested = spec(10, 10, 10)
    query = centrality_query(requested, Measure.BETWEENNESS, [], None, 9, 0)

    (part,) = [one async for one in find_centrality(operations, held(requested), query)]

    middle = [[a, b, c] for a in (4, 5) for b in (4, 5) for c in (4, 5)]
    assert part.sites.tolist()[:8] == middle
    assert part.values[0] == pytest.approx(13284.239055966711, rel=1e-11)
    assert part.values[8] < part.values[7] - 1


@pytest.mark.parametrize("measure", Measure)
async def test_no_blocked_site_is_among_the_most_central(
    operations: OperationContext, measure: Measure
) -> None:
    bits = np.packbits([1, 0, 1, 0], bitorder="little").tobytes()
    requested = LatticeSpec(geometry=geometry(4), blocked=bits)
    query = centrality_query(requested, measure, [], None, 2, 0.5)

    (part,) = [one async for one in find_centrality(operations, held(requested), query)]

    assert part.sites.tolist() == [[1], [3]]
    assert np.isfinite(part.values).all()


@AXES
async def test_eigenvalues_are_those_of_the_laplacian(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        expected = np.linalg.eigvalsh(PlainGraph(requested).laplacian)
        k = min(7, len(expected))

        actual = await find_spectrum(operations, held(requested), k)

        np.testing.assert_allclose(actual.eigenvalues, expected[:k], atol=1e-9)
        above = expected[expected > 1e-9]
        if len(above) and actual.gap:
            assert actual.gap == pytest.approx(above[0], rel=1e-9)


async def test_eigenvalues_of_large_lattices_are_found_by_iteration(
    operations: OperationContext,
) -> None:
    frame = geometry(50, 47)
    bits = np.zeros(frame.sites, bool)
    bits[-1] = True
    requested = LatticeSpec(geometry=frame, blocked=np.packbits(bits, bitorder="little").tobytes())
    expected = np.linalg.eigvalsh(PlainGraph(requested).laplacian)[:4]

    actual = await find_spectrum(operations, held(requested), 4)

    assert actual.computation.method is Method.SUBSPACE_ITERATION
    np.testing.assert_allclose(actual.eigenvalues, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "periodic", "count"),
    [
        ((2, 2), False, 4),
        ((3, 3), False, 192),
        ((6, 6), False, 32565539635200),
        ((3, 3), True, 11664),
        ((4, 4), True, 42467328),
        ((2, 2, 2), False, 384),
        ((4, 4, 4), False, 172685928902844729688524604506636288),
    ],
)
async def test_spanning_trees_are_as_many_as_published(
    operations: OperationContext, shape: tuple[int, ...], periodic: bool, count: int
) -> None:
    """A007341, A212800, A071763."""
    actual = await count_trees(operations, held(spec(*shape, periodic=periodic)))

    assert actual.log_count == pytest.approx(math.log(count), rel=1e-13)


async def test_spanning_trees_of_large_lattices_are_as_published(
    operations: OperationContext,
) -> None:
    cube = await count_trees(operations, held(spec(10, 10, 10)))
    plane = await count_trees(operations, held(spec(1_000, 1_000)))
    strip = await count_trees(operations, held(spec(10**15, 1_000)))

    assert cube.log_count == pytest.approx(1529.92934490742, rel=1e-12)
    assert plane.log_count / 10**6 == pytest.approx(1.16448, abs=5e-6)
    assert strip.log_count / 10**18 == pytest.approx(1.1662436, abs=1e-3)


@AXES
async def test_spanning_trees_are_as_many_as_a_determinant_says(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        graph = PlainGraph(requested)
        labels = graph.labels()
        kept = np.setdiff1d(np.arange(len(labels)), np.unique(labels, return_index=True)[1])
        expected = np.linalg.slogdet(graph.laplacian[np.ix_(kept, kept)])[1] if len(kept) else 0

        actual = await count_trees(operations, held(requested))

        assert actual.log_count == pytest.approx(expected, rel=1e-10, abs=1e-9)
        assert actual.trees == labels.max() + 1


@AXES
async def test_heat_flows_as_the_exponential_of_the_laplacian_says(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        graph = PlainGraph(requested)
        time = [0.0, 0.3, 5.0, 400.0][seed % 4]
        values, vectors = np.linalg.eigh(graph.laplacian)
        expected = vectors @ (np.exp(-time * values) * vectors[0])

        query = heat_query(requested, graph.sites[0], time, [], None)
        actual = await all_of(find_heat(operations, held(requested), query), "values")

        np.testing.assert_allclose(actual, graph.spread(expected, 0), atol=1e-12)


async def test_heat_on_a_quintillion_sites_is_that_far_from_any_edge(
    operations: OperationContext,
) -> None:
    requested = spec(10**9, 10**9)
    middle = (5 * 10**8, 5 * 10**8)
    query = heat_query(requested, middle, 1.0, [middle, (0, 0)], None)

    actual = await all_of(find_heat(operations, held(requested), query), "values")

    # exp(-2) I_0(2) along each axis.
    assert actual.tolist() == pytest.approx([0.30850832255367103**2, 0.0], rel=1e-12)


@AXES
async def test_resistances_are_those_of_the_inverse_of_the_laplacian(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count, sites_max=100)
        graph = PlainGraph(requested)
        inverse, labels = np.linalg.pinv(graph.laplacian), graph.labels()
        last = len(graph.sites) - 1
        pairs = [(graph.sites[0], graph.sites[n]) for n in (0, last // 2, last)]
        expected = [
            inverse[0, 0] + inverse[n, n] - 2 * inverse[0, n] if labels[0] == labels[n] else -1
            for n in (0, last // 2, last)
        ]

        actual = await find_resistances(operations, held(requested), pairs)

        assert list(actual.values) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "a", "b", "value"),
    [
        ((2, 2, 2), (0, 0, 0), (1, 1, 1), 5 / 6),
        ((3, 3), (0, 0), (2, 2), 3 / 2),
        ((10, 10), (0, 0), (9, 9), 3.01166956489654),
    ],
)
async def test_resistances_are_as_published(
    operations: OperationContext,
    shape: tuple[int, ...],
    a: tuple[int, ...],
    b: tuple[int, ...],
    value: float,
) -> None:
    actual = await find_resistances(operations, held(spec(*shape)), [(a, b)])

    assert list(actual.values) == [pytest.approx(value, rel=1e-12)]


@AXES
async def test_a_cheapest_tree_joins_everything_and_none_is_cheaper(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        graph = PlainGraph(requested)
        costs = None
        prices: Any = np.ones(requested.geometry.sites)
        if seed % 3:
            prices = np.random.default_rng(seed).integers(1, 9, requested.geometry.sites) * 1.0
            costs = SiteCosts(prices, mean=False)
        parts = [part async for part in find_tree(operations, held(requested), costs, listed=True)]

        edges = np.concatenate([part.edges for part in parts])
        assert parts[0].edge_count == len(edges) == len(graph.sites) - graph.labels().max() - 1
        assert parts[0].cost == pytest.approx(prices[edges].mean(axis=1).sum())
        assert parts[0].cost == pytest.approx(plain_tree_cost(graph, prices))


def plain_tree_cost(graph: PlainGraph, prices: np.ndarray[Any, Any]) -> float:
    """Prim's algorithm from one vertex of each component after the other."""
    numbers = [int(np.ravel_multi_index(site, graph.lattice.shape)) for site in graph.sites]
    paid = prices[numbers]
    weights = np.where(graph.adjacency > 0, (paid[:, None] + paid[None]) / 2, np.inf)
    total, inside = 0.0, np.zeros(len(numbers), bool)
    while not inside.all():
        least = np.where(inside[:, None] & ~inside[None], weights, np.inf)
        if math.isinf(least.min(initial=math.inf)):
            inside[np.flatnonzero(~inside)[0]] = True
            continue
        total += least.min()
        inside[np.unravel_index(least.argmin(), least.shape)[1]] = True
    return total


@AXES
async def test_no_two_neighbours_have_the_same_colour(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        graph = PlainGraph(requested)
        parts = [
            part
            async for part in find_colouring(operations, held(requested), everything(requested))
        ]

        colours = np.concatenate([part.groups for part in parts])
        of_vertices = colours[colours >= 0]
        assert len(of_vertices) == len(graph.sites)
        clashes = graph.adjacency * (of_vertices[:, None] == of_vertices[None])
        assert not clashes.any()
        assert of_vertices.max() < parts[0].count
        assert parts[0].computation is not None
        if parts[0].computation.exact and parts[0].count > 1 and not requested.geometry.moore:
            assert parts[0].count == 2 or is_odd(graph)


def is_odd(graph: PlainGraph) -> bool:
    """Whether two colours are too few: two neighbours are equally far from some site."""
    distances = graph.distances()
    finite = np.isfinite(distances)
    parity = np.where(finite, distances, 0) % 2
    firsts = finite.argmax(axis=1)
    sides = parity[firsts, np.arange(len(firsts))]
    return bool((graph.adjacency * (sides[:, None] == sides[None])).any())


@AXES
async def test_communities_have_the_modularity_that_is_told(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count)
        graph = PlainGraph(requested)
        parts = [
            part
            async for part in find_communities(
                operations, held(requested), everything(requested), seed
            )
        ]

        labels = np.concatenate([part.groups for part in parts])
        of_vertices = labels[labels >= 0]
        total = graph.degrees.sum()
        if not total:
            continue
        same = of_vertices[:, None] == of_vertices[None]
        chance = np.outer(graph.degrees, graph.degrees) / total
        expected = ((graph.adjacency - chance) * same).sum() / total
        assert parts[0].modularity == pytest.approx(expected, abs=1e-12)
        assert parts[0].count == len(set(of_vertices.tolist()))


@pytest.mark.parametrize("length", [10**6, 10**13, 2**63 - 1])
async def test_the_last_site_is_in_the_last_community_however_long_an_axis_is(
    operations: OperationContext, length: int
) -> None:
    requested = spec(length)
    ends = selection(requested.geometry, [[0], [length // 2], [length - 1]], None, Violations())
    assert ends is not None

    (part,) = [one async for one in find_communities(operations, held(requested), ends, 0)]

    first, middle, last = part.groups.tolist()
    assert (first, middle, last) == (0, length // 2 * part.count // length, part.count - 1)


@pytest.mark.parametrize(
    ("n", "configurations"),
    [
        (2, [0, 0, 2, 4, 1]),
        (3, [0, 0, 0, 3, 22, 59, 67, 36, 9, 1]),
        (
            4,
            [0, 0, 0, 0, 4, 60, 390, 1452, 3416, 5272, 5414, 3736, 1752, 560, 120, 16, 1],
        ),
    ],
)
async def test_open_sites_lead_across_as_often_as_published(
    operations: OperationContext, n: int, configurations: list[int]
) -> None:
    shares = [0.3, 0.5, 0.7]
    requested = spec(n, n)
    query = sweep_query(requested, 4_000, 7, 0, [*shares, 0.0, 1.0])

    sweep = await percolate(operations, held(requested), query)

    for place, share in enumerate(shares):
        exact = sum(
            count * share**k * (1 - share) ** (n * n - k) for k, count in enumerate(configurations)
        )
        assert abs(sweep.probabilities[place] - exact) < 4 * sweep.errors[place]
    assert sweep.probabilities[3:] == [0.0, 1.0]


@AXES
async def test_sites_are_opened_whichever_are_blocked_until_they_lead_across(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in SEEDS:
        requested = random_spec(seed, axis_count, sites_max=60)
        axis, runs = seed % axis_count, 5
        query = sweep_query(requested, runs, seed, axis, [0.5])

        sweep = await percolate(operations, held(requested), query)

        thresholds = plain_thresholds(requested.geometry, axis, runs, seed)
        shares = np.array(thresholds) / requested.geometry.sites
        assert sweep.threshold_mean == pytest.approx(shares.mean(), abs=1e-12)
        assert sweep.threshold_error == pytest.approx(shares.std(ddof=1) / np.sqrt(runs), abs=1e-12)


def plain_thresholds(free: Geometry, axis: int, runs: int, seed: int) -> list[int]:
    """How many sites are open, in the same orders, when searches among them first lead across."""
    lattice = Plain.of(LatticeSpec(geometry=replace(free, no_cutting=False)))
    sites, rng = lattice.free_sites(), np.random.default_rng(seed)
    thresholds = []
    for _ in range(runs):
        opened: set[tuple[int, ...]] = set()
        for number in rng.permutation(len(sites)):
            opened.add(sites[number])
            reached = [site for site in opened if site[axis] == 0]
            for site in reached:
                near = opened.intersection(lattice.neighbours(site))
                reached += sorted(near.difference(reached))
            if any(site[axis] == free.shape[axis] - 1 for site in reached):
                break
        thresholds.append(len(opened))
    return thresholds


async def test_the_same_seed_opens_the_same_sites(operations: OperationContext) -> None:
    requested = spec(20, 20)
    sweeps = [
        await percolate(operations, held(requested), sweep_query(requested, 5, seed, 1, [0.6]))
        for seed in (1, 1, 2)
    ]

    means = [sweep.threshold_mean for sweep in sweeps]
    assert means[0] == means[1] != means[2]


async def test_work_that_is_too_much_is_refused_with_the_numbers(
    operations: OperationContext,
) -> None:
    huge = held(spec(10**9, 10**9))
    with pytest.raises(WorkTooLarge) as refusal:
        await count_trees(operations, huge)
    assert refusal.value.metadata == {"estimate": 32 * 10**9, "limit": 5 << 28}

    with pytest.raises(WorkTooLarge) as refusal:
        await percolate(operations, huge, sweep_query(huge.spec, 5, 1, 0, [0.5]))
    assert refusal.value.metadata == {"estimate": 10**18, "limit": 33_554_432}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"measure": Measure.PAGERANK, "damping": 1.0}, "damping"),
        ({"measure": Measure.KATZ, "damping": 0.0}, "damping"),
        ({"measure": Measure.DEGREE, "targets": [[5, 0]]}, "targets[0].coordinates[0]"),
    ],
)
def test_centralities_that_make_no_sense_are_refused(fields: dict[str, Any], field: str) -> None:
    asked = {"targets": [], "region": None, "top_k": 0, "damping": 0.0} | fields
    with pytest.raises(InvalidInput) as wrong:
        centrality_query(spec(5, 5), **asked)

    assert [one.field for one in wrong.value.violations] == [field]


@pytest.mark.parametrize("measure", [Measure.DEGREE, Measure.CLOSENESS])
async def test_more_sites_than_are_free_are_refused(
    operations: OperationContext, measure: Measure
) -> None:
    obstructed = blocked_spec(geometry(5, 5), 0.3, seed=1)
    for requested in (spec(5, 5), obstructed):
        lattice = held(requested)
        free_sites = lattice.lattice.vertices
        most = centrality_query(requested, measure, [], None, free_sites, 0.4)
        more = centrality_query(requested, measure, [], None, free_sites + 1, 0.4)

        assert len(await all_of(find_centrality(operations, lattice, most), "values")) == free_sites
        with pytest.raises(InvalidInput) as wrong:
            await anext(find_centrality(operations, lattice, more))
        assert [one.field for one in wrong.value.violations] == ["top_k"]


@pytest.mark.parametrize("is_free", [True, False])
async def test_heat_that_flows_for_ever_is_everywhere_alike_or_too_much_work(
    operations: OperationContext, is_free: bool
) -> None:
    requested = spec(4, 5) if is_free else blocked_spec(geometry(4, 5), 0.1, seed=1)
    query = heat_query(requested, PlainGraph(requested).sites[0], 1e308, [], None)

    if is_free:
        amounts = await all_of(find_heat(operations, held(requested), query), "values")
        np.testing.assert_allclose(amounts, 1 / 20)
    else:
        with pytest.raises(WorkTooLarge):
            await anext(find_heat(operations, held(requested), query))


async def test_katz_beyond_the_largest_eigenvalue_is_refused(operations: OperationContext) -> None:
    for requested in (spec(5, 5), blocked_spec(geometry(5, 5), 0.1, seed=1)):
        query = centrality_query(requested, Measure.KATZ, [], None, 0, 0.4)
        with pytest.raises(InvalidInput) as wrong:
            await anext(find_centrality(operations, held(requested), query))
        assert [one.field for one in wrong.value.violations] == ["damping"]


def answers_in_parts(
    operations: OperationContext, requested: LatticeSpec
) -> dict[str, AsyncGenerator[Any]]:
    """All rpcs that stream something of each site, by what their parts hold."""
    lattice, sites = held(requested), everything(requested)
    heat = heat_query(requested, (0, 0), 1.0, [], None)
    degrees = centrality_query(requested, Measure.DEGREE, [], None, 0, 0.0)
    return {
        "heat": find_heat(operations, lattice, heat),
        "centrality": find_centrality(operations, lattice, degrees),
        "components": label_components(operations, lattice, sites),
        "colours": find_colouring(operations, lattice, sites),
        "communities": find_communities(operations, lattice, sites, 0),
        "tree": find_tree(operations, lattice, None, listed=True),
    }


def bytes_of(part: Any) -> int:
    """What grows with the sites of a part."""
    return max(one.nbytes for one in vars(part).values() if isinstance(one, np.ndarray))


@pytest.mark.parametrize("share", [0.0, 0.1])
async def test_parts_are_held_of_the_send_budget_from_before_they_are_computed_until_they_are_sent(
    operations: OperationContext, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    requested = blocked_spec(geometry(200, 250), share, seed=1, free=[0])
    budget, before = operations.send_budget, list[int]()
    run = operations.compute.run

    async def noted(estimate: Estimate, work: Callable[[Stop], Any]) -> Any:
        before.append(budget.lent)
        return await run(estimate, work)

    monkeypatch.setattr(operations.compute, "run", noted)
    for name, parts in answers_in_parts(operations, requested).items():
        before.clear()
        sizes, left = list[int](), list[int]()
        async for part in parts:
            sizes.append(bytes_of(part))
            left.append(budget.lent)

        assert len(sizes) >= 3, name
        assert sum(sizes) <= before[0] <= sum(sizes) + 0.2 * sum(sizes), name
        for place, held_bytes in enumerate(left):
            assert held_bytes >= sum(sizes[place + 1 :]), name
        assert left[-1] == 0, name


@pytest.mark.parametrize("share", [0.0, 0.1])
async def test_parts_that_were_sent_are_let_go_of(
    operations: OperationContext, share: float
) -> None:
    requested = blocked_spec(geometry(200, 250), share, seed=1, free=[0])

    for name, parts in answers_in_parts(operations, requested).items():
        async with aclosing(parts):
            first = weakref.ref(await anext(parts))
            await anext(parts)

            assert first() is None, name


async def linger(parts: AsyncGenerator[Any]) -> None:
    """Take the first part, and never come back for the next."""
    async with aclosing(parts):
        async for _ in parts:
            await asyncio.Event().wait()


async def test_a_reader_that_does_not_come_back_ends_and_holds_nothing() -> None:
    compute = Compute(threads=1, bytes_max=2 << 30, waiting_max=10)
    operations = operations_on(compute, part_timeout_s=0.05)
    requested = blocked_spec(geometry(200, 250), 0.1, seed=1, free=[0])

    for parts in answers_in_parts(operations, requested).values():
        with pytest.raises(ConsumerTooSlow):
            await linger(parts)

        assert operations.send_budget.lent == 0
    await compute.close()
