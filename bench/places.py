"""What a tenant's load at one place costs a tenant at another.

One tenant appends events one after the other through one replica, and waits for each. Meanwhile,
in turns:

    quiet       nobody does anything else
    elsewhere   another girih, with processes and a PostgreSQL of its own, takes large appends: what
                that costs is what sharing the machine's cores and disk costs, and nothing of ours
    other       another tenant of the same girih makes the same large appends at another place,
                through another replica
    same        the same at the place of the first tenant, through that replica

    python -m bench.places [--rounds 5] [--appends 100]

Printed are the medians and the ratios to `quiet`. That of `other` must be at most 1.5 of that
of `elsewhere`, in the median of the rounds: beyond it, places would not keep tenants apart. The
appends that were made meanwhile are told, too: more load is no fault of places.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc.aio

from bench.serving import Service, event, events_service, run
from cli.local.postgres import EmbeddedPostgres
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import places_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.places_pb2_grpc import PlaceServiceStub
from tests.processes import Caller, authority_of, ending, events_process, own_postgres

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

LIMIT: Final = 1.5
LOAD_CALLERS: Final = 2
LOAD_EVENTS: Final = 500
LOADS: Final = ("quiet", "elsewhere", "other", "same")


class Measured(NamedTuple):
    """One turn."""

    latency_s: float
    """The median of one append."""
    loaded: int
    """Large appends that were made meanwhile."""


class Tenant(NamedTuple):
    """Whose log, and how it is reached."""

    channel: grpc.aio.Channel
    caller: Caller

    @property
    def events(self) -> "EventStoreServiceAsyncStub":
        return EventStoreServiceStub(self.channel)


async def main(rounds: int, append_count: int) -> int:
    """Print what was measured; 1 when a load at another place costs too much."""
    measured: dict[str, list[Measured]] = {load: [] for load in LOADS}
    async with AsyncExitStack() as stack:
        loads = await _loads(stack)
        waiting = loads.pop("quiet")
        for number in range(rounds + 1):
            for load in LOADS:
                measurement = await _turn(waiting, loads.get(load), append_count)
                if number:
                    measured[load].append(measurement)
    return _report(measured)


async def _loads(stack: AsyncExitStack) -> dict[str, Tenant]:
    """The tenant that waits, as `quiet`, and those that load."""
    postgres, folder = stack.enter_context(own_postgres())
    west = stack.enter_context(EmbeddedPostgres(folder / "west"))
    channels = []
    for _ in range(2):
        process, address = events_process(postgres.url, folder, EVENTS_PLACES=f"west={west.url}")
        stack.enter_context(ending(process))
        process.start()
        await asyncio.to_thread(process.wait_ready)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        channels.append(channel)
    authority = authority_of(folder)
    other = Caller(authority, "other")
    await PlaceServiceStub(channels[0]).PlaceLog(
        places_pb2.PlaceLogRequest(place="west"), metadata=other.metadata
    )
    elsewhere: Service = await stack.enter_async_context(events_service())
    return {
        "quiet": Tenant(channels[0], Caller(authority, "waits")),
        "elsewhere": Tenant(elsewhere.channel, elsewhere.caller),
        "other": Tenant(channels[1], other),
        "same": Tenant(channels[1], Caller(authority, "same")),
    }


async def _turn(waiting: Tenant, load: Tenant | None, append_count: int) -> Measured:
    async with _loaded(load) as loaded:
        append = partial(waiting.events.Append, metadata=waiting.caller.metadata)
        latencies = []
        for _ in range(append_count):
            request = pb.AppendRequest(events=[event("waits")])
            began_s = time.perf_counter()
            await append(request)
            latencies.append(time.perf_counter() - began_s)
    return Measured(statistics.median(latencies), len(loaded))


@asynccontextmanager
async def _loaded(load: Tenant | None) -> AsyncIterator[list[None]]:
    """A tenant makes large appends until the block ends; how many, so far."""
    made: list[None] = []

    async def append(tenant: Tenant) -> None:
        while True:
            request = pb.AppendRequest(events=[event("load") for _ in range(LOAD_EVENTS)])
            await tenant.events.Append(request, metadata=tenant.caller.metadata)
            made.append(None)

    appending = [asyncio.create_task(append(load)) for _ in range(LOAD_CALLERS) if load is not None]
    try:
        yield made
    finally:
        for one in appending:
            one.cancel()
        await asyncio.gather(*appending, return_exceptions=True)


def _report(measured: Mapping[str, Sequence[Measured]]) -> int:
    quiet = [one.latency_s for one in measured["quiet"]]
    for load, measurements in measured.items():
        latency_s = statistics.median(one.latency_s for one in measurements)
        ratio = statistics.median(
            one.latency_s / alone for one, alone in zip(measurements, quiet, strict=True)
        )
        loaded = statistics.median(one.loaded for one in measurements)
        print(
            f"{load:10} {1e3 * latency_s:7.2f} ms an append, {ratio:5.2f} of quiet;"
            f" {loaded:4.0f} large appends meanwhile",
            flush=True,
        )
    ratio = statistics.median(
        one.latency_s / other.latency_s
        for one, other in zip(measured["other"], measured["elsewhere"], strict=True)
    )
    holds = ratio <= LIMIT
    print(
        f"a load at another place beside one of another girih: ratio {ratio:.2f}"
        f" (at most {LIMIT}): {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--appends", type=int, default=100)
    arguments = parser.parse_args()
    raise SystemExit(run(main(arguments.rounds, arguments.appends)))
