"""A projection that counts, under events that come as fast as they are offered.

    python -m bench.projections [--rate 10000] [--seconds 20]

Events are appended in hundreds at the rate that is asked for, as far as the machine keeps it, to
one log, and the shipped projection `event_types` counts them in its own process, with PostgreSQL
on the same machine. Printed are the rates of appends and of the projection while they go on, how
far it is behind when they end, and how long it takes until it holds everything.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.serving import EVENT_TYPE, run
from girih.client import EventStoreClient, NewEvent
from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    own_postgres,
    projections_process,
)

RATE_MIN = 5_000
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
        with ending(events, projections):
            for process in (events, projections):
                process.start()
                await asyncio.to_thread(process.wait_ready)
            return await _measure(postgres.url, address, folder, Offered(rate, seconds))


async def _measure(database_url: str, address: str, folder: Path, offered: Offered) -> int:
    caller = Caller(authority_of(folder))
    async with EventStoreClient.connect(address, token=lambda: caller.token) as log:
        connection = await asyncpg.connect(database_url)
        try:
            await log.append([_event(0)])
            await _until(connection, 1)
            began_s = time.perf_counter()
            await asyncio.gather(*(_append(log, offered, one) for one in range(_APPENDERS)))
            took_s = time.perf_counter() - began_s
            head = await log.head()
            position = await connection.fetchval(_POSITION)
            await _until(connection, head)
            lag_s = time.perf_counter() - began_s - took_s
        finally:
            await connection.close()
    return _report(offered, took_s, head, position, lag_s)


def _report(offered: Offered, took_s: float, head: int, position: int, lag_s: float) -> int:
    appended, projected = offered.appended / took_s, position / took_s
    drained = (head - position) / lag_s if head > position else projected
    held = head / (took_s + lag_s)
    print(f"offered:   {offered.rate:,.0f} events/s for {offered.seconds:g} s")
    print(f"appended:  {appended:,.0f} events/s")
    print(f"projected: {projected:,.0f} events/s meanwhile, {drained:,.0f}/s behind it")
    print(f"lag:       {head - position:,} events at the end, gone after {lag_s:.2f} s")
    holds = held >= min(RATE_MIN, appended)
    print(
        f"held:      {held:,.0f} events/s (at least {RATE_MIN:,}): {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


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
