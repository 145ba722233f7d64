"""What followed logs cost at rest: CPU of the service and of its PostgreSQL while nothing happens.

python -m bench.followed [--logs 2000] [--seconds 10]
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import grpc.aio

from bench.serving import event, run
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from tests.processes import Caller, authority_of, ending, events_process, own_postgres

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

SHARE_MAX = 0.15
"""Of a core, the service and PostgreSQL together."""

Following: TypeAlias = "grpc.aio.UnaryStreamCall[pb.ReadRequest, pb.ReadResponse]"

_AT_ONCE = 50
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


async def main(log_count: int, duration_s: float) -> int:
    with own_postgres() as (postgres, folder):
        process, address = events_process(postgres.url, folder)
        with ending(process):
            process.start()
            await asyncio.to_thread(process.wait_ready)
            authority = authority_of(folder)
            callers = [Caller(authority, f"tenant-{number}") for number in range(log_count)]
            async with grpc.aio.insecure_channel(address) as channel:
                events = EventStoreServiceStub(channel)
                calls = await followed(events, callers)
                assert postgres.pid is not None
                pids = {"service": [process.pid], "PostgreSQL": list(family(postgres.pid))}
                # What following began with is over.
                await asyncio.sleep(2.0)
                shares = await shares_of(pids, duration_s)
                for call in calls:
                    call.cancel()
    for name, share in shares.items():
        print(f"{log_count:,} followed logs at rest, {name}: {share:.1%} of a core")
    total = sum(shares.values())
    holds = total <= SHARE_MAX
    verdict = "holds" if holds else "MISSED"
    print(f"together: {total:.1%} (at most {SHARE_MAX:.0%}): {verdict}")
    return 0 if holds else 1


async def followed(events: "EventStoreServiceAsyncStub", callers: list[Caller]) -> list[Following]:
    """A call for each log, which has received the log's only event and waits for more."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(caller: Caller) -> Following:
        async with turns:
            request = pb.AppendRequest(events=[event("case-1")])
            await events.Append(request, metadata=caller.metadata)
            call: Following = events.Read(pb.ReadRequest(follow=True), metadata=caller.metadata)
            await call.read()
            return call

    return await asyncio.gather(*map(one, callers))


async def shares_of(pids: dict[str, list[int]], duration_s: float) -> dict[str, float]:
    """How much of a core processes take within a while."""
    began_s = time.perf_counter()
    before = {name: sum(map(cpu_s, some)) for name, some in pids.items()}
    await asyncio.sleep(duration_s)
    taken_s = time.perf_counter() - began_s
    return {name: (sum(map(cpu_s, some)) - before[name]) / taken_s for name, some in pids.items()}


def family(pid: int) -> Iterator[int]:
    """A process and its children."""
    yield pid
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _stat(int(folder.name))[1:2] == [str(pid)]:
            yield int(folder.name)


def cpu_s(pid: int) -> float:
    """CPU time of a process with all its threads; 0 when it has ended."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _stat(pid: int) -> list[str]:
    """What Linux tells of a process behind its name: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    sys.exit(run(main(arguments.logs, arguments.seconds)))
