"""uvicorn, told in full how to serve, bounded where it is not, and stopped in order."""

import asyncio
import contextlib
import logging
import math
import signal
import socket
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.http import errors
from gateway.http.exchange import CONNECTION_EXTENSION, App
from gateway.http.lifecycle import Lifecycle
from gateway.serving.edge_tls import EdgeCertificate
from gateway.settings import Settings
from services.plumbing import correlation
from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger
from services.plumbing.tasks import OwnedTasks

_log = get_logger("gateway")

_BACKLOG = 2_048


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
    with _signals(asked_to_stop):
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
    # Its lines of start and stop would only repeat ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    _notice_lost_clients(listener, settings)
    tasks = OwnedTasks()
    server = _Server(_config(app, settings, tasks))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        lifecycle.is_draining = True
        lifecycle.stop()
        server.should_exit = True
        await serving
        await tasks.stop()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are ours: uvicorn would stop listening at the first one."""
        yield


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
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


def _config(app: App, settings: Settings, tasks: OwnedTasks) -> uvicorn.Config:
    config = uvicorn.Config(
        cast("Any", app),
        http=guarded_protocol(settings),
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_s),
        backlog=_BACKLOG,
    )
    config.load()
    if settings.http_transport == "tls":
        certificate = EdgeCertificate(settings)
        tasks.start("certificate", certificate.watch())
        config.ssl = certificate.context()
    return config


def guarded_protocol(settings: Settings) -> type[asyncio.Protocol]:
    """uvicorn's protocol with the bounds that it lacks, for one gateway's settings."""

    class Guarded(_GuardedProtocol):
        connection_count_max = settings.connection_count_max
        header_bytes_max = settings.header_bytes_max
        header_timeout_s = settings.header_timeout_s

    return Guarded


class _GuardedProtocol(HttpToolsProtocol):
    """Bounds connections, the size of headers and the time they take; errors look like ours.

    uvicorn keeps a connection open for as long as its headers take and collects as many as
    come; a slow or endless sender would cost a file and memory for ever.
    """

    connection_count_max: int
    header_bytes_max: int
    header_timeout_s: float

    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes: int = 0
    _is_lost = False
    _when_lost: Callable[[], object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.connection_count_max:
            self.transport.abort()
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        self._is_lost = True
        if self._when_lost is not None:
            self._when_lost()

    @property
    def is_write_paused(self) -> bool:
        """See `exchange.Connection`."""
        return self.flow.write_paused

    def when_lost(self, act: Callable[[], object] | None) -> None:
        """See `exchange.Connection`."""
        self._when_lost = act
        if act is None:
            return
        # A connection that is not read from does not tell that it was lost.
        self.flow.resume_reading()
        if self._is_lost:
            act()

    def abort(self) -> None:
        """See `exchange.Connection`."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._header_timer is not None:
            self._header_bytes += len(data)
        super().data_received(data)
        # Only while headers are incomplete: what comes with them may be a body.
        if self._header_timer is not None and self._header_bytes > self.header_bytes_max:
            self._refuse(errors.headers_too_large(self.header_bytes_max))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._header_timer is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        self._stop_timer()
        if self.parser.get_http_version() == "1.1":
            hosts = [value for name, value in self.headers if name == b"host"]
            if len(hosts) != 1:
                # The parser makes a malformed request of it.
                raise ValueError("a request names one host")
        self.scope["extensions"] = {CONNECTION_EXTENSION: cast("Any", self)}
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        self._refuse(errors.malformed_request())

    def timeout_keep_alive_handler(self) -> None:
        """An answer that nobody has read by now is not waited for any longer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _await_headers(self) -> None:
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(self.header_timeout_s, self._headers_too_slow)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_too_slow(self) -> None:
        self._header_timer = None
        self.transport.abort()

    def _refuse(self, error: errors.HttpError) -> None:
        """Answer what never became a request, and hang up."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_raw_answer(error))
        self.transport.close()


def _raw_answer(error: errors.HttpError) -> bytes:
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
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
