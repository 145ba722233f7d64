"""Projections of many tenants, of whose logs fewer can be followed at once than there are.

    python -m bench.tenants [--tenants 1000] [--rounds 5] [--followed 500]

Each round appends an event to the log of every tenant, and waits until every projection of every
tenant has it: beside as many places as there are projections, so that each keeps its own, and
beside as few as are asked for, which go round. Told are the medians of the rounds behind the first,
in which each projection begins, and the CPU of a tenant: a transaction for each projection of it.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import asyncpg

from bench.followed import cpu_s
from bench.serving import run
from girih.client import EventStoreClient, NewEvent
from tests.authority import Authority
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
    projections_process,
)

RATIO_MAX = 3.0
"""With places that go round, of the time with a place for each."""
_PLACES_FOR_ALL = 100_000
_APPENDERS = 16
_BEHIND_S_MAX = 300
_PAYLOAD = {"resource": "Resource26", "group": "Group 1", "note": "x" * 60}
_REACHED = """
    SELECT count(*) FILTER (WHERE position >= $1) AS reached, count(DISTINCT projection) AS names
    FROM projections.checkpoints
"""


class Round(NamedTuple):
    """What one event for every tenant took."""

    projection_count: int
    took_s: float
    """From the first append to the last projection."""
    behind_s: float
    """From the last append."""
    cpu_ms: Sequence[float]
    """Of events and of projections, for a tenant."""


async def main(tenants: int, rounds: int, followed: int) -> int:
    measured: dict[int, list[Round]] = {_PLACES_FOR_ALL: [], followed: []}
    async with AsyncExitStack() as stack:
        systems = {places: await stack.enter_async_context(_system(places)) for places in measured}
        for number in range(rounds + 1):
            for places, system in systems.items():
                measured[places].append(await system.round(tenants, number))
    medians_s = [_report(tenants, places, each[1:]) for places, each in measured.items()]
    ratio = medians_s[1] / medians_s[0]
    outcome = "holds" if ratio <= RATIO_MAX else "MISSED"
    print(f"places that go round: {ratio:.2f} of the time (at most {RATIO_MAX:g}): {outcome}")
    return 0 if ratio <= RATIO_MAX else 1


def _report(tenants: int, places: int, rounds: Sequence[Round]) -> float:
    """Prints the medians, and gives that of the time."""
    took_s = statistics.median(one.took_s for one in rounds)
    events_ms, projections_ms = (
        statistics.median(one.cpu_ms[index] for one in rounds) for index in range(2)
    )
    room = "a place for each" if places == _PLACES_FOR_ALL else f"{places:,} places"
    print(
        f"{room}: {tenants:,} tenants with {rounds[-1].projection_count:,} projections within"
        f" {took_s:.1f} s, {statistics.median(one.behind_s for one in rounds):.1f} s behind the"
        f" last append; CPU for a tenant: events {events_ms:.1f} ms, projections"
        f" {projections_ms:.1f} ms",
        flush=True,
    )
    return took_s


@asynccontextmanager
async def _system(places: int) -> AsyncIterator["_System"]:
    with own_postgres() as (postgres, folder):
        # A log that is followed is a call as long as it lasts, and there may be 4,000 otherwise.
        most = str(_PLACES_FOR_ALL)
        events, address = events_process(postgres.url, folder, EVENTS_CONCURRENT_RPC_COUNT_MAX=most)
        projections, _ = projections_process(
            postgres.url,
            address,
            folder,
            PROJECTIONS_FOLLOWED_LOGS_MAX=str(places),
            PROJECTIONS_TENANTS_INTERVAL_S="1",
        )
        with ending(events, projections):
            for process in (events, projections):
                process.start()
                await asyncio.to_thread(process.wait_ready)
            async with EventStoreClient.connect(address) as log:
                connection = await asyncpg.connect(postgres.url)
                try:
                    yield _System(log, connection, (events, projections), authority_of(folder))
                finally:
                    await connection.close()


class _System(NamedTuple):
    log: EventStoreClient
    connection: asyncpg.Connection
    processes: Sequence[Process]
    authority: Authority

    async def round(self, tenants: int, number: int) -> Round:
        waiting = iter(range(tenants))

        async def append_some() -> None:
            for tenant in waiting:
                caller = Caller(self.authority, f"tenant-{tenant}")
                event = NewEvent.with_data(f"permit-{number}", "permit.issued", _PAYLOAD)
                await self.log.acting(token=caller.token).append([event])

        began_s, began_cpu_s = time.perf_counter(), [cpu_s(one.pid) for one in self.processes]
        await asyncio.gather(*(append_some() for _ in range(_APPENDERS)))
        appended_s = time.perf_counter()
        async with asyncio.timeout(_BEHIND_S_MAX):
            while not (count := await self._all_there(tenants, number + 1)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        ended_s = time.perf_counter()
        cpu_ms = [
            (cpu_s(process.pid) - began) / tenants * 1e3
            for process, began in zip(self.processes, began_cpu_s, strict=True)
        ]
        return Round(count, ended_s - began_s, ended_s - appended_s, cpu_ms)

    async def _all_there(self, tenants: int, position: int) -> int:
        """How many projections there are, once all of them are at a position; 0 before."""
        row = await self.connection.fetchrow(_REACHED, position)
        assert row is not None
        count = row["names"] * tenants
        return count if row["reached"] == count else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--followed", type=int, default=500)
    options = parser.parse_args()
    sys.exit(run(main(options.tenants, options.rounds, options.followed)))
