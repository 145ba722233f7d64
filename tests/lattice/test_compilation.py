"""Kernels that are compiled a kind at a time, while calls wait for theirs."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from services.lattice.computing.compilation import Compilation
from services.lattice.errors import ComputeBusy
from services.plumbing.correlation import Call, bind

KINDS = ("first", "second", "third", "fourth")


class Compiler:
    """Compiles a kind each time that it is let go on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Semaphore(0)

    def __call__(self, kind: str) -> None:
        self.begun.append(kind)
        assert self.may_end.acquire(timeout=60)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - a thread works
            await asyncio.sleep(0.001)


async def test_what_a_call_waits_for_is_compiled_next() -> None:
    compiler = Compiler()
    compilation = Compilation(KINDS, compiler)
    running = asyncio.create_task(compilation.run())
    await until(lambda: compiler.begun == ["first"])
    waiting = asyncio.create_task(compilation.ready(["first", "third"]))
    await asyncio.sleep(0)

    for _ in KINDS:
        compiler.may_end.release()
    await running

    assert compiler.begun == ["first", "third", "second", "fourth"]
    assert not compilation.missing
    await waiting


async def test_a_call_whose_kernels_are_there_does_not_wait() -> None:
    compiler = Compiler()
    compilation = Compilation(KINDS, compiler)
    running = asyncio.create_task(compilation.run())
    compiler.may_end.release()

    await compilation.wait_for("first")
    await compilation.ready(["first", "no kind"])

    assert set(compilation.missing) == set(KINDS[1:])
    compiler.may_end.release(len(KINDS))
    await running


async def test_a_call_that_would_wait_too_long_is_told_to_come_again() -> None:
    compilation = Compilation(KINDS, lambda _: None)
    hurried = Call("test", deadline_s=time.monotonic() + 0.1)

    with bind(hurried), pytest.raises(ComputeBusy) as refused:
        await compilation.ready(["first"])

    assert refused.value.retry_after_s == 2.0


async def test_what_cannot_be_compiled_ends_the_work() -> None:
    def fail(kind: str) -> None:
        raise RuntimeError(kind)

    with pytest.raises(RuntimeError, match="first"):
        await Compilation(KINDS, fail).run()


async def test_what_is_compiled_when_nobody_waits_any_more_ends_in_peace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiler, failures = Compiler(), list[threading.ExceptHookArgs]()
    monkeypatch.setattr(threading, "excepthook", failures.append)
    running = asyncio.create_task(Compilation(KINDS, compiler).run())
    await until(lambda: compiler.begun == ["first"])

    running.cancel()
    await asyncio.wait([running])
    compiler.may_end.release()
    await until(lambda: "compiler" not in [thread.name for thread in threading.enumerate()])

    assert failures == []
