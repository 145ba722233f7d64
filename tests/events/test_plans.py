"""No statement reads more of the log than it needs, even if it was planned on an empty one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from girih.ids import Position, TenantId
from services.events.postgres.database import Database
from services.events.postgres.new_records import NewRecords
from services.events.postgres.store import PostgresEventStore
from services.events.settings import Settings
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load
from tests.events.making import NOW, event_id, new_event, placed_event, record_batch

TENANT = TenantId("acme")
ROWS = 3_000
_READ = """
    SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
    FROM pg_stat_xact_user_tables
    WHERE schemaname = 'events' AND relname IN ('records', 'streams')
"""
LOOKUPS: dict[str, list[Any]] = {
    "select_log_state": [["s-1", "s-7", "nowhere"]],
    "select_causes": [[event_id(number) for number in (1, 2, 2_000, 9_999)]],
    "select_events_by_id": [[event_id(number) for number in (1, 2, 2_000, 9_999)]],
    "select_log_forwards": [ROWS // 2, 10, 512, 2**19, b"\n"],
    "select_log_backwards": [ROWS // 2, 10, 512, 2**19, b"\n"],
    "select_log_tail": [ROWS // 2, 10, 512, True],
    "select_stream_forwards": [0, 10, 512, 2**19, b"\n", "s-7", 0],
    "select_stream_backwards": [2**62, 10, 512, 2**19, b"\n", "s-7"],
    "select_recent": [ROWS // 2, ROWS // 2 + 10],
    "select_revision_at": ["s-7", ROWS // 2],
    "select_stream_ends": ["s-7"],
    "select_streams": ["s-1", "s-15", 5, "s-1~"],
}


def sql(name: str) -> str:
    return load("services.events.postgres.sql", name)


async def fill(store: PostgresEventStore, start: int, end: int) -> None:
    """Records behind `start`, ten to a stream."""
    placed = [
        placed_event(
            new_event(f"s-{number // 10}", with_id=event_id(number)),
            number,
            number % 10,
            number - number % 10,
        )
        for number in range(start + 1, end + 1)
    ]
    await store.log(TENANT).state([])
    await store.log(TENANT).write(Position(start), record_batch(placed, [b"record"] * len(placed)))


@pytest.fixture
async def connection(
    database: Database, store: PostgresEventStore, settings: Settings
) -> AsyncIterator[Connection]:
    """The service's connection whose statements were planned while the log was nearly empty."""
    url = settings.database_url.get_secret_value()
    owner = await asyncpg.connect(url)
    await owner.execute(
        "ALTER TABLE events.records SET (autovacuum_enabled = off);"
        "ALTER TABLE events.streams SET (autovacuum_enabled = off)"
    )
    await fill(store, 0, 3)
    await owner.execute("ANALYZE events.records, events.streams")
    await owner.close()
    async with database.connection() as connection:
        for name, arguments in LOOKUPS.items():
            for _ in range(10):
                await connection.fetch(sql(name), TENANT, *arguments)
        for _ in range(10):
            await connection.fetchval(sql("append_records"), TENANT, 0, NOW, [], [], NewRecords())
        await fill(store, 3, ROWS)
        yield connection


async def test_every_lookup_reads_few_rows(connection: Connection) -> None:
    read = {}
    for name, arguments in LOOKUPS.items():
        async with connection.transaction():
            before = await connection.fetchval(_READ) or 0
            await connection.fetch(sql(name), TENANT, *arguments)
            read[name] = await connection.fetchval(_READ) - before

    assert {name: count for name, count in read.items() if count > 20} == {}, json.dumps(read)


async def test_an_append_finds_the_head_without_reading_the_log(connection: Connection) -> None:
    moved = [TENANT, ROWS - 1, NOW, [], [], NewRecords()]
    async with connection.transaction():
        before = await connection.fetchval(_READ) or 0
        assert await connection.fetchval(sql("append_records"), *moved) is False
        assert await connection.fetchval(_READ) - before <= 1
