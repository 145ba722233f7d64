"""Where the bytes of an upload come from: an array, or what is read once. Knows no call."""

import base64
import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, Protocol, runtime_checkable

from girih.client.errors import UploadInterrupted

PIECE_BYTES: Final = 1 << 20
"""Of a message: what the contract takes."""

KEPT_BYTES: Final = 64 * PIECE_BYTES
"""Of what was read once. A service that was cut off has kept all but its last chunks of 4 MiB,
four at most, and what was on the way to it."""

Pieces = Iterable[bytes | bytearray | memoryview] | BinaryIO
"""Bytes one behind the other, of any length each; or a file that is open for reading bytes."""


class Source(Protocol):
    """Bytes that are sent from a place on."""

    failure: Exception | None
    """What reading them raised: gRPC says only that something was."""

    def content_digest(self) -> str:
        """As `Content-Digest` of RFC 9530; empty where it is not known before all are sent."""

    def pieces(self, offset: int) -> Iterator[bytes]:
        """Those behind `offset`. What was begun before ends. Raises UploadInterrupted where they
        are not there any more."""


class InMemory:
    """Bytes that are in memory, or in a file that is mapped into it."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.failure: Exception | None = None

    def content_digest(self) -> str:
        """Takes about a second for each GiB."""
        digest = hashlib.sha256(self._data).digest()
        return f"sha-256=:{base64.b64encode(digest).decode()}:"

    def pieces(self, offset: int) -> Iterator[bytes]:
        """Each is copied when it is its turn."""
        return (
            bytes(self._data[begin : begin + PIECE_BYTES])
            for begin in range(offset, len(self._data), PIECE_BYTES)
        )


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ReadOnce:
    """Bytes that come one behind the other and are not there again; the last 64 MiB are kept."""

    def __init__(self, source: Pieces) -> None:
        self._parts = _evenly(_read_of(source) if isinstance(source, _Readable) else source)
        self._kept: deque[bytes] = deque()
        self._kept_from = 0
        self._turn = 0
        # Of a call that was cut off gRPC may still read, in a thread of its own.
        self._lock = threading.Lock()
        self.failure: Exception | None = None

    def content_digest(self) -> str:
        return ""

    def pieces(self, offset: int) -> Iterator[bytes]:
        with self._lock:
            self._turn += 1
            if offset < self._kept_from:
                raise UploadInterrupted.beyond(offset, self._kept_from)
            return self._pieces(offset, self._turn)

    def _pieces(self, offset: int, turn: int) -> Iterator[bytes]:
        while True:
            with self._lock:
                piece = self._piece(offset) if turn == self._turn else b""
            if not piece:
                return
            yield piece
            offset += len(piece)

    def _piece(self, offset: int) -> bytes:
        """What is kept behind `offset`, or comes next; empty at the end."""
        ordinal, begin = divmod(offset - self._kept_from, PIECE_BYTES)
        if ordinal == len(self._kept) and not self._read():
            return b""
        if (ordinal + 1) * PIECE_BYTES > KEPT_BYTES:
            self._kept.popleft()
            self._kept_from += PIECE_BYTES
            ordinal -= 1
        return self._kept[ordinal][begin:]

    def _read(self) -> bool:
        try:
            piece = next(self._parts, b"")
        except Exception as error:
            self.failure = error
            raise
        if piece:
            self._kept.append(piece)
        return bool(piece)


def _read_of(file: _Readable) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _evenly(parts: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """The same bytes in pieces of one length; the last may be shorter."""
    waiting = bytearray()
    for part in parts:
        waiting += memoryview(part).cast("B")
        while len(waiting) >= PIECE_BYTES:
            yield bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
    if waiting:
        yield bytes(waiting)
