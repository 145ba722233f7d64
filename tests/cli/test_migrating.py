"""`girih migrate` as logins that may do much and little."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import exit_codes
from cli.local.postgres import EmbeddedPostgres
from tests import forked
from tests.roles import login, url_as


def migrate(data_dir: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    return forked.run(("migrate", "--data", str(data_dir)), {**os.environ, **environ})


@pytest.fixture
def app_url(postgres: EmbeddedPostgres, database_url: str) -> Iterator[str]:
    """The database as a login that may only connect."""
    with login(postgres) as name:
        yield url_as(database_url, name)


def test_migrates_as_the_login_that_is_meant_for_it(
    tmp_path: Path, app_url: str, database_url: str
) -> None:
    done = migrate(tmp_path, DATABASE_URL=app_url, EVENTS_MIGRATION_DATABASE_URL=database_url)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("applied 0001, 0002, 0003")


def test_a_login_that_may_not_migrate_is_told_so(tmp_path: Path, app_url: str) -> None:
    done = migrate(tmp_path, DATABASE_URL=app_url)

    assert done.returncode == exit_codes.NOPERM
    assert "the login may not migrate events: permission denied for database" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_there_is_no_database_it_makes_none(tmp_path: Path) -> None:
    nowhere = tmp_path / "nonexistent"

    done = migrate(nowhere, DATABASE_URL="")

    assert done.returncode == exit_codes.NOINPUT
    assert f"there is no database in {nowhere}: `girih up` makes one there" in done.stderr
    assert not nowhere.exists()
