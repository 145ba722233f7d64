"""A job while workers do it, in pieces."""

import asyncio
import math
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

from services.lattice.errors import ComputeBusy, StorageUnavailable, WorkersUnavailable
from services.lattice.jobs.domain import JobState, Progress
from services.lattice.jobs.journal import Written
from services.lattice.jobs.runs.run import JobRun
from services.plumbing.errors import EventsUnavailable, ServiceError
from services.plumbing.logging import get_logger

_LOSSES_MAX = 3
"""Who has lost the workers so often will lose them again."""

_log = get_logger("jobs")


class WorkersRun(JobRun):
    """A job of workers that this replica has claimed."""

    is_kept = False
    """Pieces that are under way would be lost, and each takes long."""
    _kept_s = -math.inf
    """When its state was kept last, by `time.monotonic()`."""

    async def _run(self) -> None:
        made = await self._in_time(self._outcome(), 0.0)
        if made is None:
            self._kept_s = -math.inf
            await self._stop(await self._new_checkpoint())
        elif isinstance(made, str):
            await self._end(JobState.FAILED, None, failure=made)
            await self._tidy(None)
        else:
            is_written = await self._end(JobState.SUCCEEDED, None, written=made)
            await self._tidy(made if is_written else None)

    @abstractmethod
    async def _made(self) -> Written:
        """What is to be recorded."""

    async def _tidy(self, written: Written | None) -> None:
        """Keep nothing of the job any more but what it has written."""

    async def _outcome(self) -> Written | str:
        """What is to be recorded, or why there is nothing."""
        try:
            return await self._written()
        except ServiceError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - whatever a worker raises, it would again
            _log.error("workers failed", job=self.job.job_id, exc_info=error)
            return "the workers failed; the log of the service has more"

    async def _written(self) -> Written:
        """What is to be recorded, once all that it takes is there."""
        losses = 0
        while True:
            try:
                return await self._made()
            except (ComputeBusy, EventsUnavailable, StorageUnavailable) as error:
                await asyncio.sleep(self._backoff.next_s(error.retry_after_s))
            except WorkersUnavailable as error:
                losses += 1
                if losses >= _LOSSES_MAX:
                    raise
                await asyncio.sleep(self._backoff.next_s(error.retry_after_s))

    def _counting(self, piece_count: int) -> Callable[[int], None]:
        """What makes the job's progress of how many pieces are done, called by any thread, with as
        many as there are already first."""
        self._began_s = time.monotonic()
        loop, steps_before = asyncio.get_running_loop(), -1

        def note(pieces_done: int) -> None:
            nonlocal steps_before
            # Another replica may cut other pieces than who admitted the job.
            steps_done = self.job.spec.steps * pieces_done // piece_count
            if steps_before < 0:
                steps_before = steps_done
            rate = (steps_done - steps_before) / self.ran_s if self.ran_s > 0 else 0.0
            progress = Progress(
                steps_done=steps_done,
                elapsed_s=self._elapsed_before_s + self.ran_s,
                steps_per_s=rate,
                left_s=(self.job.spec.steps - steps_done) / rate if rate > 0 else 0.0,
            )
            self.job = replace(self.job, progress=progress)
            self._published(self.job)

        def counted(pieces_done: int) -> None:
            loop.call_soon_threadsafe(note, pieces_done)

        return counted
