"""Migrations, on a real database, from as many processes as like to."""

import asyncio
import secrets
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.plumbing.errors import ServiceError
from services.plumbing.postgres.migrations import MigrationTimeout, WrongMigrations, migrate
from tests.plumbing.conftest import Log

SAMPLE = "tests.plumbing.migrations_sample"
EVERYTHING = """
SELECT format('%s.%s %s %s', table_name, column_name, data_type, column_default) AS line
FROM information_schema.columns
WHERE table_schema = 'sample'
UNION ALL
SELECT indexdef
FROM pg_indexes
WHERE schemaname = 'sample'
ORDER BY line
"""

Connection = Any  # asyncpg's own is generic for the type checker only


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an importable package without files; its name is the package's."""
    folder = tmp_path / f"revisions_{secrets.token_hex(4)}"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


async def revision(connection: Connection) -> str | None:
    result: str | None = await connection.fetchval("SELECT version_num FROM sample.schema_revision")
    return result


async def schema(connection: Connection) -> list[str]:
    return [row["line"] for row in await connection.fetch(EVERYTHING)]


async def start_process(database_url: str, package: str = SAMPLE) -> asyncio.subprocess.Process:
    """A process that has imported everything and waits for a line to begin."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.plumbing.migrating",
        database_url,
        package,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def test_brings_an_empty_database_to_the_newest_revision(
    database_url: str, connection: Connection
) -> None:
    assert await migrate(database_url, SAMPLE, schema="sample") == ["0001", "0002"]

    assert await revision(connection) == "0002"
    assert await connection.fetchval("SELECT name FROM sample.knots WHERE id = 1") == ""


async def test_does_nothing_the_second_time(database_url: str) -> None:
    await migrate(database_url, SAMPLE, schema="sample")

    assert await migrate(database_url, SAMPLE, schema="sample") == []


async def test_applies_only_what_is_new(
    database_url: str, connection: Connection, package: Path
) -> None:
    (package / "0001_create_knots.sql").write_text("CREATE TABLE sample.knots (id bigint);")
    await migrate(database_url, package.name, schema="sample")
    (package / "0002_name_knots.sql").write_text("ALTER TABLE sample.knots ADD COLUMN name text;")

    assert await migrate(database_url, package.name, schema="sample") == ["0002"]


async def test_eight_processes_at_once_migrate_an_empty_database_once(
    database_url: str, connection: Connection
) -> None:
    processes = await asyncio.gather(*(start_process(database_url) for _ in range(8)))

    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    assert [process.returncode for process in processes] == [0] * 8
    applied = [output.decode().splitlines()[-1] for output, _ in outputs]
    assert sorted(applied) == sorted(["['0001', '0002']", *["[]"] * 7])
    assert await connection.fetchval("SELECT count(*) FROM sample.knots") == 1


async def test_a_revision_that_fails_leaves_nothing_behind(
    database_url: str, connection: Connection, package: Path
) -> None:
    (package / "0001_create_knots.sql").write_text("CREATE TABLE sample.knots (id bigint);")
    (package / "0002_break.sql").write_text(
        "ALTER TABLE sample.knots ADD COLUMN name text; SELECT 1 / 0;"
    )

    with pytest.raises(asyncpg.DivisionByZeroError) as caught:
        await migrate(database_url, package.name, schema="sample")

    assert caught.value.__notes__ == ["in 0002_break.sql"]

    assert await revision(connection) == "0001"
    assert await schema(connection) == [
        (
            "CREATE UNIQUE INDEX schema_revision_pkc ON sample.schema_revision"
            " USING btree (version_num)"
        ),
        "knots.id bigint ",
        "schema_revision.version_num character varying ",
    ]


async def test_a_process_killed_half_way_leaves_what_the_next_one_finishes(
    database_url: str, connection: Connection
) -> None:
    await connection.execute("CREATE SCHEMA sample")
    # Holds up the second statement of the second revision, which wants the same name.
    blocker = await asyncpg.connect(database_url)
    blocking = blocker.transaction()
    await blocking.start()
    await blocker.execute("CREATE TABLE sample.knots_by_name ()")
    process = await start_process(database_url)
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await _until_waiting(connection)

    process.kill()
    await process.communicate()
    await blocking.rollback()
    await blocker.close()

    await migrate(database_url, SAMPLE, schema="sample")
    finished = await schema(connection)
    await connection.execute("DROP SCHEMA sample CASCADE")
    await migrate(database_url, SAMPLE, schema="sample")
    assert finished == await schema(connection)


async def _until_waiting(connection: Connection) -> None:
    waiting = """
    SELECT count(*)
    FROM pg_stat_activity
    WHERE application_name = 'girih-migrate'
      AND wait_event_type = 'Lock'
      AND datname = current_database()
    """
    for _ in range(1_000):
        if await connection.fetchval(waiting):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the migration never waited")


async def test_a_long_read_holds_up_the_migration_and_nobody_else(
    database_url: str, connection: Connection, package: Path, log: Log
) -> None:
    (package / "0001_create_knots.sql").write_text("CREATE TABLE sample.knots (id bigint);")
    await migrate(database_url, package.name, schema="sample")
    (package / "0002_name_knots.sql").write_text("ALTER TABLE sample.knots ADD COLUMN name text;")
    reading = connection.transaction()
    await reading.start()
    await connection.fetch("SELECT * FROM sample.knots")
    migrating = asyncio.create_task(migrate(database_url, package.name, schema="sample"))
    writer = await asyncpg.connect(database_url)
    while not log.lines("a revision waits for a lock"):
        await asyncio.wait_for(writer.execute("INSERT INTO sample.knots VALUES (1)"), 60)
        await asyncio.sleep(0.05)
    assert not migrating.done()

    await reading.rollback()

    assert await migrating == ["0002"]
    await writer.close()


async def test_waiting_for_another_migration_ends(
    database_url: str, connection: Connection
) -> None:
    key = zlib.crc32(b"migrate sample")
    await connection.execute("SELECT pg_advisory_lock($1)", key)

    with pytest.raises(MigrationTimeout, match=r"within 0\.5 s"):
        await migrate(database_url, SAMPLE, schema="sample", timeout_s=0.5)


async def test_a_database_ahead_of_the_code_is_left_alone(
    database_url: str, connection: Connection, log: Log
) -> None:
    await migrate(database_url, SAMPLE, schema="sample")
    await connection.execute("UPDATE sample.schema_revision SET version_num = '0009'")

    assert await migrate(database_url, SAMPLE, schema="sample") == []

    assert await revision(connection) == "0009"
    (line,) = log.lines("the database is ahead of this code")
    assert (line["database"], line["code"]) == ("0009", "0002")


async def test_a_database_that_alembic_has_migrated_goes_on(
    database_url: str, connection: Connection
) -> None:
    await connection.execute("""
        CREATE SCHEMA sample;
        CREATE TABLE sample.schema_revision (
            version_num varchar(32) NOT NULL,
            CONSTRAINT schema_revision_pkc PRIMARY KEY (version_num)
        );
        INSERT INTO sample.schema_revision VALUES ('0001');
        CREATE TABLE sample.knots (id bigint);
    """)

    assert await migrate(database_url, SAMPLE, schema="sample") == ["0002"]

    assert await revision(connection) == "0002"


@pytest.mark.parametrize("recorded", [["0001", "0002"], ["ae1027a6acf"], ["1"]], ids=repr)
async def test_a_database_that_records_no_revision_of_ours_is_refused(
    database_url: str, connection: Connection, recorded: list[str]
) -> None:
    await migrate(database_url, SAMPLE, schema="sample")
    await connection.execute("DELETE FROM sample.schema_revision")
    await connection.execute(
        "INSERT INTO sample.schema_revision SELECT unnest($1::text[])", recorded
    )

    with pytest.raises(WrongMigrations, match="must hold the number of one revision"):
        await migrate(database_url, SAMPLE, schema="sample")


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["0002_late.sql"],
        ["0001_one.sql", "0001_other.sql"],
        ["0001_one.sql", "0003_three.sql"],
        ["1_short.sql"],
        ["0001-dashes.sql"],
    ],
    ids=repr,
)
async def test_files_that_form_no_line_are_refused_before_the_database_is_asked(
    package: Path, names: list[str]
) -> None:
    for name in names:
        (package / name).write_text("SELECT 1;")

    with pytest.raises(WrongMigrations):
        await migrate("postgresql://nobody@/nothing?host=/nonexistent", package.name, schema="a")


@pytest.mark.parametrize("name", ["", "Sample", "a b", "a;b", 'a"b', "1a", "a" * 64], ids=repr)
async def test_a_schema_has_a_plain_name(name: str) -> None:
    with pytest.raises(WrongMigrations):
        await migrate("postgresql://nobody@/nothing", SAMPLE, schema=name)


async def test_a_database_that_is_away_is_told_by_name(tmp_path: Path) -> None:
    url = f"postgresql://girih@/girih?host={tmp_path}"

    with pytest.raises(ServiceError) as caught:
        await migrate(url, SAMPLE, schema="sample", timeout_s=0.3)

    assert caught.value.reason == "DATABASE_UNAVAILABLE"


async def test_a_role_that_may_not_create_schemas_can_use_one_that_is_there(
    database_url: str, connection: Connection
) -> None:
    await migrate(database_url, SAMPLE, schema="sample")
    await connection.execute("CREATE ROLE knotter LOGIN")
    await connection.execute("GRANT USAGE ON SCHEMA sample TO knotter")
    await connection.execute("GRANT SELECT ON sample.schema_revision TO knotter")
    try:
        knotters = database_url.replace("//girih@", "//knotter@")
        assert await migrate(knotters, SAMPLE, schema="sample") == []
    finally:
        await connection.execute("DROP OWNED BY knotter; DROP ROLE knotter")
