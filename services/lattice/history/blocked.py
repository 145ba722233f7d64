"""Undoes changes of blocked sites, does them again, and verifies them: from events alone."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeId
from services.lattice.errors import ChunkDamaged, NothingToRedo, NothingToUndo, WorkTooLarge
from services.lattice.fields.states import LatticeFields
from services.lattice.history.earlier import Bitmaps
from services.lattice.history.past import Past
from services.lattice.history.undoing import turned
from services.lattice.history.verifying import Outcome
from services.lattice.state.journal import (
    BlockedChanged,
    ChangeKind,
    FieldChange,
    LatticeCreated,
)
from services.lattice.transforms import convert
from services.lattice.transforms.blocked.changing import (
    BlockedRequest,
    BlockedState,
    BlockedTransformer,
    Made,
    blocked_digest,
    digest_behind,
    fit_of,
)
from services.lattice.transforms.chain import Chain


@dataclass(frozen=True, kw_only=True)
class VerifiedBlocked:
    """What came of a change of blocked sites."""

    changed: BlockedChanged
    outcome: Outcome
    digest: str
    found: str


class TurningBlocked:
    """Undoes what was done to blocked sites, and does it again."""

    def __init__(self, past: Past, bitmaps: Bitmaps, transformer: BlockedTransformer) -> None:
        self._past = past
        self._bitmaps = bitmaps
        self._transformer = transformer

    async def turn(
        self, tenant: TenantId, lattice_id: LatticeId, kind: ChangeKind, request: BlockedRequest
    ) -> BlockedState | int:
        """Undo the last change, or do again what was undone last; or the revision of what the
        same request had done before. Raises NothingToUndo, NothingToRedo and LatticeChanged."""

        async def make(held: HeldLattice, _known: LatticeFields) -> Made:
            events = await self._events(tenant, lattice_id)
            target, before = _target(events, kind)
            now = blocked_digest(held.spec.blocked)
            change = FieldChange(
                kind=kind,
                before_digest=now,
                request_id=request.request_id,
                of_revision=target.revision,
            )
            if kind is ChangeKind.UNDONE:
                inverted = await self._inverted(held, target, change)
                if inverted is not None:
                    return inverted
            wanted = before if kind is ChangeKind.UNDONE else target
            blocked = await self._bitmaps.bitmap(tenant, wanted)
            return Made(spec=replace(held.spec, blocked=blocked), change=change)

        return await self._transformer.change(tenant, lattice_id, make, request)

    async def verify(
        self, tenant: TenantId, lattice: HeldLattice
    ) -> AsyncGenerator[VerifiedBlocked]:
        """Yield what came of each change: computed anew from the bitmap before it, or looked up
        where it brought an earlier one back. Raises WorkTooLarge for too long a history, and
        StorageUnavailable."""
        events = await self._events(tenant, lattice.lattice.lattice_id)
        for at, changed in enumerate(events):
            if isinstance(changed, BlockedChanged):
                # Of the last one the bitmap must be there; earlier ones are kept for a while.
                lost = Outcome.DAMAGED if changed is events[-1] else Outcome.GONE
                yield await self._verified(tenant, lattice, events[:at], changed, lost)

    async def _verified(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        earlier: Sequence[LatticeCreated | BlockedChanged],
        changed: BlockedChanged,
        lost: Outcome,
    ) -> VerifiedBlocked:
        digest = digest_behind(changed)
        try:
            actual = blocked_digest(await self._bitmaps.bitmap(tenant, changed))
        except ChunkDamaged:
            return VerifiedBlocked(changed=changed, outcome=lost, digest=digest, found="")
        try:
            if actual == digest:
                actual = await self._again(tenant, lattice, earlier, changed) or actual
        except ChunkDamaged:
            gone = Outcome.GONE
            return VerifiedBlocked(changed=changed, outcome=gone, digest=digest, found="")
        except WorkTooLarge:
            kept = Outcome.NOT_REPLAYED
            return VerifiedBlocked(changed=changed, outcome=kept, digest=digest, found=actual)
        outcome = Outcome.REPRODUCED if actual == digest else Outcome.DIFFERENT
        if outcome is Outcome.REPRODUCED and changed.change.kind is ChangeKind.WRITTEN:
            outcome = Outcome.KEPT
        return VerifiedBlocked(changed=changed, outcome=outcome, digest=digest, found=actual)

    async def _again(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        earlier: Sequence[LatticeCreated | BlockedChanged],
        changed: BlockedChanged,
    ) -> str:
        """The digest of what a change makes of what was before it; empty where a caller sent it."""
        change = changed.change
        if change.applied:
            spec = replace(lattice.spec, blocked=await self._bitmaps.bitmap(tenant, earlier[-1]))
            return await self._recomputed(replace(lattice, spec=spec), change)
        if change.kind is ChangeKind.WRITTEN:
            return ""
        target, before = _target(earlier, change.kind)
        wanted = before if change.kind is ChangeKind.UNDONE else target
        return blocked_digest(await self._bitmaps.bitmap(tenant, wanted))

    async def _recomputed(self, held: HeldLattice, change: FieldChange) -> str:
        applied = convert.applied_from(change.applied)
        chain = Chain.of(convert.steps(applied.transforms), fit_of(held))
        blocked, _ = await self._transformer.computed(held, chain)
        return blocked_digest(replace(held.spec, blocked=blocked).blocked)

    async def _inverted(
        self, held: HeldLattice, target: BlockedChanged, change: FieldChange
    ) -> Made | None:
        """Undo a chain by its inverse, where that brings every bit back."""
        if not target.change.applied:
            return None
        applied = convert.applied_from(target.change.applied)
        inverse = Chain.of(convert.steps(applied.transforms), fit_of(held)).inverse()
        if inverse is None:
            return None
        try:
            blocked, reports = await self._transformer.computed(held, inverse)
        except WorkTooLarge:
            # A job did it; the sites before it are kept.
            return None
        spec = replace(held.spec, blocked=blocked)
        if blocked_digest(spec.blocked) != target.change.before_digest:
            return None
        again = convert.applied_chain(convert.transforms(inverse.steps), reports)
        return Made(spec=spec, change=replace(change, applied=again))

    async def _events(
        self, tenant: TenantId, lattice_id: LatticeId
    ) -> Sequence[LatticeCreated | BlockedChanged]:
        """The creation, and every change of blocked sites since, oldest first."""
        whole = await self._past.created(tenant, lattice_id)
        changes = [
            record.event
            async for record in self._past.records(tenant, lattice_id)
            if isinstance(record.event, BlockedChanged)
        ]
        return [whole, *changes]


def _target(
    events: Sequence[LatticeCreated | BlockedChanged], kind: ChangeKind
) -> tuple[BlockedChanged, LatticeCreated | BlockedChanged]:
    """The change to turn, and what was before it."""
    changes = [event for event in events[1:] if isinstance(event, BlockedChanged)]
    done, undone = turned(changes, [event.change.kind for event in changes])
    if kind is ChangeKind.UNDONE and not done:
        raise NothingToUndo("no change of blocked sites is left to undo", created_revision=0)
    if kind is ChangeKind.REDONE and not undone:
        raise NothingToRedo("no change of blocked sites is undone that could be done again")
    target = (done if kind is ChangeKind.UNDONE else undone)[-1]
    # The creation is before the first change.
    return target, events[changes.index(target)]
