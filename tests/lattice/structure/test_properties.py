"""Kernels against the plainest answers, on whatever lattice Hypothesis comes up with."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.lattice.domain import LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.routing.counting import count_shortest
from services.lattice.kernels.routing.nearest import find_nearest
from services.lattice.kernels.structure.graph import iterations
from services.lattice.kernels.structure.graph.clusters import clusters_of
from services.lattice.kernels.structure.graph.colours import greedy, two_colours
from services.lattice.kernels.structure.graph.communities import louvain, modularity
from services.lattice.kernels.structure.graph.rows import Rows, rows_of
from services.lattice.kernels.structure.graph.searches import betweenness, sum_distances
from services.lattice.kernels.structure.graph.trees import cheapest_tree, log_spanning_trees
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import find_cheapest
from tests.lattice.kernels.reference import Plain, grid_of
from tests.lattice.structure.plain import PlainGraph

GO = np.zeros(1, np.uint8)
SITES_MAX = 48
PRICES = [0.0, 0.5, 1.0, 3.0, 1e6]
whatever = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def lattices(draw: st.DrawFn, sites_max: int = SITES_MAX) -> LatticeSpec:
    """Any shape, boundaries, neighbourhood, corner rule and mask, with one free site at least."""
    shape: list[int] = []
    for _ in range(draw(st.integers(1, 4))):
        shape.append(draw(st.integers(1, max(1, sites_max // math.prod(shape)))))
    sites = math.prod(shape)
    blocked = np.array(draw(st.lists(st.booleans(), min_size=sites, max_size=sites)))
    blocked[draw(st.integers(0, sites - 1))] = False
    frame = Geometry(
        tuple(shape),
        tuple(draw(st.booleans()) for _ in shape),
        moore=draw(st.booleans()),
        no_cutting=draw(st.booleans()),
    )
    return LatticeSpec(geometry=frame, blocked=np.packbits(blocked, bitorder="little").tobytes())


def kernels_of(requested: LatticeSpec) -> tuple[PlainGraph, Grid, Rows]:
    graph = PlainGraph(requested)
    grid = grid_of(graph.lattice)
    return graph, grid, rows_of(grid, count_edges(grid, GO), GO)


def lifted_around(lattice: Plain, axis: int, times: int) -> PlainGraph:
    """The same with an axis so many times as long: what leads around it once no longer does."""
    blocked = np.concatenate([lattice.blocked] * times, axis=axis)
    frame = Geometry(blocked.shape, lattice.periodic, lattice.moore, lattice.no_cutting)
    bits = np.packbits(blocked, axis=None, bitorder="little").tobytes()
    return PlainGraph(LatticeSpec(geometry=frame, blocked=bits))


def leads_around(lattice: Plain, axis: int, first: tuple[int, ...]) -> bool:
    length = lattice.shape[axis]
    if not lattice.periodic[axis] or length <= 2:
        return False
    for times in (2, 3):
        graph = lifted_around(lattice, axis, times)
        labels = dict(zip(graph.sites, graph.labels().tolist(), strict=True))
        copies = [
            (*first[:axis], first[axis] + n * length, *first[axis + 1 :]) for n in range(times)
        ]
        if len({labels[copy] for copy in copies}) < times:
            return True
    return False


@whatever
@given(lattices(sites_max=24))
def test_components_are_those_of_plain_searches(requested: LatticeSpec) -> None:
    graph, grid, _ = kernels_of(requested)
    labels = graph.labels()
    frame = requested.geometry

    clusters = clusters_of(grid, GO)
    unlabelled = clusters_of(grid, GO, is_labelled=False)

    assert clusters.labels.tolist() == graph.spread(labels.astype(float), -1)
    assert clusters.sizes.tolist() == np.bincount(labels).tolist() == unlabelled.sizes.tolist()
    for label, index in enumerate(clusters.firsts.tolist()):
        members = [graph.sites[n] for n in np.flatnonzero(labels == label).tolist()]
        assert frame.index(members[0]) == index == unlabelled.firsts[label]
        for axis, length in enumerate(frame.shape):
            across = {site[axis] for site in members} >= {0, length - 1}
            assert clusters.spanning[label, axis] == across == unlabelled.spanning[label, axis]
            around = leads_around(graph.lattice, axis, members[0])
            assert clusters.wrapping[label, axis] == around == unlabelled.wrapping[label, axis]


@whatever
@given(lattices(), st.integers(1, 3))
def test_searches_from_all_sites_sum_what_plain_ones_do(
    requested: LatticeSpec, shares: int
) -> None:
    graph, _, rows = kernels_of(requested)
    distances = graph.distances()
    parts = [np.arange(first, rows.count, shares) for first in range(shares)]

    between = sum(betweenness(rows, part, GO) for part in parts)
    sums = sum_distances(rows, np.arange(rows.count), GO)

    np.testing.assert_allclose(between, graph.betweenness(), atol=1e-9)
    reached = np.where(np.isfinite(distances), distances, 0)
    assert sums.farness.tolist() == reached.sum(axis=1).tolist()
    assert sums.longest.tolist() == reached.max(axis=1).tolist()
    assert sums.reached.tolist() == np.isfinite(distances).sum(axis=1).tolist()


@whatever
@given(lattices(), st.data(), st.booleans())
def test_cheapest_ways_cost_what_plain_ones_do(
    requested: LatticeSpec, data: st.DataObject, mean: bool
) -> None:
    graph, grid, _ = kernels_of(requested)
    lattice, sites = graph.lattice, requested.geometry.sites
    prices = data.draw(st.lists(st.sampled_from(PRICES), min_size=sites, max_size=sites))
    values = np.array(prices)
    costs = SiteCosts(values, mean)
    sources = [data.draw(st.sampled_from(graph.sites)) for _ in range(3)]
    lengths = [
        lattice.costly_distances(values.reshape(lattice.shape), [one], mean=mean) for one in sources
    ]

    path = find_cheapest(grid, costs, sources[0], sources[1], GO)
    indices = np.array([grid.index(one) for one in sources], np.int64)
    nearest = find_nearest(grid, costs, indices, 3, GO)

    expected = lengths[0].get(sources[1])
    assert path.found == (expected is not None)
    if expected is not None:
        assert path.length == pytest.approx(expected, rel=1e-11, abs=1e-9)
    for site in graph.sites:
        known = sorted(one[site] for one in lengths if site in one)
        by_rank = nearest.ranks.lengths[grid.index(site)]
        assert by_rank[np.isfinite(by_rank)].tolist() == pytest.approx(known, rel=1e-11, abs=1e-9)


@whatever
@given(lattices(), st.data())
def test_shortest_paths_are_as_many_as_plain_sums_say(
    requested: LatticeSpec, data: st.DataObject
) -> None:
    graph, grid, _ = kernels_of(requested)
    lattice = graph.lattice
    start, goal = (data.draw(st.sampled_from(graph.sites)) for _ in range(2))
    lengths = lattice.distances([start])
    counts = {start: 1}
    for site in sorted(lengths, key=lambda one: lengths[one]):
        for near, cost in lattice.neighbours(site).items():
            if math.isclose(lengths[site] + cost, lengths[near], rel_tol=1e-12):
                counts[near] = counts.get(near, 0) + counts[site]

    counted = count_shortest(grid, grid.index(start), grid.index(goal), 1 << 20, GO)

    assert (counted.count or 0) == counts.get(goal, 0)


@whatever
@given(lattices(), st.data())
def test_trees_are_those_of_linear_algebra(requested: LatticeSpec, data: st.DataObject) -> None:
    graph, grid, rows = kernels_of(requested)
    labels, count = graph.labels(), rows.count
    prices = np.array(
        data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)), np.float64
    )
    trees = 0.0
    for label in set(labels.tolist()):
        members = np.flatnonzero(labels == label)[1:]
        trees += np.linalg.slogdet(graph.laplacian[np.ix_(members, members)])[1]

    edges, cost = cheapest_tree(rows, prices, GO)
    log_count = log_spanning_trees(rows, clusters_of(grid, GO).labels[rows.sites], GO)

    assert log_count == pytest.approx(trees, abs=1e-8)
    assert len(edges) == count - len(set(labels.tolist()))
    assert cost == pytest.approx(plain_tree_cost(graph, prices))


def plain_tree_cost(graph: PlainGraph, prices: np.ndarray) -> float:
    """Prim's algorithm, as in a textbook, in each component."""
    inside: set[int] = set()
    total = 0.0
    for start in range(len(graph.sites)):
        if start in inside:
            continue
        inside.add(start)
        while True:
            leaving = [
                ((prices[a] + prices[b]) / 2, int(b))
                for a in inside
                for b in np.flatnonzero(graph.adjacency[a])
                if int(b) not in inside
            ]
            if not leaving:
                break
            price, vertex = min(leaving)
            total += price
            inside.add(vertex)
    return total


@whatever
@given(lattices())
def test_no_two_neighbours_are_coloured_alike(requested: LatticeSpec) -> None:
    graph, _, rows = kernels_of(requested)
    tails, heads = np.nonzero(graph.adjacency)

    colours, two = greedy(rows, GO), two_colours(rows, GO)

    assert (colours[tails] != colours[heads]).all()
    signs = np.linalg.eigvalsh(graph.adjacency)
    is_bipartite = bool(np.allclose(signs, -signs[::-1], atol=1e-8))
    assert (two is not None) == is_bipartite
    if two is not None:
        assert (two[tails] != two[heads]).all()


@whatever
@given(lattices(), st.integers(0, 99))
def test_modularity_is_that_of_its_definition(requested: LatticeSpec, seed: int) -> None:
    graph, _, rows = kernels_of(requested)
    twice = graph.degrees.sum()

    labels = louvain(rows, seed, GO)

    if twice:
        same = labels[:, None] == labels[None, :]
        chance = np.outer(graph.degrees, graph.degrees) / twice
        expected = ((graph.adjacency - chance) * same).sum() / twice
        assert modularity(rows, labels) == pytest.approx(expected, abs=1e-12)


@whatever
@given(lattices(), st.data())
def test_iterations_come_close_to_linear_algebra(
    requested: LatticeSpec, data: st.DataObject
) -> None:
    graph, _, rows = kernels_of(requested)
    count = rows.count
    one = data.draw(st.integers(0, count - 1))
    time = data.draw(st.floats(0, 20))
    values, vectors = np.linalg.eigh(graph.laplacian)
    flown = vectors @ (np.exp(-time * values) * vectors[one])
    degrees = np.maximum(graph.degrees, 1)
    walk = np.where(graph.degrees > 0, graph.adjacency / degrees, 1 / count)

    heat, _ = iterations.heat(rows, one, time, GO)
    least, _ = iterations.least_eigenvalues(rows, min(3, count), 20_000, GO)
    ranks, _ = iterations.pagerank(rows, 0.85, 20_000, GO)

    np.testing.assert_allclose(heat, flown, atol=1e-9)
    np.testing.assert_allclose(least, values[: len(least)], atol=1e-6)
    expected = np.linalg.solve(np.eye(count) - 0.85 * walk, np.full(count, 0.15 / count))
    np.testing.assert_allclose(ranks, expected, atol=1e-8)


@whatever
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_lengths_on_free_lattices_with_diagonal_steps_have_a_closed_form(
    shape: list[int], data: st.DataObject
) -> None:
    rings = tuple(data.draw(st.booleans()) for _ in shape)
    frame = Geometry(tuple(shape), rings, moore=True, no_cutting=True)
    lattice = Plain.of(LatticeSpec(geometry=frame))
    start = tuple(data.draw(st.integers(0, length - 1)) for length in shape)

    for goal, length in lattice.distances([start]).items():
        runs = frame.runs(start, goal)
        run_length = sum(run.count * math.sqrt(sum(map(abs, run.step))) for run in runs)
        assert run_length == pytest.approx(length, rel=1e-12)


def test_lines_of_more_than_a_word_are_read_off_bit_by_bit() -> None:
    rng = np.random.default_rng(3)
    for length in (63, 64, 65, 127, 130):
        blocked = rng.random((5, length)) < 0.4
        grid = grid_of(Plain(blocked, (False, True), moore=False, no_cutting=True))

        clusters = clusters_of(grid, GO)

        joined = (
            blocked[:, :-1]
            | blocked[:, 1:]
            | (np.diff(clusters.labels.reshape(5, length), axis=1) == 0)
        )
        assert joined.all()
        assert (clusters.labels.reshape(5, length) < 0).tolist() == blocked.tolist()
        assert clusters.sizes.sum() == (~blocked).sum()
