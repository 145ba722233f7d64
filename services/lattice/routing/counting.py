"""How many shortest paths there are between two sites: by formula, or along them."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, LatticeSpec, Method, Site, check_free_site
from services.lattice.geometry import Geometry
from services.lattice.kernels.lengths import length_of_steps
from services.lattice.kernels.routing.counting import count_shortest, digits_of
from services.lattice.kernels.warm import ROUTING
from services.lattice.operations.context import OperationContext
from services.plumbing.errors import Violations

DIGITS_MAX = 100_000
_BITS_MAX = int(DIGITS_MAX * math.log2(10))
_SERIES_LEAST = 16
"""From here on four terms of a series are all that a double holds."""
_LOOKS_PER_SITE = 6
"""Searching, sorting, and adding up once for the size and once for every 61 bits."""


@dataclass(frozen=True, kw_only=True)
class CountQuery:
    """Between which sites: both free and inside the lattice."""

    start: Site
    goal: Site


@dataclass(frozen=True, kw_only=True)
class CountAnswer:
    """How many, in decimal digits; "" for more than `DIGITS_MAX`."""

    digits: str
    log10: float
    length: float
    """-1 where there is none."""
    computation: Computation


def count_query(spec: LatticeSpec, start: Sequence[int], goal: Sequence[int]) -> CountQuery:
    """Check that both sites are free; raises InvalidInput naming every bad field."""
    bad = Violations()
    check_free_site(spec, start, "start", bad)
    check_free_site(spec, goal, "goal", bad)
    bad.raise_if_any()
    return CountQuery(start=tuple(start), goal=tuple(goal))


async def count_paths(
    context: OperationContext, lattice: HeldLattice, query: CountQuery
) -> CountAnswer:
    """Count the shortest paths. Raises WorkTooLarge."""
    if lattice.grid is None:
        # So many digits take a tenth of a second to be written.
        looks = 1 << 20
        count = partial(_by_formula, lattice.spec.geometry, query)
        estimate = Estimate(size_bytes=1 << 20, looks=looks)
    else:
        context.work_limit.check(lattice)
        await context.compilation.ready((ROUTING,))
        count = partial(_along_paths, lattice, query)
        estimate = Estimate(
            size_bytes=48 * lattice.grid.sites, looks=_LOOKS_PER_SITE * lattice.looks_max
        )
    answer = await context.compute.run(estimate, count)
    context.record(answer.computation)
    return answer


def _by_formula(geometry: Geometry, query: CountQuery, _stop: Stop) -> CountAnswer:
    began_ns = time.perf_counter_ns()
    runs = geometry.runs(query.start, query.goal)
    counts = [run.count for run in runs]
    kinds = [0] * (len(geometry.shape) + 1)
    for run in runs:
        kinds[sum(map(abs, run.step))] += run.count
    doubled = geometry.opposite_axes(query.start, query.goal)
    log2 = doubled + _log2_multinomial(counts)
    count = _multinomial(counts) << doubled if log2 < _BITS_MAX else None
    return _answer(count, log2, length_of_steps(kinds), Method.CLOSED_FORM, began_ns, 0, 0)


def _along_paths(lattice: HeldLattice, query: CountQuery, stop: Stop) -> CountAnswer:
    began_ns = time.perf_counter_ns()
    grid = lattice.grid
    assert grid is not None
    counted = count_shortest(
        grid, grid.index(query.start), grid.index(query.goal), _BITS_MAX, stop.flag
    )
    length = counted.units / float(grid.costs[1]) if counted.units >= 0 else -1.0
    return _answer(
        counted.count,
        counted.log2,
        length,
        Method.PATH_COUNTING,
        began_ns,
        counted.sites_expanded,
        counted.bytes_worked,
        exact=length <= grid.exact_length,
    )


def _answer(
    count: int | None,
    log2: float,
    length: float,
    method: Method,
    began_ns: int,
    expanded: int,
    bytes_worked: int,
    *,
    exact: bool = True,
) -> CountAnswer:
    digits = "" if count is None else digits_of(count)
    if len(digits) > DIGITS_MAX:
        digits = ""
    return CountAnswer(
        digits=digits,
        log10=_log10(count, log2),
        length=length,
        computation=Computation(
            method=method,
            elapsed_ns=time.perf_counter_ns() - began_ns,
            sites_expanded=expanded,
            memory_bytes=bytes_worked + len(digits),
            exact=exact,
        ),
    )


def _log10(count: int | None, log2: float) -> float:
    """Of the number itself where it is known."""
    if count is None:
        return log2 * math.log10(2)
    return math.log10(count) if count else 0.0


def _multinomial(counts: Sequence[int]) -> int:
    total, product = 0, 1
    for count in counts:
        total += count
        product *= math.comb(total, count)
    return product


def _log2_multinomial(counts: Sequence[int]) -> float:
    """Summed over the binomials that it is a product of: none is less than 1."""
    total, nats = 0, 0.0
    for count in sorted(counts, reverse=True):
        total += count
        nats += _log_binomial(total, count)
    return nats / math.log(2)


def _log_binomial(n: int, k: int) -> float:
    """In nats, of 2 k <= n or of k = n: no terms that are larger than their sum.

    Stirling's formula for the three factorials, with what cancels left out, and what it lacks.
    """
    rest = n - k
    if k == 0 or rest == 0:
        return 0.0
    powers = k * math.log(n / k) - rest * math.log1p(-k / n)
    roots = (math.log(n / rest) - math.log(2 * math.pi * k)) / 2
    return powers + roots + _beyond_stirling(n) - _beyond_stirling(k) - _beyond_stirling(rest)


def _beyond_stirling(n: int) -> float:
    """By how much the logarithm of n! is more than Stirling's formula has it, for n >= 1."""
    if n < _SERIES_LEAST:
        return math.lgamma(n + 1) - (n * math.log(n) - n + math.log(2 * math.pi * n) / 2)
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1_260 - 1 / 1_680 / square) / square) / square) / n
