"""Between a gateway's parent and one of its processes: requests and their answers, in order.

A pair of sockets that no file names, so that nobody else can speak on it. Each line is JSON.
That it closes tells each side that the other has gone, however it went.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from services.plumbing.errors import CannotRun

TIMEOUT_S: Final = 5.0
"""How long an answer is waited for. The parent does nothing else, and nothing in it waits."""

Answer = Callable[[list[Any]], Awaitable[Any]]


class ParentGone(CannotRun):
    """The process that this one belongs to has ended: nobody would stop this one."""


class ParentChannel:
    """A process's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._is_open = True

    async def ask(self, *request: str | int, timeout_s: float = TIMEOUT_S) -> Any:  # noqa: ANN401 - what the request is for
        """What the parent answers. Raises OSError when it does not."""
        if not self._is_open:
            raise _gone()
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(orjson.dumps(request) + b"\n")
        async with asyncio.timeout(timeout_s):
            return await answer

    async def run(self) -> None:
        """Hand out answers until the parent has gone: the work of a task. Raises ParentGone."""
        try:
            while line := await self._reader.readline():
                answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(orjson.loads(line))
        except ConnectionError:
            pass
        finally:
            self._is_open = False
            for answer in self._waiting:
                if not answer.done():
                    answer.set_exception(_gone())
        raise ParentGone("the parent of this process has ended")


def _gone() -> ConnectionResetError:
    return ConnectionResetError("the parent has gone")


@asynccontextmanager
async def to_parent(descriptor: int) -> AsyncIterator[ParentChannel]:
    """The end that this process was started with."""
    end = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_unix_connection(sock=end)
    try:
        yield ParentChannel(reader, writer)
    finally:
        writer.close()


async def answer_child(end: socket.socket, answer: Answer) -> None:
    """Answer what a process asks until it has gone: the parent's end."""
    reader, writer = await asyncio.open_unix_connection(sock=end)
    try:
        while line := await reader.readline():
            writer.write(orjson.dumps(await answer(orjson.loads(line))) + b"\n")
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
