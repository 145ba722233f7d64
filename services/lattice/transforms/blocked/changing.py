"""Changes which sites are blocked: computes, counts what is left, and records one event.

Whoever opened the lattice before goes on with what it was then.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from girih.ids import TenantId
from services.lattice.arrays.number_type import NumberType
from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeId, LatticeSpec, blockable_sites_max
from services.lattice.errors import LatticeChanged, TransformUnfit
from services.lattice.fields.states import FieldStates, LatticeFields
from services.lattice.operations.context import OperationContext
from services.lattice.operations.creation import measure
from services.lattice.state.journal import (
    BlockedChanged,
    ChangeKind,
    FieldChange,
    StreamChanged,
    command_of,
)
from services.lattice.state.lattices import Lattices
from services.lattice.transforms.applying import LOST_RACE_DELAYS_S
from services.lattice.transforms.blocked.writing import BlockedPatch
from services.lattice.transforms.chain import Chain, Report
from services.lattice.transforms.step import Fit, Step

DescribeBlocked = Callable[[str, Sequence[Report]], FieldChange]


@dataclass(frozen=True, kw_only=True)
class BlockedRequest:
    """What a caller wants of a change beside what is changed."""

    request_id: str = ""
    expected_revision: int | None = None
    """Of the last change of the blocked sites; None is any."""

    def check(self, revision: int, lattice_id: LatticeId) -> None:
        """Raise LatticeChanged where the blocked sites are not where the caller thinks."""
        expected = self.expected_revision
        if expected is not None and revision != expected:
            raise LatticeChanged(
                f"the blocked sites are at revision {revision}, not {expected}",
                lattice_id=lattice_id,
                expected_revision=expected,
                revision=revision,
            )


@dataclass(frozen=True, kw_only=True)
class Made:
    """Which sites are blocked now, and why."""

    spec: LatticeSpec
    change: FieldChange


@dataclass(frozen=True, kw_only=True)
class BlockedState:
    """A lattice behind a change of its blocked sites."""

    lattice: HeldLattice
    revision: int
    recorded_at: datetime
    change: FieldChange
    digest: str
    """Of the bitmap behind it, as `blocked_digest`."""


Make = Callable[[HeldLattice, LatticeFields], Awaitable[Made]]


def blocked_digest(blocked: bytes) -> str:
    """The SHA-256 of a bitmap, as changes tell it; an empty one is that of no site."""
    return hashlib.sha256(blocked).hexdigest()


def digest_behind(changed: BlockedChanged) -> str:
    """The same of what a change has left, whose bitmap may be kept elsewhere."""
    return changed.blocked_digest.hex() or blocked_digest(b"")


class BlockedTransformer:
    """Changes which sites of lattices are blocked."""

    def __init__(
        self, lattices: Lattices, states: FieldStates, operations: OperationContext
    ) -> None:
        self._lattices = lattices
        self._states = states
        self._operations = operations

    async def transform(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        steps: Sequence[Step],
        describe: DescribeBlocked,
        request: BlockedRequest,
    ) -> BlockedState | int:
        """Apply a chain; or the revision of what the same request had done before.

        Raises TransformUnfit, InvalidInput, WorkTooLarge, LatticeNotFound and LatticeChanged.
        """

        async def make(held: HeldLattice, _known: LatticeFields) -> Made:
            chain = Chain.of(steps, fit_of(held))
            blocked, reports = await self.computed(held, chain)
            change = describe(blocked_digest(held.spec.blocked), reports)
            return Made(spec=replace(held.spec, blocked=blocked), change=change)

        return await self.change(tenant, lattice_id, make, request)

    async def write(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        patch: BlockedPatch,
        request: BlockedRequest,
    ) -> BlockedState | int:
        """Block and free sites as told; or the revision of what the same request had done before.

        Raises TransformUnfit, WorkTooLarge, LatticeNotFound and LatticeChanged.
        """

        async def make(held: HeldLattice, _known: LatticeFields) -> Made:
            fit_of(held)
            blocked = await self._written(held, patch)
            before_digest = blocked_digest(held.spec.blocked)
            change = FieldChange(
                kind=ChangeKind.WRITTEN,
                before_digest=before_digest,
                request_id=request.request_id,
                written_digest=patch.digest,
            )
            return Made(spec=replace(held.spec, blocked=blocked), change=change)

        return await self.change(tenant, lattice_id, make, request)

    async def change(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        make: Make,
        request: BlockedRequest,
        basis: Callable[[LatticeFields], object] = lambda _: None,
    ) -> BlockedState | int:
        """Record what `make` makes of a lattice and its fields; where a field alone changed
        meanwhile, the same, and where blocked sites did, or what `basis` tells of its fields, what
        it makes then. Raises LatticeChanged."""
        command_id = command_of(lattice_id, request.request_id)
        made, based_on = None, None
        held, revision = await self._lattices.latest(tenant, lattice_id)
        for delay_s in (*LOST_RACE_DELAYS_S, None):
            known = await self._states.confirmed(tenant, lattice_id)
            if request.request_id in known.requests:
                return known.requests[request.request_id]
            request.check(known.blocked_revision, lattice_id)
            # Sites that were changed and changed back have another change to undo.
            base = held.spec, known.blocked_revision, basis(known)
            if made is None or based_on != base:
                made, based_on = await make(held, known), base
            try:
                return await self._record(tenant, held, revision, made, command_id)
            except StreamChanged:
                if delay_s is not None:
                    await asyncio.sleep(delay_s)
            expected = revision
            held, revision = await self._lattices.latest(tenant, lattice_id)
        raise LatticeChanged(
            "the lattice kept changing meanwhile",
            lattice_id=lattice_id,
            expected_revision=expected,
            revision=revision,
        )

    async def computed(self, held: HeldLattice, chain: Chain) -> tuple[bytes, Sequence[Report]]:
        """What a chain makes of a lattice's blocked sites."""
        sites = held.spec.geometry.sites
        limit = self._operations.work_limit
        limit.check_looks(chain.looks)
        size_bytes = 3 * sites + chain.auxiliary_bytes_max
        limit.check_bytes(size_bytes)
        await self._operations.compilation.ready(chain.kinds)

        def work(stop: Stop) -> tuple[bytes, Sequence[Report]]:
            array, reports = chain.apply(_unpacked(held.spec), stop.flag)
            return np.packbits(array.reshape(-1), bitorder="little").tobytes(), reports

        estimate = Estimate(size_bytes=size_bytes, looks=chain.looks)
        return await self._operations.compute.run(estimate, work)

    async def behind(self, held: HeldLattice, spec: LatticeSpec) -> HeldLattice:
        """A lattice with other sites blocked, counted anew. Raises ComputeBusy."""
        size = await measure(self._operations, spec)
        lattice = replace(held.lattice, vertices=size.vertices, edges=size.edges)
        return await asyncio.to_thread(HeldLattice.of, lattice, spec)

    async def _written(self, held: HeldLattice, patch: BlockedPatch) -> bytes:
        sites = held.spec.geometry.sites
        limit = self._operations.work_limit
        size_bytes, looks = 3 * (sites + patch.region.sites), sites + patch.region.sites
        limit.check_looks(looks)
        limit.check_bytes(size_bytes)

        def work(_stop: Stop) -> bytes:
            array = _unpacked(held.spec)
            patch.put_into(array)
            return np.packbits(array.reshape(-1), bitorder="little").tobytes()

        return await self._operations.compute.run(
            Estimate(size_bytes=size_bytes, looks=looks), work
        )

    async def _record(
        self, tenant: TenantId, held: HeldLattice, revision: int, made: Made, command_id: UUID
    ) -> BlockedState:
        behind = await self.behind(held, made.spec)
        changed = BlockedChanged.of(behind.lattice, behind.spec, revision + 1, made.change)
        appended = await self._lattices.record_blocked(tenant, changed, behind, command_id)
        return BlockedState(
            lattice=behind,
            revision=appended.revision,
            recorded_at=appended.recorded_at,
            change=made.change,
            digest=blocked_digest(behind.spec.blocked),
        )


def fit_of(held: HeldLattice) -> Fit:
    """The blocked sites of a lattice as what a chain is applied to; raises TransformUnfit."""
    geometry = held.spec.geometry
    limit = blockable_sites_max(moore=geometry.moore)
    if geometry.sites > limit:
        raise TransformUnfit(
            "the lattice has too many sites for any to be blocked",
            step=0,
            sites=geometry.sites,
            limit=limit,
        )
    return Fit(
        shape=geometry.shape,
        periodic=geometry.periodic,
        number_type=NumberType.UINT8,
        is_blocked=True,
    )


def _unpacked(spec: LatticeSpec) -> NDArray[Any]:
    """1 where a site is blocked, else 0."""
    geometry = spec.geometry
    if spec.free:
        return np.zeros(geometry.shape, np.uint8)
    bits = np.unpackbits(
        np.frombuffer(spec.blocked, np.uint8), count=geometry.sites, bitorder="little"
    )
    return bits.reshape(geometry.shape)
