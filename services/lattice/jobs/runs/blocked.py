"""A chain on which sites of a lattice are blocked, while this replica works on it.

Workers have the sites as numbers, 1 where one is blocked, which are kept while they work.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from services.lattice.arrays.content import FieldContent
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.fields.keeping import keep_bits
from services.lattice.fields.states import LatticeFields
from services.lattice.jobs.journal import Written
from services.lattice.jobs.messages import transform_of
from services.lattice.jobs.runs.workers import WorkersRun
from services.lattice.state.journal import BlockedChanged, ChangeKind, FieldChange
from services.lattice.storage.arrays import ArrayPlace
from services.lattice.transforms import convert
from services.lattice.transforms.blocking import BlockedRequest, blocked_digest, fit_of
from services.lattice.transforms.chain import Chain, Report


class BlockedRun(WorkersRun):
    """A chain on blocked sites that this replica has claimed."""

    def _check_write(self, known: LatticeFields, written: Written) -> None:  # noqa: ARG002
        spec = self.job.spec
        request = BlockedRequest(expected_revision=spec.field_revision)
        request.check(known.blocked_revision, spec.lattice_id)

    async def _made(self) -> BlockedChanged:
        """The chain applied to the sites that were blocked at the start, from its beginning."""
        spec, parts = self.job.spec, self._parts
        asked = transform_of(spec)
        assert asked is not None, "it is a job that transforms"
        lattice, revision = await parts.lattices.latest(self._tenant, spec.lattice_id)
        known = await parts.fields.confirmed(self._tenant, spec.lattice_id)
        request = BlockedRequest(expected_revision=spec.field_revision)
        request.check(known.blocked_revision, spec.lattice_id)
        chain = Chain.of(convert.steps(asked.transforms), fit_of(lattice))
        blocked, reports = await self._computed(lattice, chain)
        behind = await parts.blocked.behind(lattice, replace(lattice.spec, blocked=blocked))
        change = FieldChange(
            kind=ChangeKind.TRANSFORMED,
            before_digest=blocked_digest(lattice.spec.blocked),
            applied=convert.applied_chain(asked.transforms, reports),
        )
        changed = BlockedChanged.of(behind.lattice, behind.spec, revision + 1, change)
        return await parts.bitmaps.kept(self._tenant, changed)

    async def _computed(self, lattice: HeldLattice, chain: Chain) -> tuple[bytes, Sequence[Report]]:
        """The bitmap behind a chain. What is kept meanwhile is removed."""
        parts, lattice_id = self._parts, self.job.spec.lattice_id
        shape, bitmap = lattice.spec.geometry.shape, lattice.spec.blocked
        passes = parts.distributor.planned(chain)
        async with AsyncExitStack() as between:

            def until_then(content: FieldContent) -> None:
                if content.array_id:
                    place = ArrayPlace(self._tenant, lattice_id, content.array_id)
                    between.push_async_callback(parts.writer.arrays.remove, place)

            content = await keep_bits(parts.writer, self._tenant, lattice_id, shape, bitmap)
            until_then(content)
            counted = self._counting(sum(work.box_count for work in passes))
            made, reports = await parts.distributor.carried_out(
                self._tenant, lattice_id, content, chain, passes, counted
            )
            until_then(made)
            source = await parts.reader.source(self._tenant, lattice_id, shape, made)
            return await parts.reader.bits(source), reports
