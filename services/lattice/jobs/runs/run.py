"""One job while this replica works on it: from its claim to its end, or until it is let go of.

Everything it writes says which revision the job's stream is at. When somebody else has written
there it reads what: a wish to cancel is obeyed, and with another claim the lease is lost and
nothing more is written.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

from numpy.typing import NDArray

from girih.backoff import Backoff
from girih.ids import TenantId
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeSpec
from services.lattice.errors import (
    StorageUnavailable,
)
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import FieldStates, LatticeFields
from services.lattice.fields.writing import FieldWriter
from services.lattice.jobs.domain import (
    Cancelling,
    Checkpoint,
    Continued,
    Ended,
    Job,
    JobEvent,
    JobRecord,
    JobState,
    Progressed,
    Released,
    folded,
)
from services.lattice.jobs.journal import JobJournal, ResultWrite, Written, job_stream
from services.lattice.jobs.storage import JobStorage, OpenJobs, arrays_of
from services.lattice.jobs.worker import WorkerSetup
from services.lattice.simulations.models import AnyModel
from services.lattice.state.bitmaps import JournalWithBitmaps
from services.lattice.state.journal import BlockedChanged, JournalReplaced, StreamChanged
from services.lattice.state.lattices import Lattices
from services.lattice.structure.components import ComponentLabeller
from services.lattice.transforms.blocked.changing import BlockedTransformer, digest_behind
from services.lattice.transforms.distributing import ChainDistributor
from services.plumbing.errors import EventsUnavailable, ServiceError
from services.plumbing.logging import get_logger

T = TypeVar("T")

Published = Callable[[Job], None]
"""Takes a job as it is now."""

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
    reader: FieldReader
    writer: FieldWriter
    bitmaps: JournalWithBitmaps
    blocked: BlockedTransformer
    distributor: ChainDistributor
    labeller: ComponentLabeller
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


class JobRun(ABC):
    """A job that this replica has claimed; `run` is its task."""

    is_kept = True
    """What it has done is kept when it is let go of, so that another one may have its turn."""

    def __init__(
        self,
        parts: JobParts,
        times: JobTimes,
        tenant: TenantId,
        job: Job,
        published: Published,
    ) -> None:
        """`published` is called with the job, as it is now, whenever there is something new."""
        self._parts, self._times, self._tenant = parts, times, tenant
        self.job = job
        self._published = published
        self._elapsed_before_s = job.progress.elapsed_s
        self._began_s: float | None = None
        self._written_s = time.monotonic()
        self._interrupted = asyncio.Event()
        """Set when somebody wants it to stop, or to be let go of."""
        self._backoff = Backoff(_PAUSE_S_MIN, _PAUSE_S_MAX)

    @property
    def ran_s(self) -> float:
        """For how long it has taken steps now: not while its process begins, however long."""
        return 0.0 if self._began_s is None else time.monotonic() - self._began_s

    async def look(self) -> JobLook | None:
        """What its result would be now, and after how many steps; None when it has ended
        before it was asked, or shows nothing."""
        return None

    def release(self) -> None:
        """Let go of the job as soon as its state is kept."""
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
            await asyncio.gather(following, return_exceptions=True)

    @abstractmethod
    async def _run(self) -> None:
        """Do the work, and end or let go of the job."""

    @abstractmethod
    def _check_write(self, known: LatticeFields, written: Written) -> None:
        """Raise a ServiceError where the result may not be written into what there is now."""

    def _on_records(self, recorded: Sequence[JobRecord]) -> None:
        """Somebody has written into the job's stream: only a wish to cancel concerns this."""
        new = [record for record in recorded if record.revision > self.job.revision]
        if any(isinstance(record.event, Cancelling) for record in new):
            self.job = replace(self.job, is_cancelling=True)
            self._interrupted.set()

    async def _in_time(self, work: Coroutine[Any, Any, T], stop_s: float) -> T | None:
        """What comes of it; None when it was to stop, and did not end so long after that."""
        working = asyncio.create_task(work, name="work of a job")
        stopping = asyncio.create_task(self._interrupted.wait(), name="await stop")
        try:
            await self._keep_lease_until({working, stopping})
            if not working.done():
                await asyncio.wait({working}, timeout=stop_s)
            if working.done():
                return working.result()
            return None
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    async def _stop(self, checkpoint: Checkpoint | None) -> None:
        """End as cancelled, or let go of the job, with a checkpoint or else the last one."""
        if self.job.is_cancelling:
            await self._end(JobState.CANCELLED, checkpoint)
            return
        released = Released(token=self.job.token, progress=self.job.progress, checkpoint=checkpoint)
        await self._append_retried(released)

    async def _keep_lease_until(self, waited: Collection[asyncio.Task[Any]]) -> None:
        """Return when one of them is done. A process may take longer to begin than a lease."""
        while True:
            due_s = self._written_s + self._times.lease_s / 3 - time.monotonic()
            done, _ = await asyncio.wait(
                waited, timeout=max(due_s, _PAUSE_S_MIN), return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return
            checkpoint = await self._new_checkpoint()
            if await self._record_progress(checkpoint) and checkpoint is not None:
                await self._drop_others(checkpoint)

    async def _new_checkpoint(self) -> Checkpoint | None:
        """The state of the job, kept, where it is time for that."""
        return None

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

    async def _end(
        self,
        state: JobState,
        checkpoint: Checkpoint | None,
        *,
        failure: str = "",
        written: Written | None = None,
    ) -> bool:
        """End the job and write its result, both or neither; whether the result is written."""
        ended = Ended(
            job_id=self.job.job_id,
            state=state,
            progress=self.job.progress,
            checkpoint=checkpoint,
            failure=failure,
        )
        is_written = written is not None and await self._end_with(ended, written)
        if written is None:
            await self._append_retried(ended)
        if checkpoint is not None:
            with suppress(StorageUnavailable):
                await self._drop_others(checkpoint)
        with suppress(StorageUnavailable):
            if state is not JobState.CANCELLED:
                # Nobody goes on with it.
                inputs = arrays_of(self.job.spec.inputs)
                await self._parts.storage.drop(self._tenant, self.job.job_id, inputs)
            await self._unmark(state)
        return is_written

    async def _unmark(self, state: JobState) -> None:
        """The job is not open any more: unless somebody, who has marked it, goes on with it."""
        key, spec = (self._tenant, self.job.job_id), self.job.spec
        await self._parts.marks.unmark(*key)
        if state is JobState.CANCELLED:
            since = self.job.revision
            recorded = await self._retried(
                lambda: self._parts.journal.read(*key, after_revision=since)
            )
            if any(isinstance(record.event, Continued) for record in recorded):
                await self._parts.marks.mark(*key, spec.started_by)

    async def _end_with(self, ended: Ended, written: Written) -> bool:
        """Write the result into the lattice with the end of the job; False where it fails."""
        if isinstance(written, BlockedChanged):
            ended = replace(ended, result_digest=digest_behind(written))
        else:
            ended = replace(ended, result_digest=written.content.digest)
        while True:
            try:
                known = await self._retried(
                    lambda: self._parts.fields.confirmed(self._tenant, written.lattice_id)
                )
                self._check_write(known, written)
            except ServiceError as error:
                failed = replace(ended, state=JobState.FAILED, failure=error.message)
                await self._append_retried(replace(failed, result_digest=""))
                return False
            write = ResultWrite(written=written, lattice_revision=known.revision)
            if await self._append_retried(ended, write):
                return True

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
