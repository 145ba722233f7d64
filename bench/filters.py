"""What filters give and cost: finding one event of 10,000, appending labels, and their bytes.

    python -m bench.filters [--events 1000000] [--rounds 5]

A filter that means 1 event of 10,000 stands beside reading the whole log. Appends of events with
three tags stand beside the same without, and appends beside those that label nothing, each in
turns. The plans are those that PostgreSQL had for the statements of a search.
"""

import argparse
import sys

import asyncpg

from bench.serving import Service, event, events_service, report, run, seconds
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.plumbing.postgres.sql import load
from tests.processes import Caller

RARE_ONE_IN = 10_000
FASTER_MIN = 100.0
TAGGED_MIN = 0.6
_BATCH = 1_000
_CALLERS = 64
_BULK = 20
_SINGLE = 2_000
_RARE = pb.Filter(queries=[pb.Query(tags=["rare"])])
_PLANS = """
    LOAD 'auto_explain';
    SET auto_explain.log_min_duration = 0;
    SET auto_explain.log_nested_statements = on;
    SET auto_explain.log_analyze = on;
    SET auto_explain.log_timing = off;
    SET client_min_messages = log;
"""
_LABELS = "ALTER TABLE events.records {} TRIGGER records_have_labels"
_LABEL_BYTES = "SELECT pg_total_relation_size('events.labels')"


async def main(event_count: int, rounds: int) -> int:
    async with events_service() as service:
        connection = await asyncpg.connect(service.database_url)
        holds = await _search(service, connection, event_count, rounds)
        await _print_plans(connection)
        holds &= await _appends(service, connection, rounds)
        await connection.close()
    return 0 if holds else 1


async def _search(
    service: Service, connection: asyncpg.Connection, event_count: int, rounds: int
) -> bool:
    """One of 10,000 over the log, beside all of it."""
    before = await connection.fetchval(_LABEL_BYTES)
    for start in range(0, event_count, _BATCH):
        request = pb.AppendRequest(
            events=[_searched(number) for number in range(start, start + _BATCH)]
        )
        await EventStoreServiceStub(service.channel).Append(
            request, metadata=service.caller.metadata
        )
    added = await connection.fetchval(_LABEL_BYTES) - before
    await connection.execute("VACUUM ANALYZE")
    print(
        f"{event_count:,} events, 1,000 to a call, of which one of {RARE_ONE_IN:,} is rare:"
        f" {added / event_count:.0f} bytes of labels an event"
    )
    searched, read = [], []
    for _ in range(rounds):
        read.append(1 / await _read(service, pb.ReadRequest(), event_count))
        rare = pb.ReadRequest(filter=_RARE)
        searched.append(1 / await _read(service, rare, event_count // RARE_ONE_IN))
    return report("logs searched, of logs read", searched, read, at_least=FASTER_MIN)


async def _read(service: Service, request: pb.ReadRequest, expected: int) -> float:
    events = EventStoreServiceStub(service.channel)

    async def read() -> None:
        count = 0
        async for response in events.Read(request, metadata=service.caller.metadata):
            count += len(response.events)
        assert count == expected, count

    return await seconds([read], callers=1)


async def _print_plans(connection: asyncpg.Connection) -> None:
    """Each statement of a search once, as it was run the last time."""
    statement = load("services.events.postgres.sql.filters", "select_filtered")
    arguments = [[([], ["rare"], "", "", "")], 1, False, 1_000, 2**20]
    plans: dict[str, str] = {}

    def on_notice(_connection: object, message: object) -> None:
        _, _, plan = str(message).partition("Query Text: ")
        text, _, rest = plan.partition("\n")
        plans[text.strip()] = rest

    try:
        await connection.execute(_PLANS)
    except asyncpg.UndefinedFileError:
        print("this PostgreSQL comes without auto_explain: no plans")
        return
    connection.add_log_listener(on_notice)
    tenant = await connection.fetchval("SELECT tenant FROM events.logs LIMIT 1")
    rows = await connection.fetch(statement, tenant, *arguments)
    connection.remove_log_listener(on_notice)
    await connection.execute("SET auto_explain.log_min_duration = -1")
    print(f"the plans of a search that found {len(rows)}:")
    for text, plan in plans.items():
        if "Index" in plan and ("labels" in plan or "records" in plan):
            print(f"  {text}\n{plan}")


async def _appends(service: Service, connection: asyncpg.Connection, rounds: int) -> bool:
    """Events with three tags beside the same without, and those beside others without labels."""
    figures: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):
        for size, count, callers in ((1, _SINGLE, _CALLERS), (_BATCH, _BULK, 4)):
            for kind in ("bare", "tagged", "unlabelled"):
                if kind == "unlabelled":
                    await connection.execute(_LABELS.format("DISABLE"))
                took_s = await _append(service, kind, size, count, callers)
                await connection.execute(_LABELS.format("ENABLE"))
                name = f"appends of {size:,}"
                figures.setdefault((name, kind), []).append(size * count / took_s)
    holds = True
    for name in dict.fromkeys(name for name, _ in figures):
        bare = figures[name, "bare"][1:]
        holds &= report(
            f"{name}, three tags of none", figures[name, "tagged"][1:], bare, TAGGED_MIN
        )
        report(f"{name}, labels of none", bare, figures[name, "unlabelled"][1:], at_least=0.0)
    return holds


async def _append(service: Service, kind: str, size: int, count: int, callers: int) -> float:
    events = EventStoreServiceStub(service.channel)
    caller = Caller(service.caller.authority, f"appends-{kind}")
    requests = [
        pb.AppendRequest(events=[_appended(kind, number) for number in range(first, first + size)])
        for first in range(0, size * count, size)
    ]

    async def append() -> None:
        await events.Append(requests.pop(), metadata=caller.metadata)

    return await seconds([append] * count, callers=callers)


def _searched(number: int) -> pb.Event:
    """Of 6 events to a case, with two tags that are common."""
    made = event(f"permit-{number // 6}")
    made.type = f"step {number % 12}"
    made.tags[:] = [f"year-{number % 5}", f"desk-{number % 40}"]
    if number % RARE_ONE_IN == RARE_ONE_IN // 2:
        made.tags.append("rare")
    return made


def _appended(kind: str, number: int) -> pb.Event:
    """Of its tags one is its case's, one common and one rare."""
    made = event(f"permit-{number // 6}")
    if kind == "tagged":
        made.tags[:] = [f"case-{number // 6}", f"year-{number % 5}", f"desk-{number % 400}"]
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sys.exit(run(main(arguments.events, arguments.rounds)))
