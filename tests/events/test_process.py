"""The process refuses to run on a database that would lose what it acknowledged."""

import subprocess
from pathlib import Path

import pytest

from services.plumbing.settings import EX_CONFIG
from tests.processes import events_process

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
