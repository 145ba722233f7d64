"""What every rpc on lattices begins with: whose lattice it is, and reading what was sent."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from girih.ids import TenantId
from services.lattice import domain
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import PlanMissing
from services.lattice.operations.context import OperationContext
from services.lattice.state.lattices import Lattices
from services.plumbing import correlation, validation
from services.policy import PlanLimits, plan_of

T = TypeVar("T")

_INLINE_REQUEST_BYTES = 1 << 12
_LOOKS_PER_BYTE = 20
_BYTES_PER_BYTE = 20
"""What a byte of a request takes while it is checked and made into values."""


class Calls:
    """Opens lattices of the calling tenant, and reads what callers send."""

    def __init__(self, lattices: Lattices, operations: OperationContext) -> None:
        self.lattices = lattices
        self.operations = operations

    async def open(self, lattice_id: str) -> HeldLattice:
        """A lattice of the caller. Raises LatticeNotFound."""
        return await self.lattices.open(tenant(), domain.lattice_id(lattice_id))

    async def checked(self, request: Message) -> None:
        """Check a request by the contract's rules. Raises InvalidInput."""
        await self.read(request, lambda: validation.check(request))

    async def read(self, request: Message, read: Callable[[], T]) -> T:
        """Check a request or take it apart, beside the loop when it is long."""
        size_bytes = request.ByteSize()
        estimate = Estimate(
            size_bytes=_BYTES_PER_BYTE * size_bytes, looks=_LOOKS_PER_BYTE * size_bytes
        )
        return await self.made(read, estimate, inline=size_bytes <= _INLINE_REQUEST_BYTES)

    async def made(self, make: Callable[[], T], estimate: Estimate, *, inline: bool) -> T:
        """Make something here, or in a thread."""
        if inline:
            return make()
        return await self.operations.compute.run(estimate, lambda _stop: make())


def tenant() -> TenantId:
    """Who calls."""
    return correlation.current().tenant


def plan() -> PlanLimits:
    """What the caller's token allows. One that names no plan allows nothing: PlanMissing."""
    limits = plan_of(correlation.current().principal)
    if limits is None:
        raise PlanMissing("the token names no plan, so nothing can be created with it")
    return limits
