"""How many shortest paths there are, against published numbers and the plainest sums."""

import math

import numpy as np
import pytest

from services.lattice.domain import Method, Site
from services.lattice.kernels.routing.counting import digits_of, is_prime
from services.lattice.operations.context import OperationContext
from services.lattice.routing.counting import (
    CountAnswer,
    _log2_multinomial,
    _multinomial,
    count_paths,
    count_query,
)
from tests.lattice.kernels.reference import Plain
from tests.lattice.worlds import blocked_spec, geometry, held, random_spec, spec


def plain_count(lattice: Plain, start: Site, goal: Site) -> int:
    """Sums along the shortest paths, the nearest sites first."""
    lengths = lattice.distances([start])
    counts = dict.fromkeys(lengths, 0)
    counts[start] = 1
    for site in sorted(lengths, key=lambda one: lengths[one]):
        for near, cost in lattice.neighbours(site).items():
            if math.isclose(lengths[site] + cost, lengths[near], rel_tol=1e-12):
                counts[near] += counts[site]
    return counts.get(goal, 0)


async def counted(
    operations: OperationContext, requested: "object", start: Site, goal: Site
) -> CountAnswer:
    lattice = held(requested)  # type: ignore[arg-type]
    return await count_paths(operations, lattice, count_query(lattice.spec, start, goal))


@pytest.mark.parametrize("axis_count", [1, 2, 3, 4])
async def test_paths_are_as_many_as_the_plainest_sums_say(
    operations: OperationContext, axis_count: int
) -> None:
    for seed in range(24):
        requested = random_spec(seed, axis_count)
        goal = tuple(length - 1 for length in requested.geometry.shape)
        expected = plain_count(Plain.of(requested), (0,) * axis_count, goal)

        answer = await counted(operations, requested, (0,) * axis_count, goal)

        assert answer.digits == str(expected)
        assert answer.log10 == pytest.approx(math.log10(expected) if expected else 0)


async def test_paths_across_a_cube_are_as_many_as_published(operations: OperationContext) -> None:
    answer = await counted(operations, spec(10, 10, 10), (0, 0, 0), (9, 9, 9))

    assert answer.digits == "227873431500"
    assert answer.computation.method is Method.CLOSED_FORM
    assert (await counted(operations, spec(11, 11), (0, 0), (10, 10))).digits == "184756"


async def test_a_number_of_hundreds_of_digits_is_exact_around_obstacles(
    operations: OperationContext,
) -> None:
    frame = geometry(400, 400)
    free = await counted(operations, spec(400, 400), (0, 0), (399, 399))
    almost = blocked_spec(frame, 0.0, seed=1)
    bits = np.zeros(frame.sites, bool)
    bits[frame.index((399, 0))] = True
    almost = type(almost)(geometry=frame, blocked=np.packbits(bits, bitorder="little").tobytes())

    answer = await counted(operations, almost, (0, 0), (399, 399))

    assert answer.computation.method is Method.PATH_COUNTING
    assert int(answer.digits) == int(free.digits) - 1
    assert len(answer.digits) == 239


async def test_a_number_that_is_too_long_to_tell_has_a_logarithm(
    operations: OperationContext,
) -> None:
    answer = await counted(operations, spec(10**9, 10**9), (0, 0), (10**9 - 1, 10**9 - 1))

    n = 10**9 - 1
    assert answer.digits == ""
    assert answer.log10 == pytest.approx(
        2 * n * math.log10(2) - math.log10(math.pi * n) / 2, rel=1e-12
    )


@pytest.mark.parametrize(
    "shape",
    [
        (7 * 10**14, 12_000),
        (10**15, 9_000),
        (10**11, 9_000, 9_000),
        (10**10, 30_000, 30_000),
        (170_000, 170_001),
        (70_000, 70_000, 70_000),
    ],
)
async def test_the_logarithm_is_that_of_the_number_to_the_rounding_of_a_double(
    operations: OperationContext, shape: Site
) -> None:
    corner = tuple(length - 1 for length in shape)
    total, count = 0, 1
    for length in corner:
        total += length
        count *= math.comb(total, length)

    answer = await counted(operations, spec(*shape), (0,) * len(shape), corner)

    assert bool(answer.digits) == (count < 10**100_000)
    assert answer.log10 == pytest.approx(math.log10(count), rel=2e-15)


@pytest.mark.parametrize(
    "counts",
    [
        (),
        (1,),
        (5, 0, 0),
        (1, 1),
        (2, 1),
        (15, 16),
        (17, 3, 1),
        (10**15, 1),
        (10**19, 2, 2),
        (16,) * 9,
    ],
)
def test_logarithms_of_small_numbers_are_as_good(counts: tuple[int, ...]) -> None:
    expected = math.log2(_multinomial(counts))

    assert _log2_multinomial(counts) == pytest.approx(expected, rel=1e-14)


async def test_opposite_sites_of_a_ring_are_reached_both_ways(operations: OperationContext) -> None:
    answer = await counted(operations, spec(6, 4, 2, periodic=True), (0, 0, 0), (3, 2, 1))

    assert answer.digits == str(2 * 2 * math.factorial(6) // (6 * 2))


def test_digits_are_those_of_the_number_however_many() -> None:
    assert digits_of(0) == "0"
    assert digits_of(10**5_000 + 7) == "1" + "0" * 4_999 + "7"
    assert digits_of(7 * 10**9_999) == "7" + "0" * 9_999


def test_primes_are_told_from_products() -> None:
    assert [n for n in range(39, 80, 2) if is_prime(n)] == [41, 43, 47, 53, 59, 61, 67, 71, 73, 79]
    assert is_prime(2**61 - 1)
    assert not is_prime((2**31 - 1) * (2**29 - 3))
