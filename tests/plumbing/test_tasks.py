"""Background tasks and their owners."""

import asyncio

import pytest

from services.plumbing.tasks import OwnedTasks, TaskDied


@pytest.fixture
def tasks() -> OwnedTasks:
    return OwnedTasks()


async def for_ever() -> None:
    await asyncio.Event().wait()


async def failing() -> None:
    raise ZeroDivisionError


async def ending() -> None:
    return


@pytest.mark.parametrize("work", [failing, ending])
async def test_a_task_that_ends_by_itself_is_noticed(tasks: OwnedTasks, work: object) -> None:
    tasks.start("sequencer", work())  # type: ignore[operator]

    await asyncio.wait_for(tasks.failed.wait(), 1)

    assert isinstance(tasks.failure, TaskDied)
    assert "'sequencer'" in str(tasks.failure)


async def test_a_task_somebody_else_cancels_is_noticed(tasks: OwnedTasks) -> None:
    task = tasks.start("sequencer", for_ever())
    await asyncio.sleep(0)

    task.cancel()

    await asyncio.wait_for(tasks.failed.wait(), 1)


async def test_the_cause_is_kept(tasks: OwnedTasks) -> None:
    tasks.start("sequencer", failing())
    await asyncio.wait_for(tasks.failed.wait(), 1)

    assert tasks.failure is not None
    assert isinstance(tasks.failure.__cause__, ZeroDivisionError)


async def test_stopping_ends_all_tasks_and_is_no_failure(tasks: OwnedTasks) -> None:
    started = [tasks.start(f"task {number}", for_ever()) for number in range(3)]

    await tasks.stop()

    assert all(task.done() for task in started)
    assert tasks.failure is None
