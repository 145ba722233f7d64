"""A process beside: it answers, another follows when it dies, and it ends with who asks it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.plumbing.beside import process
from services.plumbing.beside.process import ProcessBeside, ProcessDied, WorkFailed
from tests.plumbing.beside.acting import BEHIND, Traced, packed_by

ACTING = "tests.plumbing.beside.acting"
PARENT = """
import asyncio
from services.plumbing.beside.process import ProcessBeside

async def main():
    beside = ProcessBeside("tests.plumbing.beside.acting", "")
    print(await beside.ask("pid"), flush=True)
    await beside.ask("wait")

asyncio.run(main())
"""


@asynccontextmanager
async def beside(setup: str = "", module: str = ACTING) -> AsyncIterator[ProcessBeside]:
    made = ProcessBeside(module, setup)
    try:
        yield made
    finally:
        await made.close()


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(30):
        with contextlib.suppress(ProcessLookupError):
            while state_of(pid) != "Z":  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.02)


def state_of(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        raise ProcessLookupError from None
    return stat.rpartition(")")[2].split()[0]


async def test_each_is_answered_with_what_it_asked_for() -> None:
    values = [b"", None, [("field", "text")], b"x" * 2**22, *range(50)]
    async with beside() as acting:
        answers = await asyncio.gather(*(acting.ask("echo", value) for value in values))

    assert answers == values


async def test_what_is_large_holds_up_no_loop() -> None:
    made = ProcessBeside(ACTING, "", asks_large=True)
    packed_by.clear()
    try:
        answers = await asyncio.gather(
            *(made.ask("echo", Traced(bytes([n]) * 2**20)) for n in range(4))
        )
    finally:
        await made.close()

    assert [each.content for each in answers] == [bytes([n]) * 2**20 for n in range(4)]
    assert len(packed_by) == 4
    assert threading.get_ident() not in {*packed_by, *(each.unpacked_by for each in answers)}


async def test_an_answer_that_cannot_be_sent_is_told() -> None:
    async with beside() as doing, asyncio.timeout(60):
        with pytest.raises(WorkFailed):
            await doing.ask("lock")


async def test_who_asks_at_once_shares_one_process() -> None:
    async with beside() as acting:
        pids = await asyncio.gather(*(acting.ask("pid") for _ in range(8)))

    assert len(set(pids)) == 1


async def test_one_that_takes_long_does_not_hold_up_the_other_thread() -> None:
    async with beside() as acting, asyncio.timeout(60):
        waiting = asyncio.ensure_future(acting.ask("wait"))

        assert await acting.ask("echo", 1) == 1
        waiting.cancel()


async def test_who_goes_away_while_it_is_started_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    is_started, may_go_on = asyncio.Event(), threading.Event()
    loop, spawned = asyncio.get_running_loop(), process._spawned

    def held_up(module: str, descriptor: int) -> "subprocess.Popen[bytes]":
        started.append(spawned(module, descriptor))
        loop.call_soon_threadsafe(is_started.set)
        may_go_on.wait()
        return started[0]

    monkeypatch.setattr(process, "_spawned", held_up)
    async with beside() as acting:
        asking = asyncio.create_task(acting.ask("pid"))
        await is_started.wait()
        asking.cancel()
        await asyncio.wait([asking])
        may_go_on.set()

        async with asyncio.timeout(30):
            while started[0].returncode is None:  # noqa: ASYNC110 - a thread waits for it
                await asyncio.sleep(0.02)
    assert started[0].returncode == -signal.SIGKILL


async def test_who_goes_away_takes_no_answer_of_others() -> None:
    async with beside() as acting:
        await acting.ask("pid")
        leaving = asyncio.ensure_future(acting.ask("echo", "left"))
        await asyncio.sleep(0)
        leaving.cancel()

        assert await acting.ask("echo", "stayed") == "stayed"


async def test_what_work_raises_is_told_without_its_words() -> None:
    async with beside() as acting:
        with pytest.raises(WorkFailed) as failure:
            await acting.ask("raise", "a secret")

        assert "ValueError" in str(failure.value)
        assert "acting.py" in str(failure.value)
        assert "secret" not in str(failure.value)
        assert await acting.ask("echo", 1) == 1


async def test_all_who_wait_are_told_when_it_dies_and_another_follows() -> None:
    async with beside() as acting, asyncio.timeout(60):
        first = await acting.ask("pid")
        waiting = [asyncio.ensure_future(acting.ask("wait")) for _ in range(5)]
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)

        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in ended] == [ProcessDied] * 5
        assert await next_pid(acting) != first


async def next_pid(acting: ProcessBeside) -> int:
    """Of the process that follows, which is not started at once."""
    while True:
        with contextlib.suppress(ProcessDied):
            pid: int = await acting.ask("pid")
            return pid
        await asyncio.sleep(0.02)


async def test_one_that_cannot_start_is_not_tried_at_every_call() -> None:
    async with beside(module="tests.plumbing.beside.nowhere") as nowhere:
        with pytest.raises(ProcessDied):
            await nowhere.ask()
        nowhere._not_before_s += 3_600

        with pytest.raises(ProcessDied, match="just died"):
            await nowhere.ask()


async def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async with beside() as acting, asyncio.timeout(60):
        pid = await acting.ask("pid")
        monkeypatch.setattr(process, "_SILENCE_S", 0.05)

        with pytest.raises(ProcessDied):
            await acting.ask("wait")
        await gone(pid)


async def test_silence_is_no_fault_of_who_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SILENCE_S", 5.0)
    async with beside() as acting:
        await acting.ask("pid")

        assert acting._running is not None
        assert acting._running._alarm is None


async def test_it_ends_with_who_asks_also_in_the_middle_of_its_work() -> None:
    async with beside() as acting:
        pid = await acting.ask("pid")
        waiting = asyncio.ensure_future(acting.ask("wait"))
        await asyncio.sleep(0)
        await acting.close()

        with pytest.raises(ProcessDied):
            await waiting
    await gone(pid)


async def test_it_ends_when_who_asks_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())

    parent.kill()
    await parent.wait()

    await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such policy")
async def test_idle_work_runs_when_nothing_else_wants_the_core() -> None:
    async with beside("idle") as acting:
        assert await acting.ask("priority") == (os.SCHED_IDLE, 19)


@pytest.mark.skipif(sys.platform != "linux", reason="others have no sessions with a share")
async def test_work_that_stands_back_has_a_share_of_the_core() -> None:
    niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + BEHIND)
    async with beside("behind") as acting:
        assert await acting.ask("priority") == (os.SCHED_OTHER, niceness)
        assert await acting.ask("session")
