"""Where the body of a request ends: after so many bytes, or after its last chunk.

What is no part of the body itself is bounded and thrown away: extensions of chunks, and
trailers, which nobody has asked for and nothing may mistake for headers.
"""

import re
from typing import Final, Protocol

from gateway.http import errors
from gateway.serving.request_head import RequestHead, are_fields


class RequestBody(Protocol):
    """Takes the bytes of a connection for as long as they belong to one body."""

    is_complete: bool

    def take(self, data: bytearray, body: bytearray) -> None:
        """Move what belongs to the body from the start of `data` to the end of `body`.

        Raises HttpError where it is not what a body must be.
        """


def body_of(head: RequestHead, framing_bytes_max: int) -> RequestBody:
    """`framing_bytes_max` bounds what chunks are wrapped in, and the trailers."""
    return ChunkedBody(framing_bytes_max) if head.is_chunked else SizedBody(head.content_length)


class SizedBody:
    """A body of which the length is known."""

    __slots__ = ("_left", "is_complete")

    def __init__(self, byte_count: int) -> None:
        self._left = byte_count
        self.is_complete = byte_count == 0

    def take(self, data: bytearray, body: bytearray) -> None:
        byte_count = min(len(data), self._left)
        body += data if byte_count == len(data) else data[:byte_count]
        del data[:byte_count]
        self._left -= byte_count
        self.is_complete = self._left == 0


_chunk_size = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?\r\n").fullmatch
_FREE_BYTES_PER_CHUNK: Final = 16
"""Its size, and the ends of two lines."""


class ChunkedBody:
    """A body in chunks, each of which says how long it is."""

    __slots__ = ("_at", "_excess", "_framing_bytes_max", "_left", "_trailer_bytes", "is_complete")

    def __init__(self, framing_bytes_max: int) -> None:
        self.is_complete = False
        self._framing_bytes_max = framing_bytes_max
        self._left = 0
        """Bytes of the current chunk that are still to come."""
        self._at = self._size
        self._excess = 0
        """Bytes around chunks, beyond what chunks of that length need."""
        self._trailer_bytes = 0

    def take(self, data: bytearray, body: bytearray) -> None:
        # What is used is taken off the start once: each time would move all the rest.
        used = 0
        while not self.is_complete:
            if self._left:
                chunk = data[used : used + self._left]
                if not chunk:
                    break
                body += chunk
                used += len(chunk)
                self._left -= len(chunk)
                continue
            end = data.find(b"\n", used) + 1
            if not end:
                self._check_bounds(len(data) - used)
                break
            self._at(bytes(data[used:end]))
            used = end
        del data[:used]

    def _size(self, line: bytes) -> None:
        match = _chunk_size(line)
        if match is None:
            raise _malformed()
        self._left = int(match[1], 16)
        needed = _FREE_BYTES_PER_CHUNK + self._left
        self._excess = max(0, self._excess + len(line) - needed)
        self._check_bounds(0)
        self._at = self._chunk_end if self._left else self._trailer

    def _chunk_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise _malformed()
        self._at = self._size

    def _trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.is_complete = True
            return
        self._trailer_bytes += len(line)
        self._check_bounds(0)
        if not are_fields(line):
            raise _malformed()

    def _check_bounds(self, line_bytes: int) -> None:
        if self._trailer_bytes + self._excess + line_bytes > self._framing_bytes_max:
            raise errors.headers_too_large(self._framing_bytes_max)


def _malformed() -> errors.HttpError:
    return errors.malformed_request("the body must be chunks, each with its length before it")
