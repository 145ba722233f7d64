"""Reading the bitmap of a lattice's blocked sites, in pieces."""

from collections.abc import AsyncGenerator
from typing import Protocol

from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import BitOrder, LatticeSpec, reordered
from services.lattice.operations.context import OperationContext

_PIECE_BYTES = 1 << 16
"""The most bytes of a piece: the contract says so."""


class EarlierSpecs(Protocol):
    """Finds which sites were blocked."""

    async def spec_at(self, tenant: TenantId, lattice: HeldLattice, revision: int) -> LatticeSpec:
        """A lattice as it was behind a revision.

        Raises LatticeNotFound, StateGone, and InvalidInput naming `at_revision`.
        """


async def read_blocked(
    context: OperationContext, spec: LatticeSpec, bit_order: BitOrder
) -> AsyncGenerator[bytes]:
    """Yield the bitmap, as in `LatticeSpec.blocked` or in another order, in pieces of 64 KiB.

    Where no site is blocked there is one piece, which is empty. The lattice may leave memory
    meanwhile, so what its readers hold is counted.
    """
    bitmap = spec.blocked
    async with context.send_budget.reserved(len(bitmap)):
        for start in range(0, max(1, len(bitmap)), _PIECE_BYTES):
            async with context.consumed_in_time():
                yield reordered(bitmap[start : start + _PIECE_BYTES], bit_order)
