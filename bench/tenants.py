"""Projections of many tenants, of whose logs fewer can be followed at once than there are.

    python -m bench.tenants [--tenants 1000] [--rounds 5] [--followed 500]

Each round appends an event to the log of every tenant, and waits until every projection of every
tenant has it: beside as many places as there are projections, so that each keeps its own, and
beside as few as are asked for, which go round. Told are the medians of the rounds behind the first,
in which each projection begins, and the CPU of a tenant: a transaction for each projection of it.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import asyncpg

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
_PAYLOAD = {"resource": "Resource26", "group": "Group 1", "note": "x" * 60}
_REACHED = """
    SELECT count(*) FILTER (WHERE position >= $1) AS reached, count(DISTINCT projection) AS names
    FROM projections.checkpoints
"""


class Round(NamedTuple):
    """What one event for every tenant took."""

    took_s: float
    """From the first append to the last projection."""
    cpu_ms: Sequence[float]
    """Of events and of projections, for a tenant."""


async def main(tenants: int, rounds: int, followed: int) -> int:
    medians = []
    for places in (_PLACES_FOR_ALL, followed):
        measured = await _measured(tenants, rounds, places)
        median_s = statistics.median(one.took_s for one in measured)
        events_ms, projections_ms = (
            statistics.median(one.cpu_ms[index] for one in measured) for index in range(2)
        )
        print(
            f"{min(places, 5 * tenants):>6,} places: {tenants:,} tenants within {median_s:.1f} s;"
            f" CPU for a tenant: events {events_ms:.1f} ms, projections {projections_ms:.1f} ms",
            flush=True,
        )
        medians.append(median_s)
    ratio = medians[1] / medians[0]
    outcome = "holds" if ratio <= RATIO_MAX else "MISSED"
    print(f"places that go round: {ratio:.2f} of the time (at most {RATIO_MAX:g}): {outcome}")
    return 0 if ratio <= RATIO_MAX else 1


async def _measured(tenants: int, rounds: int, places: int) -> list[Round]:
    with own_postgres() as (postgres, folder):
        events, address = events_process(postgres.url, folder)
        environ = {"FOLLOWED_LOGS_MAX": str(places), "TENANTS_INTERVAL_S": "1"}
        environ = {f"PROJECTIONS_{name}": value for name, value in environ.items()}
        projections, _ = projections_process(postgres.url, address, folder, **environ)
        with ending(events, projections):
            for process in (events, projections):
                process.start()
                await asyncio.to_thread(process.wait_ready)
            async with AsyncExitStack() as stack:
                log = await stack.enter_async_context(EventStoreClient.connect(address))
                connection = await asyncpg.connect(postgres.url)
                stack.push_async_callback(connection.close)
                bench = _Bench(log, connection, (events, projections), authority_of(folder))
                return [await bench.round(tenants, number) for number in range(rounds + 1)][1:]


class _Bench(NamedTuple):
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

        began_s, began_cpu_s = time.perf_counter(), [_cpu_s(one) for one in self.processes]
        await asyncio.gather(*(append_some() for _ in range(_APPENDERS)))
        while not await self._have_all(tenants, number + 1):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.1)
        took_s = time.perf_counter() - began_s
        cpu_s = zip(map(_cpu_s, self.processes), began_cpu_s, strict=True)
        return Round(took_s, [(now_s - then_s) / tenants * 1e3 for now_s, then_s in cpu_s])

    async def _have_all(self, tenants: int, position: int) -> bool:
        """Whether all projections of all tenants are there."""
        row = await self.connection.fetchrow(_REACHED, position)
        assert row is not None
        return bool(row["names"]) and row["reached"] == row["names"] * tenants


def _cpu_s(process: Process) -> float:
    """What the process has taken of the CPU until now."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--followed", type=int, default=500)
    options = parser.parse_args()
    sys.exit(run(main(options.tenants, options.rounds, options.followed)))
