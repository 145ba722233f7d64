"""A proxy on the loopback that gives trouble to what passes it. Knows as much of PostgreSQL as it
takes to answer in its place."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

_CHUNK_BYTES = 2**16
_CONNECT_S = 5.0
_SYNC = b"S\x00\x00\x00\x04"
_QUERY = b"Q"

Pump = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Pump]]


@dataclass
class Proxy:
    """Passes on what comes to `host:port`, as long as nothing else is said."""

    connect: Connect
    """Opens a connection to what is behind it."""
    port: int
    host: str = "127.0.0.1"
    delay_s: float = 0.0
    """How much later answers arrive; their order stays."""
    is_cut: bool = False
    """Nothing passes: connections that are made are closed."""
    sql_state: str = ""
    """What every statement is answered with instead, when it is not empty."""
    connection_count: int = 0
    """Connections so far."""
    _server: asyncio.Server | None = field(default=None, repr=False)
    _open: set[asyncio.StreamWriter] = field(default_factory=set, repr=False)
    _serving: set["asyncio.Task[None]"] = field(default_factory=set, repr=False)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """Close every connection that is open."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connection_count += 1
        try:
            if not self.is_cut:
                # Whoever is cut off finds out by that, and by nothing else.
                with suppress(OSError, TimeoutError, asyncio.CancelledError):
                    await self._pass(reader, writer)
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_CONNECT_S):
            behind, to_behind = await self.connect()
        self._open.add(writer)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._forth(reader, to_behind, writer))
                pumps.create_task(self._back(behind, writer, to_behind))
        except* OSError:
            pass
        finally:
            self._open.discard(writer)
            to_behind.transport.abort()

    async def _forth(
        self,
        reader: asyncio.StreamReader,
        to_behind: asyncio.StreamWriter,
        answers: asyncio.StreamWriter,
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            if not self.sql_state:
                to_behind.write(chunk)
                await to_behind.drain()
            elif chunk.endswith(_SYNC) or chunk.startswith(_QUERY):
                answers.write(_error(self.sql_state) + _ready())
        to_behind.transport.abort()
        answers.transport.abort()

    async def _back(
        self,
        behind: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        to_behind: asyncio.StreamWriter,
    ) -> None:
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)

        async def send() -> None:
            while True:
                at_s, chunk = await due.get()
                await asyncio.sleep(at_s - loop.time())
                if not chunk:
                    break
                writer.write(chunk)
                await writer.drain()
            # What was written goes out first.
            writer.close()
            await writer.wait_closed()
            to_behind.transport.abort()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            while chunk := await behind.read(_CHUNK_BYTES):
                await due.put((loop.time() + self.delay_s, chunk))
            await due.put((loop.time() + self.delay_s, b""))


def to_socket(path: str) -> Connect:
    """To what listens on a Unix socket."""

    async def connect() -> Pump:
        return await asyncio.open_unix_connection(path)

    return connect


def to_port(port: int) -> Connect:
    """To what listens on a port of 127.0.0.1."""

    async def connect() -> Pump:
        return await asyncio.open_connection("127.0.0.1", port)

    return connect


def _error(sql_state: str) -> bytes:
    """An ErrorResponse of PostgreSQL's protocol."""
    fields = (b"SERROR", b"VERROR", b"C" + sql_state.encode(), b"Mof the proxy")
    body = b"\x00".join(fields) + b"\x00\x00"
    return b"E" + struct.pack("!i", len(body) + 4) + body


def _ready() -> bytes:
    """ReadyForQuery, outside of a transaction."""
    return b"Z" + struct.pack("!i", 5) + b"I"
