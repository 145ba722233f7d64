"""The corpus of raw requests, and how one is sent."""

import asyncio
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HALF_CLOSE = object()
"""In place of bytes: no more will be sent."""

_repeated = re.compile(rb"<(.)\*([0-9]+)>", re.DOTALL)
_status = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ").match
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: chunked\r\n", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one connection sends, and what must come of it."""

    name: str
    statuses: list[int]
    """Of the answers, in order."""
    send: str = ""
    parts: tuple[str, ...] = ()
    bytewise: bool = False
    half_close: bool = False
    kept: bool = False
    """The connection serves another request after that."""
    is_direct: bool = False
    """A proxy in front may make something else of it."""
    head: bool = False
    """The first answer has no body, whatever it says of its length."""
    bodies: tuple[str, ...] = ()

    def sent(self, token: str) -> list[bytes]:
        """What is sent, in parts of which each waits until the one before was read."""
        text = [self.send] if self.send else list(self.parts)
        filled = [_filled(part.encode("latin-1"), token) for part in text]
        if self.bytewise:
            return [bytes([byte]) for part in filled for byte in part]
        return filled


def cases() -> list[Case]:
    with Path(__file__).with_name("requests.toml").open("rb") as file:
        return [Case(**_tuples(each)) for each in tomllib.load(file)["case"]]


def _tuples(case: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if key in ("parts", "bodies") else value for key, value in case.items()
    }


def _filled(part: bytes, token: str) -> bytes:
    part = part.replace(b"$TOKEN", token.encode())
    return _repeated.sub(lambda match: match[1] * int(match[2]), part)


@dataclass(frozen=True)
class Answer:
    """One answer, as a client reads it from a connection."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        match = re.search(rb"\r\n%b: ([^\r]*)\r\n" % name.encode(), self.head, re.IGNORECASE)
        return match[1].decode("latin-1") if match else ""


async def read_answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> Answer | None:
    """The next answer; None when the connection was closed instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        head = error.partial
    except ConnectionResetError:
        head = b""
    if not head:
        return None
    match = _status(head)
    assert match is not None, head
    status = int(match[1])
    if not has_body or status in (204, 304) or status < 200:
        return Answer(status, head, b"")
    length = _LENGTH.search(head)
    if length is not None:
        return Answer(status, head, await reader.readexactly(int(length[1])))
    if _CHUNKED.search(head):
        return Answer(status, head, await _read_chunks(reader))
    return Answer(status, head, await reader.read())


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
        if not size:
            return body
