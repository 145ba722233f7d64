"""Keeps which sites paths join, for each lattice that was asked, up to a number of bytes.

Asked inside threads: all of this may be called from several at once.
"""

import threading
from collections import OrderedDict

from services.lattice.kernels.components import Components, can_be_labelled, components_of
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel


class ComponentIndex:
    """The components of lattices. Those asked about longest ago leave first."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_held = 0
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._of: OrderedDict[Grid, Components] = OrderedDict()

    def known(self, grid: Grid) -> Components | None:
        """Those that are kept."""
        with self._lock:
            components = self._of.get(grid)
            if components is not None:
                self._of.move_to_end(grid)
            return components

    def covers(self, grid: Grid) -> bool:
        """Whether `ensured` is of use: its answer would be kept."""
        return 4 * grid.sites <= self._bytes_max and can_be_labelled(grid)

    def ensured(self, grid: Grid, cancel: Cancel) -> Components:
        """Those that are kept, or else found now. Raises `Cancelled`."""
        components = self.known(grid) or components_of(grid, cancel)
        self._keep(grid, components)
        return components

    def drop(self, grid: Grid) -> None:
        """Forget what is kept for a grid."""
        with self._lock:
            self._forget(grid)

    def _keep(self, grid: Grid, components: Components) -> None:
        with self._lock:
            self._forget(grid)
            self._of[grid] = components
            self.bytes_held += components.bytes_held + grid.bytes_held
            while self.bytes_held > self._bytes_max:
                self._forget(next(iter(self._of)))

    def _forget(self, grid: Grid) -> None:
        components = self._of.pop(grid, None)
        if components is not None:
            self.bytes_held -= components.bytes_held + grid.bytes_held
