"""Something between a client and a server that cuts connections in the middle, as networks do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_READ_BYTES = 1 << 16


async def _nothing() -> None:
    pass


async def _never() -> bool:
    return False


@dataclass
class Cutting:
    """Carries bytes both ways, and cuts a connection once so many have gone one way, or something
    is so.

    Cuts are made one after the other; when there are no more, connections last.
    """

    server: tuple[str, int]
    address: str = ""
    cuts_up: list[int] = field(default_factory=list)
    """After so many bytes from the client on one connection."""
    cuts_down: list[int] = field(default_factory=list)
    before_cut: Callable[[], Awaitable[None]] = _nothing
    """What happens while the connection carries nothing any more, and before it is closed."""
    cuts_instead: Callable[[], Awaitable[bool]] = _never
    """Asked before anything is carried to the client: whether to cut instead."""
    cut_count: int = 0
    up_bytes: int = 0
    """From the client, on all connections."""
    down_bytes: int = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(*self.server)
        up = asyncio.create_task(self._carry_up(reader, behind_writer))
        down = asyncio.create_task(self._carry_down(behind_reader, writer))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            for way, other in ((up, down), (down, up)):
                if way.done() and not way.cancelled() and way.exception() is None and way.result():
                    other.cancel()
                    await self.before_cut()
                    self.cut_count += 1
        finally:
            for each in (writer, behind_writer):
                each.transport.abort()
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _carry_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether to cut the connection."""
        count = 0
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()
            count += len(data)
            self.up_bytes += len(data)
            if self.cuts_up and count >= self.cuts_up[0]:
                self.cuts_up.pop(0)
                return True
        return False

    async def _carry_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        count = 0
        while data := await reader.read(_READ_BYTES):
            count += len(data)
            if self.cuts_down and count >= self.cuts_down[0]:
                self.cuts_down.pop(0)
                return True
            if await self.cuts_instead():
                return True
            writer.write(data)
            await writer.drain()
            self.down_bytes += len(data)
        return False


@asynccontextmanager
async def cutting(address: str) -> AsyncIterator[Cutting]:
    """One before the server at `address`, inside the block."""
    host, _, port = address.rpartition(":")
    between = Cutting((host, int(port)))
    server = await asyncio.start_server(between.accept, "127.0.0.1", 0)
    between.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield between
