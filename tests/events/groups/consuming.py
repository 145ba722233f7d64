"""A consumer on a bare stream, which says what the test has it say."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc.aio

from girih.events.v1 import groups_pb2 as pb

if TYPE_CHECKING:
    from girih.events.v1.groups_pb2_grpc import GroupServiceAsyncStub

WITHIN_S = 60.0


class Consumer:
    """One call of `Consume`, and what it was told."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.lanes: dict[int, int] = {}
        self.settled: list[int] = []
        self.refused: list[pb.Refused] = []
        self.deliveries: list[pb.Delivery] = []
        self.lease_s = 0.0
        self.confirms = True
        """It says at once that it has taken note of which lanes it has."""
        self._lanes_seen = 0
        self._has_left = False

    async def say(self, **what: Any) -> None:
        await self._call.write(pb.ConsumeRequest(**what))

    async def take(self) -> pb.ConsumeResponse | None:
        """The next response, None at the end of the call."""
        async with asyncio.timeout(WITHIN_S):
            response = await self._call.read()
        if response is grpc.aio.EOF:
            return None
        if response.HasField("started"):
            self.lease_s = response.started.lease.ToTimedelta().total_seconds()
        if response.HasField("lanes"):
            self.lanes = {one.lane: one.token for one in response.lanes.lanes}
            self._lanes_seen += 1
            if self.confirms and not self._has_left:
                await self.confirm()
        self.settled += response.settled.positions
        if response.HasField("refused"):
            self.refused.append(response.refused)
        self.deliveries += response.deliveries.deliveries
        return response  # type: ignore[no-any-return]  # a call of any rpc

    async def events(self, count: int) -> Sequence[pb.Delivery]:
        """So many more deliveries."""
        while len(self.deliveries) < count:
            assert await self.take() is not None
        taken, self.deliveries = self.deliveries[:count], self.deliveries[count:]
        return taken

    async def until_settled(self, *positions: int) -> None:
        while not set(positions) <= set(self.settled):
            assert await self.take() is not None

    async def until_lanes(self, count: int) -> None:
        while len(self.lanes) != count:
            assert await self.take() is not None

    async def refusal(self) -> pb.Refused:
        while not self.refused:
            assert await self.take() is not None
        return self.refused.pop(0)

    async def confirm(self) -> None:
        """Say that it knows which lanes it has, unless its call is over."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.say(alive=pb.ConsumerAlive(lanes_seen=self._lanes_seen))

    async def quiet(self) -> pb.ServiceAlive:
        """Return when everything that was said before is answered."""
        await self.say(alive=pb.ConsumerAlive(number=7))
        while not (response := await self.take()) or response.alive.number != 7:
            assert response is not None
        return response.alive

    async def acknowledge(self, *deliveries: pb.Delivery) -> None:
        for one in deliveries:
            await self.say(acknowledge=acknowledgement(one))

    async def leave(self) -> None:
        """Go in peace."""
        self._has_left = True
        await self._call.done_writing()
        while await self.take() is not None:
            pass

    async def vanish(self) -> None:
        """Go as a process that was killed goes."""
        self._call.cancel()
        await asyncio.wait([asyncio.ensure_future(self._call.code())])

    async def status(self) -> grpc.aio.AioRpcError:
        """What the call ends with."""
        try:
            while await self.take() is not None:
                pass
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the call ended well")


def acknowledgement(one: pb.Delivery) -> pb.Acknowledge:
    return pb.Acknowledge(lane=one.lane, token=one.token, positions=[one.event.position])


@asynccontextmanager
async def consuming(
    groups: "GroupServiceAsyncStub", group: str = "g", *, credit_count: int = 100, name: str = ""
) -> AsyncIterator[Consumer]:
    """A consumer that has been let in, and goes with the block."""
    call = groups.Consume(timeout=120)
    consumer = Consumer(call)
    await consumer.say(start=pb.ConsumerStart(group=group, name=name, credits=credit_count))
    try:
        await consumer.take()
        yield consumer
    finally:
        call.cancel()
