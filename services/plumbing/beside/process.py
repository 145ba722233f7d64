"""A process beside this one, as whoever asks it has it. Knows not what it does."""

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
from typing import Any, Final

from girih.backoff import Backoff
from services.plumbing.beside.frames import HEAD, frame, value_of
from services.plumbing.beside.work import Failed
from services.plumbing.logging import get_logger

_PAUSE_S_MIN: Final = 0.2
_PAUSE_S_MAX: Final = 10.0
_SILENCE_S: Final = 120.0
"""One that is asked and says nothing for so long hangs, and is ended."""
_BUFFER_BYTES: Final = 2**18

_log = get_logger("beside")


class ProcessDied(Exception):
    """Nobody answers: the process has ended, or cannot be started. The next one may."""


class WorkFailed(Exception):
    """The work raised what it should not have."""


class ProcessBeside:
    """Started when it is asked first, and again when it is asked after it has died.

    Nothing here waits but for an answer, and how many may wait is the caller's to bound.
    """

    def __init__(self, module: str, setup: object, *, asks_large: bool = False) -> None:
        """`module` is run with `work.serve`, and is given `setup` before all requests.

        With `asks_large`, arguments of any size hold up nobody: they are packed by a thread and
        sent in pieces. Whoever stops waiting before they are sent ends the process.
        """
        self._module = module
        self._setup = setup
        self._asks_large = asks_large
        self._running: _Running | None = None
        self._starting = asyncio.Lock()
        self._backoff = Backoff(_PAUSE_S_MIN, _PAUSE_S_MAX)
        self._not_before_s = 0.0

    async def ask(self, *arguments: object) -> Any:  # noqa: ANN401 - what the work answers
        """What the work makes of these; raises ProcessDied and WorkFailed.

        Whoever stops waiting leaves the work going on.
        """
        running = await self._started()
        try:
            answer = await running.ask(arguments)
        except ProcessDied:
            self._bury(running)
            raise
        self._backoff.reset()
        if isinstance(answer, Failed):
            raise WorkFailed(answer.error)
        return answer

    async def close(self) -> None:
        """End the process. Who waits is answered with ProcessDied."""
        async with self._starting:
            running, self._running = self._running, None
            if running is not None:
                await running.end()

    async def _started(self) -> "_Running":
        async with self._starting:
            if self._running is not None and self._running.has_ended:
                self._bury(self._running)
            if self._running is None:
                if asyncio.get_running_loop().time() < self._not_before_s:
                    raise ProcessDied(f"{self._module} has just died")
                self._running = await self._start()
            return self._running

    def _bury(self, running: "_Running") -> None:
        """Once for each that died: a pause, and the next is another."""
        if self._running is running:
            self._running = None
            pause_s = self._backoff.next_s()
            self._not_before_s = asyncio.get_running_loop().time() + pause_s
            _log.error("a process has died", module=self._module, starts_again_in_s=pause_s)

    async def _start(self) -> "_Running":
        ours, theirs = socket.socketpair()
        with theirs:
            spawning = asyncio.ensure_future(
                asyncio.to_thread(_spawned, self._module, os.dup(theirs.fileno()))
            )
        try:
            # A thread goes on when its caller does not.
            child = await asyncio.shield(spawning)
        except OSError as error:
            ours.close()
            raise ProcessDied(f"{self._module} cannot be started") from error
        except BaseException:
            ours.close()
            spawning.add_done_callback(_end_unwanted)
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER_BYTES)
        writer.write(frame(0, self._setup))
        return _Running(child, reader, writer, asks_large=self._asks_large)


def _end_unwanted(spawning: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    if not spawning.cancelled() and spawning.exception() is None:
        child = spawning.result()
        child.kill()
        spawning.get_loop().run_in_executor(None, child.wait)


def _spawned(module: str, descriptor: int) -> "subprocess.Popen[bytes]":
    """A process that has the descriptor, which is closed here.

    Without the event loop, which would fork: where gRPC runs, its threads may be in the
    middle of something then, and the fork dies of it. The standard library's vfork is none."""
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(descriptor)],
            stdin=subprocess.DEVNULL,
            pass_fds=[descriptor],
        )
    finally:
        os.close(descriptor)


class _Running:
    """One process, until it dies."""

    def __init__(
        self,
        child: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        asks_large: bool,
    ) -> None:
        self.has_ended = False
        self._asks_large = asks_large
        self._sending = asyncio.Lock()
        self._child = child
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._alarm: asyncio.TimerHandle | None = None
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def ask(self, arguments: tuple[object, ...]) -> Any:  # noqa: ANN401 - any answer
        number = next(self._numbers)
        if self._asks_large:
            framed = await asyncio.to_thread(frame, number, arguments)
        else:
            framed = frame(number, arguments)
        if self.has_ended or self._writer.is_closing():
            raise ProcessDied
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._expect()
        with contextlib.suppress(ConnectionError):
            if self._asks_large:
                await self._send_pieces(memoryview(framed))
            else:
                self._writer.write(framed)
                await self._writer.drain()
        return await answer

    async def _send_pieces(self, framed: memoryview) -> None:
        """Send so much at a time: the loop copies what it sends."""
        is_whole = False
        try:
            async with self._sending:
                for begin in range(0, len(framed), _BUFFER_BYTES):
                    self._writer.write(framed[begin : begin + _BUFFER_BYTES])
                    is_whole = begin + _BUFFER_BYTES >= len(framed)
                    await self._writer.drain()
        finally:
            if not is_whole:
                # Nothing else can be sent behind a part.
                self._kill()

    async def end(self) -> None:
        self._kill()
        await asyncio.wait([self._reading])

    def _expect(self) -> None:
        """An answer within the time that silence may last, if there is anything to answer."""
        if self._alarm is not None:
            self._alarm.cancel()
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(_SILENCE_S, self._kill) if self._waiting else None

    def _kill(self) -> None:
        self._child.kill()

    async def _read(self) -> None:
        try:
            while True:
                number, length = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                value = await self._value(length)
                answer = self._waiting.pop(number)
                self._expect()
                if not answer.done():
                    answer.set_result(value)
        except (EOFError, ConnectionError):
            pass
        finally:
            await self._ended()

    async def _value(self, length: int) -> Any:  # noqa: ANN401 - any answer
        """The next value, of so many bytes. A large one is put together by a thread."""
        if length <= _BUFFER_BYTES:
            return value_of(await self._reader.readexactly(length))
        parts: list[bytes] = []
        while length:
            part = await self._reader.read(min(_BUFFER_BYTES, length))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return await asyncio.to_thread(lambda: value_of(b"".join(parts)))

    async def _ended(self) -> None:
        # All is over before anybody learns of it: whoever closes then leaves nothing behind.
        self._kill()
        await asyncio.to_thread(self._child.wait)
        self.has_ended = True
        self._writer.close()
        waiting, self._waiting = self._waiting, {}
        self._expect()
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(ProcessDied())
