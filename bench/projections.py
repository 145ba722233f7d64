"""A projection that counts, under events that come as fast as they are offered.

    python -m bench.projections [--rate 10000] [--seconds 20]

The shipped projection `event_types` counts the events of one log in its own process, with
PostgreSQL on the same machine. First a log that is there: how fast it is caught up with, and how
many events a second of the process's CPU counts, which a busy machine changes little. Then events
are appended in hundreds at the rate that is asked for, as far as the machine keeps it: printed are
the rate of appends, how far the projection is behind when they end, and the rate that it held.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

import asyncpg

from bench.followed import cpu_s
from bench.serving import EVENT_TYPE, run
from girih.client import EventStoreClient, NewEvent
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
    projections_process,
)

RATE_MIN = 5_000
BACKLOG = 60_000
_KEEPS_UP = 0.9
_LARGE_BATCH = 1_000
_BATCH = 100
_APPENDERS = 8
_PAYLOAD = {"resource": "Resource26", "group": "Group 1", "note": "x" * 60}
_POSITION = "SELECT max(position) FROM projections.checkpoints WHERE projection = 'event_types'"


@dataclass
class Offered:
    """What was offered, and how much of it was appended."""

    rate: float
    seconds: float
    appended: int = 0


async def main(rate: float, seconds: float) -> int:
    with own_postgres() as (postgres, folder):
        events, address = events_process(postgres.url, folder)
        projections, _ = projections_process(postgres.url, address, folder)
        caller = Caller(authority_of(folder))
        with ending(events, projections):
            events.start()
            await asyncio.to_thread(events.wait_ready)
            async with EventStoreClient.connect(address, token=lambda: caller.token) as log:
                for start in range(0, BACKLOG, _LARGE_BATCH):
                    await log.append([_event(start + index) for index in range(_LARGE_BATCH)])
                projections.start()
                await asyncio.to_thread(projections.wait_ready)
                connection = await asyncpg.connect(postgres.url)
                try:
                    await _catch_up(connection, projections)
                    return await _measure(log, connection, Offered(rate, seconds))
                finally:
                    await connection.close()


async def _catch_up(connection: asyncpg.Connection, process: Process) -> None:
    await _until(connection, 1)
    began_s, began_cpu_s = time.perf_counter(), cpu_s(process.pid)
    first = await connection.fetchval(_POSITION)
    await _until(connection, BACKLOG)
    count = BACKLOG - first
    if not count:
        print(f"caught up: with {BACKLOG:,} events before anybody could look", flush=True)
        return
    took_s, took_cpu_s = time.perf_counter() - began_s, cpu_s(process.pid) - began_cpu_s
    print(
        f"caught up: {count / took_s:,.0f} events/s,"
        f" {count / max(took_cpu_s, 0.01):,.0f} events per second of CPU",
        flush=True,
    )


async def _measure(log: EventStoreClient, connection: asyncpg.Connection, offered: Offered) -> int:
    began_s = time.perf_counter()
    await asyncio.gather(*(_append(log, offered, one) for one in range(_APPENDERS)))
    took_s = time.perf_counter() - began_s
    head = await log.head()
    position = await connection.fetchval(_POSITION)
    await _until(connection, head)
    lag_s = time.perf_counter() - began_s - took_s
    return _report(offered, took_s, head, position, lag_s)


def _report(offered: Offered, took_s: float, head: int, position: int, lag_s: float) -> int:
    appended = offered.appended / took_s
    held = offered.appended / (took_s + lag_s)
    print(f"offered:   {offered.rate:,.0f} events/s for {offered.seconds:g} s")
    print(f"appended:  {appended:,.0f} events/s")
    print(f"lag:       {head - position:,} events at the end, gone after {lag_s:.2f} s")
    # Where the machine does not append as much, all that it does is to be held.
    wanted = min(RATE_MIN, _KEEPS_UP * appended)
    outcome = "holds" if held >= wanted else "MISSED"
    print(f"held:      {held:,.0f} events/s (at least {wanted:,.0f}): {outcome}")
    return 0 if held >= wanted else 1


async def _append(log: EventStoreClient, offered: Offered, number: int) -> None:
    """A part of what is offered, in its own time; late where the machine is."""
    interval_s = _BATCH * _APPENDERS / offered.rate
    began_s = time.perf_counter() + interval_s * number / _APPENDERS
    for turn in range(int(offered.seconds / interval_s)):
        await asyncio.sleep(max(0.0, began_s + turn * interval_s - time.perf_counter()))
        await log.append([_event(number * _BATCH + index) for index in range(_BATCH)])
        offered.appended += _BATCH


def _event(number: int) -> NewEvent:
    return NewEvent.with_data(f"permit-{number % 1_000}", f"{EVENT_TYPE} {number % 7}", _PAYLOAD)


async def _until(connection: asyncpg.Connection, position: int) -> None:
    while (await connection.fetchval(_POSITION) or 0) < position:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=10_000.0, help="events offered a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    raise SystemExit(run(main(given.rate, given.seconds)))
