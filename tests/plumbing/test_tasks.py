"""Background tasks and their owners."""

import asyncio

import pytest

from services.plumbing.errors import CannotRun
from services.plumbing.tasks import OwnedTasks, TaskDied
from tests.plumbing.conftest import Log


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

    await asyncio.wait_for(tasks.failed.wait(), 60)

    assert isinstance(tasks.failure, TaskDied)
    assert "'sequencer'" in str(tasks.failure)


async def test_a_task_somebody_else_cancels_is_noticed(tasks: OwnedTasks) -> None:
    task = tasks.start("sequencer", for_ever())
    await asyncio.sleep(0)

    task.cancel()

    await asyncio.wait_for(tasks.failed.wait(), 60)


async def test_the_cause_is_kept(tasks: OwnedTasks) -> None:
    tasks.start("sequencer", failing())
    await asyncio.wait_for(tasks.failed.wait(), 60)

    assert tasks.failure is not None
    assert isinstance(tasks.failure.__cause__, ZeroDivisionError)


class Unfit(CannotRun):
    """A setup that no restart mends."""

    exit_code = 78


async def unfit() -> None:
    raise Unfit("the login girih is a superuser")


async def test_a_setup_that_is_wrong_is_told_in_words_alone(tasks: OwnedTasks, log: Log) -> None:
    tasks.start("database", unfit())
    await asyncio.wait_for(tasks.failed.wait(), 60)

    (line,) = log.lines("a background task died")
    assert line["problem"] == "the login girih is a superuser"
    assert "exception" not in line
    assert tasks.failure is not None
    assert str(tasks.failure) == "the login girih is a superuser"
    assert tasks.failure.exit_code == 78
    assert tasks.failure.__cause__ is None


async def test_stopping_ends_all_tasks_and_is_no_failure(tasks: OwnedTasks) -> None:
    started = [tasks.start(f"task {number}", for_ever()) for number in range(3)]

    await tasks.stop()

    assert all(task.done() for task in started)
    assert tasks.failure is None


async def test_what_runs_while_a_block_lasts_ends_with_it_and_is_no_failure(
    tasks: OwnedTasks,
) -> None:
    async with tasks.running("pulse", for_ever()):
        (pulse,) = (task for task in asyncio.all_tasks() if task.get_name() == "pulse")

    assert pulse.cancelled()
    assert tasks.failure is None


async def test_what_runs_while_a_block_lasts_and_ends_by_itself_is_noticed(
    tasks: OwnedTasks,
) -> None:
    async with tasks.running("pulse", failing()):
        await asyncio.wait_for(tasks.failed.wait(), 60)

    assert isinstance(tasks.failure, TaskDied)
