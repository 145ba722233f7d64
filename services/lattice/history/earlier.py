"""Fields as they were: for whoever reads or draws them."""

from dataclasses import replace

from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.fields.states import FieldState
from services.lattice.history.past import Past
from services.lattice.history.replaying import Replaying
from services.lattice.transforms.applying import Operand


class EarlierFields:
    """Finds fields at revisions of their lattices."""

    def __init__(self, past: Past, replaying: Replaying) -> None:
        self._past = past
        self._replaying = replaying

    async def field_at(
        self, tenant: TenantId, lattice: HeldLattice, name: str, revision: int
    ) -> FieldState:
        """A field as it was behind a revision, of which the numbers can be read.

        Raises FieldNotFound, LatticeNotFound, StateGone, and InvalidInput naming `at_revision`.
        """
        lattice_id = lattice.lattice.lattice_id
        moment = await self._past.at(tenant, lattice_id, revision=revision, field="at_revision")
        state = moment.fields.field(name)
        operand = Operand(tenant=tenant, lattice=lattice, name=name)
        if await self._replaying.is_kept(operand, state.content):
            return state
        ledger = await self._past.ledger(tenant, lattice_id)
        record = ledger.records[state.revision]
        found = await self._replaying.content(operand, ledger, record)
        return replace(state, content=found.content)
