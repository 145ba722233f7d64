"""Sums over sites as integrals of products over axes: nodes and weights."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NODES_MAX = 20_000


@lru_cache(maxsize=16)
def gauss_legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on [0, 1], exact for polynomials of degree below 2 * count. O(count^2).

    Nodes rise, and are as precise near 0 as anywhere: what is as near to 1 is told by
    the nodes the other way round, x[::-1] being 1 - x. Newton's method, half of the nodes at once.
    """
    half = (count + 1) // 2
    angles = np.pi * (np.arange(1, half + 1) - 0.25) / (count + 0.5)
    s = 2 * np.sin(angles / 2) ** 2
    for _ in range(10):
        value, slope = _legendre(count, s)
        step = value / slope
        s = s - step
        if (np.abs(step) < 1e-15 * s).all():
            break
    _, slope = _legendre(count, s)
    weights = 1 / (s * (2 - s) * slope * slope)
    nodes = s / 2
    rest = slice(count - half - 1, None, -1) if count > half else slice(0, 0)
    nodes = np.concatenate((nodes, 1 - nodes[rest]))
    weights = np.concatenate((weights, weights[rest]))
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def _legendre(
    count: int, s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The polynomial at 1 - s, and its slope along s.

    By differences, so that nothing is lost where s is small:
    (k + 1) (P(k + 1) - P(k)) = k (P(k) - P(k - 1)) - (2 k + 1) s P(k).
    """
    value, difference = 1 - s, -s
    before = np.ones_like(s)
    for k in range(1, count):
        difference = (k * difference - (2 * k + 1) * s * value) / (k + 1)
        before, value = value, value + difference
    slope = -count * (before - (1 - s) * value) / (s * (2 - s))
    return value, slope


def inverse_by_exponentials(
    least: float, largest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times t and weights a, so that 1/s is the sum of a exp(-t s) for s between the two.

    The trapezoidal rule on the integral of exp(u - s exp(u)), which converges so fast that some
    200 terms are good to the rounding of doubles (Braess and Hackbusch 2005 need fewer).
    """
    step = 0.2
    first, last = np.log(1e-18 / largest), np.log(45.0 / least)
    u = np.arange(first, last + step, step)
    times = np.exp(u)
    return times, step * times
