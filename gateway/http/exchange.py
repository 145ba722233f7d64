"""One HTTP request and its answer. Knows headers and bytes, and nothing of gRPC."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, Protocol

from gateway.http import errors
from gateway.http.body_share import BodyShare
from gateway.http.errors import HttpError
from services.plumbing.budget import Budget
from services.plumbing.telemetry.tracing import Span

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON: Final = b"application/json"

CONNECTION_EXTENSION: Final = "girih.connection"
"""Where our server puts the `Connection` that a request came by."""

API_HEADERS: Final[Headers] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

SLOW_READER: Final = "SLOW_READER"
"""What the log says of a stream that ended because its client did not read it."""


_SLICE_BYTES = 2**14
"""Lines are looked for in so much before others have their turn."""


class ClientGone(Exception):
    """The client went away before its answer was complete."""


class SlowReader(Exception):
    """The client leaves its answer unread for too long."""


class Connection(Protocol):
    """What a server that is ours tells of a connection, beyond ASGI."""

    @property
    def is_write_paused(self) -> bool:
        """The client has not taken what was written: the next write would wait for it."""

    @property
    def has_whole_body(self) -> bool:
        """All of the request's body has come: whoever asks for it waits for nothing."""

    def when_lost(self, act: Callable[[], object] | None) -> None:
        """Call `act`, and nothing that was said before, when the client goes away.

        Calls it at once when the client has gone.
        """

    def abort(self) -> None:
        """Drop the connection with all that was not sent."""


class HttpExchange:
    """A request, and the only way by which its answer is sent."""

    __slots__ = (
        "_bodies",
        "_has_more_body",
        "_send",
        "_share",
        "_write_timeout_s",
        "added_headers",
        "address",
        "common_headers",
        "connection",
        "correlation_id",
        "error_code",
        "headers",
        "is_quiet",
        "is_streamed",
        "method",
        "path",
        "receive",
        "route",
        "scope",
        "span",
        "status",
        "subject",
        "tenant",
        "traceparent",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: dict[bytes, bytes],
        bodies: Budget,
    ) -> None:
        self.scope = scope
        self.headers = headers
        """By lower-case name; several with one name are joined by commas."""
        self.method: str = scope["method"]
        self.path = _normal_path((scope.get("raw_path") or scope["path"].encode()).decode("ascii"))
        """Percent-encoded, but for letters, digits and `-._~`; `*` for the server itself."""
        self.route = "(none)"
        """The path template, for logs and metrics: a closed set."""
        self.correlation_id = ""
        self.traceparent = ""
        """Of the request's span, or of its caller's; empty where there is none."""
        self.span: Span | None = None
        self.address = ""
        """Where the client is, as far as that can be believed."""
        self.tenant = ""
        """Whose data it is about; empty until a token has told."""
        self.subject = ""
        """Who asks; empty until a token has told."""
        self.connection: Connection | None = scope.get("extensions", {}).get(CONNECTION_EXTENSION)
        self.common_headers: Headers = ()
        """What every answer carries."""
        self.added_headers: Headers = ()
        """What this request's answer carries beside, whatever it is."""
        self.status = 0
        """Of the answer; 0 before it has started."""
        self.error_code = ""
        """What ended a stream that had begun well."""
        self.is_quiet = False
        """Asked for too often to be told of each time."""
        self.is_streamed = False
        """The answer may take as long as it likes."""
        self.receive = receive
        self._send = send
        self._has_more_body = True
        self._bodies = bodies
        self._share: BodyShare | None = None
        """What is held of the body, since somebody asked for it."""
        self._write_timeout_s: float | None = None

    @property
    def query_string(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

    @property
    def is_write_paused(self) -> bool:
        """The client has not taken what was written, as far as that is known."""
        return self.connection is None or self.connection.is_write_paused

    @property
    def announces_body(self) -> bool:
        length = self.headers.get(b"content-length")
        return length not in (None, b"0") or b"transfer-encoding" in self.headers

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        """The whole body; raises HttpError when it is too large or too slow, ClientGone.

        It is counted as held until the exchange is closed. Raises HttpError, too, where too much
        is held of others.
        """
        if not self.announces_body:
            return b""
        if int(self.headers.get(b"content-length", b"0")) > bytes_max:
            raise errors.body_too_large(bytes_max)
        if self.connection is not None and self.connection.has_whole_body:
            # Nothing to wait for, and timers cost more than what they guard.
            return await self._body(bytes_max)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._body(bytes_max)
        except TimeoutError:
            raise errors.body_too_slow(timeout_s) from None

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status line and headers; the correlation id is added."""
        self.status = status
        answered = (b"x-correlation-id", self.correlation_id.encode())
        everything = [*headers, *self.common_headers, *self.added_headers, answered]
        await self._send({"type": "http.response.start", "status": status, "headers": everything})

    async def write(self, chunk: bytes) -> None:
        """Send a part of the body; raises SlowReader when the client takes it too slowly."""
        await self._send_body(chunk, more=True)

    async def end(self, chunk: bytes = b"") -> None:
        """Send the last part of the body; raises as `write` does."""
        await self._send_body(chunk, more=False)

    async def respond(
        self, status: int, body: bytes, media_type: bytes = JSON, headers: Headers = ()
    ) -> None:
        """Send a whole answer."""
        length = (b"content-length", str(len(body)).encode())
        media = (b"content-type", media_type)
        await self.start(status, [*API_HEADERS, media, length, *headers])
        await self.end(body)

    async def fail(self, error: HttpError) -> None:
        """Send an error as the whole answer, unless something was sent already."""
        self.error_code = error.code
        if not self.status:
            body = error.body(self.correlation_id)
            length = (b"content-length", str(len(body)).encode())
            media = (b"content-type", JSON)
            await self.start(error.status, [*API_HEADERS, media, length, *error.headers])
            await self.end(body)

    async def send_event(self, event: Event) -> None:
        """Pass on an answer that other ASGI code makes, with what all answers carry."""
        if event["type"] == "http.response.start":
            await self.start(event["status"], event.get("headers", []))
        else:
            await self._send(event)

    def stream(self, write_timeout_s: float) -> None:
        """From now on a part of the body that is not taken within this time is too slow."""
        self._write_timeout_s = write_timeout_s
        self.is_streamed = True

    async def lines(self, bytes_max: int, timeout_s: float) -> AsyncGenerator[tuple[int, bytes]]:
        """The lines of the body as they arrive, with their numbers; empty ones are left out.

        Takes no more of the body than what is asked for. Raises HttpError for a line that is
        too long or too slow, and ClientGone.
        """
        number, rest = 0, bytearray()
        until_s = _now_s() + timeout_s
        while self.announces_body and self._has_more_body:
            chunk = await self._chunk(until_s, timeout_s)
            for at in range(0, len(chunk), _SLICE_BYTES):
                *ends, begin = chunk[at : at + _SLICE_BYTES].split(b"\n")
                for end in ends:
                    number += 1
                    _put(rest, end, bytes_max)
                    line = bytes(rest)
                    rest.clear()
                    if line.strip():
                        yield number, line
                        until_s = _now_s() + timeout_s
                    self._held.give_back(len(line) + 1)
                _put(rest, begin, bytes_max)
                # A slice may be thousands of lines with nothing in them.
                await asyncio.sleep(0)
        if rest.strip():
            yield number + 1, bytes(rest)

    async def parts(self, bytes_max: int, timeout_s: float) -> AsyncGenerator[bytes]:
        """The body as it arrives, in parts of at most `bytes_max`, and of less where no more came.

        Takes no more of the body than what is asked for. Raises HttpError for a part that is
        too slow, and ClientGone.
        """
        while self.announces_body and self._has_more_body:
            chunk = await self._chunk(_now_s() + timeout_s, timeout_s)
            view = memoryview(chunk)
            for at in range(0, len(chunk), bytes_max):
                yield bytes(view[at : at + bytes_max])
            self._held.give_back(len(chunk))

    def watching(self, on_gone: Callable[[], object]) -> "_Watch":
        """A block in which `on_gone` is called when the client goes away.

        The block is expected to be cancelled by it, which becomes ClientGone.
        """
        return _Watch(self.connection, on_gone)

    async def write_if_taken(self, chunk: bytes) -> None:
        """Send a part of the body, unless the client has not taken what was sent before."""
        if self.connection is None or not self.connection.is_write_paused:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    def abort(self) -> None:
        """Drop the connection with everything that was not taken from it."""
        if self.connection is not None:
            self.connection.abort()

    async def _send_body(self, chunk: bytes, *, more: bool) -> None:
        event = {"type": "http.response.body", "body": chunk, "more_body": more}
        if self._write_timeout_s is None or (
            # Nothing to wait for, and timers cost more than what they guard.
            self.connection is not None and not self.connection.is_write_paused
        ):
            await self._send(event)
            return
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await self._send(event)
        except TimeoutError:
            raise SlowReader from None

    def close(self) -> None:
        """Nothing of it is held any more."""
        if self._share is not None:
            self._share.close()

    @property
    def _held(self) -> BodyShare:
        if self._share is None:
            self._share = BodyShare(self._bodies, self.tenant)
        return self._share

    async def _body(self, bytes_max: int) -> bytes:
        first = await self._part() if self._has_more_body else b""
        if not self._has_more_body and len(first) <= bytes_max:
            # All of it, as of most requests: it is not copied.
            return first
        body = bytearray(first)
        del first
        try:
            await self._fill(body, bytes_max)
        except BaseException:
            # What is told of it holds this frame, and the memory counts as free already.
            body.clear()
            raise
        return bytes(body)

    async def _fill(self, body: bytearray, bytes_max: int) -> None:
        while self._has_more_body and len(body) <= bytes_max:
            body += await self._part()
        if len(body) > bytes_max:
            raise errors.body_too_large(bytes_max)

    async def _chunk(self, until_s: float, timeout_s: float) -> bytes:
        try:
            async with asyncio.timeout_at(until_s):
                return await self._part()
        except TimeoutError:
            raise errors.body_too_slow(timeout_s) from None

    async def _part(self) -> bytes:
        """What has come next of the body, and is counted as held."""
        event = await self.receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        self._has_more_body = event.get("more_body", False)
        chunk: bytes = event.get("body", b"")
        if chunk:
            self._held.take(len(chunk))
        return chunk


# RFC 3986, 6.2.2.2: an escape of one of these is another spelling of it.
_unreserved_escape = re.compile(
    r"%(2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE
).sub


def _normal_path(path: str) -> str:
    if "%" not in path:
        return path
    return _unreserved_escape(lambda match: chr(int(match[1], 16)), path)


def _put(line: bytearray, part: bytes, bytes_max: int) -> None:
    if len(line) + len(part) > bytes_max:
        raise errors.line_too_large(bytes_max)
    line += part


def _now_s() -> float:
    return asyncio.get_running_loop().time()


class _Watch:
    """Tells that a client went away from everything else that cancels."""

    __slots__ = ("_connection", "_is_gone", "_on_gone")

    def __init__(self, connection: Connection | None, on_gone: Callable[[], object]) -> None:
        self._connection = connection
        self._on_gone = on_gone
        self._is_gone = False

    def __enter__(self) -> None:
        if self._connection is not None:
            self._connection.when_lost(self._gone)

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if self._connection is not None:
            self._connection.when_lost(None)
        if kind is asyncio.CancelledError and self._is_gone:
            raise ClientGone

    def _gone(self) -> None:
        self._is_gone = True
        self._on_gone()
