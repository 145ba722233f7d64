"""A simulation while this replica works on it: its steps are taken by a process beside this one."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import (
    ChunkDamaged,
    LatticeNotFound,
    StateGone,
    StorageUnavailable,
    WorkTooLarge,
)
from services.lattice.fields.keeping import keep
from services.lattice.fields.states import LatticeFields
from services.lattice.jobs.domain import Checkpoint, Job, JobState, Progress
from services.lattice.jobs.journal import Written
from services.lattice.jobs.runs.run import JobLook, JobParts, JobRun, JobTimes, Published
from services.lattice.jobs.worker import BEGIN, GO_ON, RESULT, STATE
from services.lattice.simulations.running import RunPlan, Stretch, records_only, rows_of_state
from services.lattice.simulations.series import summarize
from services.lattice.state.journal import FieldWritten
from services.plumbing.beside.process import ProcessBeside, ProcessDied, WorkFailed
from services.plumbing.errors import InvalidInput
from services.plumbing.logging import get_logger

WORKER = "services.lattice.jobs.worker"

_STRETCH_S = 0.25
"""Steps are taken so long before anybody looks whether to stop."""
_STOP_S = 0.6
"""A process that is told to stop and has not answered by then is ended."""
_DEATHS_MAX = 3
"""A process that dies so often without a checkpoint in between will die again."""

_log = get_logger("jobs")


async def plan_of(parts: JobParts, tenant: TenantId, job: Job, held: HeldLattice) -> RunPlan:
    """What is run of a job, with all that it starts from, as that was when it was started.

    Raises what `spec_since` does, ChunkDamaged, EventsUnavailable and StorageUnavailable.
    """
    spec = job.spec
    plan = await bare_plan_of(parts, tenant, job, held)
    shape = plan.spec.geometry.shape
    inputs = await parts.storage.inputs(tenant, spec.job_id, shape, spec.inputs)
    return replace(plan, inputs=inputs)


async def bare_plan_of(parts: JobParts, tenant: TenantId, job: Job, held: HeldLattice) -> RunPlan:
    """The same without the fields that it starts from: they are not read."""
    spec, then = job.spec, held.spec
    if spec.lattice_revision is not None:
        # What is cached may be older than the job.
        now, _ = await parts.lattices.latest(tenant, spec.lattice_id)
        then = await parts.spec_since(tenant, now, spec.lattice_revision)
    return RunPlan(
        spec=then,
        model=parts.model_of(job, held),
        seed=spec.seed,
        steps=spec.steps,
        record_every=spec.record_every,
        discard_steps=spec.discard_steps,
    )


class SimulationRun(JobRun):
    """A simulation that this replica has claimed."""

    def __init__(
        self,
        parts: JobParts,
        times: JobTimes,
        tenant: TenantId,
        job: Job,
        published: Published,
    ) -> None:
        super().__init__(parts, times, tenant, job, published)
        self._process = ProcessBeside(WORKER, times.process, asks_large=True)
        self._rows: NDArray[np.float64] = np.empty((0, 1))
        self._columns: tuple[str, ...] = ()
        self._kept_s = time.monotonic()
        self._sites = 0
        """Of its result."""
        self._looking: list[asyncio.Future[JobLook | None]] = []
        """Who waits for the state between two stretches."""
        self._deaths = 0

    async def look(self) -> JobLook | None:
        """What its result would be now, and after how many steps; None when it has ended
        before it was asked. All who ask at a time are shown the same."""
        looking: asyncio.Future[JobLook | None] = asyncio.get_running_loop().create_future()
        self._looking.append(looking)
        return await looking

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self._show(None)
            await self._process.close()

    async def _run(self) -> None:
        try:
            plan = await self._plan()
        except (LatticeNotFound, ChunkDamaged, InvalidInput, StateGone, WorkTooLarge) as error:
            # InvalidInput is of a lattice that was restored from before the job.
            await self._end(JobState.FAILED, None, failure=error.message)
            return None
        while True:
            try:
                return await self._work(plan)
            except ProcessDied:
                self._deaths += 1
                if self._deaths >= _DEATHS_MAX:
                    failure = "the process that it ran in died again and again"
                    await self._end(JobState.FAILED, None, failure=failure)
                    return None
                await asyncio.sleep(self._backoff.next_s())
            except WorkFailed as error:
                _log.error("a simulation failed", job=self.job.job_id, problem=str(error))
                failure = "the simulation failed; the log of the service has more"
                await self._end(JobState.FAILED, None, failure=failure)
                return None

    async def _plan(self) -> RunPlan:
        """What is run, with all that it starts from."""
        spec = self.job.spec
        held = await self._retried(lambda: self._parts.lattices.open(self._tenant, spec.lattice_id))
        plan = await self._retried(lambda: plan_of(self._parts, self._tenant, self.job, held))
        self._columns = tuple(plan.model.columns)
        self._rows = np.empty((0, 1 + len(self._columns)))
        return plan

    async def _work(self, plan: RunPlan) -> None:
        state = await self._last_state()
        steps_done = await self._asked_in_time(BEGIN, plan, state)
        if steps_done is None:
            await self._stop(None)
            return
        self._rows = rows_of_state(state)[1] if state else self._rows[:0]
        self._began_s = self._began_s or time.monotonic()
        while steps_done < plan.steps:
            stretch = await self._asked_in_time(GO_ON, _STRETCH_S)
            if stretch is None:
                await self._stop(None)
                return
            steps_done = stretch.steps_done
            await self._note(stretch, plan.steps)
            if self._interrupted.is_set() and steps_done < plan.steps:
                state = await self._asked_in_time(STATE)
                await self._stop(None if state is None else await self._saved(state))
                return
            if self._looking:
                self._show(JobLook(await self._process.ask(RESULT), steps_done, plan.spec))
            await self._keep_lease()
        await self._succeed(plan)

    def _show(self, look: JobLook | None) -> None:
        """Answer all who want to see the state."""
        for looking in self._looking:
            # Who was cancelled does not wait any longer.
            if not looking.done():
                looking.set_result(look)
        self._looking.clear()

    async def _asked_in_time(self, *what: object) -> Any:  # noqa: ANN401 - any answer
        """What the process answers; None when it was to stop, and did not answer for a while."""
        return await self._in_time(self._process.ask(*what), _STOP_S)

    async def _succeed(self, plan: RunPlan) -> None:
        """Write the result and the end, both or neither."""
        spec, written = self.job.spec, None
        if spec.result_field:
            result = await self._process.ask(RESULT)
            content = await self._retried(
                lambda: keep(self._parts.writer, self._tenant, spec.lattice_id, result)
            )
            self._sites = result.size
            written = FieldWritten(
                lattice_id=spec.lattice_id,
                name=spec.result_field,
                content=content,
                job_id=spec.job_id,
            )
        records = records_only(plan.steps, self._columns, self._rows)
        checkpoint = await self._retried(lambda: self._save(records))
        await self._end(JobState.SUCCEEDED, checkpoint, written=written)

    def _check_write(self, known: LatticeFields, written: Written) -> None:
        assert isinstance(written, FieldWritten), "it writes a field"
        limits = self._parts.writer.limits
        limits.check_count(known.fields, written.name)
        limits.check_size(written.content.number_type, self._sites)

    async def _last_state(self) -> bytes:
        """What the job goes on from; empty when it begins, or when nothing of it is left."""
        kept = self.job.checkpoint
        if kept is None:
            return b""
        try:
            return await self._retried(
                lambda: self._parts.storage.load(self._tenant, self.job.job_id, kept)
            )
        except ChunkDamaged:
            _log.warning("the state of a job is lost; it begins anew", job=self.job.job_id)
            return b""

    async def _note(self, stretch: Stretch, steps: int) -> None:
        """What a stretch has brought is the job's progress."""
        if len(stretch.rows):
            self._rows = np.concatenate([self._rows, stretch.rows])
        rate = stretch.steps_per_s
        observables = await asyncio.to_thread(summarize, self._columns, self._rows)
        progress = Progress(
            steps_done=stretch.steps_done,
            elapsed_s=self._elapsed_before_s + self.ran_s,
            steps_per_s=rate,
            left_s=(steps - stretch.steps_done) / rate if rate > 0 else 0.0,
            observables=tuple(observables),
        )
        self.job = replace(self.job, progress=progress)
        self._published(self.job)

    async def _keep_lease(self) -> None:
        """Say how far it is before the lease ends, and keep the state now and then."""
        now_s = time.monotonic()
        checkpoint = None
        if now_s - self._kept_s >= self._times.checkpoint_s:
            checkpoint = await self._saved(await self._process.ask(STATE))
            self._kept_s = time.monotonic()
        if checkpoint is None and now_s - self._written_s < self._times.lease_s / 3:
            return
        if await self._record_progress(checkpoint) and checkpoint is not None:
            self._deaths = 0
            await self._drop_others(checkpoint)

    async def _saved(self, state: bytes) -> Checkpoint | None:
        """The state, kept; None where it cannot be just now."""
        try:
            return await self._save(state)
        except StorageUnavailable as error:
            _log.warning(
                "the state of a job is not kept", job=self.job.job_id, problem=error.message
            )
            return None

    async def _save(self, state: bytes) -> Checkpoint:
        steps = self.job.progress.steps_done
        return await self._parts.storage.save(self._tenant, self.job.job_id, state, steps)
