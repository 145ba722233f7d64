"""A binary heap of numbers and what they belong to, for costs that buckets cannot hold."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.slices import doubled

_CAPACITY = 1 << 12


class Heap(NamedTuple):
    """What waits, the least key first, and of equal keys the lowest item."""

    keys: NDArray[np.float64]
    """Of shape (capacity,)."""
    items: NDArray[np.int64]
    """Of shape (capacity,)."""
    size: NDArray[np.int64]
    """Of shape (1,)."""

    @classmethod
    def empty(cls, capacity: int = _CAPACITY) -> Self:
        """One that nothing waits in."""
        return cls(np.empty(capacity), np.empty(capacity, np.int64), np.zeros(1, np.int64))

    def enlarged(self) -> "Heap":
        """With room for twice as many; what waits stays."""
        return Heap(doubled(self.keys), doubled(self.items), self.size)

    @property
    def bytes_held(self) -> int:
        return self.keys.nbytes + self.items.nbytes


@inlined
def comes_before(heap: Heap, key: float, item: Int, place: Int) -> bool:
    """Whether something comes before what lies in a place."""
    other = heap.keys[place]
    return bool(key < other or (key == other and item < heap.items[place]))


@inlined
def move(heap: Heap, place: Int, to: Int) -> None:
    heap.keys[to] = heap.keys[place]
    heap.items[to] = heap.items[place]


@kernel
def sift_in(heap: Heap, key: float, item: int) -> None:
    """Put something on the heap. There must be room."""
    place = heap.size[0]
    heap.size[0] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if not comes_before(heap, key, item, parent):
            break
        move(heap, parent, place)
        place = parent
    heap.keys[place] = key
    heap.items[place] = item


@kernel
def sift_out(heap: Heap) -> int:
    """Take the first item from the heap. There must be one."""
    first = heap.items[0]
    heap.size[0] -= 1
    size = heap.size[0]
    key, item = heap.keys[size], heap.items[size]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and comes_before(
            heap, heap.keys[child + 1], heap.items[child + 1], child
        ):
            child += 1
        if comes_before(heap, key, item, child):
            break
        move(heap, child, place)
        place = child
    heap.keys[place] = key
    heap.items[place] = item
    return int(first)
