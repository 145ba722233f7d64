"""`girih backup` as an operator calls it, on the database as a whole."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.backups import comparing
from cli.backups.repository import Repository
from cli.local.postgres import DATABASE, EmbeddedPostgres
from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.plumbing.postgres.migrations import migrate
from tests import forked
from tests.backups.conftest import A_LOG, TOOLS


def girih(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    environ = {
        name: value for name, value in os.environ.items() if name != "DATABASE_URL"
    } | environment
    return forked.run(("backup", *arguments, "-o", "json"), environ)


def document(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_drill_compares_each_log_with_the_running_one_and_leaves_nothing(
    server: EmbeddedPostgres, repository: Repository
) -> None:
    before = sorted(repository.folder.iterdir())

    report = document(girih("drill", str(repository.folder), "--database-url", server.url))

    (log,) = report["logs"]
    assert (log["tenant"], log["head"], log["isSame"]) == ("acme", 3, True)
    assert sorted(repository.folder.iterdir()) == before
    assert report["backup"] in girih("list", str(repository.folder)).stdout


def test_logs_that_differ_in_one_event_are_told_apart(server: EmbeddedPostgres) -> None:
    server.execute(f"CREATE DATABASE other TEMPLATE {DATABASE}")
    retype = "UPDATE events.records SET type = 'u' WHERE position = 2"
    server.execute(f"SET session_replication_role = replica; {retype}", database="other")
    other = server.url.replace(f"/{DATABASE}?", "/other?")

    (same,) = comparing.compare(TOOLS, [server.url], [server.url])
    (changed,) = comparing.compare(TOOLS, [server.url], [other])

    assert (same.is_same, changed.is_same) == (True, False)


@pytest.fixture(scope="module")
def west(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Another server, where a log of its own is."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("west") / "data") as west:
        asyncio.run(migrate(west.url, MIGRATIONS, schema=SCHEMA))
        west.execute(A_LOG.replace("acme", "bee"))
        yield west


def test_servers_of_all_places_are_kept_compared_and_restored(
    server: EmbeddedPostgres, west: EmbeddedPostgres, tmp_path: Path
) -> None:
    server.execute("INSERT INTO events.logs (tenant, moved_to, move) VALUES ('bee', 'west', 1)")
    folder, into = tmp_path / "kept", tmp_path / "data"
    # The first is on the server of `default`, and need not be copied once more.
    places = f"east={server.url_of('template1')} west={west.url}"
    environment = {"GIRIH_BACKUP_PLACES": places}

    taken = document(girih("base", str(folder), "--database-url", server.url, **environment))
    west.execute(A_LOG.replace("acme", "later"))
    restored = document(girih("restore", str(folder), "--into", str(into)))
    # Compared is what events are in: that database has none.
    environment = {"GIRIH_BACKUP_PLACES": f"west={west.url}"}
    drilled = document(girih("drill", str(folder), "--database-url", server.url, **environment))

    assert list(taken["places"]) == ["west"]
    assert restored["data"] == str(into / "postgres")
    assert restored["places"]["west"]["data"] == str(into / "places" / "west" / "postgres")
    assert {log["tenant"]: log["isSame"] for log in drilled["logs"]} == {"acme": True, "bee": True}
    assert len(drilled["backups"]) == 2


def test_a_log_that_moved_since_it_was_kept_is_compared_where_it_is_now(
    server: EmbeddedPostgres, west: EmbeddedPostgres
) -> None:
    moved = "UPDATE events.logs SET moved_to = 'west', move = 1 WHERE tenant = 'acme'"
    server.execute("CREATE DATABASE left_behind TEMPLATE postgres")
    server.execute(f"SET session_replication_role = replica; {moved}", database="left_behind")
    left = server.url_of("left_behind")

    compared = comparing.compare(TOOLS, [server.url], [left, server.url])

    assert [(log.tenant, log.is_same, log.behind_count) for log in compared] == [("acme", True, 0)]
