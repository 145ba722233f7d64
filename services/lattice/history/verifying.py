"""Replays lattices from their events alone, and compares every digest."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.digests import (
    chunk_digest,
    constant_digests,
    padded,
    root_digest,
)
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import ChunkDamaged, JobNotFound, StateGone, WorkTooLarge
from services.lattice.history.past import Ledger, Past, WrittenRecord
from services.lattice.history.replaying import Replaying
from services.lattice.jobs.messages import input_names
from services.lattice.jobs.replaying import JobReplays
from services.lattice.storage.arrays import ArrayStore
from services.lattice.transforms import convert
from services.lattice.transforms.applying import Operand
from services.lattice.transforms.chain import COMPUTED_WITH
from services.plumbing.errors import InvalidInput


class Outcome(Enum):
    """How an event compares with what comes out of it."""

    KEPT = "kept"
    REPRODUCED = "reproduced"
    GONE = "gone"
    DIFFERENT = "different"
    DAMAGED = "damaged"
    NOT_REPLAYED = "not_replayed"


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What came of a field that an event wrote."""

    record: WrittenRecord
    name: str
    outcome: Outcome
    found: str = ""
    """The digest."""
    computed_with: str = ""
    """Where that is another version than now."""


class Verifying:
    """Verifies lattices, an event after the other."""

    def __init__(
        self, past: Past, arrays: ArrayStore, replaying: Replaying, replays: JobReplays
    ) -> None:
        self._past = past
        self._arrays = arrays
        self._replaying = replaying
        self._replays = replays

    async def verify(self, tenant: TenantId, lattice: HeldLattice) -> AsyncGenerator[Verified]:
        """Yield what came of each event. Raises WorkTooLarge and StorageUnavailable."""
        lattice_id = lattice.lattice.lattice_id
        ledger = await self._past.ledger(tenant, lattice_id)
        for revision in sorted(ledger.records):
            record = ledger.records[revision]
            for name in record.names:
                operand = Operand(tenant=tenant, lattice=lattice, name=name)
                yield await self._verified(operand, ledger, record)

    async def _verified(self, operand: Operand, ledger: Ledger, record: WrittenRecord) -> Verified:
        change = record.written.change
        try:
            if record.written.job_id:
                return await self._simulated(operand, ledger, record)
            if change is None:
                return await self._sent(operand, record)
            return await self._made(operand, ledger, record)
        except StateGone:
            outcome = Outcome.GONE
        except ChunkDamaged:
            outcome = Outcome.DAMAGED
        return Verified(record=record, name=operand.name, outcome=outcome)

    async def _sent(self, operand: Operand, record: WrittenRecord) -> Verified:
        """Numbers that a caller sent: they are there, or not."""
        content = record.content(operand.name)
        if not await self._replaying.is_kept(operand, content):
            return Verified(record=record, name=operand.name, outcome=Outcome.GONE)
        actual = await self._digest_of(operand, content)
        outcome = Outcome.KEPT if actual == content.digest else Outcome.DIFFERENT
        return Verified(record=record, name=operand.name, outcome=outcome, found=actual)

    async def _simulated(self, operand: Operand, ledger: Ledger, record: WrittenRecord) -> Verified:
        """The result of a job: it comes out again, or not; looked up where that takes too long."""
        tenant, lattice = operand.tenant, operand.lattice
        try:
            job = await self._replays.job(tenant, record.written)
            plan = await self._replays.plan(tenant, job, lattice)
        except JobNotFound:
            return Verified(record=record, name=operand.name, outcome=Outcome.GONE)
        except InvalidInput:
            # No job of ours can have written that.
            return Verified(record=record, name=operand.name, outcome=Outcome.DIFFERENT)
        except WorkTooLarge:
            kept = await self._sent(operand, record)
            if kept.outcome is not Outcome.KEPT:
                return kept
            return replace(kept, outcome=Outcome.NOT_REPLAYED)
        async with self._replays.holding_inputs(plan):
            names = input_names(job)
            inputs = {
                purpose: await self._input(replace(operand, name=names[purpose]), ledger, content)
                for purpose, content in job.spec.inputs.items()
            }
            actual = await self._replays.digest(plan, inputs)
        same = actual == record.content(operand.name).digest
        outcome = Outcome.REPRODUCED if same else Outcome.DIFFERENT
        return Verified(record=record, name=operand.name, outcome=outcome, found=actual)

    async def _input(
        self, operand: Operand, ledger: Ledger, content: FieldContent
    ) -> NDArray[np.generic]:
        """What a job started from: its own copy went with the job. Raises StateGone."""
        if not content.array_id:
            return await self._replaying.array(operand, content)
        record = ledger.with_digest(operand.name, content.digest)
        if record is None:
            raise StateGone("what the job started from is not kept any more")
        readable = await self._replaying.content(operand, ledger, record)
        try:
            return await self._replaying.array(operand, readable.content)
        finally:
            await self._replaying.let_go(operand, readable)

    async def _made(self, operand: Operand, ledger: Ledger, record: WrittenRecord) -> Verified:
        """Numbers that were computed: they come out again, or not."""
        change = record.written.change
        assert change is not None, "the caller has looked"
        made = await self._replaying.made_again(operand, ledger, record)
        digest = made.content.digest
        await self._replaying.let_go(operand, made)
        versions = convert.applied_from(change.applied).computed_with if change.applied else ""
        same = digest == record.content(operand.name).digest
        came_from = record.revision if change.applied else change.of_revision
        if not same and any(ledger.has_lost(name, came_from) for name in record.names):
            raise StateGone("the field that it came from was deleted")
        return Verified(
            record=record,
            name=operand.name,
            outcome=Outcome.REPRODUCED if same else Outcome.DIFFERENT,
            found=digest,
            computed_with=versions if versions != COMPUTED_WITH else "",
        )

    async def _digest_of(self, operand: Operand, content: FieldContent) -> str:
        """The digest of the numbers that are kept, each chunk looked at."""
        source = await self._replaying.source(operand, content)
        layout = source.layout
        if content.array_id:
            for ordinal in range(layout.chunking.count):
                await source.chunk(self._arrays, ordinal)
            return root_digest(layout.number_type, layout.chunking, source.digests)
        if content.values:
            whole = padded(content.values, layout.chunking, layout.number_type)
            digests = [chunk_digest(whole)]
        else:
            digests = constant_digests(layout.chunking, content.fill)
        return root_digest(layout.number_type, layout.chunking, digests)
