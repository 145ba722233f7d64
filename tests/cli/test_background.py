"""What a run that was killed left behind, where nothing ended it with its parent."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from rich.console import Console

from cli import exit_codes
from cli.commands import running
from cli.failure import Failed
from cli.local import background, process, state
from cli.local.state import Started, State
from cli.local.up import Plan
from cli.terminal.formats import Format


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


def test_what_is_left_over_is_told_and_ended(
    tmp_path: Path, left_over: "subprocess.Popen[bytes]"
) -> None:
    remember(tmp_path, Started.of("events", left_over.pid))
    lines: list[str] = []

    status = background.look(tmp_path, {})
    background.stop(tmp_path, lines.append)

    assert status.word == "killed"
    assert [(one.name, one.pid) for one in status.processes] == [("events", left_over.pid)]
    assert "ended events, left over from a run that was killed" in lines[0]
    assert not process.is_alive(left_over.pid)
    assert background.look(tmp_path, {}).word == "stopped"


def test_one_that_is_stopping_is_no_trouble_and_nothing_else_is_started(
    tmp_path: Path, left_over: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str]
) -> None:
    up, gone = Started.of("up", left_over.pid), Started("events", 2**22 - 1, "1")
    settings = {"EVENTS_ADDRESS": "127.0.0.1:1"}
    run = State(up, settings, (gone,), began_at_s=1.0, is_ready=True, is_stopping=True)
    state.write(tmp_path, run)

    plan = Plan(data_dir=tmp_path, addresses=settings, start_timeout_s=1.0)

    with state.claimed(tmp_path):
        with pytest.raises(typer.Exit) as ended:
            running.status(tmp_path, Format.table)
        with pytest.raises(Failed, match=r"girih is stopping on .* \(process \d+\)"):
            background.start(plan, Console())
        with pytest.raises(state.InUse, match="girih is stopping"), state.claimed(tmp_path):
            pass

    assert ended.value.exit_code == exit_codes.FAILED
    shown = capsys.readouterr()
    assert f"girih is stopping in a terminal on {tmp_path}" in shown.out + shown.err
    assert "see girih logs" not in shown.out + shown.err


def test_another_process_with_the_same_id_is_not_ended(
    tmp_path: Path, left_over: "subprocess.Popen[bytes]"
) -> None:
    remember(tmp_path, replace(Started.of("events", left_over.pid), start_time="1"))

    background.stop(tmp_path, lambda _: None)

    assert process.is_alive(left_over.pid)


def test_a_process_that_hangs_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_HASTE_S", 0.1)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " print('deaf', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()

        background._end(Started.of("gateway", child.pid))

        assert child.wait(timeout=30) == -signal.SIGKILL


def test_a_holder_that_is_not_known_is_not_ended(
    tmp_path: Path, left_over: "subprocess.Popen[bytes]"
) -> None:
    """The data directory is held, and its state names a process of somebody else."""
    stranger = replace(Started.of("up", left_over.pid), start_time="1")
    state.write(tmp_path, State(stranger, {}))
    with state.claimed(tmp_path):
        with pytest.raises(Failed, match="says not which"):
            background.stop(tmp_path, lambda _: None)
        with pytest.raises(Failed, match="there is no nonsense"):
            background.restart(tmp_path, ["nonsense"], lambda _: None)

    assert process.is_alive(left_over.pid)
