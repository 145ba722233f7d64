"""Bitmaps, distances and sites as arrays of numpy, which is imported when the first is made."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def packed(blocked: object) -> tuple[tuple[int, ...], bytes]:
    """The shape of an array of booleans, and its bitmap: a bit per site in C order, the least
    significant of each byte first. Raises ValueError for numbers other than 0 and 1."""
    numpy = _numpy()
    array = numpy.asarray(blocked)
    sites = array.astype(bool)
    if array.dtype != bool and not (sites == array).all():
        raise ValueError("blocked must be an array of booleans, or of 0 and 1")
    bitmap: bytes = numpy.packbits(sites, axis=None, bitorder="little").tobytes()
    return sites.shape, bitmap


def unpacked(bitmap: bytes, shape: Sequence[int]) -> "NDArray[np.bool_]":
    """The array of booleans, of `shape`, of a bitmap as `packed` makes it; empty blocks none."""
    numpy = _numpy()
    blocked: NDArray[np.bool_]
    if not bitmap:
        blocked = numpy.zeros(shape, bool)
        return blocked
    packed_bytes = numpy.frombuffer(bitmap, numpy.uint8)
    bits = numpy.unpackbits(packed_bytes, count=math.prod(shape), bitorder="little")
    blocked = bits.view(bool).reshape(shape)
    return blocked


def empty_distances(count: int) -> "NDArray[np.float64]":
    """An array of so many distances that nobody knows yet: 8 bytes each."""
    distances: NDArray[np.float64] = _numpy().full(count, -1.0)
    return distances


def put_distances(into: "NDArray[np.float64]", first: int, distances: Sequence[float]) -> None:
    numpy = _numpy()
    into[first : first + len(distances)] = numpy.fromiter(distances, numpy.float64, len(distances))


def put_values(into: "NDArray[np.float64]", first: int, values: bytes, kind: str) -> None:
    """The same of an array's bytes. `kind` is as numpy writes it."""
    numbers = _numpy().frombuffer(values, kind)
    into[first : first + len(numbers)] = numbers


def finished_distances(
    distances: "NDArray[np.float64]", shape: Sequence[int]
) -> "NDArray[np.float64]":
    """Of `shape`, and infinite where no path leads, which the wire says as -1."""
    distances[distances < 0] = float("inf")
    return distances.reshape(shape)


def no_sites(axis_count: int) -> "NDArray[np.int64]":
    sites: NDArray[np.int64] = _numpy().empty((0, axis_count), "int64")
    return sites


def sites_of(
    start: Sequence[int],
    steps_and_counts: Sequence[tuple[Sequence[int], int]],
    shape: Sequence[int],
) -> "NDArray[np.int64]":
    """The sites from `start` on along the runs, over the edges of periodic axes."""
    numpy = _numpy()
    steps = numpy.array([step for step, _ in steps_and_counts], numpy.int64).reshape(-1, len(shape))
    counts = numpy.array([count for _, count in steps_and_counts], numpy.int64)
    moves = numpy.repeat(steps, counts, axis=0)
    reached = numpy.concatenate([numpy.array([start], numpy.int64), moves]).cumsum(axis=0)
    sites: NDArray[np.int64] = reached % numpy.array(shape, numpy.int64)
    return sites


def _numpy() -> Any:  # noqa: ANN401 - the module
    try:
        import numpy  # noqa: ICN001 - annotations have `np`
    except ImportError as error:
        message = "arrays of lattices need numpy: pip install 'girih[lattice]'"
        raise ImportError(message) from error
    return numpy
