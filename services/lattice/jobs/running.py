"""One job while this replica works on it: from its claim to its end, or until it is let go of.

Everything it writes says which revision the job's stream is at. When somebody else has written
there it reads what: a wish to cancel is obeyed, and with another claim the lease is lost and
nothing more is written.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from girih.backoff import Backoff
from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeSpec
from services.lattice.errors import (
    ChunkDamaged,
    LatticeNotFound,
    StateGone,
    StorageUnavailable,
    WorkTooLarge,
)
from services.lattice.fields.keeping import keep
from services.lattice.fields.states import FieldStates
from services.lattice.fields.writing import FieldWriter
from services.lattice.jobs.domain import (
    Cancelling,
    Checkpoint,
    Ended,
    Job,
    JobEvent,
    JobRecord,
    JobState,
    Progress,
    Progressed,
    Released,
    folded,
)
from services.lattice.jobs.journal import JobJournal, ResultWrite, job_stream
from services.lattice.jobs.storage import JobStorage, OpenJobs, arrays_of
from services.lattice.jobs.worker import BEGIN, GO_ON, RESULT, STATE, WorkerSetup
from services.lattice.simulations.models import AnyModel
from services.lattice.simulations.running import (
    RunPlan,
    Stretch,
    records_only,
    rows_of_state,
)
from services.lattice.simulations.series import summarize
from services.lattice.state.journal import FieldWritten, JournalReplaced, StreamChanged
from services.lattice.state.lattices import Lattices
from services.plumbing.beside.process import ProcessBeside, ProcessDied, WorkFailed
from services.plumbing.errors import EventsUnavailable, InvalidInput, ServiceError
from services.plumbing.logging import get_logger

T = TypeVar("T")

WORKER = "services.lattice.jobs.worker"

_STRETCH_S = 0.25
"""Steps are taken so long before anybody looks whether to stop."""
_STOP_S = 0.6
"""A process that is told to stop and has not answered by then is ended."""
_DEATHS_MAX = 3
"""A process that dies so often without a checkpoint in between will die again."""
_PAUSE_S_MIN, _PAUSE_S_MAX = 0.1, 2.0

_log = get_logger("jobs")


@dataclass(frozen=True)
class JobLook:
    """What a job has computed so far."""

    array: NDArray[Any]
    """Of the lattice's shape: what its result would be."""
    steps_done: int
    spec: LatticeSpec
    """The lattice as the job has it: with the sites that were blocked when it was started."""


class LeaseLost(Exception):
    """Another replica works on the job, or it has ended."""


@dataclass(frozen=True)
class JobParts:
    """What jobs are run with."""

    journal: JobJournal
    storage: JobStorage
    marks: OpenJobs
    lattices: Lattices
    fields: FieldStates
    writer: FieldWriter
    model_of: Callable[[Job, HeldLattice], AnyModel]
    spec_since: Callable[[TenantId, HeldLattice, int], Awaitable[LatticeSpec]]
    """What a lattice, as it is now, was behind a revision. Raises InvalidInput, LatticeNotFound,
    StateGone and WorkTooLarge."""


@dataclass(frozen=True)
class JobTimes:
    """How often a replica says that it works on a job, and keeps its state; and in what process."""

    lease_s: float
    checkpoint_s: float
    process: WorkerSetup


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


class JobRun:
    """A job that this replica has claimed; `run` is its task."""

    def __init__(
        self,
        parts: JobParts,
        times: JobTimes,
        tenant: TenantId,
        job: Job,
        published: Callable[[Job], None],
    ) -> None:
        """`published` is called with the job, as it is now, whenever there is something new."""
        self._parts, self._times, self._tenant = parts, times, tenant
        self.job = job
        self._published = published
        self._process = ProcessBeside(WORKER, times.process, asks_large=True)
        self._rows: NDArray[np.float64] = np.empty((0, 1))
        self._columns: tuple[str, ...] = ()
        self._elapsed_before_s = job.progress.elapsed_s
        self._began_s: float | None = None
        self._written_s = self._kept_s = time.monotonic()
        self._looking: list[asyncio.Future[JobLook | None]] = []
        """Who waits for the state between two stretches."""
        self._interrupted = asyncio.Event()
        """Set when somebody wants it to stop, or to be let go of."""
        self._is_released = False
        self._deaths = 0
        self._backoff = Backoff(_PAUSE_S_MIN, _PAUSE_S_MAX)

    @property
    def ran_s(self) -> float:
        """For how long it has taken steps now: not while its process begins, however long."""
        return 0.0 if self._began_s is None else time.monotonic() - self._began_s

    async def look(self) -> JobLook | None:
        """What its result would be now, and after how many steps; None when it has ended
        before it was asked. All who ask at a time are shown the same."""
        looking: asyncio.Future[JobLook | None] = asyncio.get_running_loop().create_future()
        self._looking.append(looking)
        return await looking

    def release(self) -> None:
        """Let go of the job as soon as its state is kept."""
        self._is_released = True
        self._interrupted.set()

    async def run(self) -> None:
        """Run the job until it has ended, or is let go of. Raises what is a bug."""
        following = asyncio.create_task(
            self._parts.journal.follower(self.job.job_id, self._on_records).run(), name="follow job"
        )
        try:
            await self._run()
        except LeaseLost:
            _log.info("a job is worked on elsewhere", job=self.job.job_id)
        except JournalReplaced:
            _log.warning("the events of a job were replaced", job=self.job.job_id)
        finally:
            following.cancel()
            self._show(None)
            await self._process.close()
            await asyncio.gather(following, return_exceptions=True)

    def _on_records(self, recorded: Sequence[JobRecord]) -> None:
        """Somebody has written into the job's stream: only a wish to cancel concerns this."""
        new = [record for record in recorded if record.revision > self.job.revision]
        if any(isinstance(record.event, Cancelling) for record in new):
            self.job = replace(self.job, is_cancelling=True)
            self._interrupted.set()

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
                await self._stop(await self._asked_in_time(STATE))
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
        asking = asyncio.create_task(self._process.ask(*what), name="ask process")
        stopping = asyncio.create_task(self._interrupted.wait(), name="await stop")
        try:
            await self._keep_lease_until({asking, stopping})
            if not asking.done():
                await asyncio.wait({asking}, timeout=_STOP_S)
            if asking.done():
                return asking.result()
            return None
        finally:
            for task in (asking, stopping):
                task.cancel()
            await asyncio.gather(asking, stopping, return_exceptions=True)

    async def _stop(self, state: bytes | None) -> None:
        """End as cancelled, or let go of the job, with the state or else the last checkpoint."""
        checkpoint = None if state is None else await self._saved(state)
        if self.job.is_cancelling:
            await self._end(JobState.CANCELLED, checkpoint)
            return
        released = Released(token=self.job.token, progress=self.job.progress, checkpoint=checkpoint)
        await self._append_retried(released)

    async def _succeed(self, plan: RunPlan) -> None:
        """Write the result and the end, both or neither."""
        result = None
        if self.job.spec.result_field:
            result = await self._process.ask(RESULT)
        records = records_only(plan.steps, self._columns, self._rows)
        checkpoint = await self._retried(lambda: self._save(records))
        await self._end(JobState.SUCCEEDED, checkpoint, result=result)

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

    async def _keep_lease_until(self, waited: Collection[asyncio.Task[Any]]) -> None:
        """Return when one of them is done. A process may take longer to begin than a lease."""
        while True:
            due_s = self._written_s + self._times.lease_s / 3 - time.monotonic()
            done, _ = await asyncio.wait(
                waited, timeout=max(due_s, _PAUSE_S_MIN), return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return
            await self._record_progress(None)

    async def _record_progress(self, checkpoint: Checkpoint | None) -> bool:
        """Record how far it is; False while the event store is away."""
        progressed = Progressed(
            token=self.job.token, progress=self.job.progress, checkpoint=checkpoint
        )
        try:
            await self._append(progressed, uuid4())
        except EventsUnavailable:
            return False
        return True

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

    async def _end(
        self,
        state: JobState,
        checkpoint: Checkpoint | None,
        *,
        failure: str = "",
        result: NDArray[np.generic] | None = None,
    ) -> None:
        ended = Ended(
            job_id=self.job.job_id,
            state=state,
            progress=self.job.progress,
            checkpoint=checkpoint,
            failure=failure,
        )
        if result is None or not self.job.spec.result_field:
            await self._append_retried(ended)
        else:
            await self._end_with(ended, result)
        if checkpoint is not None:
            with suppress(StorageUnavailable):
                await self._drop_others(checkpoint)
        with suppress(StorageUnavailable):
            if state is not JobState.CANCELLED:
                # Nobody goes on with it.
                inputs = arrays_of(self.job.spec.inputs)
                await self._parts.storage.drop(self._tenant, self.job.job_id, inputs)
            await self._parts.marks.unmark(self._tenant, self.job.job_id)

    async def _end_with(self, ended: Ended, result: NDArray[np.generic]) -> None:
        """Write the result into its field with the end of the job."""
        spec, parts = self.job.spec, self._parts
        content = await self._retried(
            lambda: keep(parts.writer, self._tenant, spec.lattice_id, result)
        )
        written = FieldWritten(
            lattice_id=spec.lattice_id,
            name=spec.result_field,
            content=content,
            job_id=spec.job_id,
        )
        ended = replace(ended, result_digest=content.digest)
        while True:
            try:
                known = await self._retried(
                    lambda: parts.fields.confirmed(self._tenant, spec.lattice_id)
                )
                parts.writer.limits.check_count(known.fields, spec.result_field)
                parts.writer.limits.check_size(content.number_type, result.size)
            except ServiceError as error:
                failed = replace(ended, state=JobState.FAILED, failure=error.message)
                await self._append_retried(replace(failed, result_digest=""))
                return
            write = ResultWrite(written=written, lattice_revision=known.revision)
            if await self._append_retried(ended, write):
                return

    async def _append_retried(self, event: JobEvent, result: ResultWrite | None = None) -> bool:
        """Record an event however long the event store is away.

        False when the lattice has changed since the result was to be written into it.
        """
        self._backoff.reset()
        command_id = uuid4()
        while True:
            try:
                return await self._append(event, command_id, result)
            except EventsUnavailable as error:
                await asyncio.sleep(self._backoff.next_s(error.retry_after_s))

    async def _append(
        self, event: JobEvent, command_id: UUID, result: ResultWrite | None = None
    ) -> bool:
        """Record an event, behind what others have written. Raises LeaseLost."""
        while True:
            try:
                revision = await self._parts.journal.append(
                    self._tenant,
                    self.job.job_id,
                    event,
                    expected_revision=self.job.revision,
                    command_id=command_id,
                    result=result,
                )
            except StreamChanged as error:
                if error.stream != job_stream(self.job.job_id) and result is not None:
                    return False
                await self._read_on()
            else:
                self._written_s = time.monotonic()
                self.job = replace(self.job, revision=revision)
                return True

    async def _read_on(self) -> None:
        """Take in what others have written. Raises LeaseLost unless the claim is still ours."""
        before = self.job
        recorded = await self._parts.journal.read(
            self._tenant, before.job_id, after_revision=before.revision
        )
        after = folded(before, recorded)
        assert after is not None, "the job is known"
        is_ours = after.token == before.token and after.state is JobState.RUNNING
        if not is_ours:
            raise LeaseLost
        self.job = replace(after, progress=before.progress)
        if after.is_cancelling:
            self._interrupted.set()

    async def _drop_others(self, checkpoint: Checkpoint) -> None:
        """Keep no state of the job but its last, and what it starts from."""
        inputs = arrays_of(self.job.spec.inputs)
        with suppress(StorageUnavailable):
            await self._parts.storage.drop_older(self._tenant, self.job.job_id, checkpoint, inputs)

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        """What a call answers once what it needs is there."""
        self._backoff.reset()
        while True:
            try:
                return await call()
            except (EventsUnavailable, StorageUnavailable) as error:
                await asyncio.sleep(self._backoff.next_s(error.retry_after_s))
