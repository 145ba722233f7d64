"""Two replicas on one database, many writers, one replica killed again and again.

Half of the writers fight for one stream, each append demanding the revision it saw last;
the others append to many streams. Some load large appends besides, half of which demand a
revision, so that there is always a batch that is prepared while another is on its way. A call
with an unknown outcome is repeated with the same ids until it is answered. A reader tails the
log all the while. At the end the history is checked against everything the log promises.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import grpc
from grpc_status import rpc_status

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc
from tests.chaos import unprotected
from tests.chaos.history import Attempt, History, Operation, Outcome, Place, Recorded
from tests.processes import Caller, Process, authority_of, ending, events_process, own_postgres

HOT_STREAM = "hot"
LOADED_STREAM = "loaded"
MANY_STREAMS = 64
LOAD_EVENTS = (150, 400)
"""Of a large append, at least and at most: one alone is about what is worth being prepared."""
CALL_S = 5.0
_REFUSED = {grpc.StatusCode.ABORTED, grpc.StatusCode.ALREADY_EXISTS}


@dataclass
class Run:
    """What the writers and the reader share."""

    stubs: list["events_pb2_grpc.EventStoreServiceAsyncStub"]
    dice: random.Random
    caller: Caller
    operations: list[Operation] = field(default_factory=list)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    kills_min: int = 0
    lost_replies_min: int = 0
    """Before these it is not over, however slow the machine is."""
    kills: int = 0
    has_seen_enough: asyncio.Event = field(default_factory=asyncio.Event)
    call_s: float = CALL_S
    """How long an append may take before it is repeated, elsewhere perhaps."""

    def look(self) -> None:
        """Tell when there were as many kills, and lost replies of what was stored, as asked for."""
        attempts = (attempt for operation in self.operations for attempt in operation.attempts)
        lost_replies = sum(attempt.already_stored for attempt in attempts)
        if self.kills >= self.kills_min and lost_replies >= self.lost_replies_min:
            self.has_seen_enough.set()

    def any_stub(self) -> "events_pb2_grpc.EventStoreServiceAsyncStub":
        return self.dice.choice(self.stubs)


async def race(
    *,
    duration_s: float,
    writers: int,
    kill_every_s: float,
    seed: int,
    is_protected: bool,
    kills_min: int = 0,
    lost_replies_min: int = 0,
    loaders: int = 0,
) -> tuple[History, int]:
    """Run it for `duration_s` and until so many kills and lost replies were survived, and answer
    the history and the number of kills.

    Without protection the database is that of `tests.chaos.unprotected`.
    """
    with own_postgres() as (postgres, folder):
        made = [events_process(postgres.url, folder) for _ in range(2)]
        replicas = [process for process, _ in made]
        with ending(*replicas):
            for replica in replicas:
                replica.start()
            for replica in replicas:
                await asyncio.to_thread(replica.wait_ready)
            if not is_protected:
                await unprotected.remove_protection(postgres.url)
            async with stubs_of([address for _, address in made]) as stubs:
                caller = Caller(authority_of(folder))
                run = Run(
                    stubs,
                    random.Random(seed),
                    caller,
                    kills_min=kills_min,
                    lost_replies_min=lost_replies_min,
                )
                history = await _observe(run, replicas, writers, loaders, duration_s, kill_every_s)
                return history, run.kills


@asynccontextmanager
async def stubs_of(
    addresses: list[str],
) -> AsyncIterator[list["events_pb2_grpc.EventStoreServiceAsyncStub"]]:
    options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
    channels = [grpc.aio.insecure_channel(address, options=options) for address in addresses]
    yield [events_pb2_grpc.EventStoreServiceStub(channel) for channel in channels]
    for channel in channels:
        await channel.close()


async def _observe(
    run: Run,
    replicas: list[Process],
    writers: int,
    loaders: int,
    duration_s: float,
    kill_every_s: float,
) -> History:
    tailing = asyncio.create_task(tail(run))
    killing = asyncio.create_task(_kill(run, replicas, kill_every_s))
    async with asyncio.TaskGroup() as group:
        for number in range(writers):
            group.create_task(fight(run, f"hot-{number}"))
            group.create_task(spread(run, f"many-{number}"))
        for number in range(loaders):
            group.create_task(load(run, f"load-{number}", demands=number % 2 == 0))
        await asyncio.sleep(duration_s)
        await run.has_seen_enough.wait()
        run.is_over.set()
    await killing
    for replica in replicas:
        await asyncio.to_thread(replica.wait_ready)
    final = [await whole_log(stub, run.caller.metadata) for stub in run.stubs]
    tailed = await asyncio.wait_for(tailing, 60)
    return History(run.operations, final[0], tailed, elsewhere=final[1])


async def _kill(run: Run, replicas: list[Process], every_s: float) -> None:
    """Kill a replica at every turn and start it again, until the run is over."""
    turn_s = time.monotonic()
    while not run.is_over.is_set():
        run.look()
        turn_s += every_s * run.dice.uniform(0.8, 1.2)
        try:
            await asyncio.wait_for(run.is_over.wait(), turn_s - time.monotonic())
        except TimeoutError:
            replica = run.dice.choice(replicas)
            await asyncio.to_thread(replica.kill)
            run.kills += 1
            replica.start()
            await asyncio.to_thread(replica.wait_ready)


async def fight(run: Run, writer: str) -> None:
    """Append to the one stream, demanding the revision seen last; lose, look, try again."""
    last = -1
    while not run.is_over.is_set():
        operation = operation_of(run, writer, HOT_STREAM, 1, expected=last)
        actual = await append(run, operation)
        acknowledged = operation.acknowledged
        last = actual if acknowledged is None else acknowledged.places[-1].revision


async def spread(run: Run, writer: str) -> None:
    """Append batches to streams that other writers append to as well."""
    while not run.is_over.is_set():
        stream = f"many-{run.dice.randrange(MANY_STREAMS)}"
        await append(run, operation_of(run, writer, stream, run.dice.randint(1, 8), expected=None))


async def load(run: Run, writer: str, *, demands: bool) -> None:
    """Append many events at once to one stream, demanding the revision seen last or none."""
    last = -1
    while not run.is_over.is_set():
        count = run.dice.randint(*LOAD_EVENTS)
        expected = last if demands else None
        operation = operation_of(run, writer, LOADED_STREAM, count, expected=expected)
        actual = await append(run, operation)
        acknowledged = operation.acknowledged
        last = actual if acknowledged is None else acknowledged.places[-1].revision


def operation_of(
    run: Run, writer: str, stream: str, count: int, *, expected: int | None
) -> Operation:
    ids = tuple(str(uuid4()) for _ in range(count))
    operation = Operation(writer, stream, ids, expected)
    run.operations.append(operation)
    return operation


async def append(run: Run, operation: Operation) -> int:
    """Repeat the same append until its outcome is known. Answers the revision told."""
    request = _request(operation)
    while True:
        attempt, actual = await _try(run, operation, request)
        operation.attempts.append(attempt)
        if attempt.outcome != "unknown":
            return actual
        await asyncio.sleep(run.dice.uniform(0.01, 0.1))


async def _try(run: Run, operation: Operation, request: pb.AppendRequest) -> tuple[Attempt, int]:
    started_s = time.monotonic()
    try:
        # Now and then a caller gives up early: its append may be stored all the same.
        hurry = run.dice.random() < 0.02
        timeout = run.dice.uniform(0.002, 0.02) if hurry else run.call_s
        reply = await run.any_stub().Append(request, timeout=timeout, metadata=run.caller.metadata)
    except grpc.aio.AioRpcError as error:
        outcome: Outcome = "fail" if error.code() in _REFUSED else "unknown"
        return Attempt(started_s, time.monotonic(), outcome), _actual_revision(error)
    places = tuple(Place(p.position, p.revision) for p in reply.placements)
    stored_before = any(p.already_stored for p in reply.placements)
    return Attempt(started_s, time.monotonic(), "ok", places, stored_before), -1


def _request(operation: Operation) -> pb.AppendRequest:
    request = pb.AppendRequest()
    for event_id in operation.event_ids:
        request.events.add(
            id=event_id, stream=operation.stream, type="written", json=f'"{operation.writer}"'
        )
    if operation.expected_revision == -1:
        request.preconditions.add(stream=operation.stream, state=pb.Precondition.STATE_ABSENT)
    elif operation.expected_revision is not None:
        request.preconditions.add(stream=operation.stream, revision=operation.expected_revision)
    return request


def _actual_revision(error: grpc.aio.AioRpcError) -> int:
    """The revision that a lost race tells; -1 when the stream has none."""
    status = rpc_status.from_call(error)
    failure = pb.PreconditionFailure()
    for detail in status.details if status else ():
        if detail.Unpack(failure) and failure.violations[0].HasField("actual_revision"):
            return failure.violations[0].actual_revision
    return -1


async def tail(run: Run) -> list[Recorded]:
    """Follow the log by asking from the last position seen plus one, on either replica."""
    seen: list[Recorded] = []
    quiet = 0
    while quiet < 20:
        position = seen[-1].position + 1 if seen else 1
        before = len(seen)
        try:
            request = pb.ReadRequest(from_position=position)
            call = run.any_stub().Read(request, timeout=CALL_S, metadata=run.caller.metadata)
            async for page in call:
                seen.extend(_recorded(event) for event in page.events)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)
        if len(seen) == before:
            quiet += run.is_over.is_set()
            await asyncio.sleep(0.02)
        else:
            quiet = 0
    return seen


async def whole_log(
    stub: "events_pb2_grpc.EventStoreServiceAsyncStub", metadata: tuple[tuple[str, str]]
) -> list[Recorded]:
    # A replica just started again is there; the channel may still wait before it looks.
    call = stub.Read(pb.ReadRequest(), timeout=120, metadata=metadata, wait_for_ready=True)
    return [_recorded(event) async for page in call for event in page.events]


def _recorded(event: pb.RecordedEvent) -> Recorded:
    return Recorded(event.position, event.event.stream, event.revision, event.event.id)
