"""What a request did that is made again: told from the event that it left."""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace

from girih.ids import TenantId
from girih.lattice.v1 import chains_pb2 as pb
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeId
from services.lattice.errors import RequestIdReused
from services.lattice.fields.states import FieldState
from services.lattice.state.journal import (
    BlockedChanged,
    ChangeKind,
    FieldWritten,
    LatticeJournal,
    LatticeRecord,
)
from services.lattice.transforms import convert
from services.lattice.transforms.applying import Operand, Transformed
from services.lattice.transforms.blocked.changing import BlockedState, blocked_digest


class Repeated:
    """Finds changes that were made before."""

    def __init__(self, journal: LatticeJournal) -> None:
        self._journal = journal

    async def record(
        self, tenant: TenantId, lattice_id: LatticeId, revision: int
    ) -> LatticeRecord | None:
        """What a lattice has at a revision, if anything."""
        history = self._journal.history(tenant, lattice_id, after_revision=revision - 1, limit=1)
        async with aclosing(history) as batches:
            async for batch in batches:
                for record in batch:
                    return record
        return None

    async def transformed(
        self, operand: Operand, revision: int, transforms: Iterable[pb.Transform]
    ) -> Transformed:
        """What the same chain did at a revision; raises RequestIdReused for any other."""
        lattice_id = operand.lattice.lattice.lattice_id
        record = await self.record(operand.tenant, lattice_id, revision)
        written = record.event if record else None
        assert record is not None and isinstance(written, FieldWritten), "it was read"  # noqa: PT018
        change = written.change
        is_same = (
            change is not None
            and change.kind is ChangeKind.TRANSFORMED
            and [each.name for each in written.contents] == list(operand.names)
            and list(convert.applied_from(change.applied).transforms) == list(transforms)
        )
        if change is None or not is_same:
            raise reused(lattice_id)
        return Transformed(
            states=[
                FieldState(
                    name=each.name,
                    content=each.content,
                    revision=record.revision,
                    written_at=record.recorded_at,
                )
                for each in written.contents
            ],
            change=change,
            elapsed_ns=0,
        )

    async def blocked(
        self,
        tenant: TenantId,
        held: HeldLattice,
        revision: int,
        kind: ChangeKind,
        transforms: Iterable[pb.Transform] | None = None,
    ) -> BlockedState:
        """What a change of blocked sites did at a revision; raises RequestIdReused for any other
        kind, or any other chain than `transforms`."""
        lattice_id = held.lattice.lattice_id
        record = await self.record(tenant, lattice_id, revision)
        changed = record.event if record else None
        if record is None or not isinstance(changed, BlockedChanged):
            raise reused(lattice_id)
        change = changed.change
        applied = list(convert.applied_from(change.applied).transforms)
        if change.kind is not kind or (transforms is not None and applied != list(transforms)):
            raise reused(lattice_id)
        behind = replace(held, lattice=changed.lattice(held.lattice))
        return BlockedState(
            lattice=behind,
            revision=record.revision,
            recorded_at=record.recorded_at,
            change=change,
            digest=changed.blocked_digest.hex() or blocked_digest(b""),
        )

    async def written(
        self, tenant: TenantId, held: HeldLattice, revision: int, written_digest: str
    ) -> BlockedState:
        """What the same write of blocked sites did at a revision; raises RequestIdReused for any
        other."""
        state = await self.blocked(tenant, held, revision, ChangeKind.WRITTEN)
        if state.change.written_digest not in ("", written_digest):
            raise reused(held.lattice.lattice_id)
        return state


def reused(lattice_id: LatticeId) -> RequestIdReused:
    return RequestIdReused("the request id was used for another change", lattice_id=lattice_id)
