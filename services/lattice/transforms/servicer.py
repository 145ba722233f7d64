"""The rpcs of TransformService: convert, call, convert back."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc.aio

from girih.lattice.v1 import fields_pb2, history_pb2
from girih.lattice.v1 import transforms_pb2 as pb
from services.lattice.calls import Calls, tenant
from services.lattice.domain import LatticeSpec
from services.lattice.enums import BIT_ORDERS
from services.lattice.fields import convert as fields_convert
from services.lattice.fields.collecting import ArrayCollector
from services.lattice.fields.states import FieldState
from services.lattice.state.journal import ChangeKind, FieldChange
from services.lattice.transforms import convert
from services.lattice.transforms.applying import Operand, Transformed, Transformer
from services.lattice.transforms.blocked.by_field import FieldBlocker, written_digest
from services.lattice.transforms.blocked.changing import (
    BlockedRequest,
    BlockedState,
    BlockedTransformer,
)
from services.lattice.transforms.blocked.writing import BlockedPatch, patch_of
from services.lattice.transforms.chain import Report
from services.lattice.transforms.repeated import Repeated
from services.plumbing import correlation
from services.plumbing.errors import InvalidInput

Context = grpc.aio.ServicerContext[Any, Any]


class TransformServicer:
    """Transforms the fields of lattices for whoever calls, each tenant its own."""

    def __init__(
        self,
        calls: Calls,
        transformer: Transformer,
        blocked: BlockedTransformer,
        by_field: FieldBlocker,
        repeated: Repeated,
        collector: ArrayCollector,
    ) -> None:
        self._blocked = blocked
        self._by_field = by_field
        self._calls = calls
        self._transformer = transformer
        self._repeated = repeated
        self._collector = collector

    async def TransformField(
        self, request: pb.TransformFieldRequest, _context: Context
    ) -> pb.TransformFieldResponse:
        await self._calls.checked(request)
        self._collector.saw(correlation.current())
        if request.imaginary == request.name:
            raise InvalidInput.of("imaginary", "must be another field than name")
        held = await self._calls.open(request.lattice_id)
        operand = Operand(
            tenant=tenant(), lattice=held, name=request.name, imaginary=request.imaginary
        )
        request_id = request.request_id.lower()

        def describe(before_digest: str, reports: Sequence[Report]) -> FieldChange:
            return FieldChange(
                kind=ChangeKind.TRANSFORMED,
                before_digest=before_digest,
                request_id=request_id,
                applied=convert.applied_chain(request.transforms, reports),
            )

        made = await self._transformer.transform(
            operand,
            convert.steps(request.transforms),
            describe,
            request_id=request_id,
            expected_revision=request.expected_revision
            if request.HasField("expected_revision")
            else None,
        )
        if isinstance(made, int):
            made = await self._repeated.transformed(operand, made, request.transforms)
        return _response(operand, made)

    async def TransformBlocked(
        self, request: pb.TransformBlockedRequest, _context: Context
    ) -> pb.TransformBlockedResponse:
        await self._calls.checked(request)
        self._collector.saw(correlation.current())
        held = await self._calls.open(request.lattice_id)
        lattice_id, request_id = held.lattice.lattice_id, request.request_id.lower()

        def describe(before_digest: str, reports: Sequence[Report]) -> FieldChange:
            return FieldChange(
                kind=ChangeKind.TRANSFORMED,
                before_digest=before_digest,
                request_id=request_id,
                applied=convert.applied_chain(request.transforms, reports),
            )

        steps = convert.steps(request.transforms)
        state = await self._blocked.transform(
            tenant(), lattice_id, steps, describe, blocked_request(request)
        )
        if isinstance(state, int):
            state = await self._repeated.blocked(
                tenant(), held, state, ChangeKind.TRANSFORMED, request.transforms
            )
        reports = convert.applied_from(state.change.applied).reports
        return pb.TransformBlockedResponse(
            state=blocked_to_proto(state),
            before_digest=state.change.before_digest,
            reports=reports,
            invertibility=convert.invertibility(reports),
        )

    async def WriteBlocked(
        self, request: pb.WriteBlockedRequest, _context: Context
    ) -> pb.WriteBlockedResponse:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        patch = await self._calls.read(request, partial(_patch, request, held.spec))
        lattice_id = held.lattice.lattice_id
        state = await self._blocked.write(tenant(), lattice_id, patch, blocked_request(request))
        if isinstance(state, int):
            state = await self._repeated.written(tenant(), held, state, patch.digest)
        return pb.WriteBlockedResponse(
            state=blocked_to_proto(state), before_digest=state.change.before_digest
        )

    async def BlockByField(
        self, request: pb.BlockByFieldRequest, _context: Context
    ) -> pb.BlockByFieldResponse:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        lattice_id, name = held.lattice.lattice_id, request.name
        state = await self._by_field.block(tenant(), lattice_id, name, blocked_request(request))
        if isinstance(state, int):
            state = await self._repeated.written(tenant(), held, state, written_digest(name))
        return pb.BlockByFieldResponse(
            state=blocked_to_proto(state), before_digest=state.change.before_digest
        )


def _patch(request: pb.WriteBlockedRequest, spec: LatticeSpec) -> BlockedPatch:
    region = (request.region.origin.coordinates, request.region.shape)
    bit_order = BIT_ORDERS[request.bit_order]
    return patch_of(spec, region, request.blocked, request.written, bit_order)


def blocked_request(
    request: pb.WriteBlockedRequest
    | pb.BlockByFieldRequest
    | pb.TransformBlockedRequest
    | history_pb2.UndoBlockedRequest
    | history_pb2.RedoBlockedRequest,
) -> BlockedRequest:
    return BlockedRequest(
        request_id=request.request_id.lower(),
        expected_revision=request.expected_revision
        if request.HasField("expected_revision")
        else None,
    )


def blocked_to_proto(state: BlockedState) -> pb.BlockedState:
    message = pb.BlockedState(
        vertices=state.lattice.lattice.vertices,
        edges=str(state.lattice.lattice.edges),
        revision=state.revision,
        digest=state.digest,
    )
    message.recorded_at.FromDatetime(state.recorded_at)
    return message


def _response(operand: Operand, made: Transformed) -> pb.TransformFieldResponse:
    applied = convert.applied_from(made.change.applied)
    response = pb.TransformFieldResponse(
        field=field_to_proto(operand, made.states[0]),
        before_digest=made.change.before_digest,
        reports=applied.reports,
        invertibility=convert.invertibility(applied.reports),
        computed_with=applied.computed_with,
        elapsed_ns=made.elapsed_ns,
    )
    for state in made.states[1:]:
        response.imaginary.CopyFrom(field_to_proto(operand, state))
    return response


def field_to_proto(operand: Operand, state: FieldState) -> fields_pb2.Field:
    shape = operand.lattice.spec.geometry.shape
    return fields_convert.field_to_proto(operand.tenant, operand.lattice_id, shape, state)
