"""The pool and the names of what goes wrong with it, on a real server."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from cli.local.postgres import DURABLE, EmbeddedPostgres
from services.plumbing.errors import DatabaseUnavailable
from services.plumbing.metrics import new_registry
from services.plumbing.postgres.database import (
    Pool,
    acquire,
    connect,
    lost_guarantees,
    open_pool,
    wait_for_database,
)
from services.plumbing.postgres.failures import DatabaseBusy, translate
from services.plumbing.postgres.observing import DatabaseMetrics, StatementObserver
from services.plumbing.postgres.opening import Opener, RawConnection
from services.plumbing.postgres.sql import load
from services.plumbing.settings import PoolSettings
from services.plumbing.tasks import OwnedTasks
from services.plumbing.telemetry import lines
from tests.plumbing.conftest import Log, until
from tests.processes import with_data

WITHIN_S = 30.0
"""What a connection that is there is lent within, however slow the machine is."""


def settings(database_url: str, **changes: float) -> PoolSettings:
    return PoolSettings.model_validate(
        {
            "environment": "development",
            "database_url": SecretStr(database_url),
            "pool_size_max": 2,
            "pool_acquire_timeout_s": 0.05,
            "database_start_timeout_s": 5,
            **changes,
        }
    )


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(settings(database_url), "girih-tests") as pool:
        yield pool


async def test_a_connection_is_lent_and_taken_back(pool: Pool) -> None:
    for _ in range(10):
        async with acquire(pool, WITHIN_S) as connection:
            assert await connection.fetchval("SELECT 42") == 42

    assert pool.get_idle_size() == pool.get_size()


async def test_a_call_that_finds_all_connections_in_use_is_told_to_come_back(pool: Pool) -> None:
    async with acquire(pool, WITHIN_S), acquire(pool, WITHIN_S):
        with pytest.raises(DatabaseBusy) as caught:
            async with acquire(pool, 0.05):
                pass

    assert caught.value.retry_after_s
    async with acquire(pool, WITHIN_S):
        pass


async def test_a_task_ends_also_when_its_connection_is_closed_as_it_is_cancelled(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.plumbing.tasks._CLOSING_S", 0.01)
    is_closed, errors, tasks = asyncio.Event(), list[DatabaseUnavailable](), OwnedTasks()

    async def again_and_again() -> None:
        while True:
            try:
                async with acquire(pool, WITHIN_S) as connection, connection.transaction():
                    if not errors:
                        connection.terminate()
                        is_closed.set()
                    await asyncio.Event().wait()
            except DatabaseUnavailable as error:
                errors.append(error)

    tasks.start("again and again", again_and_again())
    await is_closed.wait()

    await asyncio.wait_for(tasks.stop(), 60)

    assert len(errors) == 1


async def test_a_cancelled_caller_gives_its_connection_back(pool: Pool) -> None:
    async def query_for_ever() -> None:
        async with acquire(pool, WITHIN_S) as connection:
            await connection.execute("SELECT pg_sleep(60)")

    queries = [asyncio.create_task(query_for_ever()) for _ in range(2)]
    await until(lambda: pool.get_size() == 2 and pool.get_idle_size() == 0)
    for query in queries:
        query.cancel()
    await asyncio.gather(*queries, return_exceptions=True)

    async with acquire(pool, WITHIN_S) as first, acquire(pool, WITHIN_S) as second:
        assert await first.fetchval("SELECT 1") == await second.fetchval("SELECT 1") == 1


async def test_who_leaves_while_a_connection_opens_leaves_it_to_the_next(
    database_url: str,
) -> None:
    begun = 0
    all_have_left = asyncio.Event()

    async def connect(*args: Any, **options: Any) -> RawConnection:
        nonlocal begun
        begun += 1
        await all_have_left.wait()
        return await asyncpg.connect(*args, **options)

    opener = Opener(connect=connect)
    for _ in range(20):
        leaving = asyncio.create_task(opener(database_url))
        await until(lambda: begun > 0)
        leaving.cancel()
        await asyncio.wait([leaving])
    all_have_left.set()

    connection = await opener(database_url)

    assert begun == 1
    assert await connection.fetchval("SELECT 42") == 42
    connection.terminate()
    await opener.close()


async def test_what_nobody_took_is_closed_with_the_pool(database_url: str) -> None:
    opened: list[RawConnection] = []

    async def note(connection: RawConnection) -> None:
        opened.append(connection)

    opener = Opener(note)
    leaving = asyncio.create_task(opener(database_url))
    await asyncio.sleep(0)
    leaving.cancel()
    await until(lambda: bool(opened))

    await opener.close()

    assert opened[0].is_closed()


async def test_connections_that_cannot_be_opened_are_no_busy_pool(database_url: str) -> None:
    is_first_open = asyncio.Event()

    async def only_one(_connection: RawConnection) -> None:
        if is_first_open.is_set():
            await asyncio.Event().wait()
        is_first_open.set()

    async with open_pool(settings(database_url), "girih-tests", opened=only_one) as pool:
        async with acquire(pool, WITHIN_S):
            with pytest.raises(DatabaseUnavailable):
                async with acquire(pool, 0.05):
                    pass

        await _ask(pool)


async def test_a_caller_who_leaves_a_frozen_database_leaves_no_error_behind(
    tmp_path: Path,
) -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, problem: unseen.append(problem))
    with EmbeddedPostgres(with_data(tmp_path / "data")) as server:
        hasty = settings(server.url, command_timeout_s=0.2, pool_size_max=1)
        async with open_pool(hasty, "girih-tests") as pool:
            frozen: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            cut_off = asyncio.Event()
            leaving = asyncio.create_task(_ask_frozen(pool, frozen, cut_off))
            pid = await frozen
            try:
                for _ in range(3):
                    leaving.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([leaving])
                # It is cut off when it has not come free in time.
                async with asyncio.timeout(60):
                    await cut_off.wait()
            finally:
                os.kill(pid, signal.SIGCONT)
            await _ask(pool)
    gc.collect()

    assert unseen == []


async def _ask_frozen(pool: Pool, frozen: asyncio.Future[int], cut_off: asyncio.Event) -> None:
    """Asks a process of the database that does not answer any more, and tells which it is."""
    async with acquire(pool, WITHIN_S) as connection:
        connection.add_termination_listener(lambda _connection: cut_off.set())
        pid = connection.get_server_pid()
        os.kill(pid, signal.SIGSTOP)
        frozen.set_result(pid)
        await connection.execute("SELECT pg_sleep(60)")


async def test_a_transaction_left_open_is_rolled_back_before_the_next_borrower(
    database_url: str,
) -> None:
    async with open_pool(settings(database_url, pool_size_max=1), "girih-tests") as pool:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await _leave_a_transaction_open(pool)

        async with acquire(pool, WITHIN_S) as connection:
            assert await connection.fetchval("SHOW application_name") == "girih-tests"
            assert not connection.is_in_transaction()


async def _leave_a_transaction_open(pool: Pool) -> None:
    async with acquire(pool, WITHIN_S) as connection:
        await connection.execute("BEGIN")
        await connection.execute("SET LOCAL application_name = 'leaked'")
        await connection.execute("SELECT 1 / 0")


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(60)",
        "DO $$ BEGIN RAISE lock_not_available; END $$",
        "DO $$ BEGIN RAISE deadlock_detected; END $$",
        "DO $$ BEGIN RAISE serialization_failure; END $$",
        "DO $$ BEGIN RAISE too_many_connections; END $$",
    ],
)
async def test_a_database_that_is_too_slow_is_busy(pool: Pool, statement: str) -> None:
    with pytest.raises(DatabaseBusy):
        async with acquire(pool, WITHIN_S) as connection:
            await connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "DO $$ BEGIN RAISE cannot_connect_now; END $$",
        "DO $$ BEGIN RAISE disk_full; END $$",
        "DO $$ BEGIN RAISE io_error; END $$",
        "BEGIN READ ONLY; CREATE TABLE knots ()",
    ],
)
async def test_a_database_that_cannot_work_is_unavailable(pool: Pool, statement: str) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        async with acquire(pool, WITHIN_S) as connection:
            await connection.execute(statement)

    assert "SELECT" not in str(caught.value)
    async with acquire(pool, WITHIN_S) as connection:
        assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT 1 / 0", asyncpg.DivisionByZeroError),
        ("SELEC", asyncpg.PostgresSyntaxError),
        ("DO $$ BEGIN RAISE unique_violation; END $$", asyncpg.UniqueViolationError),
    ],
)
async def test_what_a_statement_does_wrong_is_left_to_the_store(
    pool: Pool, statement: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with acquire(pool, WITHIN_S) as connection:
            await connection.execute(statement)


async def test_using_one_connection_for_two_things_is_a_bug_and_stays_one(pool: Pool) -> None:
    with pytest.raises(asyncpg.InterfaceError, match="another operation"):
        async with acquire(pool, WITHIN_S) as connection:
            await asyncio.gather(*(connection.execute("SELECT 1") for _ in range(2)))


async def test_an_answer_that_does_not_come_counts_as_unreachable(database_url: str) -> None:
    impatient = settings(database_url, command_timeout_s=0.05)

    async with open_pool(impatient, "girih-tests") as pool:
        with pytest.raises(DatabaseUnavailable):
            async with acquire(pool, WITHIN_S) as connection:
                await connection.execute("SELECT pg_sleep(60)")


async def test_the_database_itself_keeps_the_bounds(database_url: str) -> None:
    bounds = settings(
        database_url, statement_timeout_s=7, lock_timeout_s=3, idle_transaction_timeout_s=4
    )

    async with open_pool(bounds, "girih-tests") as pool, acquire(pool, WITHIN_S) as connection:
        kept = {
            name: await connection.fetchval("SELECT current_setting($1)", name)
            for name in (
                "application_name",
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
            )
        }

    assert list(kept.values()) == ["girih-tests", "7s", "3s", "4s"]


async def test_the_database_asks_whether_a_silent_client_is_still_there(pool: Pool) -> None:
    # What it was told; what is in force on a Unix socket is always 0.
    answer = await pool.fetch(
        "SELECT reset_val FROM pg_settings WHERE name LIKE 'tcp_keepalives_%' ORDER BY name"
    )

    assert [row["reset_val"] for row in answer] == ["3", "5", "2"]


async def test_waiting_for_a_database_ends(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"within 0\.3 s"):
        await wait_for_database(f"postgresql://girih@/girih?host={tmp_path}", 0.3)


async def test_a_pool_survives_its_server_and_comes_back(tmp_path: Path) -> None:
    server = EmbeddedPostgres(with_data(tmp_path / "data"))
    with server:
        pool_settings = settings(server.url)
        async with open_pool(pool_settings, "girih-tests") as pool:
            await _ask(pool)
            server.stop()
            with pytest.raises(DatabaseUnavailable):
                await asyncio.wait_for(_ask(pool), 60)

            server.start()
            await wait_for_database(server.url, 60)

            await _ask(pool)


async def _ask(pool: Pool) -> None:
    async with acquire(pool, WITHIN_S) as connection:
        await connection.fetchval("SELECT 1")


async def test_every_setting_that_forgets_is_told(pool: Pool) -> None:
    assert await lost_guarantees(pool) == ["fsync", "full_page_writes", "synchronous_commit"]


async def test_one_role_that_forgets_is_enough(tmp_path: Path) -> None:
    with EmbeddedPostgres(with_data(tmp_path / "data"), options=DURABLE) as server:
        async with connect(settings(server.url), "girih-tests") as connection:
            assert await lost_guarantees(connection) == []
        server.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")

        async with connect(settings(server.url), "girih-tests") as connection:
            assert await lost_guarantees(connection) == ["synchronous_commit"]


async def test_connections_of_a_pool_work_as_the_role_that_is_named(database_url: str) -> None:
    async with open_pool(settings(database_url), "girih-tests", role="pg_monitor") as pool:
        for _ in range(2):
            async with acquire(pool, WITHIN_S) as connection:
                assert await connection.fetchval("SELECT current_user::text") == "pg_monitor"


async def test_a_single_connection_is_closed_behind_its_block(database_url: str) -> None:
    async with connect(settings(database_url), "girih-tests") as connection:
        assert await connection.fetchval("SHOW application_name") == "girih-tests"

    assert connection.is_closed()


async def test_passwords_stay_out_of_the_log(log: Log, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        await wait_for_database(f"postgresql://girih:canary@/girih?host={tmp_path}", 0.2)

    assert log.lines("waiting for the database")
    assert "canary" not in log.text()


def test_a_missing_socket_is_an_unavailable_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable), translate():
        (tmp_path / "missing").stat()  # any OSError will do


@pytest.mark.parametrize("sql_state", ["58030", "53100", "53200", "XX000", "XX001", "XX002"])
def test_a_database_that_fails_by_itself_is_unavailable(sql_state: str) -> None:
    failure = asyncpg.PostgresError.new({"C": sql_state, "M": "could not read block 7"})

    with pytest.raises(DatabaseUnavailable), translate():
        raise failure


async def test_statements_are_counted_by_the_names_of_their_files(database_url: str) -> None:
    registry = new_registry()
    observer = StatementObserver(DatabaseMetrics(registry))
    named = load("services.plumbing.postgres.statements", "select_server_state")

    async with (
        open_pool(settings(database_url), "girih-tests", observe=observer) as pool,
        acquire(pool, WITHIN_S) as connection,
    ):
        async with connection.transaction():
            await connection.fetchrow(named)
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("SELECT 1 / 0")
        await asyncio.sleep(0)

    def value(sample: str, statement: str) -> float | None:
        name = f"database_statement{sample}"
        return registry.get_sample_value(name, {"statement": statement})

    assert value("_seconds_count", "select_server_state") == 1
    assert value("_seconds_count", "transaction") == 2
    assert value("s_failed_total", "other") == 1


async def test_a_slow_statement_is_told_by_its_name_and_nothing_of_its_values(
    database_url: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "SLOW_S", 0.0)

    async with (
        open_pool(settings(database_url), "girih-tests", observe=StatementObserver(None)) as pool,
        acquire(pool, WITHIN_S) as connection,
    ):
        await connection.fetchval("SELECT $1::text", "a secret")
        await asyncio.sleep(0)

    (line,) = log.lines("a statement was slow")
    assert (line["component"], line["level"]) == ("database", "warning")
    assert line["statement"] == "other"
    assert line["duration_ms"] > 0
    assert "secret" not in log.text()


def test_a_statement_that_is_not_there_is_no_fault_of_the_database() -> None:
    with pytest.raises(RuntimeError), translate():
        load("services.plumbing.postgres.statements", "select_nothing_at_all")
