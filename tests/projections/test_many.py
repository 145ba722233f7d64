"""Thousands of projections in one process."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from structlog.testing import capture_logs

from girih.client import EventStoreClient
from girih.ids import Position
from services.plumbing.errors import DatabaseUnavailable
from services.plumbing.postgres.database import Connection
from services.projections.postgres.in_turn import ConnectionsInTurn
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.running import runner
from services.projections.running.runner import Runner
from tests.authority import Authority
from tests.projections.running import SHOP, TENANT, Shop, opened, run_of

ACQUIRE_S = 0.5


async def test_what_runs_in_the_background_waits_for_a_connection_and_leaves_some_to_calls(
    database_url: str, authority: Authority
) -> None:
    pool = {"SIZE_MIN": "3", "SIZE_MAX": "3", "ACQUIRE_TIMEOUT_S": str(ACQUIRE_S)}
    environ = {f"PROJECTIONS_POOL_{name}": value for name, value in pool.items()}
    async with opened(database_url, authority, [Shop()], **environ) as database:
        lent, released = ConnectionsInTurn(database, 3), asyncio.Event()

        async def work() -> int:
            async with lent.connection() as connection:
                await released.wait()
                number: int = await connection.fetchval("SELECT 1")
                return number

        working = [asyncio.create_task(work()) for _ in range(5)]
        await asyncio.sleep(2 * ACQUIRE_S)
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 2") == 2
        released.set()

        assert await asyncio.gather(*working) == [1] * 5


class Nothing:
    """Lends connections of a database that is away."""

    def __init__(self, ask_count: int) -> None:
        self._left = ask_count
        self.is_done = asyncio.Event()

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        self._left -= 1
        if not self._left:
            self.is_done.set()
        raise DatabaseUnavailable("the database has not answered yet")


async def test_a_database_that_is_away_is_told_once_by_each(
    log: EventStoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_PAUSE_S_MIN", 0.001)
    away, shop = Nothing(5), Shop()
    run = run_of(PostgresProjectionStore(away), log, shop)
    running = Runner(
        {shop.name: shop}, lambda: [shop.name], lambda: {SHOP.share: 1}, lambda *_: run
    )

    with capture_logs() as lines:
        task = asyncio.create_task(running.run())
        running.set_heads({TENANT: Position(1)})
        await asyncio.wait_for(away.is_done.wait(), 60)
        task.cancel()
        await asyncio.wait([task])

    assert [(one["event"], one["log_level"]) for one in lines] == [
        ("a projection waits", "warning")
    ]
    assert "exc_info" not in lines[0]
