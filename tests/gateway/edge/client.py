"""A connection that is written to by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import httpx

from tests.gateway.edge.corpus import Answer, Case, read_answer

PROBE = b"GET /health/live HTTP/1.1\r\nhost: probe\r\n\r\n"


@asynccontextmanager
async def connected(url: httpx.URL) -> AsyncIterator["Client"]:
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


class Client:
    """Writes bytes, and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, case: Case, token: str) -> list[Answer]:
        """All answers that come, however many were expected."""
        answers: list[Answer] = []
        with _cut_off():
            for part in case.sent(token):
                self.writer.write(part)
                await self.writer.drain()
                if not answers and case.statuses[:1] == [100]:
                    answers += await self._interim()
                await _turn_of_server()
            if case.half_close:
                self.writer.write_eof()
        while len(answers) < len(case.statuses) or not case.kept:
            answer = await read_answer(self.reader, has_body=bool(answers) or not case.head)
            if answer is None:
                break
            answers.append(answer)
        return answers

    async def _interim(self) -> list[Answer]:
        answer = await read_answer(self.reader)
        return [] if answer is None else [answer]

    async def probe(self) -> Answer | None:
        """The answer to one more request, None when the connection is closed."""
        with _cut_off():
            self.writer.write(PROBE)
            await self.writer.drain()
        return await read_answer(self.reader)


@contextmanager
def _cut_off() -> Iterator[None]:
    """The server may have hung up before everything was sent."""
    with suppress(ConnectionError, RuntimeError):
        yield


async def _turn_of_server() -> None:
    """Let what was written be read by itself, as far as that can be told from here."""
    for _ in range(3):
        await asyncio.sleep(0)
