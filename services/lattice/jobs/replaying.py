"""Simulates again what jobs left, from what their events say. Keeps nothing of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from girih.ids import TenantId
from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.digests import array_digest
from services.lattice.arrays.number_type import NumberType
from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.jobs.domain import Job, job_id
from services.lattice.jobs.runs.run import JobParts
from services.lattice.jobs.runs.simulation import bare_plan_of
from services.lattice.jobs.states import JobStates
from services.lattice.kernels import warm
from services.lattice.operations.context import OperationContext
from services.lattice.simulations.running import Run, RunPlan
from services.lattice.simulations.simulation import Arrays
from services.lattice.simulations.threads import Threads
from services.lattice.state.journal import FieldWritten
from services.plumbing.errors import InvalidInput, Violations

_STRETCH_S = 0.05
"""Steps are taken so long before anybody looks whether to stop."""


class JobReplays:
    """Computes the results of jobs anew."""

    def __init__(self, parts: JobParts, states: JobStates, operations: OperationContext) -> None:
        self._parts = parts
        self._states = states
        self._operations = operations

    async def job(self, tenant: TenantId, written: FieldWritten) -> Job:
        """The job whose result was written.

        Raises JobNotFound, and InvalidInput where that job writes no such field.
        """
        job = await self._states.latest(tenant, job_id(written.job_id))
        if (job.spec.lattice_id, job.spec.result_field) != (written.lattice_id, written.name):
            raise InvalidInput.of("job_id", "must be of a job that writes the field")
        return job

    async def plan(self, tenant: TenantId, job: Job, lattice: HeldLattice) -> RunPlan:
        """What the job ran, without the fields that it started from.

        Raises WorkTooLarge where that is more than a call may have done, InvalidInput where it
        makes no sense, and what `bare_plan_of` raises.
        """
        plan = await bare_plan_of(self._parts, tenant, job, lattice)
        bad = Violations()
        plan.model.check(plan.spec, bad)
        bad.raise_if_any()
        limit = self._operations.work_limit
        # Not as its event says: whoever may write events may have written that.
        limit.check_looks(_updates(plan))
        limit.check_bytes(_size_bytes(plan))
        return plan

    @asynccontextmanager
    async def holding_inputs(self, plan: RunPlan) -> AsyncIterator[None]:
        """Hold the memory of what a job starts from. Raises ComputeBusy."""
        async with self._operations.send_budget.reserved(_size_bytes(plan)):
            yield

    async def digest(self, plan: RunPlan, inputs: Arrays) -> str:
        """The digest of the result. Raises ComputeBusy."""
        await self._operations.compilation.ready((warm.SIMULATIONS,))
        whole = replace(plan, inputs=inputs)
        estimate = Estimate(size_bytes=_size_bytes(plan), looks=_updates(plan))
        return await self._operations.compute.run(estimate, lambda stop: _digest(whole, stop))


def _digest(plan: RunPlan, stop: Stop) -> str:
    run = Run(plan, Threads(1))
    while not run.is_done:
        stop.check()
        run.go_on(_STRETCH_S)
    result = run.result()
    number_type = NumberType(result.dtype.name)
    chunking = Chunking.of(result.shape, number_type.size_bytes)
    return array_digest(number_type, chunking, result.reshape(-1).view("u1").data)


def _updates(plan: RunPlan) -> int:
    return plan.steps * plan.model.updates(plan.spec)


def _size_bytes(plan: RunPlan) -> int:
    result = plan.model.result_type.size_bytes * plan.spec.geometry.sites
    return plan.model.size_bytes(plan.spec) + result
