"""Consumers of a group on two replicas are killed and paused, and the group is changed meanwhile.

Each consumer is a process. It handles events, some of them slowly, has a few of them tried again
later, and writes down what it is given, what it says, and what it is told, with the time of
the clock that all processes of the machine share. Every moment one of them is killed -9; now and
then one is stopped for longer than its lease, or a replica is. At the end its filter and its lanes
have changed. Then a replica is stopped until what its consumer was given is settled by another, and
goes on with what that consumer has acknowledged meanwhile. What they wrote down must be as the
contract promises:

- every event that the group wants was handled and settled;
- what is settled before it is delivered of a key is settled for ever: nothing of a key is delivered
  from before an event that was settled, and nothing that was settled;
- nobody was told that an event is settled which was given to somebody else under a later token
  before it was said.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from girih.events.v1 import events_pb2, events_pb2_grpc, groups_pb2_grpc
from girih.events.v1 import groups_pb2 as pb
from girih.ids import new_event_id
from tests.chaos import unprotected
from tests.chaos.group_consumer import GROUP, Consumer, consumer_of
from tests.chaos.group_journals import (
    OTHER,
    WANTED,
    Answer,
    Log,
    check,
    journals,
)
from tests.processes import (
    ROOT,
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
)

CONSUMER_COUNT = 4
STREAM_COUNT = 60
LEASE_S = 6.0
PAUSED_LEASES = 1.5
"""For so many leases somebody is stopped."""
PAUSE_EVERY_LEASES = 2.0
SLOW_CHANCE = 0.01
"""That an event takes longer than a lease."""
CATCH_UP_S = 180.0
LATE_STREAM_COUNT, LATE_EVENTS_EACH = 8, 3
"""Of what is acknowledged late."""
LATE_ROUNDS_MAX = 10
"""So often a replica is stopped, unless its consumer had something to acknowledge before, and
without protection unless a promise was broken."""
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)
"""What a replica that is stopped or slow is no cause to give up for."""
HAPPENS_S = 120.0
"""Within that happens whatever is waited for, however slow the machine is."""


@dataclass
class Run:
    """What those who do something to it share."""

    replicas: Sequence[Process]
    addresses: Sequence[str]
    caller: Caller
    folder: Path
    dice: random.Random
    lease_s: float
    events: "events_pb2_grpc.EventStoreServiceAsyncStub"
    groups: "groups_pb2_grpc.GroupServiceAsyncStub"
    answer: Answer = field(default_factory=Answer)
    consumers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    started_count: int = 0
    appended: Log = field(default_factory=dict)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def new_consumer(self, addresses: Sequence[str], slow_chance: float) -> dict[str, Any]:
        """What another consumer is told."""
        self.started_count += 1
        return {
            "addresses": list(addresses),
            "token": self.caller.token,
            "journal": str(self.folder / f"consumer-{self.started_count:04}.jsonl"),
            "seed": self.dice.randrange(2**31),
            "name": f"consumer-{self.started_count}",
            "lease_s": self.lease_s,
            "slow_chance": slow_chance,
        }

    def start_consumer(self) -> "subprocess.Popen[bytes]":
        options = self.new_consumer(self.addresses, SLOW_CHANCE)
        with (self.folder / "consumers.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.group_consumer", json.dumps(options)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def check(self) -> None:
        check(self.answer, list(journals(self.folder)), self.appended)


async def consume_through_kills(
    *, duration_s: float, kill_every_s: float, rate: float, seed: int, lease_s: float = LEASE_S
) -> Answer:
    """Run it for `duration_s`, and until everything is settled or nothing goes on; then until
    something was acknowledged late."""
    async with _served(seed, lease_s, is_protected=True) as run:
        with _ended(run.consumers):
            await _disturb(run, duration_s, kill_every_s, rate)
        for _ in range(LATE_ROUNDS_MAX):
            await _acknowledge_late(run)
            if run.answer.figures["acknowledged late"]:
                break
        run.check()
        return run.answer


async def acknowledge_without_leases(*, seed: int, lease_s: float = LEASE_S) -> Answer:
    """What is acknowledged late where nobody looks at leases, until a promise is broken."""
    async with _served(seed, lease_s, is_protected=False) as run:
        for _ in range(LATE_ROUNDS_MAX):
            await _acknowledge_late(run)
            run.check()
            if run.answer.broken:
                break
        return run.answer


@asynccontextmanager
async def _served(seed: int, lease_s: float, *, is_protected: bool) -> AsyncIterator[Run]:
    """Two replicas that serve a group, without consumers."""
    with own_postgres() as (postgres, folder):
        module = "services.events" if is_protected else "tests.chaos.unfenced_events"
        made = [events_process(postgres.url, folder, module=module) for _ in range(2)]
        replicas, addresses = zip(*made, strict=True)
        with ending(*replicas):
            for replica in replicas:
                replica.start()
                await asyncio.to_thread(replica.wait_ready)
            if not is_protected:
                await unprotected.settle_under_any_token(postgres.url)
            async with grpc.aio.insecure_channel(addresses[0]) as channel:
                run = Run(
                    replicas,
                    addresses,
                    Caller(authority_of(folder)),
                    folder,
                    random.Random(seed),
                    lease_s,
                    events_pb2_grpc.EventStoreServiceStub(channel),
                    groups_pb2_grpc.GroupServiceStub(channel),
                )
                await run.groups.CreateGroup(
                    pb.CreateGroupRequest(group=GROUP, settings=_settings(run, 4, [WANTED])),
                    metadata=run.caller.metadata,
                )
                yield run


@contextmanager
def _ended(consumers: "list[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Whatever happens, the consumers end with the block."""
    try:
        yield
    finally:
        for consumer in consumers:
            consumer.send_signal(signal.SIGCONT)
            consumer.kill()
            consumer.wait()


# What disturbs them


async def _disturb(run: Run, duration_s: float, kill_every_s: float, rate: float) -> None:
    run.consumers += [run.start_consumer() for _ in range(CONSUMER_COUNT)]
    async with asyncio.TaskGroup() as doing:
        doing.create_task(_append(run, rate))
        doing.create_task(_kill(run, kill_every_s))
        doing.create_task(_pause(run))
        changing = doing.create_task(_change(run, duration_s))
        await asyncio.sleep(duration_s)
        await changing
        run.is_over.set()
    await _settle_down(run)


def _settings(run: Run, lane_count: int, types: Sequence[str]) -> pb.GroupSettings:
    wanted = events_pb2.Filter(queries=[events_pb2.Query(types=types)])
    settings = pb.GroupSettings(lane_count=lane_count, filter=wanted)
    settings.lease.FromMilliseconds(round(1e3 * run.lease_s))
    return settings


async def _append(run: Run, rate: float) -> None:
    """Append at that rate, a few events at a time, as long as it lasts."""
    while not run.is_over.is_set():
        began_s = time.monotonic()
        events = [
            (
                f"stream-{run.dice.randrange(STREAM_COUNT)}",
                WANTED if run.dice.random() < 0.7 else OTHER,
            )
            for _ in range(run.dice.randint(1, 8))
        ]
        await _append_these(run, events)
        await asyncio.sleep(max(0.0, began_s + len(events) / rate - time.monotonic()))


async def _append_these(run: Run, events: Sequence[tuple[str, str]]) -> set[int]:
    """Append events of these streams and types, and answer their positions."""
    request = events_pb2.AppendRequest()
    for stream, kind in events:
        request.events.add(id=new_event_id(), stream=stream, type=kind)
    reply = await _repeated(run, run.events.Append, request)
    for placement, event in zip(reply.placements, events, strict=True):
        run.appended[placement.position] = event
    return {placement.position for placement in reply.placements}


async def _repeated(run: Run, rpc: Any, request: Any) -> Any:
    while True:
        try:
            return await rpc(request, timeout=10, metadata=run.caller.metadata, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in PASSING:
                raise
        await asyncio.sleep(0.05)


async def _kill(run: Run, every_s: float) -> None:
    """Kill a consumer at every turn, and start another in its place."""
    while not await _over_within(run, every_s):
        place = run.dice.randrange(CONSUMER_COUNT)
        run.consumers[place].kill()
        await asyncio.to_thread(run.consumers[place].wait)
        run.answer.figures["consumers killed"] += 1
        run.consumers[place] = run.start_consumer()


async def _pause(run: Run) -> None:
    """Stop a consumer, or every second time the other replica, for longer than a lease."""
    is_replica = False
    while not await _over_within(run, PAUSE_EVERY_LEASES * run.lease_s):
        if is_replica:
            # That which nobody else is called through here.
            pid = run.replicas[1].pid
        else:
            pid = run.consumers[run.dice.randrange(CONSUMER_COUNT)].pid
        what = "replicas paused" if is_replica else "consumers paused"
        with suppress(ProcessLookupError), _stopped(pid):
            run.answer.figures[what] += 1
            await asyncio.sleep(PAUSED_LEASES * run.lease_s)
        is_replica = not is_replica


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A process does nothing until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _change(run: Run, duration_s: float) -> None:
    """Change lanes, then the filter, then lanes again. It runs until that is done."""
    for lane_count, types in ((7, [WANTED]), (7, [WANTED, OTHER]), (3, [WANTED])):
        await asyncio.sleep(duration_s / 4)
        settings = _settings(run, lane_count, types)
        request = pb.UpdateGroupRequest(group=GROUP, settings=settings)
        await _repeated(run, run.groups.UpdateGroup, request)
        run.answer.figures["changes of the group"] += 1


async def _over_within(run: Run, timeout_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await run.is_over.wait()
    return run.is_over.is_set()


async def _settle_down(run: Run) -> None:
    """Return when everything is settled, or nothing goes on any more."""
    deadline_s = time.monotonic() + CATCH_UP_S
    while time.monotonic() < deadline_s:
        state = await _repeated(run, run.groups.GetGroup, pb.GetGroupRequest(group=GROUP))
        if all(not lane.lag_count and not lane.held_count for lane in state.lanes):
            return
        await asyncio.sleep(0.2)
    run.answer.add_fault("does not come to an end", str(state.lanes)[:2000])


# What is acknowledged late


async def _acknowledge_late(run: Run) -> None:
    """Stop a replica until another's consumer has settled everything, and its own has acknowledged
    what it was given of it; then let it go on, and have somebody else consume.

    If the replica still writes how far its lanes are, that one is given what was settled beyond.
    """
    streams = [f"late-{number}" for number in range(LATE_STREAM_COUNT)]
    async with _consuming(run, run.addresses[1], slow_chance=1.0) as late:
        await _append_these(run, [(stream, WANTED) for stream in streams * LATE_EVENTS_EACH])
        await _until(lambda: late.in_hand > 0)
        with _stopped(run.replicas[1].pid):
            lane_changes, before = late.lane_changes, len(late.acknowledged)
            async with _consuming(run, run.addresses[0], slow_chance=0.0):
                await _settle_down(run)
            await _until(lambda: not late.in_hand)
            late.answered.clear()
            acknowledged = set(late.acknowledged[before:])
        # Where its lanes are lost it may be told that alone.
        await _until(lambda: acknowledged <= late.answered or late.lane_changes > lane_changes)
    run.answer.figures["times a replica was late"] += 1
    run.answer.figures["acknowledged late"] += len(acknowledged)
    async with _consuming(run, run.addresses[0], slow_chance=0.0):
        await _settle_down(run)


@asynccontextmanager
async def _consuming(run: Run, address: str, *, slow_chance: float) -> AsyncIterator[Consumer]:
    """A consumer in this process through one replica."""
    options = run.new_consumer([address], slow_chance)
    with consumer_of(options) as consumer:
        consuming = asyncio.create_task(consumer.run(), name="consume")
        try:
            yield consumer
        finally:
            consuming.cancel()
            await asyncio.wait([consuming])


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(HAPPENS_S):
        while not holds():  # noqa: ASYNC110 - others write it down
            await asyncio.sleep(0.05)
