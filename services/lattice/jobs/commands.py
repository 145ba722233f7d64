"""Starts jobs, has them stop, and has them go on."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4, uuid5

from girih.ids import TenantId, uuid7
from services.lattice.arrays.content import FieldContent
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeId
from services.lattice.errors import (
    JobFinished,
    JobNotCancelled,
    JobNotFound,
    JobsChanged,
    PlanLimit,
    RequestIdReused,
    WorkTooLarge,
)
from services.lattice.fields.limits import FieldLimits
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import FieldStates
from services.lattice.jobs.domain import (
    RECORDS_DEFAULT,
    Cancelling,
    Continued,
    Job,
    JobId,
    JobSpec,
    JobState,
    Started,
    Wish,
    cancelled,
)
from services.lattice.jobs.journal import CATALOGUE_STREAM, JobJournal
from services.lattice.jobs.scheduling import JobScheduler
from services.lattice.jobs.states import JobStates
from services.lattice.jobs.storage import JobStorage, OpenJobs, arrays_of
from services.lattice.simulations.models import AnyModel
from services.lattice.simulations.running import RECORDS_MAX
from services.lattice.state.journal import StreamChanged
from services.lattice.state.lattices import Lattices
from services.lattice.structure.clustering import LABEL_TYPE
from services.lattice.structure.components import ComponentLabeller
from services.lattice.structure.joining import JOINED_BYTES_MAX
from services.lattice.transforms.applying import Operand, check_revision
from services.lattice.transforms.blocked.changing import BlockedRequest, fit_of
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.distributing import ChainDistributor
from services.lattice.transforms.step import Step
from services.plumbing.errors import Violations
from services.policy import PlanLimits

_LOST_RACE_DELAYS_S = (0.05, 0.1, 0.2)
_COUNTS_MAX = 100
"""How often a tenant's jobs are counted for one start: each time another one came first."""
_STOP_S = 5.0
"""How long a call that cancels waits for the job to have stopped."""
_REQUESTS = UUID("2c1d7a0e-52f1-5d6a-8c41-3b7f1f0a9d35")
"""The namespace of job ids that are derived from request ids."""
_CHUNK_BYTES = 200
"""What the digest of a chunk takes while an array is made."""
_BITMAPS = 4
"""Which sites are blocked, in memory so often at most: before, behind, and on their ways."""
_SEED_BITS = 53
"""Of seeds that are drawn: so that JSON numbers hold them."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What somebody wants simulated, as it makes sense on its lattice."""

    model: AnyModel
    simulation: bytes
    steps: int
    seed: int | None
    record_every: int
    discard_steps: int
    result_field: str
    request_id: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The names of fields, by what they are for."""


@dataclass(frozen=True, kw_only=True)
class NewTransform:
    """What somebody wants done to a field, or to which sites are blocked."""

    field: str
    """Empty for blocked sites."""
    steps: Sequence[Step]
    transform: bytes
    """As `JobSpec.transform`."""
    request_id: str
    expected_revision: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobBounds:
    """What one job may take."""

    updates_max: int
    size_bytes_max: int


class Jobs:
    """The jobs of all tenants, for their callers."""

    def __init__(
        self,
        journal: JobJournal,
        states: JobStates,
        storage: JobStorage,
        marks: OpenJobs,
        lattices: Lattices,
        fields: FieldStates,
        reader: FieldReader,
        scheduler: JobScheduler,
        distributor: ChainDistributor,
        labeller: ComponentLabeller,
        bounds: JobBounds,
        limits: FieldLimits,
    ) -> None:
        self._journal, self.states, self.storage, self._marks = journal, states, storage, marks
        self._lattices, self._fields, self._reader = lattices, fields, reader
        self.scheduler, self._distributor, self._labeller = scheduler, distributor, labeller
        self._bounds, self._limits = bounds, limits

    async def start(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        new: NewJob,
        plan: PlanLimits,
        subject: str,
    ) -> Job:
        """Start a job on a lattice as that is now; raises InvalidInput, WorkTooLarge, PlanLimit,
        JobsChanged."""
        held, lattice_revision = await self._lattices.latest(tenant, lattice_id)
        self._check(held, new)
        job_id = _id_of(tenant, new.request_id)

        def requested(before: JobSpec) -> JobSpec:
            return replace(
                self._spec(held, job_id, new, before.started_by, before.inputs),
                seed=before.seed if new.seed is None else new.seed,
                # What follows from which sites were blocked then.
                updates=before.updates,
                size_bytes=before.size_bytes,
                lattice_revision=before.lattice_revision,
            )

        if new.request_id:
            before = await self._started_before(tenant, job_id, requested)
            if before is not None:
                return before
        # Nothing is copied for who is refused anyway.
        _check_count(len((await self.states.list(tenant)).open) + 1, plan)
        inputs = await self._inputs(tenant, held, job_id, new)
        spec = replace(
            self._spec(held, job_id, new, subject, inputs), lattice_revision=lattice_revision
        )
        return await self._begin(tenant, spec, plan, requested)

    async def start_transform(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        new: NewTransform,
        plan: PlanLimits,
        subject: str,
    ) -> Job:
        """Start a job that transforms a field, or which sites are blocked, as that is now; raises
        InvalidInput, TransformUnfit, FieldNotFound, LatticeChanged, WorkTooLarge, PlanLimit,
        JobsChanged."""
        held, _ = await self._lattices.latest(tenant, lattice_id)
        job_id = _id_of(tenant, new.request_id)
        asked = replace(_spec_by_workers(job_id, held, new.field, subject), transform=new.transform)

        def requested(before: JobSpec) -> JobSpec:
            return replace(_as_before(asked, before), field_revision=before.field_revision)

        if new.request_id:
            before = await self._started_before(tenant, job_id, requested)
            if before is not None:
                return before
        known = await self._fields.confirmed(tenant, lattice_id)
        if new.field:
            state = known.field(new.field)
            check_revision(state, new.expected_revision, lattice_id)
            operand = Operand(tenant=tenant, lattice=held, name=new.field)
            fit, revision, bitmap_bytes = operand.fit(state.content), state.revision, 0
        else:
            request = BlockedRequest(expected_revision=new.expected_revision)
            request.check(known.blocked_revision, lattice_id)
            fit, revision = fit_of(held), known.blocked_revision
            bitmap_bytes = -(-fit.sites // 8)
        chain = Chain.of(new.steps, fit)
        self._limits.check_size(chain.fits[-1].number_type, chain.fits[-1].sites)
        passes = self._distributor.planned(chain)
        looks = sum(work.looks for work in passes)
        _check_size("looks at sites", looks, self._bounds.updates_max)
        digests_bytes = _CHUNK_BYTES * max(work.chunk_count for work in passes)
        size_bytes = digests_bytes + _BITMAPS * bitmap_bytes
        _check_size("bytes of memory", size_bytes, self._bounds.size_bytes_max)
        spec = replace(
            asked,
            field_revision=revision,
            steps=sum(work.box_count for work in passes),
            updates=looks,
            size_bytes=size_bytes,
        )
        return await self._begin(tenant, spec, plan, requested)

    async def start_labels(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        result_field: str,
        request_id: str,
        plan: PlanLimits,
        subject: str,
    ) -> Job:
        """Start a job that labels the components of a lattice as that is now; raises WorkTooLarge,
        PlanLimit, JobsChanged."""
        held, lattice_revision = await self._lattices.latest(tenant, lattice_id)
        job_id = _id_of(tenant, request_id)
        asked = replace(_spec_by_workers(job_id, held, result_field, subject), is_labelling=True)

        def requested(before: JobSpec) -> JobSpec:
            return replace(_as_before(asked, before), lattice_revision=before.lattice_revision)

        if request_id:
            before = await self._started_before(tenant, job_id, requested)
            if before is not None:
                return before
        slabs = self._labeller.planned(held)
        # Each slab is looked at twice.
        _check_size("looks at sites", 2 * slabs.looks, self._bounds.updates_max)
        self._limits.check_size(LABEL_TYPE, held.spec.geometry.sites)
        spec = replace(
            asked,
            lattice_revision=lattice_revision,
            steps=2 * len(slabs.begins),
            updates=2 * slabs.looks,
            size_bytes=JOINED_BYTES_MAX,
        )
        return await self._begin(tenant, spec, plan, requested)

    async def _begin(
        self,
        tenant: TenantId,
        spec: JobSpec,
        plan: PlanLimits,
        requested: Callable[[JobSpec], JobSpec],
    ) -> Job:
        """Mark a job and record its start; or the job that the same request started before."""
        job_id, inputs = spec.job_id, spec.inputs
        await self._marks.mark(tenant, job_id, spec.started_by)
        try:
            job = await self._record(tenant, spec, plan)
        except (JobsChanged, PlanLimit):
            await self._drop_unused(tenant, job_id, inputs)
            raise
        if job is not None:
            return job
        await self._drop_unused(tenant, job_id, inputs)
        started = await self._started_before(tenant, job_id, requested)
        if started is None:
            raise JobsChanged("the tenant's jobs kept changing meanwhile")
        return started

    async def _record(self, tenant: TenantId, spec: JobSpec, plan: PlanLimits) -> Job | None:
        """Record a start; None where there is a job of this id. Raises JobsChanged, PlanLimit."""
        job_id = spec.job_id
        command_id = uuid5(UUID(job_id), "start")
        for _ in range(_COUNTS_MAX):
            known = await self.states.list(tenant)
            _check_count(len(known.open) + 1, plan)
            try:
                await self._journal.append(
                    tenant,
                    job_id,
                    Started(spec=spec),
                    expected_revision=-1,
                    command_id=command_id,
                    catalogue_revision=known.revision,
                )
            except StreamChanged as error:
                if error.stream == CATALOGUE_STREAM:
                    continue
                return None
            self.scheduler.nudge()
            return await self.states.latest(tenant, job_id)
        raise JobsChanged("the tenant's jobs kept changing meanwhile")

    async def _drop_unused(
        self, tenant: TenantId, job_id: JobId, inputs: Mapping[str, FieldContent]
    ) -> None:
        """Keep no copies that were made for a job which was not started, or by somebody else."""
        try:
            used = arrays_of((await self.states.latest(tenant, job_id)).spec.inputs)
        except JobNotFound:
            used = frozenset()
        await self.storage.drop(tenant, job_id, arrays_of(inputs) - used)

    async def cancel(self, tenant: TenantId, job_id: JobId, request_id: str = "") -> Job:
        """Have a job stop. Waits for it for a moment.

        Raises JobFinished, RequestIdReused and JobsChanged.
        """
        command_id = uuid4()
        for delay_s in (*_LOST_RACE_DELAYS_S, None):
            job = await self.states.latest(tenant, job_id)
            if job.is_done(request_id, Wish.CANCEL):
                return await self._stopped(tenant, job_id) if job.is_cancelling else job
            if job.state is JobState.CANCELLED:
                return job
            if not job.state.is_open:
                raise JobFinished("the job has ended already", job_id=job_id, state=job.state.value)
            is_waiting = job.state is JobState.WAITING
            if job.is_cancelling and not is_waiting:
                return await self._stopped(tenant, job_id)
            try:
                await self._journal.append(
                    tenant,
                    job_id,
                    cancelled(job, request_id)
                    if is_waiting
                    else Cancelling(job_id=job_id, request_id=request_id),
                    expected_revision=job.revision,
                    command_id=command_id,
                )
            except StreamChanged:
                command_id = uuid4()
                if delay_s is not None:
                    await asyncio.sleep(delay_s)
                continue
            if is_waiting:
                await self.scheduler.forget((tenant, job_id))
            else:
                self.scheduler.look_at((tenant, job_id))
            return await self._stopped(tenant, job_id)
        raise JobsChanged("the job kept changing meanwhile", job_id=job_id)

    async def go_on(
        self, tenant: TenantId, job_id: JobId, plan: PlanLimits, request_id: str = ""
    ) -> Job:
        """Go on with a job that was cancelled.

        Raises JobNotCancelled, PlanLimit, RequestIdReused and JobsChanged.
        """
        command_id = uuid4()
        for _ in range(_COUNTS_MAX):
            known = await self.states.list(tenant)
            job = await self.states.latest(tenant, job_id)
            if job.is_done(request_id, Wish.CONTINUE):
                return job
            if job.state is not JobState.CANCELLED:
                raise JobNotCancelled(
                    "the job was not cancelled", job_id=job_id, state=job.state.value
                )
            _check_count(len(known.open) + 1, plan)
            await self._marks.mark(tenant, job_id, job.spec.started_by)
            try:
                await self._journal.append(
                    tenant,
                    job_id,
                    Continued(job_id=job_id, request_id=request_id),
                    expected_revision=job.revision,
                    command_id=command_id,
                    catalogue_revision=known.revision,
                )
            except StreamChanged:
                continue
            # Whoever ended it may have unmarked it since, and not seen this.
            await self._marks.mark(tenant, job_id, job.spec.started_by)
            self.scheduler.nudge()
            return await self.states.latest(tenant, job_id)
        raise JobsChanged("the tenant's jobs kept changing meanwhile", job_id=job_id)

    async def find_open(self, tenant: TenantId) -> None:
        """Mark the tenant's open jobs anew: marks may be lost."""
        for job_id in list((await self.states.list(tenant)).open):
            job = await self.states.get(tenant, job_id)
            if job.state.is_open:
                await self._marks.mark(tenant, job_id, job.spec.started_by)

    async def _stopped(self, tenant: TenantId, job_id: JobId) -> Job:
        """The job once it has stopped, or as it is after a while."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _STOP_S
        while True:
            job = await self.states.latest(tenant, job_id)
            left_s = until_s - loop.time()
            if not job.state.is_open or left_s <= 0:
                return job
            if job.is_cancelling and job.state is JobState.WAITING:
                # Its replica let go of it at the same moment.
                return await self.cancel(tenant, job_id)
            await self.scheduler.until_changed(min(0.1, left_s))

    def _check(self, held: HeldLattice, new: NewJob) -> None:
        """Raise InvalidInput naming every bad field, or WorkTooLarge."""
        bad = Violations()
        new.model.check(held.spec, bad)
        if new.inputs.keys() - set(new.model.inputs):
            bad.add("simulation.initial_field", f"must be empty for {new.model.name}")
        if new.discard_steps >= new.steps:
            bad.add("discard_steps", f"must be less than steps, {new.steps}")
        every = _record_every(new)
        if (new.steps - new.discard_steps) // every > RECORDS_MAX:
            least = -(-(new.steps - new.discard_steps) // RECORDS_MAX)
            bad.add(
                "record_every", f"must be at least {least}: there may be {RECORDS_MAX:,} records"
            )
        bad.raise_if_any()
        _check_size("updates of sites", self._updates(held, new), self._bounds.updates_max)
        if new.result_field:
            self._limits.check_size(new.model.result_type, held.spec.geometry.sites)
        _check_size("bytes of memory", _size_bytes(held, new), self._bounds.size_bytes_max)

    @staticmethod
    def _updates(held: HeldLattice, new: NewJob) -> int:
        return new.steps * new.model.updates(held.spec)

    def _spec(
        self,
        held: HeldLattice,
        job_id: JobId,
        new: NewJob,
        subject: str,
        inputs: Mapping[str, FieldContent],
    ) -> JobSpec:
        seed = secrets.randbits(_SEED_BITS) if new.seed is None else new.seed
        return JobSpec(
            job_id=job_id,
            lattice_id=held.lattice.lattice_id,
            simulation=new.simulation,
            steps=new.steps,
            seed=seed,
            record_every=_record_every(new),
            discard_steps=new.discard_steps,
            result_field=new.result_field,
            updates=self._updates(held, new),
            size_bytes=_size_bytes(held, new),
            started_by=subject,
            inputs=inputs,
        )

    async def _started_before(
        self, tenant: TenantId, job_id: JobId, requested: Callable[[JobSpec], JobSpec]
    ) -> Job | None:
        """The job that the request started before, if it did. `requested` is what it asks for now,
        with what follows from how things were then. Raises RequestIdReused."""
        try:
            job = await self.states.latest(tenant, job_id)
        except JobNotFound:
            return None
        if requested(job.spec) != job.spec:
            raise RequestIdReused("the request id was used for another job", job_id=job_id)
        return job

    async def _inputs(
        self, tenant: TenantId, held: HeldLattice, job_id: JobId, new: NewJob
    ) -> Mapping[str, FieldContent]:
        """Copies of the fields that a job starts from. Raises FieldNotFound."""
        if not new.inputs:
            return {}
        lattice_id, shape = held.lattice.lattice_id, held.spec.geometry.shape
        known = await self._fields.of(tenant, lattice_id)
        contents = {purpose: known.field(name).content for purpose, name in new.inputs.items()}
        copies = {}
        for purpose, content in contents.items():
            source = await self._reader.source(tenant, lattice_id, shape, content)
            copies[purpose] = await self.storage.copy(tenant, job_id, source)
        return copies


def _spec_by_workers(job_id: JobId, held: HeldLattice, result_field: str, subject: str) -> JobSpec:
    """What any request says of a job that workers do, without what follows from the lattice."""
    return JobSpec(
        job_id=job_id,
        lattice_id=held.lattice.lattice_id,
        simulation=b"",
        steps=1,
        seed=0,
        record_every=1,
        discard_steps=0,
        result_field=result_field,
        updates=0,
        size_bytes=0,
        started_by=subject,
    )


def _as_before(asked: JobSpec, before: JobSpec) -> JobSpec:
    """What is asked, with what followed from how things were."""
    return replace(
        asked,
        started_by=before.started_by,
        steps=before.steps,
        updates=before.updates,
        size_bytes=before.size_bytes,
    )


def _size_bytes(held: HeldLattice, new: NewJob) -> int:
    """The memory that a job takes, with its result where that is kept."""
    result = new.model.result_type.size_bytes * held.spec.geometry.sites if new.result_field else 0
    return new.model.size_bytes(held.spec) + result


def _record_every(new: NewJob) -> int:
    steps = new.steps - new.discard_steps
    return new.record_every or max(1, -(-steps // RECORDS_DEFAULT))


def _check_count(count: int, plan: PlanLimits) -> None:
    if plan.job_count_max and count > plan.job_count_max:
        raise PlanLimit(
            f"the plan {plan.name} allows {plan.job_count_max} jobs that wait or run at once; wait "
            "until one has ended, or cancel one",
            limit="jobs",
            maximum=plan.job_count_max,
            asked=count,
            plan=plan.name,
        )


def _check_size(what: str, estimate: int, limit: int) -> None:
    if estimate > limit:
        raise WorkTooLarge(
            f"the job would take more {what} than one may", estimate=estimate, limit=limit
        )


def _id_of(tenant: TenantId, request_id: str) -> JobId:
    """The id that a request always leads to, or a fresh one that sorts by time."""
    if request_id:
        return JobId(str(uuid5(_REQUESTS, f"{tenant}/{request_id.lower()}")))
    return JobId(str(uuid7()))
