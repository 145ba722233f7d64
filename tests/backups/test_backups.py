"""A server comes back as of any moment that was kept, or not at all; damage is named."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.backups import taking
from cli.backups.recovering import recover
from cli.backups.repository import BaseBackup, Repository
from cli.failure import Failed
from cli.local.postgres import EmbeddedPostgres
from tests.backups.conftest import TOOLS


def moment_of(server: EmbeddedPostgres, n: int) -> datetime:
    seconds = server.execute(f"SELECT extract(epoch FROM at) FROM kept WHERE n = {n}")
    return datetime.fromtimestamp(float(seconds), UTC)


def rows_of(data: Path) -> str:
    with EmbeddedPostgres(data) as restored:
        return restored.execute("SELECT string_agg(n::text, ',' ORDER BY n) FROM kept")


def test_all_that_was_kept_is_restored(repository: Repository, tmp_path: Path) -> None:
    done = recover(TOOLS, repository, tmp_path / "postgres")

    assert rows_of(done.data) == "1,2,3,4"


def test_all_is_restored_however_long_the_log_takes_to_be_fetched(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, path = tmp_path / "bin" / "cp", os.environ["PATH"]
    slow.parent.mkdir(mode=0o755)
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {shutil.which("cp")} "$@"\n')
    slow.chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{path}")

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


def test_pruning_keeps_the_newest_and_the_log_that_it_needs(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "kept")
    repository.prepare()
    for number in (1, 2):
        repository.new(f"backup-{number}").mkdir(parents=True)
        repository.add(made(number))
        (repository.wal / made(number).first_segment).touch()

    removed = taking.prune(TOOLS, repository, keep=1)

    assert removed == [made(1)]
    assert repository.backups() == [made(2)]
    assert [path.name for path in repository.wal.iterdir()] == [made(2).first_segment]


def made(number: int) -> BaseBackup:
    moment = datetime(2026, 1, number, tzinfo=UTC).isoformat()
    return BaseBackup(
        name=f"backup-{number}",
        began_at=moment,
        ended_at=moment,
        first_segment=f"{number:024X}",
        byte_count=0,
        duration_s=0.0,
        server_version="18.0",
    )
