"""Makes the picture that was asked for: reads what it shows, then draws it, beside the loop."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import Chunking, ChunkPart
from services.lattice.arrays.region import Region
from services.lattice.computing.estimate import Estimate
from services.lattice.domain import LatticeSpec
from services.lattice.fields.looking import look_at_each
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.operations.context import OperationContext
from services.lattice.pictures.drawing import Drawing, Style, draw
from services.lattice.pictures.projecting import Numbers, Projection, Projector, blocked_numbers
from services.lattice.pictures.view import DrawnPath, View, edges_crossed

_LOOKS_PER_SITE = 2
_BYTES_PER_SITE = 10
_LOOKS_PER_PIXEL = 10
_LOOKS_PER_LINE = 1_000
_BYTES_PER_PIXEL = 12
"""The picture in colours twice, and its file."""
_BYTES_PER_SITE_SHOWN = 34
"""Its number, while colours are found for all."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a lattice, once it makes sense."""

    spec: LatticeSpec
    """With the blocked sites to show."""
    source: FieldSource | None
    view: View
    style: Style
    path: DrawnPath | None


async def render(context: OperationContext, reader: FieldReader, picture: Picture) -> bytes:
    """A PNG; raises WorkTooLarge before anything is read, ChunkDamaged, StorageUnavailable."""
    view = picture.view
    kinds = (picture.source is not None) + (not picture.spec.free)
    context.work_limit.check_looks(_LOOKS_PER_SITE * kinds * view.region.sites)
    async with context.send_budget.reserved(bytes_to_render(view)):
        return await rendered(context, reader, picture)


def bytes_to_render(view: View) -> int:
    """What `rendered` holds."""
    return _BYTES_PER_SITE_SHOWN * view.rows * view.columns


async def rendered(context: OperationContext, reader: FieldReader, picture: Picture) -> bytes:
    """As `render`, for who has reserved the bytes, and has checked what there is to look at."""
    view = picture.view
    numbers = await _numbers(context, reader, picture)
    blocked = await _blocked(context, picture)
    drawing = Drawing(
        view=view,
        numbers=numbers,
        blocked=blocked,
        path=picture.path,
        shape=picture.spec.geometry.shape,
    )
    pixels = max(view.pixels_max**2, view.rows * view.columns)
    lines = edges_crossed(picture.path, drawing.shape) if picture.path else 0
    looks = _LOOKS_PER_PIXEL * pixels + _LOOKS_PER_LINE * lines
    estimate = Estimate(size_bytes=_BYTES_PER_PIXEL * pixels, looks=looks)
    return await context.compute.run(
        estimate, lambda stop: draw(drawing, picture.style, stop.check), admitted=True
    )


async def _numbers(
    context: OperationContext, reader: FieldReader, picture: Picture
) -> NDArray[np.float64] | None:
    """The numbers of the field; None where the lattice alone is shown."""
    if picture.source is None:
        return None
    view = picture.view
    projector = Projector(view.region, view.row_axis, view.column_axis, view.projection)
    sites = picture.source.layout.chunking.chunk_sites
    parts = reader.parts(picture.source, view.region)
    await look_at_each(context.compute, _estimate(sites), parts, projector.add)
    return projector.numbers()


async def _blocked(context: OperationContext, picture: Picture) -> NDArray[np.bool_] | None:
    """Where no site along the other axes is free; None where none is blocked."""
    spec, view = picture.spec, picture.view
    if spec.free:
        return None
    # Where the least of 0 and 1 is 1.
    projector = Projector(view.region, view.row_axis, view.column_axis, Projection.MIN)
    chunking = Chunking.of(spec.geometry.shape, 1)
    parts = _bitmap_parts(spec, chunking, view.region)
    await look_at_each(context.compute, _estimate(chunking.chunk_sites), parts, projector.add)
    return projector.numbers() > 0


async def _bitmap_parts(
    spec: LatticeSpec, chunking: Chunking, region: Region
) -> AsyncGenerator[tuple[ChunkPart, Numbers]]:
    """The bits of a region as numbers, as a field would yield them."""
    for part in chunking.parts(region):
        begin, inside = chunking.begin(part.ordinal), chunking.inside(part.ordinal)
        numbers = blocked_numbers(spec.blocked, begin, inside, chunking.chunk_shape)
        yield part, numbers[part.selection]


def _estimate(sites: int) -> Estimate:
    return Estimate(size_bytes=_BYTES_PER_SITE * sites, looks=_LOOKS_PER_SITE * sites)
