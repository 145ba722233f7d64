"""One connection: requests come one after the other, and each is answered before the next.

Every wait has an end that no byte of the client can move, and what a client sends before it is
asked for stays in its own system. Nothing behind a request is looked at before the request is
answered: what is wrong with the next one is no fault of this one.
"""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import Any, Protocol, cast

from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.serving.deadline import Deadline
from gateway.serving.request_body import body_of
from gateway.serving.request_head import END, is_hopeless, read_head
from gateway.serving.served_request import ServedRequest
from gateway.settings import Settings
from services.plumbing import correlation

READ_BYTES = 2**18
"""The most that is read at once."""
_UNASKED_BYTES = 2**14
"""So much of what nobody waits for is read: the next requests, or the begin of a body."""
_CHUNKED_BYTES = 2**14
"""Read at once of a body in chunks: they may be small, and each costs time."""

_DISCARD_DURATION_S = 1.0
_DISCARDED_BYTES_MAX = 2**25
"""A connection closed while its client still sends is reset, and with it goes the answer that
the client has not read yet: so much more is taken of what nobody needs."""
_KEPT_BYTES_MAX = 2**18
"""A connection of whose request so much is still to come is not kept for another."""
_HALF_CLOSED_DURATION_S = 2.0
"""A client that sends no more may still read, or it may have gone: nobody can tell. So long its
answer may be quiet."""
_TAKEN_BYTES_MIN = 2**16
"""How much of an answer its client takes at least within the time for it."""
_TLS_WRITE_BYTES = 2**16
"""Given to TLS at once. What its client has not taken it counts only from when the connection
below it is full."""


class Serving(Protocol):
    """What the connections of one server have in common."""

    settings: Settings
    read_buffer: memoryview
    """Used by one connection at a time, from a read to what comes of it."""

    @property
    def is_draining(self) -> bool:
        """No connection is kept for another request."""

    def admit(self, connection: "HttpConnection") -> bool:
        """Whether there may be one more; if so it is counted until it is dismissed."""

    def admit_to_refuse(self, connection: "HttpConnection") -> bool:
        """Whether one that may not be there may be told so; counted as the others are."""

    def dismiss(self, connection: "HttpConnection") -> None: ...

    def start(self, request: ServedRequest, connection: "HttpConnection") -> None:
        """Have it answered; a connection of which the answer fails is aborted."""


class HttpConnection(asyncio.BufferedProtocol):
    """Reads requests, has them served, and ends what goes on for too long."""

    __slots__ = (
        "_buffer",
        "_deadline",
        "_discarded_bytes",
        "_has_begun_head",
        "_is_half_closed",
        "_is_lingering",
        "_is_lost",
        "_is_reading",
        "_request",
        "_searched_bytes",
        "_serving",
        "_settings",
        "_transport",
        "_unread_bytes",
        "_when_lost",
        "_writable",
        "client",
        "is_write_paused",
        "scheme",
        "server",
    )

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._settings = serving.settings
        self._deadline = Deadline(asyncio.get_running_loop(), self._overdue)
        self._buffer = bytearray()
        """What was read, and belongs to nothing yet."""
        self._searched_bytes = 0
        """In so much of the buffer no head ends."""
        self._has_begun_head = False
        self._request: ServedRequest | None = None
        """What is being served, until both its body and its answer are complete."""
        self._is_lingering = False
        """All is sent that will be: what still comes is thrown away."""
        self._discarded_bytes = 0
        self._unread_bytes = 0
        """Of an answer, when it was last looked at how many its client has not taken."""
        self._is_half_closed = False
        self._is_reading = True
        self._is_lost = False
        self._when_lost: Callable[[], object] | None = None
        self._writable: asyncio.Event | None = None
        self.is_write_paused = False
        """See `exchange.Connection`."""

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._serving.admit(self):
            self._refuse()
            return
        self.server = _address(transport.get_extra_info("sockname"))
        self.client = _address(transport.get_extra_info("peername"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._deadline.set(self._settings.header_timeout_s)

    def _refuse(self) -> None:
        """There are as many connections as are served."""
        if not self._serving.admit_to_refuse(self):
            self._is_lost = True
            self._transport.abort()
            return
        self.scheme = "https" if self._transport.get_extra_info("sslcontext") else "http"
        self._transport.write(_refusal(errors.too_busy()))
        self._linger()

    def connection_lost(self, _error: Exception | None) -> None:
        self._deadline.close()
        self._serving.dismiss(self)
        self._is_lost = True
        self.resume_writing()
        if self._request is not None:
            self._request.is_lost = True
            self._request.notify()
        if self._when_lost is not None:
            self._when_lost()

    def get_buffer(self, _size_hint: int) -> memoryview:
        return self._serving.read_buffer[: self._read_bytes()]

    def buffer_updated(self, byte_count: int) -> None:
        if self._is_lingering:
            self._discard(byte_count)
            return
        self._buffer += self._serving.read_buffer[:byte_count]
        self._advance()

    def eof_received(self) -> bool:
        """The client sends no more; answers whether it may still want to read."""
        request = self._request
        self._is_half_closed = True
        if self.scheme == "https":
            self._close()
            return False
        if self._is_lingering:
            return False
        if request is None:
            # What was read before may hold whole requests still.
            asyncio.get_running_loop().call_soon(self._advance)
            return bool(self._buffer)
        if not request.body.is_complete:
            return False
        self._deadline.set(_HALF_CLOSED_DURATION_S)
        return True

    def pause_writing(self) -> None:
        self.is_write_paused = True

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self._writable is not None:
            self._writable.set()
        elif not self._is_lost:
            self._advance()

    # What the request that is served asks for.

    @property
    def has_whole_body(self) -> bool:
        """See `exchange.Connection`."""
        return self._request is not None and self._request.body.is_complete

    @property
    def is_draining(self) -> bool:
        """See `RequestConnection`."""
        return self._serving.is_draining

    @property
    def date_header(self) -> bytes:
        return _date_header(int(time()))

    def write(self, data: bytes) -> None:
        if self.scheme == "https" and len(data) > _TLS_WRITE_BYTES:
            parts = memoryview(data)
            for at in range(0, len(data), _TLS_WRITE_BYTES):
                self._transport.write(parts[at : at + _TLS_WRITE_BYTES])
        else:
            self._transport.write(data)
        if self._is_half_closed:
            self._deadline.set(_HALF_CLOSED_DURATION_S)

    async def until_written(self) -> None:
        """See `RequestConnection`."""
        self._writable = asyncio.Event()
        try:
            if self.is_write_paused:
                await self._writable.wait()
        finally:
            self._writable = None

    def wants_body(self) -> None:
        """See `RequestConnection`."""
        self._steer_reading()

    def answered(self) -> None:
        """See `RequestConnection`."""
        request = self._request
        assert request is not None, "it has just been answered"
        if request.failure is not None or not (request.body.is_complete or request.keeps_alive):
            self._linger()
        elif not request.body.is_complete:
            self._deadline.set(_DISCARD_DURATION_S)
            self._advance()
        elif request.keeps_alive:
            self._finish()
        elif self._buffer and self._transport.can_write_eof():
            self._linger()
        else:
            self._close()

    def when_lost(self, act: Callable[[], object] | None) -> None:
        """See `exchange.Connection`."""
        self._when_lost = act
        if act is not None and self._is_lost:
            act()

    def abort(self) -> None:
        """See `exchange.Connection`."""
        if self._request is not None:
            self._request.is_lost = True
        self._transport.abort()

    # What the server asks for.

    def stop(self) -> None:
        """Close once what is being served is answered; now when nothing is."""
        if self._request is None:
            self._close()
        else:
            self._request.keeps_alive = False

    # How requests follow one another.

    def _advance(self) -> None:
        """Go as far as what was read allows."""
        if self._is_lost or self._is_lingering or self._transport.is_closing():
            return
        try:
            if self._request is None and self._buffer and not self.is_write_paused:
                self._take_head()
            if self._request is not None:
                self._take_body(self._request)
        except HttpError as error:
            self._fail(error)
        self._steer_reading()

    def _take_head(self) -> None:
        buffer, bytes_max = self._buffer, self._settings.header_bytes_max
        # Some clients end a body with a line that nobody has asked for: RFC 9112, 2.2.
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        end = buffer.find(END, max(0, self._searched_bytes - len(END))) + len(END)
        if end < len(END):
            self._await_head(bytes_max)
            return
        if end > bytes_max:
            raise errors.headers_too_large(bytes_max)
        head = read_head(bytes(buffer[:end]))
        del buffer[:end]
        self._searched_bytes = 0
        self._has_begun_head = False
        if self._is_half_closed:
            self._deadline.set(_HALF_CLOSED_DURATION_S)
        else:
            self._deadline.clear()
        self._request = ServedRequest(head, body_of(head, bytes_max), self)
        self._serving.start(self._request, self)

    def _await_head(self, bytes_max: int) -> None:
        buffer = self._buffer
        if len(buffer) > bytes_max:
            raise errors.headers_too_large(bytes_max)
        if self._is_half_closed:
            self._close()
        elif len(buffer) > 1 and is_hopeless(buffer, self._searched_bytes):
            raise errors.malformed_request()
        elif buffer and not self._has_begun_head:
            self._has_begun_head = True
            self._deadline.set(self._settings.header_timeout_s)
        self._searched_bytes = len(buffer)

    def _take_body(self, request: ServedRequest) -> None:
        if request.body.is_complete or request.failure is not None:
            return
        request.body.take(self._buffer, request.arrived)
        if request.is_answered:
            self._discard_rest(request)
        else:
            request.notify()

    def _discard_rest(self, request: ServedRequest) -> None:
        """Take what nobody has asked for from between this request and the next."""
        self._discarded_bytes += len(request.arrived)
        request.arrived.clear()
        if request.body.is_complete:
            self._finish()
        elif self._discarded_bytes > _KEPT_BYTES_MAX:
            self._linger()

    def _finish(self) -> None:
        """Be ready for the next request."""
        self._request = None
        self._discarded_bytes = 0
        self._has_begun_head = False
        unread = self._transport.get_write_buffer_size()
        if unread:
            self._await_reader(unread)
        else:
            self._deadline.set(self._settings.keep_alive_s)
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._advance)
        elif self._is_half_closed:
            self._close()

    def _fail(self, error: HttpError) -> None:
        """What comes cannot be understood: tell who waits for it."""
        request = self._request
        if request is None:
            self._transport.write(_refusal(error))
            self._linger()
        elif request.is_answered:
            self._linger()
        else:
            request.failure = error
            request.notify()

    # How much is read.

    def _read_bytes(self) -> int:
        request = self._request
        if self._is_lingering:
            return READ_BYTES
        if request is None or not request.is_waiting or request.head.is_chunked:
            return _UNASKED_BYTES
        return READ_BYTES

    def _steer_reading(self) -> None:
        """Read only what somebody waits for, and a little more: else the client is to wait."""
        if self._is_lost or self._transport.is_closing():
            return
        is_reading = self._is_lingering or self._unasked_bytes() < _UNASKED_BYTES
        if is_reading != self._is_reading:
            self._is_reading = is_reading
            (self._transport.resume_reading if is_reading else self._transport.pause_reading)()

    def _unasked_bytes(self) -> int:
        request = self._request
        if request is None:
            # Heads are bounded by themselves, unless nobody is there to take one.
            return len(self._buffer) if self.is_write_paused else 0
        if request.body.is_complete:
            return len(self._buffer)
        if request.is_answered or (request.is_waiting and len(request.arrived) < READ_BYTES):
            return 0
        # Also of what somebody waits for, since libuv reads up to 32 times before he gets a turn.
        return len(request.arrived)

    # How it ends.

    def _linger(self) -> None:
        """Send no more, and close when the client has taken what was sent."""
        self._is_lingering = True
        self._buffer.clear()
        if self._is_half_closed:
            self._close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._steer_reading()
        unread = self._transport.get_write_buffer_size()
        if unread:
            self._await_reader(unread)
        else:
            self._deadline.set(_DISCARD_DURATION_S)

    def _discard(self, byte_count: int) -> None:
        self._discarded_bytes += byte_count
        if self._discarded_bytes > _DISCARDED_BYTES_MAX:
            self._close()

    def _close(self) -> None:
        """Hang up, and let the client take what was written, for a while."""
        if self._transport.is_closing():
            return
        self._transport.close()
        unread = self._transport.get_write_buffer_size()
        is_tls = self.scheme == "https"
        if unread or (is_tls and self._request is not None):
            self._await_reader(unread)
        elif is_tls:
            # It closes only when the client hangs up too.
            self._deadline.set(_DISCARD_DURATION_S)
        else:
            self._deadline.clear()

    def _await_reader(self, unread_bytes: int) -> None:
        self._unread_bytes = unread_bytes
        self._deadline.set(self._settings.stream_write_timeout_s)

    def _overdue(self) -> None:
        unread = self._transport.get_write_buffer_size()
        is_served = self._request is not None and not self._request.is_answered
        if unread and not is_served and unread <= self._unread_bytes - _TAKEN_BYTES_MIN:
            self._await_reader(unread)
        elif unread or is_served or self._has_begun_head or self._transport.is_closing():
            self._transport.abort()
        elif self._unread_bytes and self._request is None and not self._is_lingering:
            # The answer was taken meanwhile: from now on the connection is idle.
            self._unread_bytes = 0
            self._deadline.set(self._settings.keep_alive_s)
        else:
            self._close()


def _address(name: Any) -> tuple[str, int] | None:  # noqa: ANN401 - what sockets answer
    return (name[0], name[1]) if isinstance(name, tuple) else None


@lru_cache(maxsize=1)
def _date_header(now_s: int) -> bytes:
    return f"date: {formatdate(now_s, usegmt=True)}\r\n".encode()


def _refusal(error: HttpError) -> bytes:
    """The answer to what never became a request."""
    correlation_id = correlation.fresh()
    body = error.body(correlation_id)
    lines = [
        f"HTTP/1.1 {error.status} ",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-correlation-id: {correlation_id}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "connection: close",
        *(f"{name.decode()}: {value.decode()}" for name, value in error.headers),
    ]
    head = "\r\n".join([*lines, ""]).encode()
    return head + _date_header(int(time())) + b"\r\n" + body
