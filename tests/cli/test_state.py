"""What one run leaves for the next to find."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.local import process, state
from cli.local.state import InUse, Started, State


@pytest.fixture
def left_over() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that nobody looks after."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def remember(data_dir: Path, *children: Started) -> None:
    # The id of no process: the run that wrote this was killed.
    killed = Started("up", 2**22 - 1, "1")
    state.write(data_dir, State(killed, {"EVENTS_ADDRESS": "127.0.0.1:1"}, children))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    own = Started.of("up", os.getpid())
    written = State(own, {"A": "b"}, (Started("events", 7, "8"),))

    state.write(tmp_path, written)

    result = state.read(tmp_path)
    assert result == written
    assert result.is_running()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    remember(tmp_path)

    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": {}}', "null"])
def test_a_state_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)

    assert state.read(tmp_path) is None


def test_what_a_killed_run_left_running_is_ended(
    tmp_path: Path, left_over: "subprocess.Popen[bytes]"
) -> None:
    remember(tmp_path, Started.of("events", left_over.pid))

    ended = state.end_orphans(tmp_path)

    assert ended == ["events"]
    assert not process.is_alive(left_over.pid)
    assert state.read(tmp_path) is None


def test_another_process_with_the_same_id_is_left_alone(
    tmp_path: Path, left_over: "subprocess.Popen[bytes]"
) -> None:
    remember(tmp_path, replace(Started.of("events", left_over.pid), start_time="1"))

    assert state.end_orphans(tmp_path) == []
    assert process.is_alive(left_over.pid)


def test_a_data_directory_is_claimed_once(tmp_path: Path) -> None:
    remember(tmp_path)

    with (
        state.claimed(tmp_path),
        pytest.raises(InUse, match="process 4194303"),
        state.claimed(tmp_path),
    ):
        pass
