"""One consumer of `tests.chaos.groups`, which writes down what it does.

    python -m tests.chaos.group_consumer '{"addresses": [...], "token": ..., "journal": ...}'

It is on a bare stream, and does what the contract demands of a consumer: it is heard in time, and
begins to handle nothing when its lanes may be another's.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import grpc
import grpc.aio

from girih.events.v1 import groups_pb2 as pb
from girih.events.v1 import groups_pb2_grpc
from services.plumbing.tasks import set_within

GROUP = "workers"
CREDITS = 20
HANDLERS = 4
ALIVE_LEASES = 0.25
SLOW_LEASES = 1.2
RETRY_CHANCE = 0.03
RECONNECT = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]


class Consumer:
    """One call after the other, to a replica each time."""

    def __init__(self, options: dict[str, Any], journal: IO[str]) -> None:
        self.in_hand = 0
        """Events that are being handled."""
        self.acknowledged: list[int] = []
        """Positions, as it said so."""
        self.answered: set[int] = set()
        """Positions of what it was told something of that it had said."""
        self.lane_changes = 0
        """So often it was told that it has others, or none any more."""
        self._options = options
        self._journal = journal
        self._dice = random.Random(options["seed"])
        self._turn = asyncio.Lock()
        self._valid_until_s = 0.0
        self._lanes: dict[int, int] = {}
        self._alive_sent_s: dict[int, float] = {}
        self._lanes_seen = 0
        self._has_news = asyncio.Event()
        """It was told which lanes it has, and has not said so."""
        self._tokens: dict[int, tuple[int, int]] = {}
        """Lane and token of what was said, by position: of what was said twice the later, since
        the earlier is refused."""

    async def run(self) -> None:
        while True:
            address = self._dice.choice(self._options["addresses"])
            async with grpc.aio.insecure_channel(address, options=RECONNECT) as channel:
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await self._consume(groups_pb2_grpc.GroupServiceStub(channel))
            await asyncio.sleep(0.1)

    async def _consume(self, groups: "groups_pb2_grpc.GroupServiceAsyncStub") -> None:
        call = groups.Consume(metadata=(("authorization", f"Bearer {self._options['token']}"),))
        start = pb.ConsumerStart(group=GROUP, name=self._options["name"], credits=CREDITS)
        await call.write(pb.ConsumeRequest(start=start))
        events: asyncio.Queue[pb.Delivery] = asyncio.Queue()
        self._lanes, self._valid_until_s, self._lanes_seen = {}, 0.0, 0
        tasks = [
            asyncio.create_task(self._stay_alive(call)),
            *(asyncio.create_task(self._handle(call, events)) for _ in range(HANDLERS)),
        ]
        try:
            async for response in call:
                self._take(response, events)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            call.cancel()

    def _take(self, response: pb.ConsumeResponse, events: "asyncio.Queue[pb.Delivery]") -> None:
        match response.WhichOneof("response"):
            case "started":
                # Nothing is valid before the service says so.
                self.lane_changes += 1
            case "lanes":
                self._lanes = {one.lane: one.token for one in response.lanes.lanes}
                self.lane_changes += 1
                self._lanes_seen += 1
                self._has_news.set()
            case "alive":
                sent_s = self._alive_sent_s.pop(response.alive.number)
                valid_s = response.alive.valid.ToTimedelta().total_seconds()
                self._valid_until_s = max(self._valid_until_s, sent_s + valid_s)
            case "deliveries":
                for one in response.deliveries.deliveries:
                    events.put_nowait(one)
            case "settled":
                self.answered.update(response.settled.positions)
                for position in response.settled.positions:
                    self._note_settled(position)
            case "refused":
                refused = response.refused
                self.answered.add(refused.position)
                reason = refused.refusal.message
                is_lost = refused.refusal.code == grpc.StatusCode.ABORTED.value[0]
                self._write(
                    "refused",
                    position=refused.position,
                    reason="LEASE_LOST" if is_lost else reason,
                )

    def _note_settled(self, position: int) -> None:
        lease = self._tokens.pop(position, None)
        if lease is not None:
            self._write("settled", position=position, lane=lease[0], token=lease[1])

    async def _send(self, call: Any, **what: Any) -> None:
        """One message after the other: a call takes no two at once."""
        async with self._turn:
            await call.write(pb.ConsumeRequest(**what))

    async def _stay_alive(self, call: Any) -> None:
        number = 0
        while True:
            number += 1
            self._alive_sent_s[number] = time.monotonic()
            self._has_news.clear()
            alive = pb.ConsumerAlive(number=number, lanes_seen=self._lanes_seen)
            await self._send(call, alive=alive)
            await set_within(self._has_news, ALIVE_LEASES * self._options["lease_s"])

    async def _handle(self, call: Any, events: "asyncio.Queue[pb.Delivery]") -> None:
        while True:
            one = await events.get()
            at = time.monotonic()
            while at >= self._valid_until_s and self._is_ours(one):
                # Until it is heard that the lanes are its own.
                await asyncio.sleep(0.01)
                at = time.monotonic()
            if not self._is_ours(one):
                continue
            self._write("begin", at=at, **_place(one))
            # What was said before was refused, and what is settled from now on is this.
            self._tokens.pop(one.event.position, None)
            self.in_hand += 1
            try:
                await self._work_on(call, one)
            finally:
                self.in_hand -= 1

    async def _work_on(self, call: Any, one: pb.Delivery) -> None:
        chance = self._dice.random()
        if is_slow := chance < self._options["slow_chance"]:
            await asyncio.sleep(SLOW_LEASES * self._options["lease_s"])
        else:
            await asyncio.sleep(0.004 * self._dice.random())
        await self._answer(call, one, is_retried=not is_slow and chance > 1 - RETRY_CHANCE)

    def _is_ours(self, one: pb.Delivery) -> bool:
        return self._lanes.get(one.lane) == one.token

    async def _answer(self, call: Any, one: pb.Delivery, *, is_retried: bool) -> None:
        position = one.event.position
        if is_retried:
            later = pb.RetryLater(lane=one.lane, token=one.token, position=position)
            later.delay.FromMilliseconds(self._dice.randrange(800))
            await self._send(call, retry_later=later)
            return
        self._write("say", **_place(one))
        self.acknowledged.append(position)
        if one.token >= self._tokens.get(position, (0, 0))[1]:
            self._tokens[position] = (one.lane, one.token)
        handled = pb.Acknowledge(lane=one.lane, token=one.token, positions=[position])
        await self._send(call, acknowledge=handled)

    def _write(self, what: str, *, at: float | None = None, **fields: Any) -> None:
        line = {"what": what, "at": time.monotonic() if at is None else at, **fields}
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()


def _place(one: pb.Delivery) -> dict[str, int]:
    return {"position": one.event.position, "lane": one.lane, "token": one.token}


@contextmanager
def consumer_of(options: dict[str, Any]) -> Iterator[Consumer]:
    """A consumer as it is told to be, with its journal."""
    with Path(options["journal"]).open("a") as journal:
        yield Consumer(options, journal)


if __name__ == "__main__":
    with consumer_of(json.loads(sys.argv[1])) as consumer:
        asyncio.run(consumer.run())
