"""A box of sites, or every so many of them along each axis. Pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.plumbing.errors import Violations

Lengths = tuple[int, ...]


@dataclass(frozen=True)
class Region:
    """Sites `origin + k * steps`, with `0 <= k < shape` along each axis; all lie inside."""

    origin: Lengths
    shape: Lengths
    steps: Lengths

    @property
    def sites(self) -> int:
        return math.prod(self.shape)

    def covers(self, whole: Sequence[int]) -> bool:
        """It is all of an array of that shape."""
        return self.shape == tuple(whole)

    @classmethod
    def whole(cls, shape: Sequence[int]) -> "Region":
        """All sites of a shape."""
        axes = len(shape)
        return cls((0,) * axes, tuple(shape), (1,) * axes)


def region_of(
    whole: Sequence[int], origin: Sequence[int], shape: Sequence[int], steps: Sequence[int]
) -> Region:
    """What is asked for of an array of the shape `whole`, each empty where it is not said.

    Without a `shape` it reaches as far as the array. Raises InvalidInput naming what does not
    fit.
    """
    axes, bad = len(whole), Violations()
    for field, values in (("origin", origin), ("shape", shape), ("steps", steps)):
        if len(values) not in (0, axes):
            bad.add(field, f"must be empty or have {axes} values, not {len(values)}")
    bad.raise_if_any()
    begins = tuple(origin) or (0,) * axes
    strides = tuple(steps) or (1,) * axes
    for axis, (begin, length) in enumerate(zip(begins, whole, strict=True)):
        if begin >= length:
            bad.add(f"origin[{axis}]", f"must be 0 to {length - 1}")
    bad.raise_if_any()
    reach = tuple(
        (length - begin + stride - 1) // stride
        for begin, stride, length in zip(begins, strides, whole, strict=True)
    )
    for axis, (asked, most) in enumerate(zip(shape, reach, strict=False)):
        if asked > most:
            bad.add(f"shape[{axis}]", f"must be at most {most}, to lie inside the lattice")
    bad.raise_if_any()
    return Region(begins, tuple(shape) or reach, strides)
