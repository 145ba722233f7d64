"""A chain on which sites of a lattice are blocked, while this replica works on it.

Workers have the sites as numbers, 1 where one is blocked, which are kept while they work.
"""

from dataclasses import replace

from services.lattice.fields.keeping import keep_bits
from services.lattice.fields.states import LatticeFields
from services.lattice.jobs.journal import Written
from services.lattice.jobs.messages import transform_of
from services.lattice.jobs.runs.chain import ChainRun
from services.lattice.state.journal import BlockedChanged, ChangeKind, FieldChange
from services.lattice.transforms import convert
from services.lattice.transforms.blocked.changing import BlockedRequest, blocked_digest, fit_of
from services.lattice.transforms.chain import Chain


class BlockedRun(ChainRun):
    """A chain on blocked sites that this replica has claimed."""

    def _check_write(self, known: LatticeFields, written: Written) -> None:  # noqa: ARG002
        spec = self.job.spec
        request = BlockedRequest(expected_revision=spec.field_revision)
        request.check(known.blocked_revision, spec.lattice_id)

    async def _made(self) -> BlockedChanged:
        """The chain applied to the sites that were blocked at the start."""
        spec, parts = self.job.spec, self._parts
        asked = transform_of(spec)
        assert asked is not None, "it is a job that transforms"
        lattice, revision = await parts.lattices.latest(self._tenant, spec.lattice_id)
        known = await parts.fields.confirmed(self._tenant, spec.lattice_id)
        request = BlockedRequest(expected_revision=spec.field_revision)
        request.check(known.blocked_revision, spec.lattice_id)
        chain = Chain.of(convert.steps(asked.transforms), fit_of(lattice))
        shape, writer = lattice.spec.geometry.shape, parts.writer
        content = await keep_bits(
            writer, self._tenant, spec.lattice_id, shape, lattice.spec.blocked
        )
        try:
            made, reports = await self._applied(content, chain)
        finally:
            # Whoever goes on makes it again.
            await self._drop([content.array_id] if content.array_id else [])
        source = await parts.reader.source(self._tenant, spec.lattice_id, shape, made)
        blocked = await parts.reader.bits(source)
        behind = await parts.blocked.behind(lattice, replace(lattice.spec, blocked=blocked))
        change = FieldChange(
            kind=ChangeKind.TRANSFORMED,
            before_digest=blocked_digest(lattice.spec.blocked),
            applied=convert.applied_chain(asked.transforms, reports),
        )
        changed = BlockedChanged.of(behind.lattice, behind.spec, revision + 1, change)
        return await parts.bitmaps.kept(self._tenant, changed)
