"""The rpc of PictureService: convert, call, convert back."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import grpc.aio

from girih.ids import TenantId
from girih.lattice.v1 import pictures_pb2 as pb
from services.lattice import domain
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.fields.convert import body_pieces
from services.lattice.fields.differing import DifferenceSource
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.fields.states import EarlierStates, FieldStates
from services.lattice.operations.bitmaps import EarlierSpecs
from services.lattice.operations.context import OperationContext
from services.lattice.pictures import convert
from services.lattice.pictures.drawing import check_style
from services.lattice.pictures.rendering import Picture, render
from services.lattice.pictures.view import check_path, view_of
from services.lattice.state.lattices import Lattices
from services.plumbing import correlation, validation

Context = grpc.aio.ServicerContext[Any, Any]


SERIALIZED = ("Render",)
"""The rpcs whose answers are bytes: they are copied once."""

_MEDIA_TYPE = "image/png"


class Earlier(EarlierStates, EarlierSpecs, Protocol):
    """Finds fields and blocked sites as they were."""


class PictureServicer:
    """Draws lattices and their fields."""

    def __init__(
        self,
        lattices: Lattices,
        states: FieldStates,
        earlier: Earlier,
        reader: FieldReader,
        operations: OperationContext,
    ) -> None:
        self._lattices = lattices
        self._states = states
        self._earlier = earlier
        self._reader = reader
        self._operations = operations

    async def Render(self, request: pb.RenderRequest, _context: Context) -> AsyncGenerator[bytes]:
        validation.check(request)
        held = await self._lattices.open(_tenant(), domain.lattice_id(request.lattice_id))
        shape = held.spec.geometry.shape
        style, path = convert.style(request), convert.drawn_path(request)
        view = view_of(shape, convert.asked(request))
        check_style(style)
        if path is not None:
            check_path(shape, path)
        source = await self._source(held, request) if request.name else None
        spec = held.spec
        if request.HasField("at_revision"):
            spec = await self._earlier.spec_at(_tenant(), held, request.at_revision)
        picture = Picture(spec=spec, source=source, view=view, style=style, path=path)
        png = await render(self._operations, self._reader, picture)
        async with self._operations.send_budget.reserved(len(png)):
            for message in body_pieces(_MEDIA_TYPE, png):
                async with self._operations.consumed_in_time():
                    yield message

    async def _source(self, held: HeldLattice, request: pb.RenderRequest) -> FieldSource:
        at = request.at_revision if request.HasField("at_revision") else None
        source = await self._source_at(held, request.name, at)
        if not request.HasField("minus_revision"):
            return source
        before = await self._source_at(held, request.name, request.minus_revision)
        return DifferenceSource.of(self._reader, source, before)

    async def _source_at(self, held: HeldLattice, name: str, revision: int | None) -> FieldSource:
        lattice_id, shape = held.lattice.lattice_id, held.spec.geometry.shape
        if revision is None:
            state = (await self._states.of(_tenant(), lattice_id)).field(name)
        else:
            state = await self._earlier.field_at(_tenant(), held, name, revision)
        return await self._reader.source(_tenant(), lattice_id, shape, state.content)


def _tenant() -> TenantId:
    return correlation.current().tenant
