"""Which jobs this replica works on: so many at once, tenants in turns, the oldest of each first.

Every replica looks for jobs that are open by their marks, whoever started them. One that nobody
works on is claimed by an event that expects the stream as it was read: of two replicas that claim
it one wins. Who works on a job writes into its stream at least every third of a lease. A stream in
which nothing but a wish to cancel was seen for a whole lease, by the clock of who looks, has lost
its replica; so no clocks are compared.
"""

import asyncio
import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from uuid import uuid4

from girih.ids import TenantId
from services.lattice.computing.compilation import Compilation
from services.lattice.errors import JobNotFound, StorageUnavailable
from services.lattice.jobs.domain import (
    Claimed,
    Job,
    JobId,
    JobState,
    cancelled,
)
from services.lattice.jobs.runs.blocked import BlockedRun
from services.lattice.jobs.runs.labels import LabelsRun
from services.lattice.jobs.runs.run import JobLook, JobParts, JobRun, JobTimes
from services.lattice.jobs.runs.simulation import SimulationRun
from services.lattice.jobs.runs.transform import TransformRun
from services.lattice.jobs.states import JobStates
from services.lattice.state.journal import JournalReplaced, StreamChanged
from services.plumbing import correlation
from services.plumbing.budget import Budget
from services.plumbing.correlation import Call, well_formed_tenant
from services.plumbing.errors import EventsUnavailable
from services.plumbing.identity import Principal
from services.plumbing.logging import get_logger
from services.policy import LATTICE

Key = tuple[TenantId, JobId]

_is_subject = re.compile(r"(user|key):[A-Za-z0-9_-]{1,64}", re.ASCII).fullmatch

_ORPHAN_S = 60.0
"""A mark is put before the job is recorded. Without a record for so long there will be none."""
_CLOSE_S = 5.0
"""How long running jobs have to keep their state when the process ends."""

_log = get_logger("jobs")


@dataclass(frozen=True)
class JobLimits:
    """How many jobs run here at once, in how much memory, and for how long in one go."""

    count: int
    size_bytes: int
    turn_s: float


@dataclass
class _Candidate:
    """A job that is open and that this replica does not work on."""

    subject: str
    job: Job | None
    seen_s: float
    """When its stream was first seen as far as who works on it has written."""
    asked_s: float
    """When it was read last."""


class JobScheduler:
    """Claims jobs and runs them. `run` is its task, which ends when it is cancelled."""

    def __init__(
        self,
        parts: JobParts,
        states: JobStates,
        times: JobTimes,
        limits: JobLimits,
        compilation: Compilation,
        *,
        kind: str,
        interval_s: float,
    ) -> None:
        """`kind` are the kernels that jobs need."""
        self._parts, self._states, self._times, self._limits = parts, states, times, limits
        self._compilation, self._kind = compilation, kind
        self._interval_s = interval_s
        self._replica = correlation.fresh()
        self._memory = Budget(limits.size_bytes, share=limits.size_bytes)
        self._candidates: dict[Key, _Candidate] = {}
        self._runs: dict[Key, JobRun] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._last_turn: dict[TenantId, float] = {}
        self._nudged = asyncio.Event()
        self._news = asyncio.Event()
        self._stopping = False

    @property
    def running(self) -> int:
        """How many jobs this replica works on."""
        return len(self._runs)

    @property
    def waiting(self) -> int:
        """How many are open that it does not work on, as it saw last."""
        return len(self._candidates)

    def live(self, tenant: TenantId, job_id: JobId) -> Job | None:
        """A job as it is this very moment, if this replica works on it."""
        run = self._runs.get((tenant, job_id))
        return run.job if run is not None else None

    async def look(self, tenant: TenantId, job_id: JobId, timeout_s: float) -> JobLook | None:
        """What a job that this replica works on has computed, between two stretches of steps.

        None where it works on no such job, or is not between two in time.
        """
        run = self._runs.get((tenant, job_id))
        if run is None:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                return await run.look()
        return None

    async def until_changed(self, timeout_s: float) -> None:
        """Wait until something is new with any job of this replica, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()

    def nudge(self) -> None:
        """Look for jobs at once."""
        self._nudged.set()

    def look_at(self, key: Key) -> None:
        """Look at a job at once, however short ago it was looked at."""
        if key in self._candidates:
            self._candidates[key].asked_s = -1.0
        self.nudge()

    async def run(self) -> None:
        """Look for jobs and work on them, for ever. None is begun before its kernels are compiled;
        those to be cancelled are, whatever compiles."""
        while True:
            try:
                await self._look()
                await self._cancel_some()
                await self._claim_some()
                self._release_one()
            except (EventsUnavailable, StorageUnavailable) as error:
                _log.info("jobs are looked for later", problem=error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._nudged.wait()
            self._nudged.clear()

    async def close(self) -> None:
        """Let go of all jobs, their states kept where there is time for it."""
        self._stopping = True
        for run in self._runs.values():
            run.release()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        """Learn which jobs are open, and how those stand that nobody here works on."""
        marked: set[Key] = set()
        async for key in self._parts.marks.all():
            marked.add(key)
            if key not in self._candidates and key not in self._runs:
                await self._take_in(key)
        for key in [key for key in self._candidates if key not in marked]:
            del self._candidates[key]
        for key, candidate in list(self._candidates.items()):
            await self._look_at(key, candidate)

    async def _take_in(self, key: Key) -> None:
        subject = await self._parts.marks.subject(*key)
        if _is_subject(subject) and well_formed_tenant(key[0]):
            self._compilation.want([self._kind])
            self._candidates[key] = _Candidate(subject, None, time.monotonic(), -1.0)
        elif subject:
            _log.warning("a mark of a job names nobody and is removed", job=key[1])
            await self._parts.marks.unmark(*key)

    async def _look_at(self, key: Key, candidate: _Candidate) -> None:
        """Read a job again where it is time to."""
        now_s, job = time.monotonic(), candidate.job
        pause_s = self._times.lease_s
        if job is None:
            pause_s = 0.0  # its mark was put before it is recorded
        elif job.state is JobState.RUNNING:
            pause_s = self._times.lease_s / 4
        if candidate.asked_s >= 0 and now_s - candidate.asked_s < pause_s:
            return
        with correlation.bind(_call_of(key[0], candidate.subject)):
            await self._read(key, candidate)

    async def _read(self, key: Key, candidate: _Candidate) -> None:
        now_s = time.monotonic()
        candidate.asked_s = now_s
        try:
            job = await self._states.latest(*key)
        except JobNotFound:
            if now_s - candidate.seen_s > _ORPHAN_S:
                await self.forget(key)
            return
        except JournalReplaced:
            return
        if not job.state.is_open:
            await self.forget(key)
            return
        if candidate.job is None or candidate.job.worked_revision != job.worked_revision:
            candidate.seen_s = now_s
        candidate.job = job

    async def forget(self, key: Key) -> None:
        """Look no more for a job that is not open: unless somebody, who has marked it, goes on with
        it at this moment."""
        self._candidates.pop(key, None)
        await self._parts.marks.unmark(*key)
        with suppress(JobNotFound):
            job = await self._states.latest(*key)
            if job.state.is_open:
                await self._parts.marks.mark(*key, job.spec.started_by)

    async def _cancel_some(self) -> None:
        """End the jobs that are to be cancelled and that nobody works on."""
        for key, candidate in list(self._candidates.items()):
            job = candidate.job
            if job is not None and job.is_cancelling and self._is_free(candidate):
                with correlation.bind(_call_of(key[0], candidate.subject)):
                    await self._cancel(key, candidate, job)

    async def _cancel(self, key: Key, candidate: _Candidate, job: Job) -> None:
        try:
            await self._parts.journal.append(
                *key, cancelled(job), expected_revision=job.revision, command_id=uuid4()
            )
        except StreamChanged:
            candidate.asked_s = -1.0
        else:
            await self.forget(key)
            self._notify()

    async def _claim_some(self) -> None:
        """Claim jobs while there is room for them."""
        if self._kind in self._compilation.missing:
            return
        while not self._stopping and len(self._runs) < self._limits.count:
            key = self._next()
            if key is None or not await self._claim(key):
                return

    def _next(self) -> Key | None:
        """The job to claim: of the tenant with the fewest here whose turn was longest ago."""
        claimable = [
            key
            for key, candidate in self._candidates.items()
            if self._waits(candidate) and self._has_turn(key, candidate)
        ]
        if not claimable:
            return None
        running = self._running_of_tenants()
        return min(
            claimable,
            key=lambda key: (
                running[key[0]],
                self._last_turn.get(key[0], 0.0),
                _age(self._candidates[key]),
            ),
        )

    def _waits(self, candidate: _Candidate) -> bool:
        """Somebody shall work on it, and nobody does."""
        job = candidate.job
        return job is not None and not job.is_cancelling and self._is_free(candidate)

    def _has_turn(self, key: Key, candidate: _Candidate) -> bool:
        """It is a simulation, or there is room for what workers do and is not let go of: half of
        what runs here at once, and one job of a tenant."""
        assert candidate.job is not None, "only what was read waits"
        if not candidate.job.spec.is_by_workers:
            return True
        tenants = [tenant for (tenant, _), run in self._runs.items() if not run.is_kept]
        return key[0] not in tenants and len(tenants) < max(1, self._limits.count // 2)

    def _is_free(self, candidate: _Candidate) -> bool:
        """Nobody works on it, as far as can be seen."""
        job = candidate.job
        if job is None:
            return False
        if job.state is JobState.WAITING:
            return True
        return time.monotonic() - candidate.seen_s > self._times.lease_s

    async def _claim(self, key: Key) -> bool:
        """Claim a job and begin to work on it. False where there is no room for it now."""
        candidate = self._candidates[key]
        job = candidate.job
        assert job is not None, "only what was read is claimed"
        with correlation.bind(_call_of(key[0], candidate.subject)):
            size_bytes = job.spec.size_bytes
            taken = self._memory.take_now(size_bytes, key[0])
            if taken is None:
                return False
            try:
                claimed = await self._claimed(key, job)
            except BaseException:
                self._memory.give_back(taken, key[0])
                raise
            if claimed is None:
                self._memory.give_back(taken, key[0])
                candidate.asked_s = -1.0
                candidate.job = None
                return True
            del self._candidates[key]
            self._begin(key, claimed, taken)
        return True

    async def _claimed(self, key: Key, job: Job) -> Job | None:
        claim = Claimed(token=job.token + 1, replica=self._replica)
        try:
            revision = await self._parts.journal.append(
                *key, claim, expected_revision=job.revision, command_id=uuid4()
            )
        except StreamChanged:
            return None
        return replace(
            job,
            state=JobState.RUNNING,
            token=claim.token,
            replica=self._replica,
            revision=revision,
        )

    def _begin(self, key: Key, job: Job, taken: int) -> None:
        tenant = key[0]
        self._last_turn[tenant] = time.monotonic()
        run = _kind_of(job)(self._parts, self._times, tenant, job, lambda _job: self._notify())
        task = asyncio.create_task(run.run(), name=f"job {job.job_id}")
        self._runs[key], self._tasks[key] = run, task

        def ended(task: asyncio.Task[None]) -> None:
            del self._runs[key], self._tasks[key]
            self._memory.give_back(taken, tenant)
            if not task.cancelled() and (error := task.exception()) is not None:
                # Its lease ends, and then somebody begins again from the last checkpoint.
                _log.error("a job was left", job=job.job_id, exc_info=error)
            self._notify()
            self.nudge()

        task.add_done_callback(ended)

    def _release_one(self) -> None:
        """Let go of a job that has had its turn, where another tenant has fewer and waits."""
        waiting = {
            key[0]
            for key, candidate in self._candidates.items()
            if self._waits(candidate) and self._has_turn(key, candidate)
        }
        if not waiting or len(self._runs) < self._limits.count:
            return
        running = self._running_of_tenants()
        fewest = min(running[tenant] for tenant in waiting)
        enough = 1 if fewest == 0 else fewest + 2
        had_their_turn = [
            (running[tenant], run.ran_s, run)
            for (tenant, _), run in self._runs.items()
            if run.is_kept and run.ran_s >= self._limits.turn_s and running[tenant] >= enough
        ]
        if had_their_turn:
            max(had_their_turn, key=itemgetter(0, 1))[2].release()

    def _running_of_tenants(self) -> Counter[TenantId]:
        return Counter(tenant for tenant, _ in self._runs)

    def _notify(self) -> None:
        """Wake who waits for news."""
        news, self._news = self._news, asyncio.Event()
        news.set()


def _kind_of(job: Job) -> type[JobRun]:
    if job.spec.is_labelling:
        return LabelsRun
    if not job.spec.transform:
        return SimulationRun
    return TransformRun if job.spec.result_field else BlockedRun


def _age(candidate: _Candidate) -> float:
    assert candidate.job is not None, "only what was read is compared"
    return candidate.job.started_at.timestamp()


def _call_of(tenant: TenantId, subject: str) -> Call:
    """A call in the name of who started a job."""
    principal = Principal(tenant, subject, frozenset(), LATTICE)
    return Call(correlation_id=correlation.fresh(), tenant=tenant, principal=principal)
