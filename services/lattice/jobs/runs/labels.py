"""The components of a lattice while this replica has them labelled: workers do it, by slabs, and
from the beginning whenever it is claimed."""

import itertools

from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.fields.states import LatticeFields
from services.lattice.jobs.journal import Written
from services.lattice.jobs.runs.workers import WorkersRun
from services.lattice.state.journal import FieldWritten


class LabelsRun(WorkersRun):
    """A labelling that this replica has claimed: of the sites that were free at its start."""

    def _check_write(self, known: LatticeFields, written: Written) -> None:
        assert isinstance(written, FieldWritten), "it writes a field"
        self._parts.writer.limits.check_count(known.fields, written.name)
        self._parts.writer.check_young(self._tenant, written.lattice_id, written.content)

    async def _made(self) -> FieldWritten:
        spec, parts = self.job.spec, self._parts
        assert spec.lattice_revision is not None, "its start says which"
        now, _ = await parts.lattices.latest(self._tenant, spec.lattice_id)
        then = await parts.spec_since(self._tenant, now, spec.lattice_revision)
        lattice = HeldLattice.of(now.lattice, then)
        slabs = parts.labeller.planned(lattice)
        counted, done = self._counting(2 * len(slabs.begins)), itertools.count(1)
        counted(0)
        content = await parts.labeller.carried_out(
            self._tenant, lattice, slabs, lambda: counted(next(done))
        )
        return FieldWritten(lattice_id=spec.lattice_id, name=spec.result_field, content=content)
