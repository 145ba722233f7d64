"""Fields and blocked sites as they were: for whoever reads or draws them."""

from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeSpec
from services.lattice.errors import ChunkDamaged, StateGone
from services.lattice.fields.states import FieldState
from services.lattice.history.past import Past
from services.lattice.history.replaying import Replaying
from services.lattice.state.journal import BlockedChanged, LatticeCreated
from services.lattice.transforms.applying import Operand


class Bitmaps(Protocol):
    """Reads the blocked sites that events tell of."""

    async def bitmap(self, tenant: TenantId, event: LatticeCreated | BlockedChanged) -> bytes:
        """Those of one event; raises ChunkDamaged."""


class EarlierStates:
    """Finds fields, and which sites were blocked, at revisions of lattices."""

    def __init__(self, past: Past, replaying: Replaying, bitmaps: Bitmaps) -> None:
        self._past = past
        self._replaying = replaying
        self._bitmaps = bitmaps

    async def spec_at(self, tenant: TenantId, lattice: HeldLattice, revision: int) -> LatticeSpec:
        """A lattice as it was behind a revision.

        Raises LatticeNotFound, StateGone, and InvalidInput naming `at_revision`.
        """
        lattice_id = lattice.lattice.lattice_id
        moment = await self._past.at(tenant, lattice_id, revision=revision, field="at_revision")
        event = moment.blocked.event
        if not isinstance(event, BlockedChanged):
            # Large bitmaps of creations lie in several records.
            event = await self._past.created(tenant, lattice_id)
        try:
            blocked = await self._bitmaps.bitmap(tenant, event)
        except ChunkDamaged as error:
            message = "which sites were blocked is not kept any more"
            raise StateGone(message, lattice_id=lattice_id) from error
        return replace(lattice.spec, blocked=blocked)

    async def spec_since(
        self, tenant: TenantId, lattice: HeldLattice, revision: int
    ) -> LatticeSpec:
        """The same of a lattice as it is now, without looking further back where it had these
        blocked sites since."""
        lattice_id = lattice.lattice.lattice_id
        since = self._past.records(tenant, lattice_id, after_revision=revision)
        async with aclosing(since) as records:
            async for record in records:
                if isinstance(record.event, BlockedChanged):
                    return await self.spec_at(tenant, lattice, revision)
        return lattice.spec

    async def field_at(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        name: str,
        revision: int,
        *,
        revision_field: str = "at_revision",
    ) -> FieldState:
        """A field as it was behind a revision, of which the numbers can be read.

        Raises FieldNotFound, LatticeNotFound, StateGone, and InvalidInput naming `revision_field`.
        """
        lattice_id = lattice.lattice.lattice_id
        moment = await self._past.at(tenant, lattice_id, revision=revision, field=revision_field)
        state = moment.fields.field(name)
        operand = Operand(tenant=tenant, lattice=lattice, name=name)
        if await self._replaying.is_kept(operand, state.content):
            return state
        ledger = await self._past.ledger(tenant, lattice_id)
        record = ledger.records[state.revision]
        readable = await self._replaying.content(operand, ledger, record)
        return replace(state, content=readable.content)
