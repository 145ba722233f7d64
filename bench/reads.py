"""Reading a log through gRPC, beside reading the same bytes through bare asyncpg.

python -m bench.reads [--rounds 9] [--events 200000]
"""

import argparse
import sys

import asyncpg

from bench.serving import Service, event, events_service, report, run, seconds
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub

EVENTS_PER_SECOND_MIN = 200_000
_BATCH = 5_000
_PAGE = 1_000
_SELECT = """
    SELECT position, header || payload
    FROM events.records
    WHERE log = $1 AND position >= $2
    ORDER BY position
    LIMIT $3
"""


async def main(rounds: int, event_count: int) -> int:
    async with events_service() as service:
        await fill(service, event_count)
        connection = await asyncpg.connect(service.database_url)
        size = await connection.fetchval(
            "SELECT avg(octet_length(header || payload)) FROM events.records"
        )
        await connection.execute("VACUUM ANALYZE events.records")
        print(f"{event_count:,} events of {size:.0f} bytes")
        ours, limit = [], []
        for _ in range(rounds + 1):
            limit.append(event_count / await read_bare(connection, event_count))
            ours.append(event_count / await read_log(service, event_count))
        await connection.close()
    ratio_holds = report("events read, of bare asyncpg", ours[1:], limit[1:], at_least=0.5)
    target = [float(EVENTS_PER_SECOND_MIN)] * rounds
    return 0 if report("events read", ours[1:], target, at_least=1) and ratio_holds else 1


async def fill(service: Service, event_count: int) -> None:
    """Append the events that are read."""
    events = EventStoreServiceStub(service.channel)
    for start in range(0, event_count, _BATCH):
        numbers = range(start, min(start + _BATCH, event_count))
        request = pb.AppendRequest(events=[event(f"case-{number // 6}") for number in numbers])
        await events.Append(request, metadata=service.caller.metadata)


async def read_bare(connection: asyncpg.Connection, event_count: int) -> float:
    """Seconds to fetch all records page by page, which is the least that reading them takes."""
    log = await connection.fetchval("SELECT log FROM events.logs")
    statement = await connection.prepare(_SELECT)

    async def read() -> None:
        count = byte_count = 0
        while rows := await statement.fetch(log, count + 1, _PAGE):
            count += len(rows)
            byte_count += sum([len(row[1]) for row in rows])
        assert count == event_count

    return await seconds([read], callers=1)


async def read_log(service: Service, event_count: int) -> float:
    """Seconds to read the log through the service, each response parsed."""
    events = EventStoreServiceStub(service.channel)

    async def read() -> None:
        count = 0
        async for response in events.Read(pb.ReadRequest(), metadata=service.caller.metadata):
            count += len(response.events)
        assert count == event_count

    return await seconds([read], callers=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--events", type=int, default=200_000)
    arguments = parser.parse_args()
    sys.exit(run(main(arguments.rounds, arguments.events)))
