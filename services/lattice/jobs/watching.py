"""Tells how a job goes on, wherever it runs."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from girih.ids import TenantId
from services.lattice.jobs.domain import Job, JobId, JobRecord, folded
from services.lattice.jobs.journal import JobJournal
from services.lattice.jobs.scheduling import JobScheduler
from services.lattice.jobs.states import JobStates

_PAUSE_S = 0.2
"""Nobody is told more often."""
_SILENCE_S = 5.0
"""Somebody is told at least so often, whether there is anything new or not."""


async def watch(
    journal: JobJournal,
    states: JobStates,
    scheduler: JobScheduler,
    tenant: TenantId,
    job_id: JobId,
) -> AsyncGenerator[Job]:
    """A job as it is, and again whenever that changes, up to its end. Raises JobNotFound.

    What this replica runs is told as it happens; what another one runs when that records it.
    """
    job = await states.get(tenant, job_id)
    watcher = _Watcher(job)
    following = asyncio.create_task(
        journal.follower(job_id, watcher.on_records).run(), name="watch job"
    )
    try:
        while True:
            shown = _newest(watcher.job, scheduler.live(tenant, job_id))
            yield shown
            # Not as it is by now: that was not told yet.
            if not shown.state.is_open:
                return
            await asyncio.sleep(_PAUSE_S)
            await watcher.until_new(scheduler, shown)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


class _Watcher:
    """What the stream of a job says, as it grows."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._has_news = asyncio.Event()

    def on_records(self, recorded: Sequence[JobRecord]) -> None:
        new = [record for record in recorded if record.revision > self.job.revision]
        if new:
            self.job = folded(self.job, new) or self.job
            self._has_news.set()

    async def until_new(self, scheduler: JobScheduler, _shown: Job) -> None:
        """Wait for something new here or in the stream, and not for ever."""
        here = asyncio.create_task(scheduler.until_changed(_SILENCE_S), name="news of jobs")
        there = asyncio.create_task(self._has_news.wait(), name="news in a stream")
        try:
            await asyncio.wait({here, there}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (here, there):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(here, there, return_exceptions=True)
            self._has_news.clear()


def _newest(recorded: Job, live: Job | None) -> Job:
    """What is newer of a job: its stream, or what runs here."""
    if live is None or not recorded.state.is_open or live.token < recorded.token:
        return recorded
    return live
