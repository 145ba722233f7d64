"""One HTTP request and its answer. Knows headers and bytes, and nothing of gRPC."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from gateway import errors
from gateway.errors import HttpError

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON: Final = b"application/json"

ABORT_EXTENSION: Final = "girih.abort"
"""Where the server puts a function that drops the connection with all it has not sent."""

API_HEADERS: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
PAGE_HEADERS: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

_WATCH_DELAY_S = 0.2
"""Calls shorter than this are not worth a task that watches whether the client is still there."""


_DISCARD_DURATION_S = 1.0
_DISCARDED_BYTES_MAX = 2**25


class ClientGone(Exception):
    """The client went away before its answer was complete."""


class SlowReader(Exception):
    """The client leaves its answer unread for too long."""


class Exchange:
    """A request, and the only way by which its answer is sent."""

    __slots__ = (
        "_has_more_body",
        "_send",
        "_write_timeout_s",
        "correlation_id",
        "error_code",
        "headers",
        "is_quiet",
        "is_streamed",
        "method",
        "raw_path",
        "receive",
        "route",
        "scope",
        "status",
        "tenant",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]
    ) -> None:
        self.scope = scope
        self.headers = headers
        """By lower-case name; several with one name are joined by commas."""
        self.method: str = scope["method"]
        self.raw_path: str = (scope.get("raw_path") or scope["path"].encode()).decode("ascii")
        self.route = "(none)"
        """The path template, for logs and metrics: a closed set."""
        self.correlation_id = ""
        self.tenant = ""
        """Whose data is meant, where that may be said; empty when nobody did."""
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
        self._write_timeout_s: float | None = None

    @property
    def query_string(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

    @property
    def announces_body(self) -> bool:
        length = self.headers.get(b"content-length")
        return length not in (None, b"0") or b"transfer-encoding" in self.headers

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        """The whole body; raises HttpError when it is too large or too slow, ClientGone."""
        if not self.announces_body:
            return b""
        if int(self.headers.get(b"content-length", b"0")) > bytes_max:
            raise errors.body_too_large(bytes_max)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._body(bytes_max)
        except TimeoutError:
            raise errors.body_too_slow(timeout_s) from None

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status line and headers; the correlation id is added."""
        self.status = status
        answered = (b"x-correlation-id", self.correlation_id.encode())
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, answered]}
        )

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
            await self.write(body)
            if error.closes_connection and self.announces_body:
                await self._discard_body()
            await self.end()

    async def send_event(self, event: Event) -> None:
        """Pass on an answer that other ASGI code makes, with what all answers carry."""
        if event["type"] == "http.response.start":
            given = event.get("headers", [])
            named = {name for name, _ in given}
            added = [pair for pair in PAGE_HEADERS if pair[0] not in named]
            await self.start(event["status"], [*given, *added])
        else:
            await self._send(event)

    def stream(self, write_timeout_s: float) -> None:
        """From now on a part of the body that is not taken within this time is too slow."""
        self._write_timeout_s = write_timeout_s
        self.is_streamed = True

    async def until_gone(self) -> None:
        """Return when the client has gone away, or has its whole answer."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def watching(self, on_gone: Callable[[], object]) -> "_Watch":
        """A block in which `on_gone` is called if the client goes away, when it takes a while.

        The block is expected to be cancelled by it, which becomes ClientGone.
        """
        return _Watch(self, on_gone)

    async def abort(self) -> None:
        """Drop the connection with everything that was not taken from it."""
        drop = self.scope.get("extensions", {}).get(ABORT_EXTENSION)
        if drop is not None:
            drop()
            await self.until_gone()

    async def _send_body(self, chunk: bytes, *, more: bool) -> None:
        event = {"type": "http.response.body", "body": chunk, "more_body": more}
        if self._write_timeout_s is None:
            await self._send(event)
            return
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await self._send(event)
        except TimeoutError:
            raise SlowReader from None

    async def _body(self, bytes_max: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            chunk = event.get("body", b"")
            self._has_more_body = event.get("more_body", False)
            size += len(chunk)
            if size > bytes_max:
                raise errors.body_too_large(bytes_max)
            chunks.append(chunk)
            if not self._has_more_body:
                return b"".join(chunks)

    async def _discard_body(self) -> None:
        """Take more of a refused body, for a while.

        A connection closed while the client still sends is reset, and with it goes the answer
        that the client has not read yet.
        """
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_DURATION_S):
                while self._has_more_body and size < _DISCARDED_BYTES_MAX:
                    event = await self.receive()
                    self._has_more_body = event.get("more_body", False)
                    size += len(event.get("body", b""))


class _Watch:
    """Waits for a client to go away, from a while after the block began."""

    __slots__ = ("_exchange", "_on_gone", "_saw_it_go", "_task", "_timer")

    def __init__(self, exchange: Exchange, on_gone: Callable[[], object]) -> None:
        self._exchange = exchange
        self._on_gone = on_gone
        self._saw_it_go = False
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_DELAY_S, self._start)

    def __enter__(self) -> None:
        """The clock runs already."""

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if kind is asyncio.CancelledError and self._saw_it_go:
            raise ClientGone

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        await self._exchange.until_gone()
        self._saw_it_go = True
        self._on_gone()
