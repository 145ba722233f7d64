"""`girih up` with the real processes: ready, watched, stopped, killed, and up again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import process, state
from tests.processes import free_port

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PROCESSES = ["postgres", "events", "lattice", "gateway"]


@dataclass(frozen=True)
class Home:
    """A data directory with ports of its own, for one `girih up` after another."""

    data_dir: Path
    environ: dict[str, str]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "cli", *words, "--data", str(self.data_dir)]

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def state(self) -> state.State:
        found = state.read(self.data_dir)
        assert found is not None, "nothing is up"
        return found

    def pid(self, name: str) -> int:
        return next(child.pid for child in self.state.children if child.name == name)


@dataclass
class Up:
    """A running `girih up` and what it said until it was ready."""

    child: "subprocess.Popen[str]"
    said: str

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Its exit code, and what it said after it was ready."""
        self.child.send_signal(number)
        said, _ = self.child.communicate(timeout=60)
        return self.child.returncode, said


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    names = ("EVENTS", "LATTICE", "GATEWAY")
    environ = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environ |= {f"{name}_ADDRESS": f"127.0.0.1:{free_port()}" for name in names}
    environ |= {f"{name}_METRICS_PORT": str(free_port()) for name in names}
    return Home(tmp_path_factory.mktemp("up"), {**environ, "COLUMNS": "120"})


@contextlib.contextmanager
def running(home: Home) -> Iterator[Up]:
    """`girih up` once it is ready; killed after the block if it still runs."""
    child = subprocess.Popen(
        home.command("up", "--start-timeout-s", "200"),
        cwd=ROOT,
        env=home.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    try:
        said = ""
        for line in child.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        yield Up(child, said)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def kill_and_wait_for_another(home: Home, name: str) -> None:
    killed = home.pid(name)
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: home.pid(name) != killed)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return str(reply.read().decode())


def write_cases(path: Path, count: int) -> Path:
    path.write_text(
        "".join(
            json.dumps({"stream": f"case-{number % 9}", "type": "Happened", "number": number})
            + "\n"
            for number in range(count)
        )
    )
    return path


def test_it_says_where_everything_is_and_ctrl_c_stops_it_cleanly(home: Home) -> None:
    with running(home) as up:
        url = f"http://{home.environ['GATEWAY_ADDRESS']}"
        assert f"{url}/docs" in up.said
        assert fetch(f"{url}/docs")
        started = home.state.children
        assert [child.name for child in started] == PROCESSES

        exit_code, said = up.stop()

    assert (exit_code, said.strip()) == (0, "girih has stopped.")
    assert not any(child.is_running() for child in started)
    assert state.read(home.data_dir) is None


def test_one_data_directory_is_up_once(home: Home) -> None:
    with running(home) as up:
        second = home.run("up")
        assert up.child.poll() is None
        up.stop(signal.SIGTERM)

    assert second.returncode == 1
    assert "girih is up already" in second.stderr


def test_whatever_is_killed_comes_back_and_nothing_is_lost(home: Home, tmp_path: Path) -> None:
    path = write_cases(tmp_path / "cases.jsonl", 300)
    with running(home) as up:
        first = home.run("import", str(path), "--tenant", "killed", "--json")
        for name in PROCESSES:
            kill_and_wait_for_another(home, name)
        assert wait_until(lambda: home.run("doctor").returncode == 0)
        again = home.run("import", str(path), "--tenant", "killed", "--json")
        _, said = up.stop()

    assert json.loads(first.stdout)["appended"] == 300
    assert json.loads(again.stdout)["already_stored"] == 300
    assert all(f"{name} was ended by SIGKILL" in said for name in PROCESSES)


def test_kill_9_leaves_nothing_running_and_the_next_start_recovers(
    home: Home, tmp_path: Path
) -> None:
    path = write_cases(tmp_path / "cases.jsonl", 300)
    with running(home) as up:
        home.run("import", str(path), "--tenant", "recovered")
        pids = [home.pid(name) for name in PROCESSES]
        up.child.kill()
        up.child.wait()
        assert wait_until(lambda: not any(process.is_alive(pid) for pid in pids))

    with running(home) as up:
        again = home.run("import", str(path), "--tenant", "recovered", "--json")
        up.stop()

    assert json.loads(again.stdout)["already_stored"] == 300


def test_a_start_right_after_kill_9_does_not_trip_over_what_is_left(home: Home) -> None:
    with running(home) as up:
        up.child.kill()
        up.child.wait()

    with running(home) as up:
        assert "girih is ready" in up.said
        assert up.stop()[0] == 0


def test_a_wrong_setting_ends_it_with_78_and_the_reason(home: Home) -> None:
    environ = {**home.environ, "EVENTS_POOL_SIZE_MAX": "0"}

    done = Home(home.data_dir, environ).run("up")

    assert done.returncode == 78
    assert "EVENTS_POOL_SIZE_MAX" in done.stderr
