"""How many shortest paths there are, exactly: by remainders, from which the number is put together.

The number has as many bits as the path has steps, or more. Remainders by primes of 61 bits are
added up without an object, and without the interpreter's lock.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.fields.distances import unit_lengths
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.weighted.ways import Ways, list_ways

_PRIME_BITS = 61
_SPARE_BITS = 8
"""The number of bits is known to the rounding of a sum of powers."""

Add: TypeAlias = Callable[..., tuple[int, int]]
"""`add_remainders` or `add_logs`."""


@dataclass(frozen=True)
class PathCount:
    """The number of shortest paths; 0 where there is none."""

    count: int | None
    """None where it has too many bits."""
    log2: float
    units: int
    """How long each is, in units of `Grid.costs`; -1 where there is none."""
    sites_expanded: int
    bytes_worked: int


def count_shortest(grid: Grid, start: int, goal: int, bits_max: int, cancel: Cancel) -> PathCount:
    """Count the shortest paths between two free sites, by their C-order indices.

    Not put together when the number has more than `bits_max` bits. Raises `Cancelled`. Work is
    O(sites) for each 61 bits.
    """
    lengths, expanded = unit_lengths(grid, start, goal, cancel)
    if lengths[goal] < 0:
        return PathCount(0, 0.0, -1, expanded, lengths.nbytes)
    order = _on_the_way(lengths, goal)
    logs = np.full(grid.sites, -np.inf)
    logs[start] = 0.0
    worked = lengths.nbytes + order.nbytes + 2 * logs.nbytes
    ways = Ways.on(grid)

    def run(add: Add, values: NDArray[Any], prime: int) -> None:
        progress = np.zeros(1, np.int64)

        def go_on(budget: int) -> tuple[int, int]:
            return add(ways, grid.costs, lengths, order, values, prime, progress, budget)

        run_slices(go_on, 2 * len(ways.steps.sites), cancel)

    run(add_logs, logs, 0)
    log2 = float(logs[goal])
    units = int(lengths[goal])
    if log2 > bits_max:
        return PathCount(None, log2, units, expanded, worked)
    primes = _primes(int(log2) + _SPARE_BITS)
    remainders = []
    for prime in primes:
        sums = np.zeros(grid.sites, np.uint64)
        sums[start] = 1
        run(add_remainders, sums, prime)
        remainders.append(int(sums[goal]))
    return PathCount(_put_together(primes, remainders), log2, units, expanded, worked)


def _on_the_way(lengths: NDArray[np.int64], goal: int) -> NDArray[np.int64]:
    """The sites that are nearer to the start than the goal is, and it, the nearest first."""
    near = np.flatnonzero((lengths > 0) & (lengths < lengths[goal]))
    order = near[np.argsort(lengths[near], kind="stable")]
    return np.append(order, goal) if lengths[goal] > 0 else order


def _primes(bits: int) -> list[int]:
    """Primes just below 2^61 whose product has more than so many bits."""
    primes: list[int] = []
    candidate = (1 << _PRIME_BITS) - 1
    while len(primes) * (_PRIME_BITS - 1) <= bits:
        if is_prime(candidate):
            primes.append(candidate)
        candidate -= 2
    return primes


def is_prime(number: int) -> bool:
    """Whether a number above 37 is: by bases that decide below 2^64 (Sorenson and Webster 2015)."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        if not any((power := power * power % number) == number - 1 for _ in range(twos - 1)):
            return False
    return True


def _put_together(primes: list[int], remainders: list[int]) -> int:
    """The number below the product of primes that has these remainders (Garner's algorithm)."""
    number, product = 0, 1
    for prime, remainder in zip(primes, remainders, strict=True):
        digit = (remainder - number) * pow(product, -1, prime) % prime
        number += digit * product
        product *= prime
    return number


def digits_of(number: int) -> str:
    """The decimal digits of a number of 0 or more, as many as there are.

    `str` refuses long ones, since it takes the square of their length.
    """
    if number.bit_length() < 4_096:
        return str(number)
    half = int(number.bit_length() * math.log10(2)) // 2
    high, low = divmod(number, 10**half)
    return digits_of(high) + digits_of(low).zfill(half)


@kernel
def add_remainders(
    ways: Ways,
    costs: NDArray[np.int64],
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    sums: NDArray[np.uint64],
    prime: int,
    progress: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Add up how many shortest paths lead to each site, modulo a prime below 2^61.

    Parameters
    ----------
    costs : int64 array of shape (d + 1,)
        As in `Grid.costs`.
    lengths : int64 array of shape (sites,)
        From the start, in units of `costs`; negative where not reached.
    order : int64 array of shape (n,)
        The sites to add up for, each behind those that are nearer.
    sums : uint64 array of shape (sites,)
        To begin, 1 at the start and 0 elsewhere.
    progress : int64 array of shape (1,)
        How many of `order` are done.
    """
    expanded = 0
    while progress[0] < order.shape[0]:
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = order[progress[0]]
        total = np.uint64(0)
        for entry in range(1, list_ways(ways, site)):
            near = ways.steps.sites[entry]
            if leads_shortest(lengths, costs, near, site, ways.steps.kinds[entry]):
                total = (total + sums[near]) % np.uint64(prime)
        sums[site] = total
        progress[0] += 1
        expanded += 1
    return EXHAUSTED, expanded


@kernel
def add_logs(
    ways: Ways,
    costs: NDArray[np.int64],
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    logs: NDArray[np.float64],
    _prime: int,
    progress: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """The same with the logarithm to base 2: to begin, 0 at the start and -inf elsewhere."""
    expanded = 0
    while progress[0] < order.shape[0]:
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = order[progress[0]]
        most, total = -np.inf, 0.0
        for entry in range(1, list_ways(ways, site)):
            near = ways.steps.sites[entry]
            if leads_shortest(lengths, costs, near, site, ways.steps.kinds[entry]):
                log = logs[near]
                if log > most:
                    total = total * 2.0 ** (most - log) + 1.0
                    most = log
                elif log > -np.inf:
                    total += 2.0 ** (log - most)
        logs[site] = most + np.log2(total) if total > 0 else -np.inf
        progress[0] += 1
        expanded += 1
    return EXHAUSTED, expanded


@inlined
def leads_shortest(
    lengths: NDArray[np.int64], costs: NDArray[np.int64], near: Int, site: Int, kind: Int
) -> bool:
    """Whether the step from a neighbour is the last of a shortest path."""
    return bool(lengths[near] >= 0 and lengths[near] + costs[kind] == lengths[site])
