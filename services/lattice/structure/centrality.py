"""Centralities of sites: by formula on a free lattice, by iteration or search elsewhere."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import (
    BLOCKABLE_SITES_MAX,
    Computation,
    LatticeSpec,
    Method,
)
from services.lattice.errors import WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.free import centralities as free
from services.lattice.kernels.structure.free.centralities import ProductSum
from services.lattice.kernels.structure.free.quadrature import NODES_MAX
from services.lattice.kernels.structure.graph import iterations, searches
from services.lattice.kernels.structure.graph.rows import Rows
from services.lattice.operations.context import OperationContext
from services.lattice.operations.sites import Selection, selection
from services.lattice.structure.work import (
    STEPS_MAX,
    VALUES_PER_ANSWER,
    Clock,
    Work,
    computed,
    computed_beside,
    graph_of,
    graph_work,
    has_formula,
    sites_of,
    streamed_parts,
)
from services.plumbing.errors import InvalidInput, Violations

T = TypeVar("T")

DAMPING_DEFAULT = 0.85
_ITERATIONS = 200
"""So many steps an iteration is estimated to take."""
_DENSE_AXIS_MAX = 2_048
_SHARES_AXIS_MAX = 1_800
"""On longer axes the least of its terms are below the least of doubles."""


class Measure(Enum):
    """What makes a site central."""

    DEGREE = "degree"
    CLOSENESS = "closeness"
    HARMONIC = "harmonic"
    BETWEENNESS = "betweenness"
    EIGENVECTOR = "eigenvector"
    PAGERANK = "pagerank"
    KATZ = "katz"


_SEARCHED = (Measure.CLOSENESS, Measure.HARMONIC, Measure.BETWEENNESS)
"""On graphs by a search from each vertex."""


@dataclass(frozen=True, kw_only=True)
class CentralityQuery:
    """Which of which sites; with `top_k` the sites where it is largest."""

    measure: Measure
    selected: Selection
    top_k: int = 0
    damping: float = 0.0


@dataclass(frozen=True, eq=False)
class CentralityPart:
    """Some values; with `top_k` their sites, of shape (n, axes)."""

    first_index: int
    values: NDArray[np.float64]
    sites: NDArray[np.int64]
    computation: Computation | None


def centrality_query(
    spec: LatticeSpec,
    measure: Measure,
    targets: Sequence[Sequence[int]],
    region: tuple[Sequence[int], Sequence[int]] | None,
    top_k: int,
    damping: float,
) -> CentralityQuery:
    """Check a query; raises InvalidInput naming every bad field."""
    bad = Violations()
    geometry = spec.geometry
    if measure is Measure.PAGERANK and damping >= 1:
        bad.add("damping", f"must be above 0 and below 1, not {damping}")
    if measure is Measure.KATZ and damping == 0:
        bad.add("damping", "must be given, above 0")
    whole = top_k and geometry.sites > BLOCKABLE_SITES_MAX
    if whole:
        bad.add("top_k", f"must be unset with more than {BLOCKABLE_SITES_MAX:,} sites")
    selected = None if whole else selection(geometry, targets, region, bad)
    bad.raise_if_any()
    assert selected is not None
    if measure is Measure.PAGERANK:
        damping = damping or DAMPING_DEFAULT
    return CentralityQuery(measure=measure, selected=selected, top_k=top_k, damping=damping)


async def find_centrality(
    context: OperationContext, lattice: HeldLattice, query: CentralityQuery
) -> AsyncGenerator[CentralityPart]:
    """Yield the values of sites. Raises WorkTooLarge, and InvalidInput for a damping and for more
    sites than are free."""
    geometry, free_sites = lattice.spec.geometry, lattice.lattice.vertices
    if query.top_k > free_sites:
        raise InvalidInput.of("top_k", f"must be at most the number of free sites, {free_sites}")
    if has_formula(lattice):
        _check_formula(geometry, query)
        work = _formula_work(geometry, query)
        find = partial(computed, context, work, partial(_by_formula, geometry, query))
    elif query.measure in _SEARCHED:
        work = _searches_work(context, lattice, query)
        find = partial(_by_searches, context, lattice, query, work)
    else:
        work = graph_work(lattice, _graph_looks(lattice, query.measure), bytes_per_site=64)
        find = partial(computed, context, work, partial(_on_graph, lattice, query))
    size_bytes = 8 * (query.top_k or query.selected.count)
    async with aclosing(streamed_parts(context, work, size_bytes, find)) as parts:
        async for part in parts:
            yield part


def _check_formula(geometry: Geometry, query: CentralityQuery) -> None:
    longest = max(geometry.shape)
    limits = {
        Measure.BETWEENNESS: _SHARES_AXIS_MAX,
        Measure.PAGERANK: _DENSE_AXIS_MAX,
        Measure.KATZ: _DENSE_AXIS_MAX,
    }
    limit = limits.get(query.measure)
    if limit and longest > limit:
        raise WorkTooLarge(
            "an axis is longer than this centrality is worked out along",
            estimate=longest,
            limit=limit,
        )
    nodes = free.harmonic_nodes(geometry)
    if query.measure is Measure.HARMONIC and nodes > NODES_MAX:
        raise WorkTooLarge(
            "sites are further apart than distances are summed for", estimate=nodes, limit=NODES_MAX
        )
    if query.measure is Measure.KATZ:
        _check_katz(query.damping, free.largest_adjacency_eigenvalue(geometry))


def _check_katz(damping: float, largest: float) -> None:
    bad = Violations()
    if damping * largest >= 1:
        bad.add(
            "damping", f"must be below {1 / largest:.6g}, the inverse of the largest eigenvalue"
        )
    bad.raise_if_any()


def _formula_work(geometry: Geometry, query: CentralityQuery) -> Work:
    count, axes = query.selected.count, len(geometry.shape)
    lengths = sum(geometry.shape)
    nodes = free.harmonic_nodes(geometry)
    each = {
        Measure.DEGREE: 1,
        Measure.CLOSENESS: 1,
        Measure.EIGENVECTOR: 1,
        Measure.HARMONIC: nodes,
        Measure.BETWEENNESS: nodes,
        Measure.PAGERANK: 300,
        Measure.KATZ: 300,
    }[query.measure]
    tables = {
        Measure.HARMONIC: nodes * (lengths + nodes),
        Measure.BETWEENNESS: nodes * sum(length**2 for length in geometry.shape),
        Measure.EIGENVECTOR: lengths,
        Measure.PAGERANK: sum(length**3 for length in geometry.shape) // 8,
        Measure.KATZ: sum(length**3 for length in geometry.shape) // 8,
    }.get(query.measure, 0)
    # A matrix product does some four terms in the time of a look.
    looks = tables + count * each * axes // 4
    return Work(looks=looks, size_bytes=24 * count + 16 * each * lengths + (1 << 25))


def _by_formula(geometry: Geometry, query: CentralityQuery, stop: Stop) -> list[CentralityPart]:
    clock = Clock()
    find = _finder(geometry, query, stop)
    if query.top_k:
        values = np.concatenate([find(part) for part in _parts(query)])
        return _largest(geometry, values, query.top_k, clock.computation(Method.CLOSED_FORM))
    parts = []
    for part in _parts(query):
        stop.check()
        parts.append(CentralityPart(part.start, find(part), _no_sites(geometry), None))
    computation = clock.computation(Method.CLOSED_FORM, held=8 * query.selected.count)
    return [_first(parts[0], computation), *parts[1:]]


Values = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""The values of sites, of shape (n, axes)."""


def _finder(
    geometry: Geometry, query: CentralityQuery, stop: Stop
) -> Callable[[slice], NDArray[np.float64]]:
    """What tells the values of a part of the sites asked for: all of them are summed at once."""
    sites = partial(sites_of, LatticeSpec(geometry=geometry), query.selected)
    if query.measure is Measure.DEGREE:
        return lambda part: free.degree(geometry, sites(part))
    if query.measure is Measure.CLOSENESS:
        return lambda part: free.closeness(geometry, sites(part))
    sums = _sums(geometry, query, stop)
    region = query.selected.region
    if region is not None and region.shape == geometry.shape:
        totals = np.zeros(geometry.sites)
        for one in sums:
            one.everywhere(stop.check, totals)
        return lambda part: _from_sums(geometry, query, totals[part], sites(part))
    summands = [_chunked(one, stop) for one in sums]

    def find(part: slice) -> NDArray[np.float64]:
        at = sites(part)
        return _from_sums(geometry, query, np.sum([one(at) for one in summands], axis=0), at)

    return find


def _sums(geometry: Geometry, query: CentralityQuery, stop: Stop) -> Sequence[ProductSum]:
    if query.measure is Measure.HARMONIC:
        return [free.harmonic(geometry)]
    if query.measure is Measure.BETWEENNESS:
        return free.betweenness(geometry, stop.check)
    if query.measure is Measure.EIGENVECTOR:
        return [free.eigenvector(geometry)]
    if query.measure is Measure.PAGERANK:
        return [free.pagerank(geometry, query.damping)]
    return [free.katz(geometry, query.damping)]


def _from_sums(
    geometry: Geometry,
    query: CentralityQuery,
    sums: NDArray[np.float64],
    sites: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The centralities that sums over terms tell."""
    if query.measure is Measure.HARMONIC:
        return sums - free.harmonic_less(geometry)
    if query.measure is Measure.BETWEENNESS:
        return (sums - float(2 * geometry.sites - 1)) / 2
    if query.measure is Measure.PAGERANK:
        return np.ones(len(sites)) if geometry.sites == 1 else sums * free.degree(geometry, sites)
    return sums


def _chunked(sums: ProductSum, stop: Stop) -> Values:
    """So many sites at a time that their terms fit a cache."""
    at_once = max(1, (1 << 20) // len(sums.weights))

    def values(sites: NDArray[np.int64]) -> NDArray[np.float64]:
        numbers = np.empty(len(sites))
        for first in range(0, len(sites), at_once):
            stop.check()
            numbers[first : first + at_once] = sums.at(sites[first : first + at_once])
        return numbers

    return values


def _graph_looks(lattice: HeldLattice, measure: Measure) -> int:
    per_pass = lattice.looks_max
    if measure in (Measure.CLOSENESS, Measure.HARMONIC):
        return lattice.lattice.vertices * per_pass
    if measure is Measure.BETWEENNESS:
        return 2 * lattice.lattice.vertices * per_pass
    return _ITERATIONS * per_pass if measure is not Measure.DEGREE else per_pass


def _searches_work(context: OperationContext, lattice: HeldLattice, query: CentralityQuery) -> Work:
    geometry = lattice.spec.geometry
    laid_out = graph_work(lattice, _graph_looks(lattice, query.measure), bytes_per_site=16)
    scratch = context.compute.threads * searches.bytes_to_search(geometry.sites, geometry.edges)
    return replace(laid_out, size_bytes=laid_out.size_bytes + scratch)


async def _by_searches(
    context: OperationContext, lattice: HeldLattice, query: CentralityQuery, work: Work
) -> list[CentralityPart]:
    """From every vertex, on as many threads as a tenant has."""
    clock, threads = Clock(), context.compute.threads
    laid_ns, rows = await computed(
        context, graph_work(lattice, 0), partial(_timed, partial(graph_of, lattice))
    )
    # Every so many: neighbours take as long as each other.
    shares = [np.arange(first, rows.count, threads) for first in range(min(threads, rows.count))]
    searched = partial(_searched_from, rows, query.measure)
    parts = [partial(_timed, partial(searched, one)) for one in shares]
    added = await computed_beside(context, work, parts)
    method = Method.BRANDES if query.measure is Measure.BETWEENNESS else Method.BREADTH_FIRST
    values = np.sum([part for _, part in added], axis=0) if added else np.zeros(0)
    searched_ns = max((took_ns for took_ns, _ in added), default=0)

    def computation(*, expanded: int, held: int) -> Computation:
        """Without what was waited for between."""
        measured = clock.computation(method, expanded=expanded, held=held)
        return replace(measured, elapsed_ns=laid_ns + searched_ns)

    return _parts_of(lattice, query, rows, values, computation, rows.count)


def _timed(work: Callable[[Stop], T], stop: Stop) -> tuple[int, T]:
    """How many nanoseconds it took, and what came of it."""
    began_ns = time.perf_counter_ns()
    done = work(stop)
    return time.perf_counter_ns() - began_ns, done


def _searched_from(
    rows: Rows, measure: Measure, sources: NDArray[np.int64], stop: Stop
) -> NDArray[np.float64]:
    """What searches from some vertices add to the values of all."""
    if measure is Measure.BETWEENNESS:
        return searches.betweenness(rows, sources, stop.flag)
    sums, values = searches.sum_distances(rows, sources, stop.flag), np.zeros(rows.count)
    is_harmonic = measure is Measure.HARMONIC
    values[sources] = sums.harmonic if is_harmonic else _closeness(sums, rows.count)
    return values


def _on_graph(lattice: HeldLattice, query: CentralityQuery, stop: Stop) -> list[CentralityPart]:
    clock = Clock()
    rows = graph_of(lattice, stop)
    values, method, exact, steps = _values_on_graph(rows, query, stop)
    return _parts_of(
        lattice, query, rows, values, partial(clock.computation, method, exact=exact), steps
    )


def _parts_of(
    lattice: HeldLattice,
    query: CentralityQuery,
    rows: Rows,
    values: NDArray[np.float64],
    computation_of: Callable[..., Computation],
    passes: int,
) -> list[CentralityPart]:
    """The values of vertices as those of the sites asked for."""
    geometry = lattice.spec.geometry
    # Of the largest none is blocked, though no free site be above 0.
    blocked = -np.inf if query.top_k else 0.0
    everywhere = rows.spread(values, blocked).astype(np.float64)
    computation = computation_of(
        expanded=passes * rows.count, held=rows.bytes_held + everywhere.nbytes
    )
    if query.top_k:
        return _largest(geometry, everywhere, query.top_k, computation)
    parts = [
        CentralityPart(
            part.start,
            everywhere[query.selected.indices(geometry, part)].copy(),
            _no_sites(geometry),
            None,
        )
        for part in _parts(query)
    ]
    return [_first(parts[0], computation), *parts[1:]]


def _values_on_graph(
    rows: Rows, query: CentralityQuery, stop: Stop
) -> tuple[NDArray[np.float64], Method, bool, int]:
    """The values of vertices, how they were found, whether exactly, and in how many passes."""
    measure = query.measure
    if not rows.count:
        return np.zeros(0), Method.COUNTING, True, 0
    if measure is Measure.DEGREE:
        return rows.degrees.astype(np.float64), Method.COUNTING, True, 1
    if measure is Measure.PAGERANK:
        ranks, steps = iterations.pagerank(rows, query.damping, STEPS_MAX, stop.flag)
        return ranks, Method.POWER_ITERATION, False, steps
    vector, largest, steps = iterations.eigenvector(rows, STEPS_MAX, stop.flag)
    if measure is Measure.EIGENVECTOR:
        return vector, Method.POWER_ITERATION, False, steps
    _check_katz(query.damping, largest)
    values, steps = iterations.katz(rows, query.damping, STEPS_MAX, stop.flag)
    return values, Method.CONJUGATE_GRADIENT, False, steps


def _closeness(sums: searches.Sums, count: int) -> NDArray[np.float64]:
    others = (sums.reached - 1).astype(np.float64)
    plain = np.divide(others, sums.farness, out=np.zeros(len(others)), where=sums.farness > 0)
    return plain * others / max(1, count - 1)


def _parts(query: CentralityQuery) -> list[slice]:
    return list(query.selected.parts(VALUES_PER_ANSWER))


def _largest(
    geometry: Geometry, values: NDArray[np.float64], k: int, computation: Computation
) -> list[CentralityPart]:
    """Of equal ones the first in C order: values that differ by rounding are equal."""
    rounded = np.round(values / max(float(values.max(initial=0.0)), 1e-300), 12)
    order = np.argsort(-rounded, kind="stable")[:k]
    sites = np.stack(np.unravel_index(order, geometry.shape), axis=1)
    return [CentralityPart(0, values[order], sites, computation)]


def _no_sites(geometry: Geometry) -> NDArray[np.int64]:
    return np.zeros((0, len(geometry.shape)), np.int64)


def _first(part: CentralityPart, computation: Computation) -> CentralityPart:
    return CentralityPart(part.first_index, part.values, part.sites, computation)
