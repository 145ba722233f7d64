"""Whole processes: their exit codes and last words."""

import asyncio
import ctypes
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from services.plumbing.process import keep_memory_trimmed
from tests.authority import Authority
from tests.plumbing.knots import DOMAIN, KnotClient

Process = asyncio.subprocess.Process
Start = Callable[..., Awaitable[Process]]

DEVELOPMENT = {
    "GIRIH_ENVIRONMENT": "development",
    "GIRIH_LOG_FORMAT": "json",
    "KNOTS_ADDRESS": "127.0.0.1:0",
}


@pytest.fixture
async def start(authority: Authority) -> AsyncIterator[Start]:
    """Starts the process with these variables; ends it after the test, whatever happened."""
    started: list[Process] = []

    async def start(**variables: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.plumbing.serving",
            env={**os.environ, **DEVELOPMENT, **authority.environ, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process, event: str) -> dict[str, Any]:
    """The next line of that event."""
    assert process.stdout is not None
    async for text in process.stdout:
        result: dict[str, Any] = json.loads(text)
        if result["event"] == event:
            return result
    pytest.fail(f"the process ended without {event!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_is_asked_to_end_exits_with_0(
    start: Start, number: signal.Signals
) -> None:
    process = await start()
    await line(process, "serving")

    process.send_signal(number)

    await line(process, "stopped")
    assert await process.wait() == 0


async def test_a_process_with_wrong_settings_exits_with_78_before_it_opens_a_port(
    start: Start,
) -> None:
    process = await start(KNOTS_ADDRESS="nowhere", KNOTS_TYPO="1", GIRIH_LOG_LEVEL="loud")

    output, answer = await process.communicate()

    assert process.returncode == 78
    assert output == b""
    for variable in (b"KNOTS_ADDRESS", b"KNOTS_TYPO", b"GIRIH_LOG_LEVEL"):
        assert answer.count(variable) == 1


async def test_a_process_whose_port_is_taken_says_so_and_exits_with_1(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await start(KNOTS_ADDRESS=address)

        result = await line(process, "cannot run")

    assert result["problem"] == f"cannot listen on {address}"
    assert await process.wait() == 1


async def test_a_process_whose_task_died_exits_with_1(start: Start) -> None:
    process = await start(KNOTS_DIES="true")

    result = await line(process, "cannot run")

    assert result["problem"] == "the background task 'sequencer' died"
    assert await process.wait() == 1


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux alone tells of others")
async def test_a_process_may_open_as_many_files_as_the_system_allows_it(start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
    try:
        process = await start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await line(process, "serving")

    allowed, _ = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)

    assert allowed == min(hard, 2**17)


async def test_a_bug_at_the_start_is_told_in_full(start: Start) -> None:
    process = await start(KNOTS_BREAKS="true")

    result = await line(process, "died unexpectedly")

    assert "ZeroDivisionError: a bug" in result["exception"]
    assert await process.wait() == 1


@pytest.fixture
def unread(authority: Authority) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A process of whose log nothing is read but the first line, and its port."""
    command = [sys.executable, "-m", "tests.plumbing.serving"]
    environ = {**os.environ, **DEVELOPMENT, **authority.environ}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["port"]
        process.kill()


async def test_a_process_whose_log_nobody_reads_serves_on_and_ends(
    unread: tuple["subprocess.Popen[bytes]", int], authority: Authority
) -> None:
    process, port = unread

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = KnotClient(channel, authority.token(aud=[DOMAIN]))
        for _ in range(30):
            await asyncio.gather(*(client.ask("Unary", "ok", timeout=10) for _ in range(64)))

    process.terminate()
    assert await asyncio.to_thread(process.wait, 60) == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others trim by themselves")
async def test_memory_that_was_freed_in_small_pieces_goes_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    trimming = asyncio.create_task(keep_memory_trimmed(look_s=0.01))
    await asyncio.sleep(0)  # it has seen what there was before
    before = resident_mib()

    small, between = [], []
    for _ in range(12_000):
        small.append(libc.malloc(8_192))
        ctypes.memset(small[-1], 1, 8_192)
        between.append(libc.malloc(64))
    for block in small:
        libc.free(block)

    async with asyncio.timeout(60):
        while resident_mib() - before > 48:  # noqa: ASYNC110 - the system tells nobody
            await asyncio.sleep(0.01)
    trimming.cancel()
    for block in between:
        libc.free(block)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
