"""The rpc of PictureService: convert, call, convert back."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Protocol

import grpc.aio
from numpy.typing import NDArray

from girih.ids import TenantId
from girih.lattice.v1 import pictures_pb2 as pb
from services.lattice import domain
from services.lattice.arrays.number_type import NumberType
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeSpec
from services.lattice.enums import NUMBER_TYPES
from services.lattice.fields.convert import body_pieces
from services.lattice.fields.differing import DifferenceSource
from services.lattice.fields.reading import ArraySource, FieldReader, FieldSource
from services.lattice.fields.states import EarlierStates, FieldStates
from services.lattice.jobs import domain as jobs
from services.lattice.jobs.looking import JobLooks
from services.lattice.operations.bitmaps import EarlierSpecs
from services.lattice.operations.context import OperationContext
from services.lattice.pictures import convert
from services.lattice.pictures.drawing import Style, check_style
from services.lattice.pictures.rendering import Picture, bytes_to_render, render, rendered
from services.lattice.pictures.view import View, check_path, view_of
from services.lattice.state.lattices import Lattices
from services.lattice.transforms import applying
from services.lattice.transforms import convert as transforms
from services.lattice.transforms.applying import ChainApplier, Operand
from services.lattice.transforms.chain import Chain
from services.plumbing import correlation, validation
from services.plumbing.errors import InvalidInput

Context = grpc.aio.ServicerContext[Any, Any]


SERIALIZED = ("Render",)
"""The rpcs whose answers are bytes: they are copied once."""

_MEDIA_TYPE = "image/png"

_BYTES_PER_NUMBER = 8
"""Of any type of numbers, at most."""


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
        applier: ChainApplier,
        looks: JobLooks,
    ) -> None:
        self._applier = applier
        self._looks = looks
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
        view = view_of(shape, convert.asked(request, has_numbers=bool(request.name)))
        check_style(style)
        if path is not None:
            check_path(held.spec.geometry, path)
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

    async def PreviewTransform(
        self, request: pb.PreviewTransformRequest, _context: Context
    ) -> pb.PreviewTransformResponse:
        validation.check(request)
        held = await self._lattices.open(_tenant(), domain.lattice_id(request.lattice_id))
        view, style = _viewed(held, request.view)
        state = (await self._states.of(_tenant(), held.lattice.lattice_id)).field(request.name)
        operand = Operand(tenant=_tenant(), lattice=held, name=request.name)
        chain = Chain.of(transforms.steps(request.transforms), operand.fit(state.content))
        held_bytes = applying.held_bytes(chain) + bytes_to_render(view)
        self._operations.work_limit.check_bytes(held_bytes)
        async with self._operations.send_budget.reserved(held_bytes):
            array, reports = await self._applier.computed(operand, [state.content], chain)
            png = await self._drawn(held.spec, array, view, style)
        messages = [transforms.report_to_proto(report) for report in reports]
        return pb.PreviewTransformResponse(
            png=png,
            number_type=NUMBER_TYPES[NumberType(array.dtype.name)],
            reports=messages,
            invertibility=transforms.invertibility(messages),
        )

    async def RenderJob(
        self, request: pb.RenderJobRequest, _context: Context
    ) -> pb.RenderJobResponse:
        validation.check(request)
        job = await self._looks.job(_tenant(), jobs.job_id(request.job_id))
        held = await self._lattices.open(_tenant(), job.spec.lattice_id)
        view, style = _viewed(held, request.view)
        held_bytes = _BYTES_PER_NUMBER * held.spec.geometry.sites + bytes_to_render(view)
        self._operations.work_limit.check_bytes(held_bytes)
        async with self._operations.send_budget.reserved(held_bytes):
            look = await self._looks.look(_tenant(), job, held)
            png = await self._drawn(look.spec, look.array, view, style)
        return pb.RenderJobResponse(png=png, steps_done=look.steps_done)

    async def _drawn(
        self, spec: LatticeSpec, array: NDArray[Any], view: View, style: Style
    ) -> bytes:
        source = ArraySource.of(array)
        picture = Picture(spec=spec, source=source, view=view, style=style, path=None)
        return await rendered(self._operations, self._reader, picture)

    async def _source(self, held: HeldLattice, request: pb.RenderRequest) -> FieldSource:
        at = request.at_revision if request.HasField("at_revision") else None
        source = await self._source_at(held, request.name, at, "at_revision")
        if not request.HasField("minus_revision"):
            return source
        before = await self._source_at(held, request.name, request.minus_revision, "minus_revision")
        return DifferenceSource.of(self._reader, source, before)

    async def _source_at(
        self, held: HeldLattice, name: str, revision: int | None, revision_field: str
    ) -> FieldSource:
        lattice_id, shape = held.lattice.lattice_id, held.spec.geometry.shape
        if revision is None:
            state = (await self._states.of(_tenant(), lattice_id)).field(name)
        else:
            state = await self._earlier.field_at(
                _tenant(), held, name, revision, revision_field=revision_field
            )
        return await self._reader.source(_tenant(), lattice_id, shape, state.content)


def _viewed(held: HeldLattice, asked: pb.PictureView) -> tuple[View, Style]:
    """What to show of an array of the lattice; raises InvalidInput naming fields below `view`."""
    try:
        view = view_of(held.spec.geometry.shape, convert.asked(asked, has_numbers=True))
        style = convert.style(asked)
        check_style(style)
    except InvalidInput as error:
        raise InvalidInput(
            violations=[replace(one, field=f"view.{one.field}") for one in error.violations]
        ) from None
    return view, style


def _tenant() -> TenantId:
    return correlation.current().tenant
