"""A lease has one holder at a time, and who has lost it writes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from services.plumbing.postgres.leases import Lease, LeaseLost, Leases

PACKAGE = "tests.plumbing.leases_sample"
LONG_S = 60.0
CREATE = """
CREATE TABLE leases (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    token      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE TABLE written (what text NOT NULL);
"""


class Pool:
    """Lends connections of a pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        async with self.pool.acquire() as connection:
            yield connection


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(database_url, min_size=0, max_size=8) as pool:
        await pool.execute(CREATE)
        yield Pool(pool)


def leases(pool: Pool, holder: str, duration_s: float = LONG_S) -> Leases:
    return Leases(pool, PACKAGE, holder, duration_s)


async def ran_out(pool: Pool) -> None:
    """All leases have run out, as after a long pause."""
    await pool.pool.execute("UPDATE leases SET expires_at = '-infinity'")


async def write(pool: Pool, holder: Leases, lease: Lease, what: str) -> None:
    async with pool.connection() as connection, connection.transaction():
        await holder.confirm(connection, lease)
        await connection.execute("INSERT INTO written VALUES ($1)", what)


async def test_one_of_many_who_ask_at_once_gets_it(pool: Pool) -> None:
    taken = await asyncio.gather(*(leases(pool, f"h{n}").take("a") for n in range(16)))

    assert len([lease for lease in taken if lease is not None]) == 1


async def test_a_lease_that_ran_out_goes_to_another_with_a_larger_token(pool: Pool) -> None:
    first = await leases(pool, "one").take("a")
    await ran_out(pool)
    second = await leases(pool, "two").take("a")

    assert first is not None
    assert second is not None
    assert second.token > first.token


async def test_who_was_paused_past_its_lease_writes_nothing(pool: Pool) -> None:
    one, two = leases(pool, "one"), leases(pool, "two")
    first = await one.take("a")
    await ran_out(pool)
    second = await two.take("a")
    assert first is not None
    assert second is not None

    await write(pool, two, second, "second")
    with pytest.raises(LeaseLost):
        await write(pool, one, first, "first")

    rows = await pool.pool.fetch("SELECT what FROM written")
    assert [row["what"] for row in rows] == ["second"]


async def test_a_lease_that_ran_out_is_no_use_even_when_nobody_took_it(pool: Pool) -> None:
    one = leases(pool, "one")
    lease = await one.take("a")
    assert lease is not None
    await ran_out(pool)

    with pytest.raises(LeaseLost):
        await write(pool, one, lease, "first")
    with pytest.raises(LeaseLost):
        await one.renew(lease)


async def test_nobody_takes_it_between_the_look_and_the_commit(pool: Pool) -> None:
    one, two = leases(pool, "one", 0.05), leases(pool, "two")
    lease = await one.take("a")
    assert lease is not None
    async with pool.connection() as connection, connection.transaction():
        await one.confirm(connection, lease)
        taking = asyncio.create_task(two.take("a"))
        await asyncio.wait([taking], timeout=0.2)
        is_taken = taking.done() and taking.result() is not None

    assert not is_taken
    await taking


async def test_a_released_lease_is_free_at_once(pool: Pool) -> None:
    one, two = leases(pool, "one"), leases(pool, "two")
    first = await one.take("a")
    assert first is not None

    await one.release(first)

    assert await two.take("a") is not None
    with pytest.raises(LeaseLost):
        await one.renew(first)


async def test_a_late_release_takes_it_from_nobody(pool: Pool) -> None:
    one, two = leases(pool, "one"), leases(pool, "two")
    first = await one.take("a")
    await ran_out(pool)
    second = await two.take("a")
    assert first is not None
    assert second is not None

    await one.release(first)

    await two.renew(second)


async def test_a_held_lease_outlives_its_duration(pool: Pool) -> None:
    one = leases(pool, "one", 2.0)
    async with one.held("a") as held:
        assert held is not None
        first = held.lease
        while held.lease is first:  # noqa: ASYNC110 - renewed by a task of its own
            await asyncio.sleep(0.02)
        held.check()

        assert held.lease.token == first.token
        assert held.lease.valid_until_s > first.valid_until_s


async def test_a_holder_learns_that_another_has_it(pool: Pool) -> None:
    async with leases(pool, "one", 0.3).held("a") as held:
        assert held is not None
        await ran_out(pool)
        async with asyncio.timeout(30):
            await held.lost.wait()

        with pytest.raises(LeaseLost):
            held.check()


async def test_who_does_not_get_it_is_told_so(pool: Pool) -> None:
    async with leases(pool, "one").held("a"), leases(pool, "two").held("a") as held:
        assert held is None


def test_a_lease_is_not_believed_in_beyond_its_time() -> None:
    assert not Lease("a", 1, 0.0).is_valid
