"""The HTTP server: accepts connections, and stops in order."""

import asyncio
import contextlib
import math
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

from gateway.http.exchange import App
from gateway.http.lifecycle import Lifecycle
from gateway.serving.connection import READ_BYTES, HttpConnection
from gateway.serving.edge_tls import EdgeCertificate
from gateway.serving.served_request import ServedRequest
from gateway.settings import Settings
from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger
from services.plumbing.tasks import OwnedTasks, set_within

_log = get_logger("gateway")

_BACKLOG = 2_048
_REFUSED_COUNT_MAX = 500
"""So many connections beyond those that are served are told so, at a time: each lingers until its
client has read that. Further ones are closed unanswered."""
_LAST_ANSWERS_S = 1.0
"""How long those who were waited for until the grace was over may take to say so."""
_TLS_SHUTDOWN_S = 86_400.0
"""Never the first to end a connection: it would cut off what the client has not taken yet, and
each connection has a deadline of its own."""


class PortTaken(CannotRun):
    """The address cannot be listened on, most likely because another process does."""


def listen(address: str) -> socket.socket:
    """A socket that listens on host:port; raises PortTaken."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise PortTaken(f"cannot listen on {address}: {error}") from error


async def serve(
    app: App,
    settings: Settings,
    lifecycle: Lifecycle,
    listener: socket.socket,
    tasks: OwnedTasks,
) -> None:
    """Serve until SIGTERM or SIGINT; then drain, end the streams, and let requests finish.

    Readiness fails first, so that nobody sends more; requests that come are served until
    the drain time is over. Raises TaskDied, after the same, when one of `tasks` has ended.
    """
    asked_to_stop = tasks.failed
    with stopped_by_signals(asked_to_stop):
        async with running(app, settings, lifecycle, listener):
            await asked_to_stop.wait()
            _log.info("stopping", drain_s=settings.drain_duration_s)
            lifecycle.is_draining = True
            await asyncio.sleep(settings.drain_duration_s)
    _log.info("stopped")
    if tasks.failure is not None:
        raise tasks.failure


@contextlib.asynccontextmanager
async def running(
    app: App, settings: Settings, lifecycle: Lifecycle, listener: socket.socket
) -> AsyncIterator[None]:
    """Serve inside the block; after it end the streams, and let requests finish."""
    _notice_lost_clients(listener, settings)
    tasks, server = OwnedTasks(), HttpServer(app, settings, lifecycle)
    accepting = await asyncio.get_running_loop().create_server(
        server.connection, sock=listener, backlog=_BACKLOG, **_tls(settings, tasks)
    )
    try:
        yield
    finally:
        lifecycle.is_draining = True
        lifecycle.stop()
        accepting.close()
        await server.stop(settings.shutdown_grace_s)
        await tasks.stop()


class HttpServer:
    """What the connections of one gateway have in common."""

    def __init__(self, app: App, settings: Settings, lifecycle: Lifecycle) -> None:
        self.settings = settings
        self._lifecycle = lifecycle
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._app = app
        self._connections: set[HttpConnection] = set()
        self._refused: set[HttpConnection] = set()
        """Those among them that are not served."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_empty = asyncio.Event()
        self._is_stopping = False

    @property
    def is_draining(self) -> bool:
        """See `connection.Serving`."""
        return self._lifecycle.is_draining

    def connection(self) -> HttpConnection:
        """A protocol for the next connection."""
        return HttpConnection(self)

    def admit(self, connection: HttpConnection) -> bool:
        """See `connection.Serving`."""
        served_count = len(self._connections) - len(self._refused)
        if self._is_stopping or served_count >= self.settings.connection_count_max:
            return False
        self._connections.add(connection)
        return True

    def admit_to_refuse(self, connection: HttpConnection) -> bool:
        """See `connection.Serving`."""
        if self._is_stopping or len(self._refused) >= _REFUSED_COUNT_MAX:
            return False
        self._connections.add(connection)
        self._refused.add(connection)
        return True

    def dismiss(self, connection: HttpConnection) -> None:
        """See `connection.Serving`."""
        self._connections.discard(connection)
        self._refused.discard(connection)
        if not self._connections:
            self._is_empty.set()

    def start(self, request: ServedRequest, connection: HttpConnection) -> None:
        """See `connection.Serving`."""
        task = asyncio.get_running_loop().create_task(self._serve(request, connection))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an answer was broken off: this is a bug", exc_info=error)

    async def _serve(self, request: ServedRequest, connection: HttpConnection) -> None:
        try:
            await self._app(request.scope, request.receive, request.send)
        finally:
            if not (request.is_answered or request.is_lost):
                # An answer that is not whole must not look as if it were.
                connection.abort()

    async def stop(self, grace_s: float) -> None:
        """Let requests finish, for so long; then have what still runs say that it was ended."""
        self._is_stopping = True
        for connection in tuple(self._connections):
            connection.stop()
        if not await self._emptied(grace_s):
            for task in tuple(self._tasks):
                task.cancel()
            await self._emptied(_LAST_ANSWERS_S)
        for connection in tuple(self._connections):
            connection.abort()
        await self._emptied(_LAST_ANSWERS_S)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _emptied(self, timeout_s: float) -> bool:
        """Whether all connections are gone within this time."""
        if not self._connections:
            return True
        self._is_empty.clear()
        await set_within(self._is_empty, timeout_s)
        return not self._connections


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """A block in which SIGTERM and SIGINT set `stop`, and do nothing else."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _notice_lost_clients(listener: socket.socket, settings: Settings) -> None:
    """Have the system give up connections of clients that vanished without a word.

    They take nothing of what is sent, and answer no probe. Accepted sockets inherit it.
    """
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    timeout_ms = math.ceil(settings.stream_write_timeout_s * 1e3)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


def _tls(settings: Settings, tasks: OwnedTasks) -> dict[str, Any]:
    """How connections are encrypted; the certificate is followed by one of `tasks`."""
    if settings.http_transport != "tls":
        return {}
    certificate = EdgeCertificate(settings)
    tasks.start("certificate", certificate.watch())
    return {
        "ssl": certificate.context(),
        "ssl_handshake_timeout": settings.header_timeout_s,
        "ssl_shutdown_timeout": _TLS_SHUTDOWN_S,
    }
