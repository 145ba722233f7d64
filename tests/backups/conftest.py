"""A server that is backed up, and what was kept of it."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.backups import taking
from cli.backups.repository import Repository
from cli.backups.tools import Tools
from cli.local.postgres import EmbeddedPostgres
from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.plumbing.postgres.migrations import migrate

TOOLS = Tools(os.environ)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("server") / "data") as server:
        asyncio.run(migrate(server.url, MIGRATIONS, schema=SCHEMA))
        server.execute(A_LOG)
        server.execute("CREATE TABLE kept (n integer, at timestamptz DEFAULT clock_timestamp())")
        yield server


@pytest.fixture(scope="package")
def repository(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """With a base backup of one row, and the log of the rows behind it, 2 to 4."""
    repository = Repository(tmp_path_factory.mktemp("kept"))
    with archiving(server, repository):
        server.execute("INSERT INTO kept VALUES (1)")
        taking.take_base(TOOLS, server.url, repository)
        for n in (2, 3, 4):
            server.execute(f"INSERT INTO kept VALUES ({n})")
        until_kept(server)
    return repository


@contextmanager
def archiving(server: EmbeddedPostgres, repository: Repository) -> Iterator[None]:
    is_over = threading.Event()
    thread = threading.Thread(
        target=taking.archive,
        args=(TOOLS, server.url, repository),
        kwargs={"is_over": is_over.is_set, "on_trouble": print},
    )
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def until_kept(server: EmbeddedPostgres) -> None:
    """Return once all that was committed is in the archive."""
    slot = f"slot_name = '{taking.SLOT}' AND restart_lsn >= '{server.execute(LSN)}'"
    deadline_s = time.monotonic() + 60
    while server.execute(f"SELECT count(*) FROM pg_replication_slots WHERE {slot}") != "1":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


LSN = "SELECT pg_current_wal_flush_lsn()"


A_LOG = """
WITH log AS (INSERT INTO events.logs (tenant) VALUES ('acme') RETURNING log)
INSERT INTO events.records (
    log, position, stream, revision, recorded_at, event_id, type, correlation_id, digest, header,
    payload
)
SELECT log, n, 1, n - 1, now(), gen_random_uuid(), 't', 'c', sha256('d'), '', ''
FROM log CROSS JOIN generate_series(1, 3) AS n
"""
