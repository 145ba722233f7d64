"""What an event takes in the database: bytes of the table, of its indexes, and of what is logged.

    python -m bench.storage [--events 90000]

Appends through the service, in batches, to a log of its own for each length of a stream's name
and each kind of ids. Nothing else writes to the database meanwhile, and nothing is vacuumed.
After each `EVENTS_PER_CHECKPOINT` comes a checkpoint: the first change of a page after it writes
the whole page ahead, which is what random ids cost.
"""

import argparse
import sys
from dataclasses import dataclass, fields
from uuid import uuid4

import asyncpg

from bench.serving import EVENT_TYPE, Service, events_service, run
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.ids import uuid7
from tests.processes import Caller

EVENTS_PER_STREAM = 6
EVENTS_PER_CHECKPOINT = 10_000
NAME_BYTES = (10, 44, 200)
IDS = {"UUIDv7": uuid7, "UUIDv4": uuid4}
_BATCH = 1_000
_JSON = '{"resource":"Resource26","group":"Group 1","transition":"complete","note":"%s"}' % (
    "x" * 128
)
_SIZES = """
    SELECT
        pg_table_size('events.records'),
        pg_indexes_size('events.records'),
        pg_total_relation_size('events.streams'),
        pg_current_wal_insert_lsn() - '0/0'
"""
_STILL = """
    ALTER TABLE events.records SET (autovacuum_enabled = off);
    ALTER TABLE events.streams SET (autovacuum_enabled = off);
"""


@dataclass(frozen=True)
class Sizes:
    """In bytes: of all that is there, or of what an event added."""

    table: float
    indexes: float
    streams: float
    """The table of streams, with its indexes."""
    log: float
    """Written ahead."""

    @property
    def stored(self) -> float:
        return self.table + self.indexes + self.streams


async def main(event_count: int) -> int:
    """Print a line for each kind of log."""
    async with events_service() as service:
        connection = await asyncpg.connect(service.database_url)
        await connection.execute(_STILL)
        # The first pages of a table, and the service's first statements, belong to no event.
        await _fill(service, connection, "before", 10, "UUIDv7", _BATCH)
        size = _event("s" * NAME_BYTES[0], "UUIDv7").ByteSize()
        print(f"events of {size} bytes with the shortest names, {EVENTS_PER_STREAM} to a stream")
        print("names ids     stored = table + indexes + streams; written ahead, bytes an event")
        for name_bytes in NAME_BYTES:
            for ids in IDS:
                added = await _measure(service, connection, name_bytes, ids, event_count)
                print(
                    f"{name_bytes:5} {ids:7} {added.stored:6.0f} = {added.table:5.0f} +"
                    f" {added.indexes:7.0f} + {added.streams:7.0f}; {added.log:13.0f}",
                    flush=True,
                )
        await connection.close()
    return 0


async def _measure(
    service: Service, connection: asyncpg.Connection, name_bytes: int, ids: str, event_count: int
) -> Sizes:
    """What an event added, of so many."""
    before = await _sizes(connection)
    tenant = f"log-{name_bytes}-{ids.lower()}"
    await _fill(service, connection, tenant, name_bytes, ids, event_count)
    after = await _sizes(connection)
    return Sizes(
        *[
            (getattr(after, field.name) - getattr(before, field.name)) / event_count
            for field in fields(Sizes)
        ]
    )


async def _sizes(connection: asyncpg.Connection) -> Sizes:
    row = await connection.fetchrow(_SIZES)
    assert row is not None
    return Sizes(*[float(size) for size in row.values()])


async def _fill(
    service: Service,
    connection: asyncpg.Connection,
    tenant: str,
    name_bytes: int,
    ids: str,
    event_count: int,
) -> None:
    events = EventStoreServiceStub(service.channel)
    caller = Caller(service.caller.authority, tenant)
    for start in range(0, event_count, _BATCH):
        request = pb.AppendRequest(
            events=[
                _event(f"{number // EVENTS_PER_STREAM:0{name_bytes}}", ids)
                for number in range(start, min(start + _BATCH, event_count))
            ]
        )
        if start % EVENTS_PER_CHECKPOINT == 0:
            await connection.execute("CHECKPOINT")
        await events.Append(request, metadata=caller.metadata)


def _event(stream: str, ids: str) -> pb.Event:
    return pb.Event(id=str(IDS[ids]()), stream=stream, type=EVENT_TYPE, json=_JSON)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=90_000)
    sys.exit(run(main(parser.parse_args().events)))
