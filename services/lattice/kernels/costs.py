"""What a computation on a grid may take, known before anything is allocated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Upper bounds of the work and of the bytes per site reserved beyond the grid."""

    looks: int
    """Neighbours looked at, when every site has to be expanded. 3 to 10 ns each."""
    bytes_reserved: int


def cost_of_search(shape: Sequence[int], *, moore: bool) -> Cost:
    """The cost of one search; the open list adds what it needs, see `Search.bytes_held`."""
    sites = math.prod(shape)
    return Cost(sites * _steps(shape, moore), sites * (8 if _is_diagonal(shape, moore) else 2))


def cost_of_distances(shape: Sequence[int], *, moore: bool) -> Cost:
    """The cost of measuring the distance of every site."""
    sites = math.prod(shape)
    return Cost(sites * _steps(shape, moore), sites * (16 if _is_diagonal(shape, moore) else 8))


def _is_diagonal(shape: Sequence[int], moore: bool) -> bool:
    return moore and sum(length > 1 for length in shape) > 1


def _steps(shape: Sequence[int], moore: bool) -> int:
    """The neighbours of a site, at most."""
    per_axis = [min(length, 3) for length in shape if length > 1]
    return math.prod(per_axis) - 1 if moore else sum(length - 1 for length in per_axis)
