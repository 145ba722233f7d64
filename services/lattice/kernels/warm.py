"""Compiles kernels ahead of the first call, or loads what was compiled before, a kind at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path as FilePath

import numpy as np

from services.lattice.kernels.compiled import alone
from services.lattice.kernels.components import components_of
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.grid import Grid, prepare
from services.lattice.kernels.routing.counting import count_shortest
from services.lattice.kernels.routing.nearest import find_nearest
from services.lattice.kernels.routing.simple import SimplePathSearch
from services.lattice.kernels.runs import Path
from services.lattice.kernels.searches import JumpSearch, StraightSearch, search_on
from services.lattice.kernels.simulations.warming import compile_simulations
from services.lattice.kernels.structure.free.axes import Axis
from services.lattice.kernels.structure.free.centralities import share_tables
from services.lattice.kernels.structure.graph.borders import (
    Border,
    Sets,
    join_planes,
    roots_of,
)
from services.lattice.kernels.structure.graph.clusters import clusters_of
from services.lattice.kernels.structure.graph.colours import greedy, two_colours
from services.lattice.kernels.structure.graph.communities import louvain
from services.lattice.kernels.structure.graph.iterations import multiply
from services.lattice.kernels.structure.graph.percolation import spanning_thresholds
from services.lattice.kernels.structure.graph.rows import rows_of
from services.lattice.kernels.structure.graph.searches import betweenness, sum_distances
from services.lattice.kernels.structure.graph.trees import cheapest_tree, log_spanning_trees
from services.lattice.kernels.transforms import distances, stencils
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import find_cheapest
from services.lattice.kernels.wire import packed_numbers, run_messages

ANSWERS = "answers"
"""What every path is told with: nothing is answered without it."""
COUNTING = "counting"
"""What a lattice with blocked sites is created with."""
STRAIGHT = "straight"
"""Searches, distances and components by steps along one axis."""
PLANES = "planes"
"""Jump point searches."""
DIAGONAL = "diagonal"
"""Searches and distances by steps along several axes."""

WEIGHTED = "weighted"
"""Cheapest paths over sites that have costs."""

ROUTING = "routing"
"""Nearest sources, counts of paths and all simple ones."""

STRUCTURE = "structure"
"""What lattices are like as graphs."""

TRANSFORMS = "transforms"
"""Differences between neighbours, and distances, in arrays."""

SIMULATIONS = "simulations"
"""Steps of what jobs simulate, which processes of their own load from where they are kept."""


def compile_all() -> None:
    """Compile every kind."""
    for kind in KINDS:
        compile_kind(kind)


def compile_kind(kind: str) -> None:
    """Run every kernel of a kind once, with every type it is called with.

    Takes seconds at first, then a tenth of one. What is compiled is kept in NUMBA_CACHE_DIR,
    which must have been set before the compiler was imported; one process at a time compiles
    there, and others wait and load what it wrote.
    """
    with _sole_writer(), alone():
        KINDS[kind]()


def needed_to_search(grid: Grid) -> Sequence[str]:
    """The kinds that a search may need: components are told by single steps on any lattice."""
    is_plane = len(grid.kept) == 2
    several = (PLANES, DIAGONAL) if is_plane else (DIAGONAL,)
    return (STRAIGHT, *(several if grid.diagonal else (PLANES,) if is_plane else ()))


def needed_to_measure(grid: Grid) -> Sequence[str]:
    return (DIAGONAL,) if grid.diagonal else (STRAIGHT,)


_GO = np.zeros(1, np.uint8)
_LENGTHS = (2, 3, 24)
"""Too short to be padded, long enough for steps along one axis, and along several."""


def _answers() -> None:
    grid = _square(3)
    path = Path.along(np.zeros((1, 2), np.int8), np.ones(1, np.int64))
    path = path.listing(grid.shape, grid.periodic, (0, 0), 1)
    packed_numbers(path.sites)
    run_messages(path.run_steps, path.run_counts, 0)


def _counting() -> None:
    for ring in (False, True):
        count_edges(_square(3, ring=ring), _GO)


def _straight() -> None:
    StraightSearch(_square(3)).find((0, 0), (2, 2), _GO)
    components_of(_square(3), _GO)
    for length in _LENGTHS:
        measure(_square(length), [(0, 0)], _GO)


def _planes() -> None:
    for moore in (False, True):
        JumpSearch(_square(3, moore=moore)).find((0, 0), (2, 2), _GO)


def _diagonal() -> None:
    search_on(_square(3, moore=True, ring=True)).find((0, 0), (2, 2), _GO)
    for length in _LENGTHS:
        measure(_square(length, moore=True), [(0, 0)], _GO).at(slice(None))


def _weighted() -> None:
    near, far = SiteCosts(np.ones(9), mean=True), SiteCosts(10.0 ** np.arange(9), mean=False)
    for moore in (False, True):
        for costs in (near, far):
            find_cheapest(_square(3, moore=moore), costs, (0, 0), (2, 2), _GO)
    wide = SiteCosts(np.ones(576), mean=False)
    find_cheapest(_square(24, moore=True), wide, (0, 0), (2, 2), _GO)


def _routing() -> None:
    costs = SiteCosts(np.ones(9), mean=False)
    for moore in (False, True):
        grid = _square(3, moore=moore)
        find_nearest(grid, costs, np.zeros(1, np.int64), 1, _GO)
        count_shortest(grid, 0, 8, 100, _GO)
    SimplePathSearch(_square(3), costs, 0, 8, 4.0, 4, _GO).next(_GO)


def _structure() -> None:
    grid = _square(3, ring=True)
    rows = rows_of(grid, count_edges(grid, _GO), _GO)
    for moore in (True, False):
        # Steps that cut corners are flooded.
        cutting = replace(_square(3, moore=moore, ring=True), no_cutting=False)
        clusters = clusters_of(cutting, _GO)
    one = np.zeros(1, np.int32)
    border = Border(one, one, one, np.zeros((1, 2), np.int32))
    join_planes(Sets.of(1, 2), border, border, np.zeros(2, np.int32))
    roots_of(Sets.of(1, 2))
    sum_distances(rows, np.arange(rows.count), _GO)
    betweenness(rows, np.arange(rows.count), _GO)
    multiply(rows, np.ones(rows.count))
    log_spanning_trees(rows, clusters.labels[rows.sites], _GO)
    cheapest_tree(rows, np.arange(rows.count, dtype=np.float64), _GO)
    greedy(rows, _GO)
    two_colours(rows, _GO)
    louvain(rows, 0, _GO)
    spanning_thresholds(_square(3), 0, 1, 0, _GO)
    for ring in (False, True):
        share_tables(Axis(3, ring), np.full(1, 0.5), lambda: None)


def _transforms() -> None:
    stencils.warm()
    distances.warm()


KINDS: Mapping[str, Callable[[], None]] = {
    ANSWERS: _answers,
    COUNTING: _counting,
    STRAIGHT: _straight,
    PLANES: _planes,
    DIAGONAL: _diagonal,
    WEIGHTED: _weighted,
    ROUTING: _routing,
    STRUCTURE: _structure,
    TRANSFORMS: _transforms,
    SIMULATIONS: compile_simulations,
}
"""How each is compiled, those first that are needed first."""


def _square(length: int, *, moore: bool = False, ring: bool = False) -> Grid:
    sites = length * length
    blocked = bytes([2]) + bytes((sites + 7) // 8 - 1)
    return prepare((length, length), (ring, ring), moore=moore, no_cutting=True, blocked=blocked)


@contextmanager
def _sole_writer() -> Iterator[None]:
    named = os.environ.get("NUMBA_CACHE_DIR")
    if not named:
        yield
        return
    directory = FilePath(named)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "compiling.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
