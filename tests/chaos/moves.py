"""A log moves to and fro between two PostgreSQL servers while everybody uses it, and replicas die.

Writers append through two replicas as in `tests.chaos.replicas`; one tails the log, one follows it
live, one asks again and again where it ends, and consumers of a group handle some of what comes.
Meanwhile the log is moved, back and forth, by whichever replica takes the move. Every moment a
replica is killed -9, and now and then one is stopped for longer than a mover has a log to itself.
At the end the history must hold all that a log promises that stands still, and nobody may have
waited long for an append.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from cli.local.postgres import EmbeddedPostgres
from girih.events.v1 import events_pb2, groups_pb2, places_pb2
from girih.events.v1.groups_pb2_grpc import GroupServiceStub
from girih.events.v1.places_pb2_grpc import PlaceServiceStub
from services.events.places.mover import LEASE_S
from tests.chaos import unprotected
from tests.chaos.group_consumer import GROUP
from tests.chaos.group_journals import WANTED, Answer, check, journals
from tests.chaos.history import History, Recorded
from tests.chaos.replicas import (
    Run,
    append,
    fight,
    operation_of,
    spread,
    stubs_of,
    tail,
    whole_log,
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

if TYPE_CHECKING:
    from girih.events.v1.places_pb2_grpc import PlaceServiceAsyncStub

DEFAULT, WEST = "default", "west"
PAUSE_MAX_S: Final = 5.0
"""Nobody may wait longer for any append to be acknowledged."""
CALL_S = 2.0
"""An append that is not answered within is repeated, at another replica perhaps."""
CONSUMERS = 2
LANES = 4
GROUP_LEASE_S = 6.0
_WORKED, _WORKED_STREAMS = "worked-", 40
_PAUSE_EVERY = 4
"""Every so many kills a replica is stopped instead."""
_STOPPED_S = LEASE_S + 2
_CATCH_UP_S = 120.0


@dataclass
class Moving:
    """What happens to one log."""

    run: Run
    replicas: Sequence[Process]
    addresses: Sequence[str]
    folder: Path
    move_count_min: int
    moves_s: list[float] = field(default_factory=list)
    """How long each took."""
    stops: int = 0
    followed: list[Recorded] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    looks: int = 0
    began_s: float = field(default_factory=time.monotonic)


@dataclass
class Outcome:
    """What happened, and every promise that was broken."""

    figures: dict[str, int | float | str]
    problems: list[str]


async def move_through_kills(
    *,
    duration_s: float,
    kill_every_s: float,
    seed: int,
    is_protected: bool,
    writers: int = 3,
    move_count_min: int = 4,
) -> Outcome:
    """Run it for `duration_s` and until there were so many moves. Without protection statements
    work on a log wherever they are sent.
    """
    with ExitStack() as stack:
        postgres, folder = stack.enter_context(own_postgres())
        west = stack.enter_context(EmbeddedPostgres(folder / "west"))
        places = {"EVENTS_PLACES": f"{WEST}={west.url}", "EVENTS_MOVING_INTERVAL_S": "0.2"}
        made = [events_process(postgres.url, folder, **places) for _ in range(2)]
        replicas, addresses = zip(*made, strict=True)
        stack.enter_context(ending(*replicas))
        for replica in replicas:
            replica.start()
        for replica in replicas:
            await asyncio.to_thread(replica.wait_ready)
        if not is_protected:
            await unprotected.take_fences_away([postgres.url, west.url])
        async with stubs_of(list(addresses)) as stubs:
            caller = Caller(authority_of(folder))
            run = Run(stubs, random.Random(seed), caller, call_s=CALL_S)
            moving = Moving(run, replicas, addresses, folder, move_count_min)
            return await _observed(moving, duration_s, kill_every_s, writers)


async def _observed(
    moving: Moving, duration_s: float, kill_every_s: float, writers: int
) -> Outcome:
    run, answer = moving.run, Answer()
    async with _consumed(moving):
        tailing = asyncio.create_task(tail(run))
        following = asyncio.create_task(_follow(moving))
        disturbing = asyncio.create_task(_disturb(moving, kill_every_s))
        async with asyncio.TaskGroup() as doing:
            for number in range(writers):
                doing.create_task(fight(run, f"hot-{number}"))
                doing.create_task(spread(run, f"many-{number}"))
            doing.create_task(_look(moving))
            doing.create_task(_move(moving))
            doing.create_task(_work(moving))
            await asyncio.sleep(duration_s)
            with suppress(TimeoutError):  # told below
                await _until(lambda: len(moving.moves_s) >= moving.move_count_min)
            run.is_over.set()
        await disturbing
        for replica in moving.replicas:
            await asyncio.to_thread(replica.wait_ready)
        final = [await whole_log(stub, run.caller.metadata) for stub in run.stubs]
        tailed = await asyncio.wait_for(tailing, 60)
        with suppress(TimeoutError):  # what is missing is told below
            await _until(lambda: len(moving.followed) >= len(final[0]))
        following.cancel()
        await _settled(moving, answer)
    history = History(run.operations, final[0], tailed, elsewhere=final[1])
    check(
        answer,
        list(journals(moving.folder)),
        {
            event.position: (event.stream, WANTED)
            for event in final[0]
            if event.stream.startswith(_WORKED)
        },
    )
    pause_s = _longest_pause_s(moving)
    figures: dict[str, int | float | str] = {
        **history.summary(),
        "moves": len(moving.moves_s),
        "longest move, s": round(max(moving.moves_s, default=0.0), 2),
        "replicas killed": run.kills,
        "replicas stopped": moving.stops,
        "followed": len(moving.followed),
        "looks at where the log ends": moving.looks,
        "longest pause of appends, s": round(pause_s, 2),
        **answer.figures,
    }
    problems = [
        *history.anomalies(),
        *moving.stale,
        *_followed(moving.followed, final[0]),
        *(f"group: {name}: {count}" for name, count in answer.broken.items()),
        *answer.examples,
    ]
    if len(moving.moves_s) < moving.move_count_min:
        problems.append(f"stuck: {len(moving.moves_s)} moves")
    if pause_s >= PAUSE_MAX_S:
        problems.append(f"paused: for {pause_s:.1f} s no append was acknowledged")
    return Outcome(figures, problems)


async def _move(moving: Moving) -> None:
    """Have the log be moved to where it is not, again and again."""
    run, goal = moving.run, WEST
    while not run.is_over.is_set():
        began_s = time.monotonic()
        while await _place(moving, goal) != goal:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await run.is_over.wait()
                return
        moving.moves_s.append(time.monotonic() - began_s)
        goal = DEFAULT if goal == WEST else WEST
        await asyncio.sleep(run.dice.uniform(0.2, 1.5))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_CATCH_UP_S):
        while not holds():  # noqa: ASYNC110 - a task writes it down
            await asyncio.sleep(0.05)


async def _place(moving: Moving, goal: str) -> str:
    """Ask for the log to be at `goal`; where it is now."""
    address = moving.run.dice.choice(moving.addresses)
    async with grpc.aio.insecure_channel(address) as channel:
        stub: PlaceServiceAsyncStub = PlaceServiceStub(channel)
        request = places_pb2.MoveLogRequest(place=goal)
        with suppress(grpc.aio.AioRpcError):
            answer = await stub.MoveLog(request, timeout=5, metadata=moving.run.caller.metadata)
            # Asked for where it is, it is not asked to go anywhere: so it may be asked each time.
            return answer.log.place
    return ""


async def _disturb(moving: Moving, every_s: float) -> None:
    """Kill a replica at every turn, or stop it, until the run is over."""
    run, turn = moving.run, 0
    while not run.is_over.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(every_s * run.dice.uniform(0.5, 1.5)):
                await run.is_over.wait()
            return
        turn += 1
        replica = run.dice.choice(moving.replicas)
        if turn % _PAUSE_EVERY == 0:
            moving.stops += 1
            os.kill(replica.pid, signal.SIGSTOP)
            await asyncio.sleep(_STOPPED_S)
            os.kill(replica.pid, signal.SIGCONT)
        else:
            await asyncio.to_thread(replica.kill)
            run.kills += 1
            replica.start()
            await asyncio.to_thread(replica.wait_ready)


async def _work(moving: Moving) -> None:
    """Append what the group is to handle, at a rate that it keeps up with."""
    run = moving.run
    while not run.is_over.is_set():
        stream = f"{_WORKED}{run.dice.randrange(_WORKED_STREAMS)}"
        await append(run, operation_of(run, "work", stream, run.dice.randint(1, 4), expected=None))
        await asyncio.sleep(0.05)


async def _look(moving: Moving) -> None:
    """See that the log never ends before what was acknowledged before it was asked."""
    run = moving.run
    known, acknowledged = 0, 0
    while not run.is_over.is_set():
        for operation in run.operations[acknowledged:]:
            if operation.acknowledged is not None:
                known = max(known, operation.acknowledged.places[-1].position)
        acknowledged = max(0, len(run.operations) - 200)
        with suppress(grpc.aio.AioRpcError):
            log = await run.any_stub().GetLog(
                events_pb2.GetLogRequest(), timeout=CALL_S, metadata=run.caller.metadata
            )
            moving.looks += 1
            if log.head_position < known:
                moving.stale.append(f"stale-read: ends at {log.head_position}, behind {known}")
        await asyncio.sleep(0.005)


async def _follow(moving: Moving) -> None:
    """Follow the log live, from behind what came, in the incarnation that it came in."""
    run, incarnation = moving.run, ""
    while True:
        position = moving.followed[-1].position + 1 if moving.followed else 1
        request = events_pb2.ReadRequest(
            from_position=position, follow=True, incarnation=incarnation
        )
        with suppress(grpc.aio.AioRpcError):
            call = run.any_stub().Read(request, metadata=run.caller.metadata)
            async for page in call:
                incarnation = page.incarnation or incarnation
                moving.followed += [
                    Recorded(one.position, one.event.stream, one.revision, one.event.id)
                    for one in page.events
                ]
        await asyncio.sleep(0.05)


def _followed(followed: Sequence[Recorded], final: Sequence[Recorded]) -> list[str]:
    wrong = next((one for one, two in zip(followed, final, strict=False) if one != two), None)
    if wrong is not None:
        return [f"followed-otherwise: {wrong}"]
    if len(followed) != len(final):
        return [f"followed-otherwise: {len(followed)} of {len(final)} events"]
    return []


def _longest_pause_s(moving: Moving) -> float:
    """Between two acknowledgements of whichever appends."""
    ends = sorted(
        operation.acknowledged.ended_s
        for operation in moving.run.operations
        if operation.acknowledged is not None
    )
    return max((later - sooner for sooner, later in pairwise(ends)), default=0.0)


@asynccontextmanager
async def _consumed(moving: Moving) -> AsyncIterator[None]:
    """Consumers of a group handle all that is appended, each in a process, until the block ends."""
    async with grpc.aio.insecure_channel(moving.addresses[0]) as channel:
        wanted = events_pb2.Filter(queries=[events_pb2.Query(stream_prefix=_WORKED)])
        settings = groups_pb2.GroupSettings(lane_count=LANES, filter=wanted)
        settings.lease.FromMilliseconds(round(1e3 * GROUP_LEASE_S))
        request = groups_pb2.CreateGroupRequest(group=GROUP, settings=settings)
        metadata = moving.run.caller.metadata
        await GroupServiceStub(channel).CreateGroup(request, metadata=metadata)
    consumers = [_consumer(moving, number) for number in range(CONSUMERS)]
    try:
        yield
    finally:
        for consumer in consumers:
            consumer.kill()
            consumer.wait()


def _consumer(moving: Moving, number: int) -> "subprocess.Popen[bytes]":
    options = {
        "addresses": list(moving.addresses),
        "token": moving.run.caller.token,
        "journal": str(moving.folder / f"consumer-{number:04}.jsonl"),
        "seed": number,
        "name": f"consumer-{number}",
        "lease_s": GROUP_LEASE_S,
        "slow_chance": 0.0,
    }
    with (moving.folder / "consumers.log").open("ab") as log:
        command = [sys.executable, "-m", "tests.chaos.group_consumer", json.dumps(options)]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=log)


async def _settled(moving: Moving, answer: Answer) -> None:
    """Return when the group has settled everything, or does not go on."""
    deadline_s = time.monotonic() + _CATCH_UP_S
    state = groups_pb2.GetGroupResponse()
    while time.monotonic() < deadline_s:
        with suppress(grpc.aio.AioRpcError):
            async with grpc.aio.insecure_channel(moving.addresses[0]) as channel:
                request = groups_pb2.GetGroupRequest(group=GROUP)
                state = await GroupServiceStub(channel).GetGroup(
                    request, timeout=10, metadata=moving.run.caller.metadata
                )
            if all(not lane.lag_count and not lane.held_count for lane in state.lanes):
                return
        await asyncio.sleep(0.2)
    answer.add_fault("does not come to an end", str(state.lanes)[:1_000])
