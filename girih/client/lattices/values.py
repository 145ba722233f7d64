"""Lattices and paths as values. Knows no call, and no numpy but what it is asked for."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from girih.client.lattices import arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Site = Collection[int]
"""The index of a site along each axis, slowest first, from 0. A row of an integer array is one."""


class Boundary(StrEnum):
    """What lies beyond the last site of an axis."""

    OPEN = "open"
    PERIODIC = "periodic"
    """The first site: the axis is a ring."""


class Neighbourhood(StrEnum):
    """Which sites are neighbours."""

    VON_NEUMANN = "von_neumann"
    """Those one step apart along one axis. Each step costs 1."""
    MOORE = "moore"
    """Those at most one step apart along every axis. A step along k axes costs the root of k."""


class CornerRule(StrEnum):
    """When a step along several axes at once may pass blocked sites."""

    NO_CUTTING = "no_cutting"
    """Every site of the box that the step spans must be free."""
    CUTTING = "cutting"
    """Only the site that it leads to must be free."""


class CostRule(StrEnum):
    """What a step costs, by the costs of the two sites that it joins."""

    ENTERING = "entering"
    """That of the site that it leads to."""
    MEAN = "mean"
    """The mean of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """A lattice and what it takes."""

    id: str
    shape: tuple[int, ...]
    """The number of sites along each axis, slowest first (C order)."""
    boundaries: tuple[Boundary, ...]
    """One per axis."""
    neighbourhood: Neighbourhood
    corner_rule: CornerRule
    vertices: int
    """The sites that are not blocked."""
    edges: int
    """The neighbouring pairs of free sites that a step joins, each counted once."""
    blocked_sites: int
    bytes_held: int
    """What the server holds for it now."""
    created_at: datetime
    """By the server's clock, in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedState:
    """Which sites of a lattice are blocked, in numbers."""

    vertices: int
    """The sites that are free."""
    edges: int
    revision: int
    """In the stream of the lattice, of the event that changed it; 0 is the creation."""
    digest: str
    """The SHA-256 of the bitmap."""
    recorded_at: datetime
    """By the server's clock, in UTC."""


@dataclass(frozen=True, slots=True)
class Run:
    """Some equal steps in a row."""

    step: tuple[int, ...]
    """-1, 0 or 1 along each axis."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """How an answer was computed, and what it took."""

    method: str
    """The method's name in the contract, without its prefix: "CLOSED_FORM", "A_STAR", ..."""
    exact: bool
    """No other path is shorter."""
    elapsed_ns: int
    sites_expanded: int
    memory_bytes: int
    costs_digest: str = ""
    """Of the field that the costs of sites come from, if they do: `Field.digest`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A shortest path, or that there is none: then it is false, and empty."""

    found: bool
    length: float
    """The sum of its steps' costs; infinite when there is none."""
    steps: int
    start: tuple[int, ...]
    runs: tuple[Run, ...]
    """The whole path, as straight runs from the start on."""
    computation: Computation
    _lattice_shape: tuple[int, ...] = field(repr=False)

    def __bool__(self) -> bool:
        return self.found

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """Its sites, from the start to the goal, each made when it is asked for."""
        if not self.found:
            return
        site = self.start
        yield site
        for run in self.runs:
            for _ in range(run.count):
                # Over the edge of a periodic axis to the other side.
                moved = zip(site, run.step, self._lattice_shape, strict=True)
                site = tuple((at + by) % size for at, by, size in moved)
                yield site

    @property
    def sites(self) -> "NDArray[np.int64]":
        """Its sites as an int64 array of shape (steps + 1, axes), made anew; (0, axes) when there
        is no path. 8 bytes a number."""
        if not self.found:
            return arrays.no_sites(len(self._lattice_shape))
        steps_and_counts = [(run.step, run.count) for run in self.runs]
        return arrays.sites_of(self.start, steps_and_counts, self._lattice_shape)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:  # noqa: ANN401 - numpy's own
        del copy
        return self.sites if dtype is None else self.sites.astype(dtype)
