"""A chain on the numbers of a field, while this replica works on it."""

from services.lattice.fields.states import FieldState, LatticeFields
from services.lattice.jobs.journal import Written
from services.lattice.jobs.messages import transform_of
from services.lattice.jobs.runs.chain import ChainRun
from services.lattice.state.journal import ChangeKind, FieldChange, FieldWritten
from services.lattice.transforms import convert
from services.lattice.transforms.applying import Operand, check_revision
from services.lattice.transforms.chain import Chain


class TransformRun(ChainRun):
    """A chain on a field that this replica has claimed."""

    def _check_write(self, known: LatticeFields, written: Written) -> None:
        assert isinstance(written, FieldWritten), "it writes a field"
        self._field(known)
        self._parts.writer.check_young(self._tenant, written.lattice_id, written.content)

    def _field(self, known: LatticeFields) -> FieldState:
        """The field as it was when the job was started. Raises FieldNotFound and LatticeChanged."""
        spec = self.job.spec
        state = known.field(spec.result_field)
        check_revision(state, spec.field_revision, spec.lattice_id)
        return state

    async def _made(self) -> FieldWritten:
        """The chain applied to the field."""
        spec, parts = self.job.spec, self._parts
        asked = transform_of(spec)
        assert asked is not None, "it is a job that transforms"
        lattice = await parts.lattices.open(self._tenant, spec.lattice_id)
        state = self._field(await parts.fields.confirmed(self._tenant, spec.lattice_id))
        operand = Operand(tenant=self._tenant, lattice=lattice, name=spec.result_field)
        chain = Chain.of(convert.steps(asked.transforms), operand.fit(state.content))
        content, reports = await self._applied(state.content, chain)
        change = FieldChange(
            kind=ChangeKind.TRANSFORMED,
            before_digest=state.content.digest,
            applied=convert.applied_chain(asked.transforms, reports),
        )
        return FieldWritten(
            lattice_id=spec.lattice_id, name=spec.result_field, content=content, change=change
        )
