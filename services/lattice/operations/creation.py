"""Creating a lattice: what is asked, and what the new lattice has. Records nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import grid_of
from services.lattice.domain import (
    AXES_MAX,
    LatticeSpec,
    check_bitmap,
    check_shape,
    check_site_count,
    check_uuid,
)
from services.lattice.geometry import Geometry
from services.lattice.kernels.counting import bytes_to_count, count_edges, count_vertices
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
    periodic: Sequence[bool | None],
    moore: bool | None,
    no_cutting: bool | None,
    blocked: bytes,
    request_id: str,
) -> NewLattice:
    """Check a creation; None stands for a value that the contract does not know.

    Raises InvalidInput naming every bad field.
    """
    bad = Violations()
    lengths = _shape(shape, dimensions, size, bad)
    wraps = _periodic(periodic, len(lengths), bad)
    if moore is None:
        bad.add("neighbourhood", "must be a neighbourhood of the contract")
    if no_cutting is None:
        bad.add("corner_rule", "must be a corner rule of the contract")
    geometry = Geometry(lengths, wraps, moore=bool(moore), no_cutting=bool(no_cutting))
    if lengths:
        check_bitmap(blocked, geometry, bad)
    request = _request_id(request_id, bad)
    bad.raise_if_any()
    return NewLattice(spec=LatticeSpec(geometry=geometry, blocked=blocked), request_id=request)


async def measure(context: OperationContext, spec: LatticeSpec) -> Size:
    """Count vertices and edges: by formula where no site is blocked, whatever the size."""
    if spec.free:
        return Size(vertices=spec.geometry.sites, edges=spec.geometry.edges)
    grid = grid_of(spec)
    return await context.compute.run(bytes_to_count(grid), partial(_count, grid))


def _count(grid: Grid, stop: Stop) -> Size:
    return Size(vertices=count_vertices(grid), edges=count_edges(grid, stop.flag))


def _shape(shape: Sequence[int], dimensions: int, size: int, bad: Violations) -> tuple[int, ...]:
    """The shape, given axis by axis or as `dimensions` axes of `size`; empty when bad."""
    if not dimensions and not size:
        return tuple(shape) if check_shape(shape, "shape", bad) else ()
    fits = True
    if shape:
        bad.add("shape", "must not be given beside dimensions and size")
        fits = False
    if not 1 <= dimensions <= AXES_MAX:
        bad.add("dimensions", f"must be 1 to {AXES_MAX}, and given with size")
        fits = False
    if size < 1:
        bad.add("size", "must be 1 or more, and given with dimensions")
        fits = False
    if not fits or not check_site_count(size**dimensions, "size", bad):
        return ()
    return (size,) * dimensions


def _periodic(
    periodic: Sequence[bool | None], axis_count: int, bad: Violations
) -> tuple[bool, ...]:
    """Whether each axis is a ring, given for each, once for all, or not at all.

    Their number is not judged while the number of axes is unknown.
    """
    if len(periodic) > AXES_MAX or (axis_count and len(periodic) not in (0, 1, axis_count)):
        bad.add("boundaries", "must be none, one for all, or one per axis")
        return ()
    for n, ring in enumerate(periodic):
        if ring is None:
            bad.add(f"boundaries[{n}]", "must be a boundary of the contract")
    wraps = tuple(bool(ring) for ring in periodic)
    return wraps if len(wraps) > 1 else (wraps or (False,)) * axis_count


def _request_id(text: str, bad: Violations) -> UUID | None:
    return UUID(text) if text and check_uuid(text, "request_id", bad) else None
