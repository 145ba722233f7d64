"""Thousands of projections in one process."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from structlog.testing import capture_logs

from girih.client import EventStoreClient
from girih.ids import NO_POSITION, Position, TenantId
from girih.projection import Projection
from services.plumbing.errors import DatabaseUnavailable
from services.plumbing.postgres.database import Connection
from services.projections.domain import ProjectionKey, ReadPlace
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


class Idle:
    """A run that is content with whatever there is."""

    head = None
    place = ReadPlace(0, NO_POSITION)
    is_stopped = False

    def look_again(self) -> None: ...

    async def log_moved(self, head: Position) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def until(self, position: Position) -> None: ...

    def lag_s(self) -> float:
        return 0.0


async def test_what_begins_later_is_run_too_and_what_is_held_otherwise_is_run_anew() -> None:
    shop, tenants = Shop(), [TenantId(f"tenant-{number}") for number in range(3)]
    keys = [ProjectionKey(tenant, shop.name) for tenant in tenants]
    held = {key.share: 1 for key in keys}
    started: list[tuple[ProjectionKey, int]] = []

    def run_of(key: ProjectionKey, fence: int, _projection: Projection) -> Idle:
        started.append((key, fence))
        return Idle()

    running = Runner({shop.name: shop}, lambda: [shop.name], lambda: held, run_of)

    async def until_started(count: int) -> None:
        async with asyncio.timeout(60):
            while len(started) < count:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)

    task = asyncio.create_task(running.run())
    try:
        for count, tenant in enumerate(tenants, 1):
            running.set_heads({tenant: Position(1)})
            await until_started(count)
        assert started == [(key, 1) for key in keys]

        held.update(dict.fromkeys(held, 2))
        running.look()
        await until_started(6)
        assert set(started[3:]) == {(key, 2) for key in keys}

        held.clear()
        running.look()
        async with asyncio.timeout(60):
            while running.runs:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        await asyncio.wait([task])


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
