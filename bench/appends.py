"""Appending through gRPC, beside what bounds it on this machine.

Single events at 64 callers against an empty rpc of the same server; batches of 1,000
against a bare COPY into the same table with the same indexes.

    python -m bench.appends [--rounds 9]
"""

import argparse
import hashlib
import sys
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import asyncpg
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.serving import (
    EVENT_TYPE,
    RECORD_BYTES,
    Service,
    event,
    events_service,
    report,
    run,
    seconds,
)
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub

SINGLE_CALLERS = 64
SINGLES = 6_000
BATCH_CALLERS = 4
BATCH_EVENTS = 1_000
BATCHES = 30
EVENTS_PER_STREAM = 5

_COLUMNS = (
    "log", "position", "stream", "revision", "recorded_at", "event_id", "type", "correlation_id",
    "digest", "tags", "header", "payload",
)  # fmt: skip
_COPIED_LOG = 1_000_000
"""A log of nobody's, for the records that are copied into the table."""


async def main(rounds: int) -> int:
    async with events_service() as service:
        singles_hold = await singles(service, rounds)
        batches_hold = await batches(service, rounds)
    return 0 if singles_hold and batches_hold else 1


async def singles(service: Service, rounds: int) -> bool:
    """Single events against empty rpcs, in turns."""
    health = health_pb2_grpc.HealthStub(service.channel)
    events = EventStoreServiceStub(service.channel)
    empty = [partial(health.Check, health_pb2.HealthCheckRequest())] * SINGLES
    ours, limit = [], []
    for number in range(rounds + 1):
        append = partial(events.Append, metadata=service.caller.metadata)
        appends = [partial(append, one) for one in _requests(f"one-{number}", SINGLES, 1)]
        limit.append(SINGLES / await seconds(empty, callers=SINGLE_CALLERS))
        ours.append(SINGLES / await seconds(appends, callers=SINGLE_CALLERS))
    name = f"single appends at {SINGLE_CALLERS} callers, of empty rpcs"
    return report(name, ours[1:], limit[1:], at_least=0.65)


async def batches(service: Service, rounds: int) -> bool:
    """Batches against COPY, in turns."""
    events = EventStoreServiceStub(service.channel)
    connection = await asyncpg.connect(service.database_url)
    copy = partial(
        connection.copy_records_to_table, "records", schema_name="events", columns=_COLUMNS
    )
    count = BATCHES * BATCH_EVENTS
    ours, limit = [], []
    for number in range(rounds + 1):
        requests = _requests(f"many-{number}", BATCHES, BATCH_EVENTS)
        append = partial(events.Append, metadata=service.caller.metadata)
        appends = [partial(append, one) for one in requests]
        copies = [
            partial(copy, records=_rows(number * count + index * BATCH_EVENTS))
            for index in range(BATCHES)
        ]
        limit.append(count / await seconds(copies, callers=1))
        ours.append(count / await seconds(appends, callers=BATCH_CALLERS))
    await connection.close()
    name = f"events in batches of {BATCH_EVENTS:,} at {BATCH_CALLERS} callers, of bare COPY"
    return report(name, ours[1:], limit[1:], at_least=0.6)


def _requests(prefix: str, request_count: int, event_count: int) -> list[pb.AppendRequest]:
    return [
        pb.AppendRequest(
            events=[
                event(f"{prefix}-{(index * event_count + number) // EVENTS_PER_STREAM}")
                for number in range(event_count)
            ]
        )
        for index in range(request_count)
    ]


def _rows(start: int) -> list[tuple[object, ...]]:
    """A batch as the table holds it, behind position `start` of a log of its own."""
    now, correlation_id = datetime.now(UTC), str(uuid4())
    return [
        (
            _COPIED_LOG,
            position,
            position - position % EVENTS_PER_STREAM or 1,
            position % EVENTS_PER_STREAM,
            now,
            uuid4(),
            EVENT_TYPE,
            correlation_id,
            hashlib.sha256(position.to_bytes(8, "big")).digest(),
            None,
            bytes(RECORD_BYTES // 2),
            bytes(RECORD_BYTES // 2),
        )
        for position in range(start + 1, start + 1 + BATCH_EVENTS)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    sys.exit(run(main(parser.parse_args().rounds)))
