"""Follows a log over gRPC, and keeps what comes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc.aio

from girih.client.context import is_accepted
from girih.events.v1 import events_pb2 as pb

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


class Follower:
    """A call that follows, and what it has received."""

    def __init__(
        self,
        events: "EventStoreServiceAsyncStub",
        request: pb.ReadRequest,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        request.follow = True
        self.responses: list[pb.ReadResponse] = []
        self.received: list[pb.RecordedEvent] = []
        self.error: grpc.aio.AioRpcError | None = None
        self._more = asyncio.Event()
        self._call = events.Read(request, metadata=metadata)
        self._reading = asyncio.create_task(self._read())

    @property
    def positions(self) -> list[int]:
        return [recorded.position for recorded in self.received]

    @property
    def is_over(self) -> bool:
        return self._reading.done()

    async def until(self, count: int, within_s: float = 60.0) -> list[int]:
        """The positions received, once there are so many."""
        async with asyncio.timeout(within_s):
            while len(self.received) < count and not self.is_over:
                self._more.clear()
                await self._more.wait()
        return self.positions

    async def until_over(self, within_s: float = 60.0) -> grpc.aio.AioRpcError | None:
        """What the call ended with, None when it ended well."""
        async with asyncio.timeout(within_s):
            await asyncio.wait([self._reading])
        return self.error

    async def accepted(self) -> bool:
        """Whether the service has taken the call, once it has or has ended it."""
        return is_accepted(await self._call.initial_metadata())

    async def leave(self) -> None:
        self._call.cancel()
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self.responses.append(response)
                self.received += response.events
                self._more.set()
        except grpc.aio.AioRpcError as error:
            self.error = error
        finally:
            self._more.set()


@asynccontextmanager
async def following(
    events: "EventStoreServiceAsyncStub",
    request: pb.ReadRequest | None = None,
    metadata: Sequence[tuple[str, str]] | None = None,
) -> AsyncIterator[Follower]:
    """A follower inside the block, of the whole log from its beginning unless told else."""
    follower = Follower(events, request or pb.ReadRequest(), metadata)
    try:
        yield follower
    finally:
        await follower.leave()
