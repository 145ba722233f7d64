"""The process in production: on which databases it runs, and on which it refuses to."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.events.postgres.isolation import ROLE
from services.plumbing.postgres.migrations import migrate
from services.plumbing.settings import EX_CONFIG
from tests.processes import ending, events_process, own_postgres
from tests.roles import login, url_as

pytestmark = pytest.mark.e2e


def test_refuses_a_database_without_fsync_in_production(database_url: str, tmp_path: Path) -> None:
    process, _ = events_process(
        database_url,
        tmp_path,
        GIRIH_ENVIRONMENT="production",
        GIRIH_TRANSPORT="mesh",
        EVENTS_DRAIN_S="0",
    )
    process.start()
    assert process.child is not None

    try:
        assert process.child.wait(timeout=60) == EX_CONFIG
    except subprocess.TimeoutExpired:
        process.kill()
        raise

    assert "fsync" in process.log.read_text()


def test_serves_in_production_as_a_login_that_may_do_nothing_else(tmp_path: Path) -> None:
    with own_postgres() as (postgres, _):
        asyncio.run(migrate(postgres.url, MIGRATIONS, schema=SCHEMA))
        with login(postgres, ROLE) as name:
            process, _ = events_process(
                url_as(postgres.url, name),
                tmp_path,
                GIRIH_ENVIRONMENT="production",
                GIRIH_TRANSPORT="mesh",
                EVENTS_DRAIN_S="0",
            )
            with ending(process):
                process.start()
                process.wait_ready()

                assert process.stop() == 0
