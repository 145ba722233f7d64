"""Background tasks that somebody owns: none dies unnoticed, none outlives its owner. And what they
wait for, which may never come.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger

_log = get_logger("tasks")

_CLOSING_S = 10.0
"""Longer than a task that was cancelled takes to close what it has open."""


class TaskDied(CannotRun):
    """A background task that must run for ever has ended. The process must not go on without."""


class OwnedTasks:
    """Tasks that run until their owner stops them. The first that ends by itself is a failure."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.failed = asyncio.Event()
        """Set when a task has ended by itself; `failure` tells which."""
        self.failure: TaskDied | None = None

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in the background; it is expected to end only when cancelled."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @asynccontextmanager
    async def running(self, name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run `work` while the block lasts, for work on what is closed behind the block."""
        task = self.start(name, work)
        try:
            yield
        finally:
            task.remove_done_callback(self._ended)
            self._tasks.discard(task)
            await end_tasks([task])

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        self._stopping = True
        await end_tasks(list(self._tasks))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._stopping:
            return
        error = None if task.cancelled() else task.exception()
        failure = TaskDied(f"the background task {task.get_name()!r} died")
        if isinstance(error, CannotRun):
            # It says in words what is wrong with the setup: where it was seen is no news.
            failure = TaskDied(str(error))
            failure.exit_code = error.exit_code
            _log.error("a background task died", task=task.get_name(), problem=str(error))
        else:
            failure.__cause__ = error
            _log.error("a background task died", task=task.get_name(), exc_info=error)
        if self.failure is None:
            self.failure = failure
        self.failed.set()


async def end_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel the tasks until they have ended; what they raise is nobody's.

    A cancellation can be lost: a connection that the database closes at the same moment raises
    another error in its place, and a task that tries again after errors goes on for ever.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CLOSING_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def set_within(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Return once `event` is set, or after that time, None for never; answers whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()
