"""Creating a lattice: what is asked, and what the new lattice has. Records nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import grid_of
from services.lattice.domain import (
    BitOrder,
    LatticeSpec,
    check_bitmap,
    check_shape,
    check_site_count,
    reordered,
)
from services.lattice.geometry import Geometry
from services.lattice.kernels import warm
from services.lattice.kernels.counting import (
    bytes_to_count,
    count_edges,
    count_vertices,
    words_to_count,
)
from services.lattice.kernels.grid import Grid
from services.lattice.operations.context import OperationContext
from services.plumbing.errors import Violations


@dataclass(frozen=True, kw_only=True)
class NewLattice:
    """What to create. The same `request_id` creates the same lattice once."""

    spec: LatticeSpec
    request_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Size:
    """The sites of a lattice that are not blocked, and the pairs of them that a step joins."""

    vertices: int
    edges: int


def new_lattice(
    *,
    shape: Sequence[int],
    dimensions: int,
    size: int,
    periodic: Sequence[bool],
    moore: bool,
    no_cutting: bool,
    blocked: bytes,
    bit_order: BitOrder | None,
    request_id: str,
) -> NewLattice:
    """Check how the values of a creation fit together, each being as the contract says.

    Raises InvalidInput naming every bad field.
    """
    bad = Violations()
    lengths = _shape(shape, dimensions, size, bad)
    wraps = _periodic(periodic, len(lengths), bad)
    geometry = Geometry(lengths, wraps, moore=moore, no_cutting=no_cutting)
    if bit_order is not None:
        blocked = reordered(blocked, bit_order)
    if lengths:
        check_bitmap(blocked, geometry, bad)
    bad.raise_if_any()
    spec = LatticeSpec(geometry=geometry, blocked=blocked)
    return NewLattice(spec=spec, request_id=UUID(request_id) if request_id else None)


async def measure(context: OperationContext, spec: LatticeSpec) -> Size:
    """Count vertices and edges: by formula where no site is blocked, whatever the size."""
    if spec.free:
        return Size(vertices=spec.geometry.sites, edges=spec.geometry.edges)
    await context.compilation.ready((warm.COUNTING,))
    grid = grid_of(spec)
    estimate = Estimate(size_bytes=bytes_to_count(grid), looks=words_to_count(grid))
    return await context.compute.run(estimate, partial(_count, grid))


def _count(grid: Grid, stop: Stop) -> Size:
    return Size(vertices=count_vertices(grid), edges=count_edges(grid, stop.flag))


def _shape(shape: Sequence[int], dimensions: int, size: int, bad: Violations) -> tuple[int, ...]:
    """The shape, given axis by axis or as `dimensions` axes of `size`; empty when bad."""
    if not dimensions:
        return tuple(shape) if check_shape(shape, "shape", bad) else ()
    return (size,) * dimensions if check_site_count(size**dimensions, "size", bad) else ()


def _periodic(periodic: Sequence[bool], axis_count: int, bad: Violations) -> tuple[bool, ...]:
    """Whether each axis is a ring, given for each, once for all, or not at all.

    Their number is not judged while the number of axes is unknown.
    """
    if axis_count and len(periodic) not in (0, 1, axis_count):
        bad.add("boundaries", "must be none, one for all, or one per axis")
        return ()
    return tuple(periodic) if len(periodic) > 1 else (tuple(periodic) or (False,)) * axis_count
