"""Components of slabs of a lattice, joined across the planes between them.

A component's sites know how often the way to them leads around each ring, counted from somewhere in
the component. Joined ones count from the same, and where two ways disagree the component leads
around.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import Int
from services.lattice.kernels.compiled import inlined, kernel


class Border(NamedTuple):
    """The runs of free sites of a plane, in C order."""

    starts: NDArray[np.int32]
    """Of shape (runs,): the site of the plane that each begins at."""
    ends: NDArray[np.int32]
    """Of shape (runs,): the site behind the last of each."""
    components: NDArray[np.int32]
    """Of shape (runs,)."""
    turns: NDArray[np.int32]
    """Of shape (runs, axes): how often the way there leads around, counted in its component."""

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self)


class Sets(NamedTuple):
    """Components that are joined."""

    parents: NDArray[np.int32]
    """Of shape (components,): no parent has a higher number."""
    turns: NDArray[np.int32]
    """Of shape (components, axes): what a way counts in the parent where it counts 0 in this."""
    wraps: NDArray[np.uint8]
    """Of shape (components, axes): of a root, that it leads around."""

    @classmethod
    def of(cls, count: int, axes: int) -> Self:
        """So many, each by itself."""
        shape = (count, axes)
        own = np.arange(count, dtype=np.int32)
        return cls(own, np.zeros(shape, np.int32), np.zeros(shape, np.uint8))

    def with_more(self, count: int) -> "Sets":
        """With so many more, each by itself. A copy."""
        known = len(self.parents)
        more = Sets.of(known + count, self.turns.shape[1])
        more.parents[:known] = self.parents
        more.turns[:known] = self.turns
        more.wraps[:known] = self.wraps
        return more

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self)


def join_planes(sets: Sets, below: Border, above: Border, step: NDArray[np.int32]) -> None:
    """Join the components of two planes whose sites are neighbours, each of the one at its place.

    `step`, int32 of shape (axes,), is how often a step from `below` to `above` leads around each.
    O(runs) and what joining takes.
    """
    scratch = np.zeros((2, len(step)), np.int32)
    join_runs_across(sets, below, above, step, scratch)


def roots_of(sets: Sets) -> NDArray[np.int32]:
    """The root of each, int32 of shape (components,)."""
    roots = np.empty(len(sets.parents), np.int32)
    find_roots(sets, roots)
    return roots


@kernel
def join_runs_across(
    sets: Sets,
    below: Border,
    above: Border,
    step: NDArray[np.int32],
    scratch: NDArray[np.int32],
) -> None:
    """As `join_planes`; `scratch` has shape (2, axes)."""
    here, there = np.int64(0), np.int64(0)
    while here < below.starts.shape[0] and there < above.starts.shape[0]:
        end, other_end = below.ends[here], above.ends[there]
        if below.starts[here] < other_end and above.starts[there] < end:
            join_sites(sets, below, here, above, there, step, scratch)
        # The one that ends first touches nothing more.
        here += np.int64(end <= other_end)
        there += np.int64(other_end <= end)


@inlined
def join_sites(
    sets: Sets,
    below: Border,
    here: Int,
    above: Border,
    there: Int,
    step: NDArray[np.int32],
    scratch: NDArray[np.int32],
) -> None:
    one = counted_root(sets, below.components[here], scratch[0])
    other = counted_root(sets, above.components[there], scratch[1])
    for axis in range(step.shape[0]):
        # What the way over this step counts more, from the root of the one, than the way from
        # the root of the other.
        more = scratch[0, axis] + below.turns[here, axis] + step[axis]
        more -= scratch[1, axis] + above.turns[there, axis]
        if one == other:
            sets.wraps[one, axis] |= np.uint8(more != 0)
        elif one < other:
            sets.turns[other, axis] = more
            sets.wraps[one, axis] |= sets.wraps[other, axis]
        else:
            sets.turns[one, axis] = -more
            sets.wraps[other, axis] |= sets.wraps[one, axis]
    sets.parents[max(one, other)] = min(one, other)


@inlined
def counted_root(sets: Sets, component: Int, counted: NDArray[np.int32]) -> Int:
    """The root of a component's set, and what counts there where it counts 0 in the component; the
    way there is halved."""
    parents, turns = sets.parents, sets.turns
    counted[:] = 0
    at = np.int64(component)
    while parents[at] != at:
        parent = np.int64(parents[at])
        for axis in range(turns.shape[1]):
            turns[at, axis] += turns[parent, axis]
            counted[axis] += turns[at, axis]
        parents[at] = parents[parent]
        at = np.int64(parents[at])
    return at


@kernel
def find_roots(sets: Sets, roots: NDArray[np.int32]) -> None:
    """As `roots_of`: parents come before."""
    for component in range(roots.shape[0]):
        parent = sets.parents[component]
        roots[component] = component if parent == component else roots[parent]
