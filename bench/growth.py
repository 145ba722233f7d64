"""What appends and reads of the tail cost as a log grows.

    python -m bench.growth [--long]

At 10^4, 10^5 and 10^6 events, and with `--long` at 5 * 10^6: single appends of one caller, and
reads of the newest 100 events, each a call through gRPC. The p99 at the last size is at most 1.5
times that at the first.

Each size has a service and a database of its own, and they take turns, so that what else the
machine does meets all of them. Of each the least p99 of its turns counts: what else runs only
ever adds.
"""

import argparse
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import asyncpg

from bench.serving import Service, event, events_service, run, seconds
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub

SIZES = (10_000, 100_000, 1_000_000)
LONG_SIZE = 5_000_000
GROWTH_MAX = 1.5
EVENTS_PER_STREAM = 6
TAIL_EVENTS = 100
_BATCH = 1_000
_CALLERS = 4
_TURNS = 24
_CALLS_PER_TURN = 100

_Call = Callable[[Service, int], Awaitable[None]]


async def main(sizes: Sequence[int]) -> int:
    """Print the figures of each size; says whether the last is near enough to the first."""
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(events_service()) for _ in sizes]
        for service, size in zip(services, sizes, strict=True):
            began_s = time.perf_counter()
            await _fill(service, size)
            print(f"{size:9,} events in {time.perf_counter() - began_s:.0f} s", flush=True)
        holds = [
            await _compare(name, call, dict(zip(sizes, services, strict=True)))
            for name, call in (("append", _append), ("read of the tail", _read_tail))
        ]
    return 0 if all(holds) else 1


async def _fill(service: Service, size: int) -> None:
    """Append in batches, and begin with a clean slate: without what a checkpoint left to do."""
    append = EventStoreServiceStub(service.channel).Append

    async def fill(start: int) -> None:
        numbers = range(start, min(start + _BATCH, size))
        request = pb.AppendRequest(events=[event(_stream(number)) for number in numbers])
        await append(request, metadata=service.caller.metadata)

    starts = range(0, size, _BATCH)
    await seconds([partial(fill, start) for start in starts], callers=_CALLERS)
    connection = await asyncpg.connect(service.database_url)
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _compare(name: str, call: _Call, services: dict[int, Service]) -> bool:
    p99s: dict[int, list[float]] = {size: [] for size in services}
    for turn in range(_TURNS + 1):
        for size, service in services.items():
            taken_s = await _p99(call, service, turn)
            if turn:
                p99s[size].append(taken_s)
    least = [min(of_size) for of_size in p99s.values()]
    growth = least[-1] / least[0]
    each = ", ".join(f"{1e3 * p99:.2f} ms" for p99 in least)
    verdict = "holds" if growth <= GROWTH_MAX else "MISSED"
    print(f"p99, {name}: {each}; last of first {growth:.2f} (at most {GROWTH_MAX}): {verdict}")
    return growth <= GROWTH_MAX


async def _p99(call: _Call, service: Service, turn: int) -> float:
    """In seconds, of the calls of one turn."""
    taken_s = []
    for number in range(_CALLS_PER_TURN):
        began_s = time.perf_counter()
        await call(service, turn * _CALLS_PER_TURN + number)
        taken_s.append(time.perf_counter() - began_s)
    return sorted(taken_s)[-1 - _CALLS_PER_TURN // 100]


async def _append(service: Service, number: int) -> None:
    """To streams that are there, spread over the log, and to new ones in turns."""
    name = f"single-{number}" if number % 2 else _stream(number * 4)
    append = EventStoreServiceStub(service.channel).Append
    await append(pb.AppendRequest(events=[event(name)]), metadata=service.caller.metadata)


async def _read_tail(service: Service, _: int) -> None:
    request = pb.ReadRequest(direction=pb.DIRECTION_BACKWARDS, limit=TAIL_EVENTS)
    count = 0
    read = EventStoreServiceStub(service.channel).Read
    async for response in read(request, metadata=service.caller.metadata):
        count += len(response.events)
    assert count == TAIL_EVENTS


def _stream(number: int) -> str:
    return f"case-{number // EVENTS_PER_STREAM}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="up to 5,000,000 events")
    is_long = parser.parse_args().long
    sys.exit(run(main((*SIZES, LONG_SIZE) if is_long else SIZES)))
