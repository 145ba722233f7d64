"""How long paths with steps along several axes are: what searches compare, and what is told.

A step along k axes costs sqrt(k), so a length is a sum of whole multiples of the roots of
square-free numbers. Two such sums are equal only where all multiples are (Besicovitch 1940).
Searches add up whole numbers of a small unit in place of roots. What is told is summed from the
multiples, by one function whoever asks, so that the same path is as long to the last bit.
"""

import math
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

AXES_MAX = 10
_ROUNDING = 1e-12
"""By so small a part a length that is added up may be more."""

Numbers: TypeAlias = Any
"""A number of Python, or an array of numpy for as many paths."""

_ROOTS = (1, 2, 3, 5, 6, 7, 10)
"""The square-free numbers of at most `AXES_MAX`."""

# By the number of axes, from 0 on: what a step along one axis costs in whole units, and up to
# which length paths that are compared in these units are in the order of their lengths.
#
# On two axes the unit is a denominator of the continued fraction of sqrt(2), and what a diagonal
# step costs the numerator. No fraction of a smaller denominator lies between the two and
# sqrt(2), so sums of fewer diagonal steps than the unit are ordered as they should be: 2^25
# sites have no path of more.
#
# On more axes the units are those below 2^32 / sqrt(axes), so that a path over 2^25 sites fits
# into 57 bits, whose multiples of the roots are nearest to whole numbers. Up to half of the
# length told, two sums differ from the true ones by less than a unit, and no two different
# ones are equal, which lattice reduction proves; a test does so again.
_UNITS: Sequence[tuple[int, float]] = (
    (1, math.inf),
    (1, math.inf),
    (38_613_965, math.inf),
    (2_107_040_868, 26_848.0),
    (2_107_040_868, 26_848.0),
    (1_903_070_229, 1_187.0),
    (975_355_427, 204.0),
    (1_294_656_464, 74.0),
    (1_294_656_464, 74.0),
    (1_294_656_464, 74.0),
    (148_838_620, 26.0),
)


def rounded_bound(length_max: float) -> float:
    """A bound that sums of roots keep as they are added up, if they keep this one.

    Finite, so that what is not reached never keeps it.
    """
    return min(length_max * (1 + _ROUNDING), sys.float_info.max)


def costs(axis_count: int) -> NDArray[np.int64]:
    """What steps cost, in units, by how many axes they move on: int64 array of shape (d + 1,)."""
    unit, _ = _UNITS[axis_count]
    roots = [_nearest_root(root * unit * unit) for root in _ROOTS]
    kinds = [multiple * roots[place] for place, multiple in _kinds(axis_count)]
    return np.array([0, *kinds], np.int64)


def exact_length(axis_count: int) -> float:
    """Up to which length no other path is shorter than one that costs least."""
    return _UNITS[axis_count][1]


def tags(axis_count: int) -> NDArray[np.int64]:
    """What a step adds to a tally, by how many axes it moves on: int64 array of shape (d + 1,).

    A tally is a length as its multiples of the roots, each in bits of its own. They have room
    for every path of an exact length.
    """
    bits = tally_bits(axis_count)
    kinds = [multiple << place * bits for place, multiple in _kinds(axis_count)]
    return np.array([0, *kinds], np.int64)


def length_of_steps(kinds: Sequence[Numbers]) -> Numbers:
    """The length of a path, by how many of its steps move on 0, 1, ... d axes, or of many."""
    axis_count = len(kinds) - 1
    multiples: list[Numbers] = [0 * kinds[0] for _ in range(_root_count(axis_count))]
    for kind, (place, multiple) in enumerate(_kinds(axis_count), start=1):
        multiples[place] = multiples[place] + multiple * kinds[kind]
    return _sum_of_roots(multiples)


def length_of_tallies(tallies: NDArray[np.int64], axis_count: int) -> NDArray[np.float64]:
    """The lengths that tallies tell, of the same shape."""
    bits = tally_bits(axis_count)
    places = range(_root_count(axis_count))
    multiples = [tallies >> place * bits & ((1 << bits) - 1) for place in places]
    lengths: NDArray[np.float64] = _sum_of_roots(multiples)
    return lengths


def root_parts(axis_count: int) -> NDArray[np.float64]:
    """The roots that lengths are sums of, each in the two parts of `_sum_of_roots`: (n, 2)."""
    return np.array(_ROOT_PARTS[: _root_count(axis_count)], np.float64)


def tally_bits(axis_count: int) -> int:
    """How many bits of a tally each root has."""
    return 63 // _root_count(axis_count)


def _sum_of_roots(multiples: Sequence[Numbers]) -> Numbers:
    """The sum of whole multiples of the roots, each 0 or more.

    A root is told in two parts, of which the higher has 20 bits behind the point: below 2^31
    its multiples are exact, and so is their sum below 2^33. So the error is that of one
    rounding and a millionth of it, and grows to a few of them on lengths beyond. Numbers of
    Python and of numpy are rounded alike.
    """
    high = low = 0.0
    for (high_part, low_part), count in zip(_ROOT_PARTS, multiples, strict=False):
        number = count * 1.0
        high = high + number * high_part
        low = low + number * low_part
    return high + low


@cache
def _kinds(axis_count: int) -> Sequence[tuple[int, int]]:
    """For steps along 1, 2, ... axes: which root their cost is a multiple of, and the multiple."""
    squares = [
        max(n for n in range(1, kind + 1) if kind % (n * n) == 0)
        for kind in range(1, axis_count + 1)
    ]
    return [(_ROOTS.index(kind // n**2), n) for kind, n in enumerate(squares, start=1)]


def _root_count(axis_count: int) -> int:
    return sum(root <= axis_count for root in _ROOTS)


def _parts(root: int) -> tuple[float, float]:
    high = math.isqrt(root << 40)
    return high / 2**20, (_nearest_root(root << 160) - (high << 60)) / 2**80


def _nearest_root(square: int) -> int:
    """The whole number nearest to a root."""
    return (math.isqrt(4 * square) + 1) // 2


_ROOT_PARTS = [_parts(root) for root in _ROOTS]
