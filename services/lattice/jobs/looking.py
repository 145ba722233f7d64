"""The states of jobs while they go on: asked of what runs here, or else the last that was kept."""

from typing import Any

from numpy.typing import NDArray

from girih.ids import TenantId
from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import JobFinished, JobNotBegun
from services.lattice.jobs.domain import Job, JobId, JobState
from services.lattice.jobs.runs.run import JobLook, JobParts
from services.lattice.jobs.runs.simulation import plan_of
from services.lattice.jobs.scheduling import JobScheduler
from services.lattice.jobs.states import JobStates
from services.lattice.kernels import warm
from services.lattice.operations.context import OperationContext
from services.lattice.simulations.running import Run, RunPlan
from services.lattice.simulations.threads import Threads

_PEEK_S = 5.0
"""A process that has not begun by then, or is at one step for so long, is not waited for."""
_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED})


class JobLooks:
    """Looks at jobs that wait, run or were cancelled."""

    def __init__(
        self,
        parts: JobParts,
        states: JobStates,
        scheduler: JobScheduler,
        operations: OperationContext,
    ) -> None:
        self._parts = parts
        self._states = states
        self._scheduler = scheduler
        self._operations = operations

    async def job(self, tenant: TenantId, job_id: JobId) -> Job:
        """One that can be looked at; raises JobNotFound and JobFinished."""
        return _going_on(await self._states.get(tenant, job_id))

    async def look(self, tenant: TenantId, job: Job, held: HeldLattice) -> JobLook:
        """Its state: of this moment where it runs here, else as it was kept last.

        The caller has reserved the bytes of the array. Raises JobNotBegun, JobFinished,
        WorkTooLarge, ChunkDamaged and StorageUnavailable.
        """
        live = await self._scheduler.look(tenant, job.job_id, _PEEK_S)
        if live is not None:
            return live
        return await self._states.with_kept(tenant, job, lambda job: self._kept(tenant, job, held))

    async def _kept(self, tenant: TenantId, job: Job, held: HeldLattice) -> JobLook:
        checkpoint = _going_on(job).simulated
        if checkpoint is None:
            raise JobNotBegun("the job has nothing to show yet", job_id=job.job_id)
        size_bytes = checkpoint.size_bytes + job.spec.size_bytes
        self._operations.work_limit.check_bytes(size_bytes)
        await self._operations.compilation.ready((warm.SIMULATIONS,))
        plan = await plan_of(self._parts, tenant, job, held)
        state = await self._parts.storage.load(tenant, job.job_id, checkpoint)
        estimate = Estimate(size_bytes=size_bytes, looks=held.spec.geometry.sites)
        array = await self._operations.compute.run(
            estimate, lambda stop: _restored(plan, state, stop)
        )
        return JobLook(array, checkpoint.steps_done, plan.spec)


def _going_on(job: Job) -> Job:
    if job.state in _ENDED:
        message = "the job has ended: its result is a field, if it was to have one"
        raise JobFinished(message, job_id=job.job_id, state=job.state.value)
    return job


def _restored(plan: RunPlan, state: bytes, stop: Stop) -> NDArray[Any]:
    run = Run(plan, Threads(1))
    stop.check()
    run.restore(state)
    return run.result()
