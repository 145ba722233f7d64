"""What becomes of logs when a place leads to another database than before, or to that of another
place."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import pytest

from cli.local.postgres import EmbeddedPostgres
from girih.ids import TenantId
from services.events.app import built
from services.events.errors import LogMoved
from services.events.places.placing import Placing
from services.events.places.store import Openers
from services.events.postgres.placed import Places
from services.events.postgres.store import PostgresEventStore
from services.plumbing.grpc.server import serve
from services.plumbing.tasks import TaskDied
from tests.authority import Authority
from tests.events.places.conftest import WEST
from tests.events.serving import development

TENANT = TenantId("acme")


async def executed(postgres: EmbeddedPostgres, *statements: str) -> None:
    connection = await asyncpg.connect(postgres.url)
    try:
        for one in statements:
            await connection.execute(one)
    finally:
        await connection.close()


async def renamed(postgres: EmbeddedPostgres, names: Mapping[str, str]) -> None:
    """Have databases go by other names, one after the other; whoever is connected is cut off."""
    for old, new in names.items():
        await executed(
            postgres,
            f"ALTER DATABASE {old} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{old}'",
            f"ALTER DATABASE {old} RENAME TO {new}",
            f"ALTER DATABASE {new} ALLOW_CONNECTIONS true",
        )


@asynccontextmanager
async def another_at(url: str, postgres: EmbeddedPostgres, template: str) -> AsyncIterator[None]:
    """Another database goes by the name of one for the block, and knows no log."""
    name = url.partition("?")[0].rpartition("/")[2]
    empty, aside = f"{name}_empty", f"{name}_aside"
    await executed(postgres, f"CREATE DATABASE {empty} TEMPLATE {template} STRATEGY file_copy")
    await renamed(postgres, {name: aside, empty: name})
    try:
        yield
    finally:
        await renamed(postgres, {name: empty, aside: name})
        await executed(postgres, f"DROP DATABASE {empty} WITH (FORCE)")


async def test_a_log_that_is_remembered_begins_no_second_time_in_another_database(
    store: PostgresEventStore,
    places: Places,
    movers: Openers,
    other_url: str,
    postgres: EmbeddedPostgres,
    migrated_name: str,
) -> None:
    await Placing(movers, lambda _: None).place(TENANT, WEST)
    there = await store.end(TENANT)
    assert await places.place_of(TENANT) == WEST

    async with another_at(other_url, postgres, migrated_name):
        for _ in range(2):
            with pytest.raises(LogMoved, match="place west, whose database does not know it"):
                await store.end(TENANT)

    assert there.incarnation
    assert await store.end(TENANT) == there


async def test_a_process_does_not_run_with_two_places_in_one_database(
    database_url: str, authority: Authority
) -> None:
    settings = development(database_url, authority, EVENTS_PLACES=f"{WEST}={database_url}")

    async with built(settings) as server:
        with pytest.raises(TaskDied, match="places default and west lead to the same database"):
            await serve(server, "127.0.0.1:0")
