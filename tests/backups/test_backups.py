"""A server comes back as of any moment that was kept, or not at all; damage is named."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.backups import taking
from cli.backups.recovering import recover
from cli.backups.repository import Repository
from cli.backups.tools import Tools
from cli.failure import Failed
from cli.local.postgres import EmbeddedPostgres

TOOLS = Tools(os.environ)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("server") / "data") as server:
        server.execute("CREATE TABLE kept (n integer, at timestamptz DEFAULT clock_timestamp())")
        yield server


@pytest.fixture(scope="module")
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


def moment_of(server: EmbeddedPostgres, n: int) -> datetime:
    seconds = server.execute(f"SELECT extract(epoch FROM at) FROM kept WHERE n = {n}")
    return datetime.fromtimestamp(float(seconds), UTC)


def rows_of(data: Path) -> str:
    with EmbeddedPostgres(data) as restored:
        return restored.execute("SELECT string_agg(n::text, ',' ORDER BY n) FROM kept")


def test_all_that_was_kept_is_restored(repository: Repository, tmp_path: Path) -> None:
    done = recover(TOOLS, repository, tmp_path / "postgres")

    assert rows_of(done.data) == "1,2,3,4"


def test_a_moment_is_restored_and_nothing_behind_it(
    server: EmbeddedPostgres, repository: Repository, tmp_path: Path
) -> None:
    moment = moment_of(server, 4) - timedelta(microseconds=1)

    done = recover(TOOLS, repository, tmp_path / "postgres", at=moment)

    assert rows_of(done.data) == "1,2,3"


def test_a_moment_that_was_not_kept_is_refused_and_leaves_nothing(
    repository: Repository, tmp_path: Path
) -> None:
    with pytest.raises(Failed, match="no base backup that ended before"):
        recover(TOOLS, repository, tmp_path / "a", at=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(Failed, match="ends before that moment"):
        recover(TOOLS, repository, tmp_path / "b", at=datetime(2100, 1, 1, tzinfo=UTC))

    assert not list(tmp_path.glob("*/")), "neither the one nor the other"


def test_a_changed_byte_of_a_base_backup_is_found_and_its_file_named(
    repository: Repository, tmp_path: Path
) -> None:
    damaged = repository.data(repository.newest()) / "global" / "pg_filenode.map"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])

    try:
        with pytest.raises(Failed, match=r"pg_filenode\.map"):
            recover(TOOLS, repository, tmp_path / "postgres")
    finally:
        damaged.write_bytes(whole)


def test_a_folder_with_data_is_never_restored_into(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="is there already"):
        recover(TOOLS, repository, tmp_path)


def test_pruning_keeps_the_newest_and_the_log_that_it_needs(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "kept")
    first = taking.take_base(TOOLS, server.url, repository)
    second = taking.take_base(TOOLS, server.url, repository)
    for segment in (first.first_segment, second.first_segment):
        (repository.wal / segment).touch()

    removed = taking.prune(TOOLS, repository, keep=1)

    assert [one.name for one in removed] == [first.name]
    assert [one.name for one in repository.backups()] == [second.name]
    assert [path.name for path in repository.wal.iterdir()] == [second.first_segment]
