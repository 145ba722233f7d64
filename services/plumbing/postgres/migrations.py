"""Moves a database forward to what the code needs, by plain SQL files.

A revision is a file NNNN_what_it_does.sql; its number is its name. The first 16 lie side by side,
those behind them in folders named after the numbers in them. Each runs in one transaction with the
row that records it, so it has happened or it has not. Any number of
processes may try at once: one works, the others wait. There is no way back.
"""

import asyncio
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger
from services.plumbing.postgres.database import wait_for_database
from services.plumbing.postgres.failures import refusals_translated, translate
from services.plumbing.postgres.opening import GirihConnection, RawConnection
from services.plumbing.settings import EX_CONFIG

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_REVISION = re.compile(r"\d{4}")
_SHELF = re.compile(r"\d{4}_\d{4}")
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0
_LOCK_TIMEOUT = "2s"
_RETRY_DELAY_S = 0.2

_log = get_logger("migrations")


class WrongMigrations(CannotRun):
    """The files do not form one line of revisions, or the database records none of that line."""


class MigrationTimeout(CannotRun):
    """Another process migrates, or calls hold what a revision must lock, for too long."""


class MigrationRefused(CannotRun):
    """The login may not do what a revision does, or a revision will not touch what is stored."""

    exit_code = EX_CONFIG


@dataclass(frozen=True, slots=True)
class _Revision:
    number: str
    file_name: str
    sql: str


def newest_revision(package: str) -> str:
    """The number of the last revision of `package`."""
    return _revisions(package)[-1].number


async def applied_revision(connection: RawConnection, schema: str) -> str:
    """The number of the last revision that was applied to a schema, empty before the first.

    Needs no right on what is in it but to read its table of revisions.
    """
    if not _SCHEMA_NAME.fullmatch(schema):
        raise WrongMigrations(f"{schema!r} cannot name a schema")
    table = f"{schema}.schema_revision"
    if await connection.fetchval("SELECT to_regclass($1)::text", table) is None:
        return ""
    return await _current(connection, schema)


async def migrate(
    database_url: str, package: str, *, schema: str, timeout_s: float = 120.0
) -> list[str]:
    """Apply the revisions of `package` that the database does not have; give their numbers.

    `schema` is made when missing and holds the table of revisions; the files name their
    schema themselves. A database that is ahead of this code is left as it is, for revisions
    keep the previous code working. Raises `DatabaseUnavailable`, `MigrationTimeout`,
    `MigrationRefused` and `WrongMigrations`; what a file's SQL does wrong comes out as it is.
    """
    if not _SCHEMA_NAME.fullmatch(schema):
        raise WrongMigrations(f"{schema!r} cannot name a schema")
    revisions = _revisions(package)
    deadline_s = time.monotonic() + timeout_s
    await wait_for_database(database_url, timeout_s)
    try:
        async with asyncio.timeout(deadline_s - time.monotonic()):
            return await _migrate(database_url, revisions, schema)
    except TimeoutError as error:
        raise MigrationTimeout(f"could not migrate {schema} within {timeout_s:g} s") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationRefused(f"the login may not migrate {schema}: {error}") from error
    except asyncpg.ObjectNotInPrerequisiteStateError as error:
        raise MigrationRefused(f"{schema} cannot be migrated: {error}") from error


async def _migrate(database_url: str, revisions: Sequence[_Revision], schema: str) -> list[str]:
    with refusals_translated():
        connection = await asyncpg.connect(
            database_url,
            timeout=_CONNECT_TIMEOUT_S,
            target_session_attrs=SessionAttribute.primary,
            server_settings={"application_name": "girih-migrate"},
            connection_class=GirihConnection,
        )
    try:
        with translate():
            await _lock(connection, schema)
            await _create_table(connection, schema)
            applied = await _apply(connection, revisions, schema)
    finally:
        await connection.close(timeout=_CLOSE_TIMEOUT_S)
    if applied:
        _log.info("migrated", schema=schema, revisions=applied)
    return applied


async def _lock(connection: RawConnection, schema: str) -> None:
    """Wait until no other process migrates this schema.

    Without it two processes that start on an empty database would both create the tables,
    and one would die of it. The lock belongs to the connection that migrates: when that
    dies the lock is free, and whoever held it cannot go on without it.
    """
    key = zlib.crc32(f"migrate {schema}".encode())
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            return
        await asyncio.sleep(_RETRY_DELAY_S)


async def _create_table(connection: RawConnection, schema: str) -> None:
    """Asks first: a role that may create neither is fine when somebody else has."""
    if await connection.fetchval("SELECT to_regnamespace($1)::text", schema) is None:
        await connection.execute(f"CREATE SCHEMA {schema}")
    if (
        await connection.fetchval("SELECT to_regclass($1)::text", f"{schema}.schema_revision")
        is None
    ):
        await connection.execute(
            f"CREATE TABLE {schema}.schema_revision ("
            "version_num varchar(32) CONSTRAINT schema_revision_pkc PRIMARY KEY)"
        )


async def _apply(
    connection: RawConnection, revisions: Sequence[_Revision], schema: str
) -> list[str]:
    """Run what is pending, again when a lock was not to be had in time.

    A revision that waits for a lock makes every later call on that table wait behind it.
    So it gives up after a moment, lets the calls pass, and comes back.
    """
    current = await _current(connection, schema)
    if current > revisions[-1].number:
        newest = revisions[-1].number
        _log.warning("the database is ahead of this code", database=current, code=newest)
    pending = [revision for revision in revisions if revision.number > current]
    for revision in pending:
        while True:
            try:
                await _run(connection, revision, schema)
                break
            except asyncpg.LockNotAvailableError:
                _log.warning("a revision waits for a lock", schema=schema)
                await asyncio.sleep(_RETRY_DELAY_S)
    return [revision.number for revision in pending]


async def _current(connection: RawConnection, schema: str) -> str:
    """The number of the last revision that was applied, empty before the first."""
    rows = await connection.fetch(
        f"SELECT version_num FROM {schema}.schema_revision"  # noqa: S608 - a checked name
    )
    recorded = [row["version_num"] for row in rows]
    if len(recorded) > 1 or not all(_REVISION.fullmatch(number) for number in recorded):
        raise WrongMigrations(
            f"{schema}.schema_revision must hold the number of one revision, not {recorded}"
        )
    return recorded[0] if recorded else ""


async def _run(connection: RawConnection, revision: _Revision, schema: str) -> None:
    """Run a file of several statements in the transaction that records its revision."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        try:
            await connection.execute(revision.sql)
        except asyncpg.PostgresError as error:
            error.add_note(f"in {revision.file_name}")
            raise
        await connection.execute(f"DELETE FROM {schema}.schema_revision")  # noqa: S608
        await connection.execute(
            f"INSERT INTO {schema}.schema_revision (version_num) VALUES ($1)",  # noqa: S608
            revision.number,
        )


def _files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if _SHELF.fullmatch(entry.name):
            yield from _files(entry)
        elif entry.name.endswith(".sql"):
            yield entry


def _revisions(package: str) -> list[_Revision]:
    """The files of `package`, oldest first."""
    entries = sorted(_files(files(package)), key=lambda file: file.name)
    revisions: list[_Revision] = []
    for number, file in enumerate(entries, start=1):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None or int(match[1]) != number:
            raise WrongMigrations(f"{file.name} must be named {number:04}_what_it_does.sql")
        revisions.append(_Revision(match[1], file.name, file.read_text(encoding="utf-8")))
    if not revisions:
        raise WrongMigrations(f"{package} holds no revisions")
    return revisions
