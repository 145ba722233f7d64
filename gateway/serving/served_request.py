"""One request of a connection as the application sees it: the two ends of ASGI."""

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from gateway.http.errors import HttpError
from gateway.http.exchange import CONNECTION_EXTENSION, Connection, Event, Scope
from gateway.serving.request_body import RequestBody
from gateway.serving.request_head import RequestHead

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_DISCONNECT: Final = {"type": "http.disconnect"}
_REST_BYTES_MAX: Final = 2**18
"""Who has more of a body still to send than this had better connect again."""
_WITHOUT_BODY: Final = frozenset({204, 304})


class RequestConnection(Connection, Protocol):
    """What a request needs of the connection that it came by."""

    server: tuple[str, int] | None
    client: tuple[str, int] | None
    scheme: str

    @property
    def is_draining(self) -> bool:
        """Whoever sends another request had better connect to another gateway."""

    @property
    def date_header(self) -> bytes:
        """The line that says what time it is."""

    def write(self, data: bytes) -> None: ...

    async def until_written(self) -> None:
        """Wait until the client has taken most of what was written, or has gone."""

    def wants_body(self) -> None:
        """Somebody waits for more of the body."""

    def answered(self) -> None:
        """The answer is complete."""


class ServedRequest:
    """A request, what has come of its body, and what was sent of its answer."""

    __slots__ = (
        "_answer_left",
        "_answers_in_chunks",
        "_connection",
        "_has_started",
        "_head_of_answer",
        "_is_body_delivered",
        "_is_waiting",
        "_more",
        "arrived",
        "body",
        "failure",
        "head",
        "is_answered",
        "is_lost",
        "keeps_alive",
        "scope",
    )

    def __init__(self, head: RequestHead, body: RequestBody, connection: RequestConnection) -> None:
        self.head = head
        self.body = body
        self.arrived = bytearray()
        """What has come of the body, and was not asked for yet."""
        self.failure: HttpError | None = None
        """Why no more of the body can come."""
        self.keeps_alive = head.keeps_alive
        """Whether another request may follow."""
        self.is_lost = False
        """The client has gone."""
        self.is_answered = False
        self.scope = _scope(head, connection)
        self._connection = connection
        self._is_body_delivered = False
        self._has_started = False
        self._head_of_answer = b""
        """What is to be sent with the first part of the body."""
        self._answers_in_chunks = False
        self._answer_left: int | None = None
        """How many bytes of the answer are still to be sent, where its head said how many."""
        self._more: asyncio.Event | None = None

    @property
    def is_waiting(self) -> bool:
        """Somebody waits for the body, or for its end."""
        return self._more is not None

    @property
    def is_body_awaited(self) -> bool:
        """The client waits with the body until it is asked for."""
        return (
            self.head.expects_continue
            and self.head.has_body
            and not (self.arrived or self._is_body_delivered or self.body.is_complete)
        )

    @property
    def _is_rest_long(self) -> bool:
        return not self.body.is_complete and self.head.content_length > _REST_BYTES_MAX

    def notify(self) -> None:
        """Something that `receive` may wait for has changed."""
        if self._more is not None:
            self._more.set()

    async def receive(self) -> Event:
        """ASGI's receive; raises HttpError for a body that is none."""
        if self.is_body_awaited and not self._has_started:
            self._connection.write(_CONTINUE)
        while not (self.is_lost or self.is_answered):
            if self.failure is not None:
                raise self.failure
            if self.arrived or (self.body.is_complete and not self._is_body_delivered):
                return self._next_part()
            await self._until_more()
        return dict(_DISCONNECT)

    def _next_part(self) -> Event:
        body, self.arrived = bytes(self.arrived), bytearray()
        self._is_body_delivered = self.body.is_complete
        return {"type": "http.request", "body": body, "more_body": not self._is_body_delivered}

    async def _until_more(self) -> None:
        self._more = asyncio.Event()
        try:
            self._connection.wants_body()
            await self._more.wait()
        finally:
            self._more = None

    async def send(self, event: Event) -> None:
        """ASGI's send. What is sent to a client that has gone is thrown away."""
        if self._connection.is_write_paused and not self.is_lost:
            await self._connection.until_written()
        if self.is_lost:
            return
        if event["type"] == "http.response.start":
            self._start(event["status"], event.get("headers", ()))
        else:
            self._send_part(event.get("body", b""), has_more=event.get("more_body", False))

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._has_started:
            raise RuntimeError("an answer has one head")
        self._has_started = True
        if self.is_body_awaited or self.failure is not None or self._is_rest_long:
            self.keeps_alive = False
        self.keeps_alive &= not self._connection.is_draining
        fields: list[bytes] = []
        for name, value in headers:
            if name == b"content-length":
                self._answer_left = int(value)
            elif name == b"connection":
                self.keeps_alive &= value.lower() != b"close"
                continue
            # Joined all at once below: each format of its own takes twice as long.
            fields += (name, b": ", value, b"\r\n")
        lines: list[bytes] = []
        self._frame(status, lines)
        if not self.keeps_alive:
            lines.append(b"connection: close\r\n")
        begin = (_status_line(status), self._connection.date_header)
        head = b"".join((*begin, *fields, *lines))
        if head.count(b"\n") != len(begin) + len(fields) // 4 + len(lines):
            raise RuntimeError("a header of an answer has more than one line")
        self._head_of_answer = head + b"\r\n"

    def _frame(self, status: int, lines: list[bytes]) -> None:
        """Decide how the client learns where the answer ends."""
        if self.head.method == "HEAD" or status in _WITHOUT_BODY:
            self._answer_left = 0
        elif self._answer_left is None and self.head.is_http_1_0:
            self.keeps_alive = False
        elif self._answer_left is None:
            self._answers_in_chunks = True
            lines.append(b"transfer-encoding: chunked\r\n")

    def _send_part(self, body: bytes, *, has_more: bool) -> None:
        if not self._has_started or self.is_answered:
            raise RuntimeError("a body comes behind its head, and ends once")
        begin, self._head_of_answer = self._head_of_answer, b""
        if self._answers_in_chunks:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            data = begin + chunk + (b"" if has_more else b"0\r\n\r\n")
        else:
            data = begin + self._counted(body, has_more=has_more)
        if data:
            self._connection.write(data)
        if not has_more:
            self.is_answered = True
            self.notify()
            self._connection.answered()

    def _counted(self, body: bytes, *, has_more: bool) -> bytes:
        if self._answer_left is None:
            return body
        if self.head.method == "HEAD":
            return b""
        self._answer_left -= len(body)
        if self._answer_left < 0 or (self._answer_left and not has_more):
            raise RuntimeError("an answer has not as many bytes as its head says")
        return body


def _scope(head: RequestHead, connection: RequestConnection) -> Scope:
    path = head.raw_path
    if b"%" in path:
        path = unquote_to_bytes(path)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if head.is_http_1_0 else "1.1",
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "method": head.method,
        "root_path": "",
        "path": path.decode("utf-8", "replace"),
        "raw_path": head.raw_path,
        "query_string": head.query,
        "headers": head.headers,
        "extensions": {CONNECTION_EXTENSION: connection},
    }
    return scope


@lru_cache(maxsize=128)
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()
