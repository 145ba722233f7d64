"""Moves a database forward to what the code needs: Alembic, with plain SQL files.

A revision is a file NNNN_what_it_does.sql; its number is its name. Each runs in one
transaction with the row that records it, so it has happened or it has not. Any number of
processes may try at once: one works, the others wait. There is no way back.
"""

import asyncio
import re
import time
import types
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files

import asyncpg
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script.base import Script
from alembic.script.revision import RevisionMap
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger
from services.plumbing.postgres.database import translate, wait_for_database
from services.plumbing.settings import EX_CONFIG

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_VERSION_TABLE = "schema_revision"
_LOCK_TIMEOUT = "2s"
_RETRY_DELAY_S = 0.2

_log = get_logger("migrations")


class WrongMigrations(CannotRun):
    """The files do not form one line of revisions."""


class MigrationTimeout(CannotRun):
    """Another process migrates, or calls hold what a revision must lock, for too long."""


class MigrationRefused(CannotRun):
    """The login may not do what a revision does."""

    exit_code = EX_CONFIG


def newest_revision(package: str) -> str:
    """The number of the last revision of `package`."""
    return _scripts(package)[-1].revision


async def migrate(
    database_url: str, package: str, *, schema: str, timeout_s: float = 120.0
) -> list[str]:
    """Apply the revisions of `package` that the database does not have; give their numbers.

    `schema` is made when missing and holds the table of revisions; the files name their
    schema themselves. A database that is ahead of this code is left as it is, for revisions
    keep the previous code working. Raises `DatabaseUnavailable`, `MigrationTimeout` and
    `MigrationRefused`.
    """
    if not _SCHEMA_NAME.fullmatch(schema):
        raise WrongMigrations(f"{schema!r} cannot name a schema")
    scripts = _scripts(package)
    deadline_s = time.monotonic() + timeout_s
    await wait_for_database(database_url, timeout_s)
    engine = _engine(database_url)
    try:
        async with asyncio.timeout(deadline_s - time.monotonic()):
            return await _migrate(engine, scripts, schema)
    except TimeoutError as error:
        raise MigrationTimeout(f"could not migrate {schema} within {timeout_s:g} s") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationRefused(f"the login may not migrate {schema}: {error}") from error
    finally:
        await engine.dispose()


async def _migrate(engine: AsyncEngine, scripts: Sequence[Script], schema: str) -> list[str]:
    with _by_name():
        async with engine.connect() as connection:
            await _lock(connection, schema)
            await _create_schema(connection, schema)
            applied = await _apply(connection, scripts, schema)
    if applied:
        _log.info("migrated", schema=schema, revisions=applied)
    return applied


async def _lock(connection: AsyncConnection, schema: str) -> None:
    """Wait until no other process migrates this schema.

    Without it two processes that start on an empty database would both create the tables,
    and one would die of it. The lock belongs to the connection that migrates: when that
    dies the lock is free, and whoever held it cannot go on without it.
    """
    key = zlib.crc32(f"migrate {schema}".encode())
    while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
        await connection.rollback()
        await asyncio.sleep(_RETRY_DELAY_S)
    await connection.commit()


async def _create_schema(connection: AsyncConnection, schema: str) -> None:
    """Asks first: a role that may not create one is fine when somebody else has."""
    found = await connection.scalar(text("SELECT to_regnamespace(:name)::text"), {"name": schema})
    if found is None:
        await connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    await connection.commit()


async def _apply(connection: AsyncConnection, scripts: Sequence[Script], schema: str) -> list[str]:
    """Run what is pending, again when a lock was not to be had in time.

    A revision that waits for a lock makes every later call on that table wait behind it.
    So it gives up after a moment, lets the calls pass, and comes back.
    """
    applied: list[str] = []
    while True:
        try:
            await connection.run_sync(_run, scripts, schema, applied)
        except (DBAPIError, asyncpg.LockNotAvailableError) as error:
            await connection.rollback()
            if not isinstance(_cause(error), asyncpg.LockNotAvailableError):
                raise
            _log.warning("a revision waits for a lock", schema=schema)
            await asyncio.sleep(_RETRY_DELAY_S)
        else:
            return applied


def _run(
    connection: Connection, scripts: Sequence[Script], schema: str, applied: list[str]
) -> None:
    revisions = RevisionMap(lambda: scripts)

    def pending(heads: Sequence[str], _context: MigrationContext) -> Iterator[MigrationStep]:
        for script in _pending(revisions, heads[0] if heads else None):
            yield MigrationStep.upgrade_from_script(revisions, script)
            applied.append(script.revision)

    context = MigrationContext.configure(
        connection,
        opts={
            "fn": pending,
            "version_table": _VERSION_TABLE,
            "version_table_schema": schema,
            "transaction_per_migration": True,
        },
    )
    context.run_migrations(connection=connection)
    connection.commit()


def _pending(revisions: RevisionMap, current: str | None) -> list[Script]:
    """What comes after `current`, oldest first."""
    newest = revisions.get_current_head() or ""
    if current is not None and current > newest:
        _log.warning("the database is ahead of this code", database=current, code=newest)
        return []
    found = revisions.iterate_revisions(newest, current or "base")
    return [script for script in found if isinstance(script, Script)][::-1]


def _scripts(package: str) -> list[Script]:
    """The files of `package` as Alembic's revisions, oldest first."""
    found = sorted(
        (file for file in files(package).iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    scripts: list[Script] = []
    for number, file in enumerate(found, start=1):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None or int(match[1]) != number:
            raise WrongMigrations(f"{file.name} should be named {number:04}_what_it_does.sql")
        previous = scripts[-1].revision if scripts else None
        sql = file.read_text(encoding="utf-8")
        scripts.append(_script(match[1], previous, file.name, sql))
    if not scripts:
        raise WrongMigrations(f"{package} holds no revisions")
    return scripts


def _script(revision: str, previous: str | None, name: str, sql: str) -> Script:
    module = types.ModuleType(name, doc=name)
    vars(module).update(
        revision=revision,
        down_revision=previous,
        upgrade=lambda connection: _execute(connection, sql),
    )
    return Script(module, revision, name)


def _execute(connection: Connection, sql: str) -> None:
    """Run a file of several statements in the transaction that records its revision.

    The driver takes several statements at once only without parameters, and only past
    SQLAlchemy, which begins its transaction with the first statement that it sees: the
    setting of the lock timeout must stay first.
    """
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    adapted = connection.connection.dbapi_connection
    assert adapted is not None
    adapted.run_async(lambda raw: raw.execute(sql))


def _engine(database_url: str) -> AsyncEngine:
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(
            database_url, timeout=10.0, server_settings={"application_name": "girih-migrate"}
        ),
        poolclass=NullPool,
    )


@contextmanager
def _by_name() -> Iterator[None]:
    """Take SQLAlchemy's wrapping off, so that failures have the names they have elsewhere."""
    with translate():
        try:
            yield
        except DBAPIError as error:
            raise _cause(error) from error


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error
