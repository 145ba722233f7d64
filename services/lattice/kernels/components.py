"""Which sites a path can join: the connected components of a lattice with blocked sites."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.fields.padded import NEW, OUTSIDE, Padding
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, run_slices

PLACE = 0
LABEL = 1
HEAD = 2
TAIL = 3


@dataclass(frozen=True, eq=False)
class Components:
    """A number for each site: two are the same where a path joins the sites."""

    padding: Padding
    labels: NDArray[np.int32]
    """Of shape (places,), 0 or more where free."""

    @property
    def bytes_held(self) -> int:
        return self.labels.nbytes

    def joins(self, start: NDArray[np.int64], goal: NDArray[np.int64]) -> bool:
        """Whether a path leads between two free sites, told as `Grid.coordinates` does."""
        return bool(self._label(start) == self._label(goal))

    def _label(self, site: NDArray[np.int64]) -> np.int32:
        label: np.int32 = self.labels[self.padding.first + int(site @ self.padding.strides)]
        return label


def can_be_labelled(grid: Grid) -> bool:
    """Not where a layer around the lattice costs too much, nor where steps cut corners."""
    # Where they do not, the box of a step along several axes is free: single steps lead there.
    return not (grid.diagonal and not grid.no_cutting) and Padding.of(grid) is not None


def bytes_to_label(grid: Grid) -> int:
    """The most bytes that `components_of` takes."""
    padding = Padding.of(grid) if can_be_labelled(grid) else None
    return 0 if padding is None else 4 * padding.size + 5 * grid.sites


def components_of(grid: Grid, cancel: Cancel) -> Components:
    """Find all components. Raises `Cancelled`."""
    padding = Padding.of(grid)
    assert padding is not None
    labels = padding.laid_out(grid.blocked, cancel)
    queue = np.empty(grid.sites + 1, np.uint32)
    progress = np.array([padding.first, -1, 0, 0], np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return label(labels, padding.offsets, padding.around, queue, progress, budget)

    run_slices(go_on, 2 * len(grid.kept), cancel)
    return Components(padding, labels)


@kernel
def label(
    labels: NDArray[np.int32],
    offsets: NDArray[np.int64],
    around: NDArray[np.int64],
    queue: NDArray[np.uint32],
    progress: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with labelling: each new place begins a component, which is flooded from there.

    Parameters
    ----------
    labels : int32 array of shape (places,)
        To begin, as `Padding.laid_out` answers it.
    offsets, around
        As in `Padding`.
    queue : uint32 array of shape (sites + 1,)
        Scratch, kept from call to call as are the others.
    progress : int64 array of shape (4,)
        The next place to look at, the label last given, and how many of the queue were expanded
        and are in it.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)
    """
    expanded = 0
    while True:
        number = np.int32(progress[LABEL])
        while progress[HEAD] < progress[TAIL]:
            if expanded == budget:
                return SLICE_ENDED, expanded
            place = np.int64(queue[np.uint64(progress[HEAD])])
            progress[HEAD] += 1
            expanded += 1
            tail = progress[TAIL]
            for step in range(offsets.shape[0]):
                near = np.uint64(place + offsets[step])
                known = labels[near]
                if known == OUTSIDE and around[step] != 0:
                    near = np.uint64(place + around[step])
                    known = labels[near]
                is_new = known == NEW
                labels[near] = number if is_new else known
                queue[np.uint64(tail)] = near
                tail += np.int64(is_new)
            progress[TAIL] = tail
        place = progress[PLACE]
        while place < labels.shape[0] and labels[np.uint64(place)] != NEW:
            place += 1
        if place == labels.shape[0]:
            return EXHAUSTED, expanded
        progress[PLACE] = place + 1
        progress[LABEL] += 1
        labels[np.uint64(place)] = np.int32(progress[LABEL])
        queue[np.uint64(progress[TAIL])] = place
        progress[TAIL] += 1
