"""A light HTTP client to measure with: bare sockets, and requests made before they are sent.

Knows what girih answers and no more: HTTP/1.1, connections kept alive, and bodies whose length
is told.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

ANSWER_TIMEOUT_S = 30.0
NO_ANSWER = 0
"""The status of what was not answered."""

_reason = re.compile(rb'"reason":"([A-Z_]+)"').search


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """One request of an open loop."""

    status: int
    duration_s: float
    """Since it was due: waiting for a connection counts."""
    reason: str = ""
    """Of a refusal."""


def request(method: str, path: str, headers: Mapping[str, str], body: Any = None) -> bytes:
    """A whole request, ready to be sent."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: girih.test"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if content:
        lines += ["content-type: application/json", f"content-length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Connections(AbstractAsyncContextManager["Connections"]):
    """At most so many connections to one server, opened when they are needed and kept."""

    def __init__(self, url: str, count_max: int) -> None:
        self._host = urlsplit(url).hostname or ""
        self._port = urlsplit(url).port or 80
        self._slots = asyncio.Semaphore(count_max)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for _, writer in self._free:
            writer.close()

    async def ask(self, request: bytes) -> Answer:
        """Raises OSError, EOFError and TimeoutError when there is no answer."""
        async with self._slots, asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = self._kept() or await self._opened()
            is_kept = False
            try:
                writer.write(request)
                answer = await _answer(reader)
                is_kept = answer.headers.get("connection") != "close"
            finally:
                if is_kept:
                    self._free.append((reader, writer))
                else:
                    writer.close()
            return answer

    async def offer(
        self, requests: Iterable[bytes], per_s: float, dice: random.Random
    ) -> list[Sample]:
        """Send each when it is due, whether or not those before it are answered (open loop).

        They come as independent callers do: so many a second in the mean, at random moments.
        """
        due_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for one in requests:
                due_s += dice.expovariate(per_s)
                await asyncio.sleep(due_s - time.perf_counter())
                tasks.append(group.create_task(self._timed(one)))
        return [task.result() for task in tasks]

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """One that the server has not closed meanwhile, as it may when nothing was asked."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

    async def _timed(self, request: bytes) -> Sample:
        began_s = time.perf_counter()
        try:
            answer = await self.ask(request)
        except (OSError, EOFError):
            return Sample(NO_ANSWER, time.perf_counter() - began_s)
        reason = _reason(answer.body)
        return Sample(
            answer.status, time.perf_counter() - began_s, reason[1].decode() if reason else ""
        )


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(status_line.split(" ")[1]), headers, body)
