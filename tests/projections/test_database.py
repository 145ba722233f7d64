"""Projections run on a database in which tenants are apart, and say which are not fit for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

import asyncpg
import pytest

from girih.ids import TenantId
from girih.projection import Projection
from services.plumbing.errors import DatabaseUnavailable
from services.plumbing.postgres.failures import UnsafeDatabase
from services.projections.errors import WrongProjection
from services.projections.postgres.shares import Shares
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.registry import all_projections
from services.projections.shipped.all import shipped
from tests.authority import Authority
from tests.projections.running import SHOP, Shop, opened

DEFINER = """
CREATE FUNCTION projection_shop.open() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'
"""
REACHABLE = """
CREATE SCHEMA IF NOT EXISTS events;
CREATE TABLE IF NOT EXISTS events.logs (log int);
GRANT USAGE ON SCHEMA events TO girih_projections;
GRANT SELECT ON events.logs TO girih_projections;
"""


class Broken(Shop):
    """One whose migration fails."""

    name: ClassVar = "broken"
    migrations: ClassVar = "tests.projections.broken.migrations"


async def execute(database_url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def test_a_projection_whose_migration_fails_is_named_and_leaves_the_others(
    database_url: str, authority: Authority
) -> None:
    async with opened(database_url, authority, [Shop(), Broken()]) as database:
        problems, ready = dict(database.problems), set(database.ready)

    left = await execute(database_url, "SELECT to_regclass('projection_broken.halves') AS table")
    assert ready == {"shop"}
    assert "its migration failed: division by zero" in problems["broken"]
    assert "0001_fail_half_way.sql" in problems["broken"]
    assert left[0]["table"] is None


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        ("ALTER TABLE projection_shop.sales NO FORCE ROW LEVEL SECURITY", "is not forced on"),
        ("ALTER TABLE projection_shop.sales DISABLE ROW LEVEL SECURITY", "is not enabled on"),
        ("CREATE POLICY wide ON projection_shop.sales USING (true)", "or another beside it"),
        ("DROP POLICY sales_of_tenant ON projection_shop.sales", "has no policy for its tenant"),
        ("ALTER VIEW projection_shop.shop RESET (security_invoker)", "is not a security_invoker"),
        (DEFINER, "is SECURITY DEFINER"),
    ],
    ids=lambda text: text[:34],
)
async def test_a_projection_that_does_not_keep_tenants_apart_is_not_run(
    gap: str, message: str, database_url: str, authority: Authority
) -> None:
    async with opened(database_url, authority, [Shop()]):
        pass
    await execute(database_url, gap)

    async with opened(database_url, authority, [Shop()]) as database:
        problems = dict(database.problems)

    assert message in problems["shop"]


@pytest.mark.parametrize(
    "gap",
    [
        "ALTER TABLE projections.checkpoints NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY wide ON projections.quarantine USING (true)",
        REACHABLE,
    ],
    ids=lambda text: text[:34],
)
async def test_it_does_not_start_where_its_own_tables_are_open(
    gap: str, database_url: str, authority: Authority
) -> None:
    async with opened(database_url, authority, [Shop()]):
        pass
    connection = await asyncpg.connect(database_url)
    await connection.execute(gap)
    await connection.close()

    with pytest.raises(UnsafeDatabase):
        async with opened(database_url, authority, [Shop()]):
            pass


async def test_what_girih_ships_keeps_tenants_apart(
    database_url: str, authority: Authority
) -> None:
    async with opened(database_url, authority, shipped()) as database:
        assert database.problems == {}


async def test_whoever_tells_no_tenant_or_another_sees_nothing(
    database_url: str, authority: Authority
) -> None:
    async with opened(database_url, authority, [Shop()]) as database:
        store = PostgresProjectionStore(database)
        await store.begin(SHOP, "1", fence=1)
        async with database.connection() as connection:
            nobody = await connection.fetch("SELECT FROM projections.checkpoints")
        async with store.for_tenant(TenantId("acme")) as connection:
            other = await connection.fetch("SELECT FROM projections.checkpoints")
        async with store.for_tenant(SHOP.tenant) as connection:
            own = await connection.fetch("SELECT FROM projections.checkpoints")

    assert (len(nobody), len(other), len(own)) == (0, 0, 1)


async def test_processes_share_what_is_to_be_run(database_url: str, authority: Authority) -> None:
    async with opened(database_url, authority, [Shop()]) as database:
        one, two = Shares(database, "one", 60.0), Shares(database, "two", 60.0)
        await one.look(nothing)
        alone = set(one.held)
        for shares in (two, one, two):
            await shares.look(nothing)

    assert len(alone) == 16
    assert len(one.held) == len(two.held) == 8
    assert one.held.keys().isdisjoint(two.held)


async def test_the_shares_of_one_that_died_go_to_another_with_higher_tokens(
    database_url: str, authority: Authority
) -> None:
    async with opened(database_url, authority, [Shop()]) as database:
        one, two = Shares(database, "one", 60.0), Shares(database, "two", 60.0)
        await one.look(nothing)
        before = dict(one.held)
        past = "expires_at = clock_timestamp() - interval '1 s' WHERE holder = 'one'"
        await execute(database_url, f"UPDATE projections.leases SET {past}")
        await execute(database_url, f"UPDATE projections.members SET {past}")
        await two.look(nothing)

        assert len(two.held) == 16
        assert all(two.held[share] > token for share, token in before.items())


@pytest.mark.parametrize("table", ["members", "leases"])
async def test_a_database_that_is_being_restored_is_away_and_the_shares_are_kept_behind_it(
    database_url: str, authority: Authority, table: str
) -> None:
    async with opened(database_url, authority, [Shop()]) as database:
        shares = Shares(database, "one", 60.0)
        await execute(database_url, f"ALTER TABLE projections.{table} RENAME TO not_yet_there")
        with pytest.raises(DatabaseUnavailable):
            await shares.look(nothing)
        keeping = asyncio.create_task(shares.keep(nothing))
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait([keeping])
        await execute(database_url, f"ALTER TABLE projections.not_yet_there RENAME TO {table}")
        await shares.look(nothing)

        assert keeping.cancelled()
        assert len(shares.held) == 16


def nothing() -> None:
    """Nobody wants to know."""


class Misnamed(Shop):
    """One of an impossible name."""

    name: ClassVar = "A b"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: [Shop(), Shop()], "two projections called shop"),
        (lambda: [Misnamed()], "cannot name a projection"),
    ],
    ids=["twice", "no name"],
)
def test_projections_that_cannot_be_told_apart_are_refused(
    made: Callable[[], Sequence[Projection]], message: str
) -> None:
    with pytest.raises(WrongProjection, match=message):
        all_projections(made(), ())
