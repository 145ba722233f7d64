"""Blocks sites by a field: reads its numbers chunk by chunk, and records one event."""

import hashlib
from dataclasses import replace

from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.computing.send_budget import SendBudget
from services.lattice.domain import LatticeId, bitmap_bytes, check_blockable
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import LatticeFields
from services.lattice.state.journal import ChangeKind, FieldChange
from services.lattice.transforms.blocked.changing import (
    BlockedRequest,
    BlockedState,
    BlockedTransformer,
    Made,
    blocked_digest,
    fit_of,
)

_CHUNKS_AT_ONCE = 3
"""One that is read, what it is packed from, and its bits."""


class FieldBlocker:
    """Blocks the sites where a field is not zero."""

    def __init__(
        self,
        blocked: BlockedTransformer,
        reader: FieldReader,
        transfers: SendBudget,
        *,
        sites_max: int,
    ) -> None:
        """`transfers` bounds what is read at once, `sites_max` how many sites may be blocked."""
        self._blocked = blocked
        self._reader = reader
        self._transfers = transfers
        self._sites_max = sites_max

    async def block(
        self, tenant: TenantId, lattice_id: LatticeId, name: str, request: BlockedRequest
    ) -> BlockedState | int:
        """Block sites by the field; or the revision of what the same request had done before.

        Raises FieldNotFound, TransformUnfit, WorkTooLarge, ChunkDamaged and LatticeChanged.
        """

        async def make(held: HeldLattice, known: LatticeFields) -> Made:
            fit_of(held)
            geometry = held.spec.geometry
            check_blockable(geometry.sites, moore=geometry.moore, sites_max=self._sites_max)
            content = known.field(name).content
            source = await self._reader.source(tenant, lattice_id, geometry.shape, content)
            chunk_bytes = _CHUNKS_AT_ONCE * source.layout.chunk_bytes
            async with self._transfers.reserved(bitmap_bytes(geometry) + chunk_bytes):
                blocked = await self._reader.bits(source)
            change = FieldChange(
                kind=ChangeKind.WRITTEN,
                before_digest=blocked_digest(held.spec.blocked),
                request_id=request.request_id,
                written_digest=written_digest(name),
            )
            return Made(spec=replace(held.spec, blocked=blocked), change=change)

        return await self._blocked.change(
            tenant, lattice_id, make, request, lambda known: known.field(name).content
        )


def written_digest(name: str) -> str:
    """The SHA-256 of what a request says: by which field."""
    return hashlib.sha256(f"field {name}".encode()).hexdigest()
