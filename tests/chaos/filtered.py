"""Many follow a log with filters while it is appended to, and go away and come back.

Each begins at a random moment, at the end, at the beginning or in between. A third of them are
cut off again and again, and go on behind the last position that they were told, be it that of an
event or of a checkpoint. At the end each must have seen what its filter means: once, in order,
and before it was told of any position behind it.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import grpc

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc
from girih.ids import StreamName, new_event_id
from services.events.matching.queries import Filter, Labels, Query
from tests.processes import Caller, authority_of, ending, events_process, own_postgres

TYPES = tuple(f"type {number}" for number in range(30))
TAGS = tuple(f"tag {number}" for number in range(100))
CATEGORIES = ("permit", "order", "visit", "a")
CALLS = tuple(f"call-{number}" for number in range(50))
_CHANNELS = 16
_CALLERS = 64
_CUT_AFTER_S = (0.2, 3.0)
_REPEATED = 100
"""So many positions a follower goes back when it comes again without protection."""


@dataclass
class Log:
    """What was appended, by position from 1 on."""

    labels: dict[int, Labels] = field(default_factory=dict)
    is_complete: bool = False

    @property
    def head(self) -> int:
        """As far as nothing is missing: answers come in another order than positions."""
        return len(self.labels)


@dataclass
class Follower:
    """Who follows, and what it was told in which order."""

    wanted: Filter
    start: int
    is_cut: bool
    received: list[tuple[int, bool]] = field(default_factory=list)
    """Positions, and whether each was an event's."""
    cut_count: int = 0

    @property
    def position(self) -> int:
        return self.received[-1][0] if self.received else self.start - 1

    def problems(self, log: Log) -> list[str]:
        """What is not as it must be."""
        meant = [
            position
            for position in range(self.start, log.head + 1)
            if self.wanted.matches(log.labels[position])
        ]
        seen = [position for position, is_event in self.received if is_event]
        problems = [] if seen == meant else [_difference(seen, meant)]
        left = deque(meant)
        highest = self.start - 1
        for position, is_event in self.received:
            if is_event and left and left[0] == position:
                left.popleft()
            elif not is_event and left and left[0] <= position:
                problems.append(f"signal-ahead: {position} came before the event at {left[0]}")
                left.clear()
            if position < highest:
                problems.append(f"went-back: to {position} from {highest}")
            highest = max(highest, position)
        return problems


def _difference(seen: Sequence[int], meant: Sequence[int]) -> str:
    if len(set(seen)) < len(seen):
        return f"seen-twice: {len(seen) - len(set(seen))} events"
    if set(seen) - set(meant):
        return f"not-meant: {sorted(set(seen) - set(meant))[:5]}"
    if set(meant) - set(seen):
        return f"missing: {sorted(set(meant) - set(seen))[:5]}"
    return "reordered"


@dataclass
class Outcome:
    """What happened."""

    followers: Sequence[Follower]
    log: Log
    took_s: float

    def problems(self) -> list[str]:
        return [one for follower in self.followers for one in follower.problems(self.log)]

    def summary(self) -> dict[str, int]:
        received = [one for follower in self.followers for one in follower.received]
        return {
            "followers": len(self.followers),
            "appends": self.log.head,
            "appends_per_s": round(self.log.head / self.took_s),
            "events_delivered": sum(is_event for _, is_event in received),
            "signals": sum(not is_event for _, is_event in received),
            "cuts": sum(follower.cut_count for follower in self.followers),
        }


async def follow_filtered(
    *,
    follower_count: int,
    duration_s: float,
    appends_per_s: float,
    seed: int,
    is_protected: bool,
) -> Outcome:
    """Run it for `duration_s`, and until everybody has come to the end."""
    dice = random.Random(seed)
    with own_postgres() as (postgres, folder):
        process, address = events_process(postgres.url, folder)
        with ending(process):
            process.start()
            await asyncio.to_thread(process.wait_ready)
            async with _stubs(address) as stubs:
                caller = Caller(authority_of(folder))
                log = Log()
                began_s = time.monotonic()
                async with asyncio.TaskGroup() as group:
                    appending = group.create_task(
                        _append_all(stubs, caller, log, dice, duration_s, appends_per_s)
                    )
                    followers = [
                        group.create_task(
                            _follow(dice.choice(stubs), caller, log, dice, duration_s, is_protected)
                        )
                        for _ in range(follower_count)
                    ]
                    took_s = await appending - began_s
                return Outcome([one.result() for one in followers], log, took_s)


@asynccontextmanager
async def _stubs(
    address: str,
) -> AsyncIterator[list["events_pb2_grpc.EventStoreServiceAsyncStub"]]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(_CHANNELS)]
    yield [events_pb2_grpc.EventStoreServiceStub(channel) for channel in channels]
    for channel in channels:
        await channel.close()


async def _append_all(
    stubs: Sequence["events_pb2_grpc.EventStoreServiceAsyncStub"],
    caller: Caller,
    log: Log,
    dice: random.Random,
    duration_s: float,
    appends_per_s: float,
) -> float:
    """Append at that rate, as far as the machine keeps up; answers when it ended."""
    began_s = time.monotonic()
    numbers = iter(range(round(duration_s * appends_per_s)))

    async def append() -> None:
        for number in numbers:
            await asyncio.sleep(began_s + number / appends_per_s - time.monotonic())
            labels = _some_labels(dice)
            event = pb.Event(
                id=new_event_id(), stream=labels.stream, type=labels.type, tags=labels.tags
            )
            metadata = [*caller.metadata, ("x-correlation-id", labels.correlation_id)]
            position = await _appended(dice.choice(stubs), event, metadata)
            log.labels[position] = labels

    await asyncio.gather(*[append() for _ in range(_CALLERS)])
    log.is_complete = True
    return time.monotonic()


async def _appended(
    stub: "events_pb2_grpc.EventStoreServiceAsyncStub",
    event: pb.Event,
    metadata: Sequence[tuple[str, str]],
) -> int:
    """Where the event is. Calls may fail on a busy machine, and are repeated with the same id."""
    while True:
        with suppress(grpc.aio.AioRpcError):
            answer = await stub.Append(pb.AppendRequest(events=[event]), metadata=metadata)
            return answer.placements[0].position
        await asyncio.sleep(0.1)


def _some_labels(dice: random.Random) -> Labels:
    return Labels(
        StreamName(f"{dice.choice(CATEGORIES)}-{dice.randrange(200)}"),
        dice.choice(TYPES),
        tuple(dice.sample(TAGS, dice.randrange(4))),
        dice.choice(CALLS),
    )


def _some_filter(dice: random.Random) -> Filter:
    """Most mean few events, as those of real followers do."""
    makers = (
        lambda: Query(types=frozenset(dice.sample(TYPES, 2))),
        lambda: Query(tags=frozenset(dice.sample(TAGS, 1))),
        lambda: Query(tags=frozenset(dice.sample(TAGS, 2))),
        lambda: Query(stream_prefix=f"{dice.choice(CATEGORIES)}-1{dice.randrange(10)}"),
        lambda: Query(category=dice.choice(CATEGORIES), types=frozenset(dice.sample(TYPES, 1))),
        lambda: Query(correlation_id=dice.choice(CALLS)),
        lambda: Query(types=frozenset(("never",))),
    )
    return Filter(tuple(dice.choice(makers)() for _ in range(dice.choice((1, 1, 1, 2, 4)))))


async def _follow(
    stub: "events_pb2_grpc.EventStoreServiceAsyncStub",
    caller: Caller,
    log: Log,
    dice: random.Random,
    duration_s: float,
    is_protected: bool,
) -> Follower:
    await asyncio.sleep(dice.uniform(0, 0.8 * duration_s))
    start = dice.choice((1, log.head + 1, dice.randint(1, log.head + 1)))
    follower = Follower(_some_filter(dice), start, is_cut=dice.random() < 1 / 3)
    while not (log.is_complete and follower.position >= log.head):
        repeated = 0 if is_protected or not follower.cut_count else _REPEATED
        lasts_s = dice.uniform(*_CUT_AFTER_S) if follower.is_cut and not log.is_complete else None
        await _one_call(stub, caller, log, follower, repeated, lasts_s)
    return follower


async def _one_call(
    stub: "events_pb2_grpc.EventStoreServiceAsyncStub",
    caller: Caller,
    log: Log,
    follower: Follower,
    repeated: int,
    lasts_s: float | None,
) -> None:
    request = pb.ReadRequest(
        filter=pb.Filter(queries=[_as_proto(query) for query in follower.wanted.queries]),
        from_position=max(follower.start, follower.position + 1 - repeated),
        follow=True,
        progress=True,
        # So that who was told everything before the last append was answered hears once more.
        heartbeat=timedelta(seconds=1),
    )
    call = stub.Read(request, metadata=caller.metadata)
    try:
        async with asyncio.timeout(lasts_s):
            async for response in call:
                signal = response.WhichOneof("signal")
                if signal is not None:
                    follower.received.append((getattr(response, signal).position, False))
                follower.received += [(one.position, True) for one in response.events]
                if log.is_complete and follower.position >= log.head:
                    return
    except (TimeoutError, grpc.aio.AioRpcError):
        follower.cut_count += 1
    finally:
        call.cancel()


def _as_proto(query: Query) -> pb.Query:
    return pb.Query(
        types=query.types,
        tags=query.tags,
        stream_prefix=query.stream_prefix,
        category=query.category,
        correlation_id=query.correlation_id,
    )
