"""`girih backup` as an operator calls it, on the database as a whole."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli import exit_codes
from cli.backups.repository import Repository
from cli.local.postgres import EmbeddedPostgres
from tests.processes import ROOT


def girih(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli", "backup", *arguments, "-o", "json"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def document(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_drill_compares_each_log_with_the_running_one_and_leaves_nothing(
    server: EmbeddedPostgres, repository: Repository
) -> None:
    before = sorted(repository.folder.iterdir())

    told = document(girih("drill", str(repository.folder), "--database-url", server.url))

    (log,) = told["logs"]
    assert (log["tenant"], log["head"], log["isSame"]) == ("acme", 3, True)
    assert sorted(repository.folder.iterdir()) == before


def test_a_drill_ends_with_65_when_a_log_is_another_one(
    server: EmbeddedPostgres, repository: Repository
) -> None:
    retype = "SET session_replication_role = replica; UPDATE events.records SET type = '{}'"
    server.execute(retype.format("u"))

    done = girih("drill", str(repository.folder), "--database-url", server.url)

    server.execute(retype.format("t"))
    assert done.returncode == exit_codes.DATAERR
    assert "acme" in done.stderr


def test_a_restored_database_says_where_it_is_and_from_what(
    repository: Repository, tmp_path: Path
) -> None:
    into = tmp_path / "data"

    told = document(girih("restore", str(repository.folder), "--into", str(into)))

    assert told["data"] == str(into / "postgres")
    assert told["backup"] == repository.newest().name
    assert [one["name"] for one in document(girih("list", str(repository.folder)))] == [
        told["backup"]
    ]
