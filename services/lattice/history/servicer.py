"""The rpcs of HistoryService: convert, call, convert back."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc.aio
import numpy as np

from girih.lattice.v1 import history_pb2 as pb
from services.lattice.calls import Calls, tenant
from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.fields.collecting import ArrayCollector
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import FieldState
from services.lattice.history import comparing, convert
from services.lattice.history.blocked import TurningBlocked
from services.lattice.history.earlier import EarlierStates
from services.lattice.history.past import Past
from services.lattice.history.undoing import Turned, Undoing
from services.lattice.history.verifying import Verifying
from services.lattice.state.journal import ChangeKind
from services.lattice.transforms import convert as chains
from services.lattice.transforms.applying import Operand
from services.lattice.transforms.blocked.changing import BlockedState
from services.lattice.transforms.repeated import Repeated
from services.lattice.transforms.servicer import (
    blocked_request,
    blocked_to_proto,
    field_to_proto,
)
from services.plumbing import correlation
from services.plumbing.errors import InvalidInput

Context = grpc.aio.ServicerContext[Any, Any]

_PAGE_SIZE = 100


@dataclass(frozen=True)
class HistoryParts:
    """What history is told and turned with."""

    past: Past
    undoing: Undoing
    earlier: EarlierStates
    verifying: Verifying
    blocked: TurningBlocked
    repeated: Repeated
    reader: FieldReader
    collector: ArrayCollector


class HistoryServicer:
    """Tells and turns the history of lattices, each tenant its own."""

    def __init__(self, calls: Calls, parts: HistoryParts) -> None:
        self._calls = calls
        self._parts = parts

    async def GetHistory(
        self, request: pb.GetHistoryRequest, _context: Context
    ) -> pb.GetHistoryResponse:
        held = await self._open(request)
        size = request.page_size or _PAGE_SIZE
        after = _after(request.page_token)
        records = self._parts.past.records(
            tenant(), held.lattice.lattice_id, after_revision=after, limit=size + 1
        )
        async with aclosing(records) as coming:
            page = [record async for record in coming]
        token = str(page[size - 1].revision) if len(page) > size else ""
        changes = [
            convert.change_to_proto(record)
            for record in page[:size]
            if not request.name or convert.concerns(record, request.name)
        ]
        return pb.GetHistoryResponse(changes=changes, next_page_token=token)

    async def UndoChange(
        self, request: pb.UndoChangeRequest, _context: Context
    ) -> pb.UndoChangeResponse:
        operand, turned = await self._turn(request, ChangeKind.UNDONE)
        fields = [field_to_proto(operand, state) for state in turned.states]
        applied = chains.applied_from(turned.change.applied)
        return pb.UndoChangeResponse(
            field=fields[0],
            imaginary=fields[1] if len(fields) > 1 else None,
            of_revision=turned.change.of_revision,
            by_inverse=bool(turned.change.applied),
            reports=applied.reports,
        )

    async def RedoChange(
        self, request: pb.RedoChangeRequest, _context: Context
    ) -> pb.RedoChangeResponse:
        operand, turned = await self._turn(request, ChangeKind.REDONE)
        fields = [field_to_proto(operand, state) for state in turned.states]
        return pb.RedoChangeResponse(
            field=fields[0],
            imaginary=fields[1] if len(fields) > 1 else None,
            of_revision=turned.change.of_revision,
        )

    async def UndoBlocked(
        self, request: pb.UndoBlockedRequest, _context: Context
    ) -> pb.UndoBlockedResponse:
        state = await self._turn_blocked(request, ChangeKind.UNDONE)
        return pb.UndoBlockedResponse(
            state=blocked_to_proto(state),
            of_revision=state.change.of_revision,
            by_inverse=bool(state.change.applied),
        )

    async def RedoBlocked(
        self, request: pb.RedoBlockedRequest, _context: Context
    ) -> pb.RedoBlockedResponse:
        state = await self._turn_blocked(request, ChangeKind.REDONE)
        return pb.RedoBlockedResponse(
            state=blocked_to_proto(state), of_revision=state.change.of_revision
        )

    async def GetState(self, request: pb.GetStateRequest, _context: Context) -> pb.GetStateResponse:
        held = await self._open(request)
        moment = await self._parts.past.at(
            tenant(),
            held.lattice.lattice_id,
            revision=request.revision if request.HasField("revision") else None,
            time=convert.moment(request),
        )
        states = sorted(moment.fields.fields.values(), key=lambda state: state.name)
        operand = Operand(tenant=tenant(), lattice=held, name="")
        return pb.GetStateResponse(
            revision=moment.revision,
            recorded_at=convert.timestamp(moment.recorded_at),
            fields=[field_to_proto(operand, state) for state in states],
            blocked=convert.blocked_at(moment.blocked),
        )

    async def DiffField(
        self, request: pb.DiffFieldRequest, _context: Context
    ) -> pb.DiffFieldResponse:
        held = await self._open(request)
        name, earlier = request.name, self._parts.earlier
        one = await earlier.field_at(
            tenant(), held, name, request.from_revision, revision_field="from_revision"
        )
        if request.HasField("to_revision"):
            other = await earlier.field_at(
                tenant(), held, name, request.to_revision, revision_field="to_revision"
            )
        else:
            moment = await self._parts.past.at(tenant(), held.lattice.lattice_id)
            other = moment.fields.field(name)
        regions_max = request.regions_max or comparing.REGIONS_DEFAULT
        difference = await self._compared(held, one, other, regions_max)
        return convert.difference_to_proto(difference, (one.content.digest, other.content.digest))

    async def VerifyLattice(
        self, request: pb.VerifyLatticeRequest, _context: Context
    ) -> AsyncGenerator[pb.VerifyLatticeResponse]:
        held = await self._open(request)
        counts: Counter[Any] = Counter()
        async with aclosing(self._parts.verifying.verify(tenant(), held)) as verified:
            async for each in verified:
                counts[each.outcome] += 1
                yield convert.verified_to_proto(each)
        async with aclosing(self._parts.blocked.verify(tenant(), held)) as turned:
            async for change in turned:
                counts[change.outcome] += 1
                yield convert.verified_blocked_to_proto(change)
        yield convert.sums_to_proto(counts)

    async def _compared(
        self, held: HeldLattice, one: FieldState, other: FieldState, regions_max: int
    ) -> comparing.Difference:
        operations, shape = self._calls.operations, held.spec.geometry.shape
        sites = held.spec.geometry.sites
        operations.work_limit.check_looks(comparing.LOOKS_PER_SITE * sites)
        sizes = [state.content.number_type.size_bytes * sites for state in (one, other)]
        operations.work_limit.check_bytes(sum(sizes) + comparing.estimate_bytes(shape))
        estimate = Estimate(
            size_bytes=comparing.estimate_bytes(shape), looks=comparing.LOOKS_PER_SITE * sites
        )
        async with operations.send_budget.reserved(sum(sizes)):
            a, b = [await self._read(held, state) for state in (one, other)]

            def work(stop: Stop) -> comparing.Difference:
                return comparing.compare(a, b, regions_max, stop)

            return await operations.compute.run(estimate, work)

    async def _read(self, held: HeldLattice, state: FieldState) -> np.ndarray[Any, Any]:
        reader, lattice_id = self._parts.reader, held.lattice.lattice_id
        shape = held.spec.geometry.shape
        return await reader.array(await reader.source(tenant(), lattice_id, shape, state.content))

    async def _turn(
        self, request: pb.UndoChangeRequest | pb.RedoChangeRequest, kind: ChangeKind
    ) -> tuple[Operand, Turned]:
        held = await self._open(request)
        operand = Operand(tenant=tenant(), lattice=held, name=request.name)
        turned = await self._parts.undoing.turn(
            operand,
            kind,
            request_id=request.request_id.lower(),
            expected_revision=request.expected_revision
            if request.HasField("expected_revision")
            else None,
        )
        return operand, turned

    async def _turn_blocked(
        self, request: pb.UndoBlockedRequest | pb.RedoBlockedRequest, kind: ChangeKind
    ) -> BlockedState:
        held = await self._open(request)
        turned = await self._parts.blocked.turn(
            tenant(), held.lattice.lattice_id, kind, blocked_request(request)
        )
        if isinstance(turned, int):
            turned = await self._parts.repeated.blocked(tenant(), held, turned, kind)
        return turned

    async def _open(self, request: Any) -> HeldLattice:  # noqa: ANN401 - any request of the service
        await self._calls.checked(request)
        self._parts.collector.saw(correlation.current())
        return await self._calls.open(request.lattice_id)


def _after(page_token: str) -> int:
    if not page_token:
        return -1
    if not (page_token.isascii() and page_token.isdigit() and len(page_token) < 19):
        raise InvalidInput.of("page_token", "must be empty or a next_page_token of this list")
    return int(page_token)
