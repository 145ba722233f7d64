"""A path as its straight runs, and the runs turned into sites."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.lengths import length_of_steps


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """A shortest path, or that there is none: then all but the work is zero or empty.

    The form of every path inside the service, whatever computed it; the other form is the
    message of the contract.
    """

    found: bool
    length: float
    """The sum of the steps' costs: 1 per axis step, sqrt(k) for a step along k axes."""
    steps: int
    run_steps: NDArray[np.int8]
    """Of shape (runs, axes): each run's step, -1, 0 or 1 per axis, from the start on."""
    run_counts: NDArray[np.int64]
    """Of shape (runs,): how often each run's step is taken, 1 or more."""
    sites: NDArray[np.int64]
    """Of shape (n, axes): as many of the first sites as are listed, the start included."""
    sites_expanded: int = 0
    """Sites whose neighbours were looked at to find it."""

    @classmethod
    def along(
        cls,
        run_steps: NDArray[np.int8],
        run_counts: NDArray[np.int64],
        *,
        sites_expanded: int = 0,
    ) -> Self:
        """The path that takes these runs, with no site listed."""
        counts = np.zeros(run_steps.shape[1] + 1, np.int64)
        np.add.at(counts, np.abs(run_steps).sum(axis=1), run_counts)
        kinds = counts.tolist()
        return cls(
            found=True,
            length=length_of_steps(kinds),
            steps=sum(kinds),
            run_steps=run_steps,
            run_counts=run_counts,
            sites=np.zeros((0, run_steps.shape[1]), np.int64),
            sites_expanded=sites_expanded,
        )

    @classmethod
    def none(cls, axis_count: int, sites_expanded: int = 0) -> Self:
        """That no path leads to the goal."""
        return cls(
            found=False,
            length=0.0,
            steps=0,
            run_steps=np.zeros((0, axis_count), np.int8),
            run_counts=np.zeros(0, np.int64),
            sites=np.zeros((0, axis_count), np.int64),
            sites_expanded=sites_expanded,
        )

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return self.run_steps.nbytes + self.run_counts.nbytes + self.sites.nbytes

    def listing(
        self, shape: Sequence[int], periodic: Sequence[bool], start: Sequence[int], limit: int
    ) -> Self:
        """This path with its first sites, at most `limit`. Costs what it lists."""
        if not self.found or not limit:
            return self
        sites = expand(shape, periodic, start, self.run_steps, self.run_counts, limit)
        return replace(self, sites=sites)


def runs_of(vectors: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Equal steps in a row as one, and how many they are."""
    if not len(vectors):
        return vectors, np.zeros(0, np.int64)
    turns = np.flatnonzero((vectors[1:] != vectors[:-1]).any(axis=1)) + 1
    firsts = np.concatenate(([0], turns))
    return vectors[firsts], np.diff(np.append(firsts, len(vectors)))


def expand(
    shape: Sequence[int],
    periodic: Sequence[bool],
    start: Sequence[int],
    run_steps: NDArray[np.int8],
    run_counts: NDArray[np.int64],
    limit: int,
) -> NDArray[np.int64]:
    """The first sites of a path from `start` on, at most `limit`: int64, of shape (n, axes).

    `run_steps` has shape (runs, axes), `run_counts` (runs,). Costs some nanoseconds a number.
    """
    site_count = min(limit, 1 + int(run_counts.sum()))
    sites = np.empty((site_count, len(shape)), np.int64)
    rings = np.where(periodic, np.array(shape, np.int64), 0)
    walk(
        rings,
        np.array(start, np.int64),
        np.ascontiguousarray(run_steps),
        np.ascontiguousarray(run_counts),
        sites,
    )
    return sites


@kernel
def walk(
    rings: NDArray[np.int64],
    at: NDArray[np.int64],
    run_steps: NDArray[np.int8],
    run_counts: NDArray[np.int64],
    sites: NDArray[np.int64],
) -> None:
    """Write the sites that runs pass, until `sites` is full.

    Parameters
    ----------
    rings : int64 array of shape (d,)
        The length of each axis that is a ring, 0 of one that is open.
    at : int64 array of shape (d,)
        Where the walk begins. Moved along.
    run_steps, run_counts
        As in `Path`.
    sites : int64 array of shape (n, d), n <= the steps of the runs and one more
        Filled in.
    """
    row = 0
    axis_count = sites.shape[1]
    for run in range(run_steps.shape[0]):
        for _ in range(run_counts[run]):
            if row == sites.shape[0]:
                return
            for axis in range(axis_count):
                sites[row, axis] = at[axis]
                at[axis] = placed(at[axis], run_steps[run, axis], rings[axis])
            row += 1
    if row < sites.shape[0]:
        for axis in range(axis_count):
            sites[row, axis] = at[axis]


@inlined
def placed(at: Int, step: Int, ring: Int) -> Int:
    """Where a step along an axis leads. No sum exceeds 64 bits on the longest ring."""
    if ring == 0:
        return at + step
    if step > 0 and at == ring - 1:
        return np.int64(0)
    if step < 0 and at == 0:
        return ring - 1
    return at + step
