"""Keeps the memory of searches from one to the next, up to a number of bytes.

Searches are borrowed inside threads: all of this may be called from several at once.
"""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from services.lattice.kernels.grid import Grid
from services.lattice.kernels.searches import Search, search_on
from services.lattice.kernels.slices import Cancel


class SearchPool:
    """Searches that nobody uses now. Those used longest ago leave first."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_held = 0
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._idle: OrderedDict[Search, int] = OrderedDict()
        self._on: defaultdict[Grid, list[Search]] = defaultdict(list)

    @contextmanager
    def on(self, grid: Grid, cancel: Cancel | None = None) -> Iterator[Search]:
        """A search on the grid that nobody else uses inside the block. Raises `Cancelled`."""
        search = self._take(grid) or search_on(grid, cancel)
        yield search
        # A search that failed is not kept: what it left behind is not known.
        self._keep(search)

    @contextmanager
    def idle_on(self, grid: Grid) -> Iterator[Search | None]:
        """One that is kept, if there is any: none is made, which costs something a site."""
        search = self._take(grid)
        yield search
        if search is not None:
            self._keep(search)

    def drop(self, grid: Grid) -> None:
        """Forget what is kept for a grid."""
        with self._lock:
            for search in self._on.pop(grid, ()):
                self.bytes_held -= self._idle.pop(search)

    def _take(self, grid: Grid) -> Search | None:
        with self._lock:
            if grid not in self._on:
                return None
            search = self._on[grid].pop()
            self._forget(search)
            return search

    def _keep(self, search: Search) -> None:
        size_bytes = search.bytes_held + search.grid.bytes_held
        with self._lock:
            self._idle[search] = size_bytes
            self._on[search.grid].append(search)
            self.bytes_held += size_bytes
            while self.bytes_held > self._bytes_max:
                oldest = next(iter(self._idle))
                self._on[oldest.grid].remove(oldest)
                self._forget(oldest)

    def _forget(self, search: Search) -> None:
        self.bytes_held -= self._idle.pop(search)
        if not self._on[search.grid]:
            del self._on[search.grid]
