"""`girih backup` as an operator calls it, on the database as a whole."""

import json
import os
import subprocess
from typing import Any

from cli.backups import comparing
from cli.backups.repository import Repository
from cli.local.postgres import DATABASE, EmbeddedPostgres
from tests import forked
from tests.backups.conftest import TOOLS


def girih(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return forked.run(("backup", *arguments, "-o", "json"), environ)


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
    assert told["backup"] in girih("list", str(repository.folder)).stdout


def test_logs_that_differ_in_one_event_are_told_apart(server: EmbeddedPostgres) -> None:
    server.execute(f"CREATE DATABASE other TEMPLATE {DATABASE}")
    retype = "UPDATE events.records SET type = 'u' WHERE position = 2"
    server.execute(f"SET session_replication_role = replica; {retype}", database="other")
    other = server.url.replace(f"/{DATABASE}?", "/other?")

    (same,) = comparing.compare(TOOLS, server.url, server.url)
    (changed,) = comparing.compare(TOOLS, server.url, other)

    assert (same.is_same, changed.is_same) == (True, False)
