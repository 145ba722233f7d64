"""`girih up` with the real processes: ready, watched, stopped, killed, and up again."""

import json
import os
import signal
import stat
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.local import state
from cli.local import up as starting
from tests.installations import Installation, Up, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PASSWORD = "a strapwork of stars\n"
LOGIN = ("rotating@girih.dev", "--password-stdin")
PROCESSES = ["postgres", "events", "lattice", "projections", "gateway"]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return made(tmp_path_factory)


def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A folder for `girih up`."""
    folder = tmp_path_factory.mktemp("up")
    # As the folder of a project is: what is in it must keep others out by itself.
    folder.chmod(0o755)
    return Installation.made(folder / "data")


@pytest.fixture(scope="module")
def up(installation: Installation) -> Iterator[Up]:
    """One that runs for several tests, of which none stops it."""
    with running(installation) as up:
        yield up


@dataclass(frozen=True)
class Recovery:
    """What was seen of a `girih up` that was killed, and of the next one."""

    left_over: list[str]
    """Processes of the first that did not end with it."""
    already_stored: int
    """Of 300 events, by the second import of the same file."""
    keys: list[dict[str, bytes]]
    """What is in the folder of keys, of each."""
    children: tuple[state.Started, ...]
    exit_code: int
    output: str
    """Of the second, which was stopped with Ctrl-C."""
    is_forgotten: bool
    """The state of the folder tells of nothing that runs."""


@pytest.fixture(scope="module")
def recovery(tmp_path_factory: pytest.TempPathFactory) -> Recovery:
    installation = made(tmp_path_factory)
    path = write_cases(tmp_path_factory.mktemp("recovery") / "cases.jsonl", 300)
    with running(installation) as up:
        register(installation, "recovered")
        installation.run("import", str(path))
        begun = installation.state.children
        keys = [keys_of(installation)]
        up.child.kill()
        up.child.wait()
        # Not by their ids alone: on a busy machine another process soon has the same.
        wait_until(lambda: not any(child.is_running() for child in begun))
        left_over = [child.name for child in begun if child.is_running()]

    with running(installation) as up:
        again = installation.run("import", str(path), "--json")
        keys.append(keys_of(installation))
        children = installation.state.children
        exit_code, output = up.stop()

    return Recovery(
        left_over,
        json.loads(again.stdout)["alreadyStored"],
        keys,
        children,
        exit_code,
        output,
        state.read(installation.data_dir) is None,
    )


def keys_of(installation: Installation) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (installation.data_dir / "keys").iterdir()}


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def kill_and_wait_for_another(installation: Installation, name: str) -> None:
    killed = installation.pid(name)
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: installation.pid(name) != killed)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return str(reply.read().decode())


def register(installation: Installation, name: str) -> None:
    """Make a tenant of this test's own, and call as it from here on."""
    words = ("register", f"{name}@girih.dev", "--password-stdin")
    done = installation.run(*words, stdin=PASSWORD)
    assert done.returncode == 0, done.stderr


def write_cases(path: Path, count: int) -> Path:
    path.write_text(
        "".join(
            json.dumps({"stream": f"case-{number % 9}", "type": "Happened", "number": number})
            + "\n"
            for number in range(count)
        )
    )
    return path


def test_it_says_where_everything_is(installation: Installation, up: Up) -> None:
    assert f"{installation.url}/docs" in up.output
    assert [line for line in up.output.splitlines() if line.endswith(" ")] == []
    assert fetch(f"{installation.url}/docs")
    assert [child.name for child in installation.state.children] == PROCESSES


def test_ctrl_c_stops_it_cleanly(recovery: Recovery) -> None:
    assert (recovery.exit_code, recovery.output.strip()) == (0, "girih has stopped.")
    assert [child.name for child in recovery.children] == PROCESSES
    assert not any(child.is_running() for child in recovery.children)
    assert recovery.is_forgotten


def test_nobody_but_its_owner_reads_what_it_writes(installation: Installation, up: Up) -> None:
    shown = list(_open_to_others(installation.data_dir))

    log = installation.data_dir / "logs" / "gateway.log"
    assert log.stat().st_size
    assert shown == []
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def _open_to_others(folder: Path) -> Iterator[Path]:
    """What others can read or write below a folder that they can get into."""
    if folder.stat().st_mode & 0o066:
        yield folder
    if folder.stat().st_mode & 0o011:
        for path in folder.iterdir():
            if path.is_dir():
                yield from _open_to_others(path)
            elif path.stat().st_mode & 0o077:
                yield path


def test_whatever_is_killed_comes_back_and_nothing_is_lost(
    installation: Installation, up: Up, tmp_path: Path
) -> None:
    path = write_cases(tmp_path / "cases.jsonl", 300)
    register(installation, "killed")
    first = installation.run("import", str(path), "--json")

    for name in PROCESSES:
        kill_and_wait_for_another(installation, name)
    assert wait_until(lambda: installation.run("doctor").returncode == 0)
    again = installation.run("import", str(path), "--json")

    assert json.loads(first.stdout)["appended"] == 300
    assert json.loads(again.stdout)["alreadyStored"] == 300
    for name in PROCESSES:
        up.read_until(f"{name} was ended by SIGKILL")


def test_kill_9_leaves_nothing_running_and_the_next_start_recovers(recovery: Recovery) -> None:
    assert recovery.left_over == []
    assert recovery.already_stored == 300


def test_a_wrong_setting_ends_it_with_78_and_the_reason(tmp_path: Path) -> None:
    environ = {**Installation.made(tmp_path).environ, "EVENTS_POOL_SIZE_MAX": "0"}

    done = Installation(tmp_path, environ).run("up")

    assert done.returncode == 78
    assert "EVENTS_POOL_SIZE_MAX" in done.stderr


def test_it_tells_of_compiling_when_it_does_and_when_nothing_can_be_kept(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    first = starting.about_compiling(environ)
    compiled = next((tmp_path / "girih").iterdir()) / "kernels"
    compiled.mkdir()
    (compiled / "search.nbc").touch()

    assert first == "; the first time compiles for a while."
    assert starting.about_compiling(environ) == "."
    unwritable = starting.about_compiling({"XDG_CACHE_HOME": os.devnull})
    assert "every time, since /dev/null/girih cannot be written" in unwritable
    assert "LATTICE_KERNEL_CACHE_DIR" in unwritable


def test_it_makes_keys_once_and_goes_on_with_them(recovery: Recovery) -> None:
    first, second = recovery.keys

    assert first == second
    made = {"gateway.pem", "lattice.pem", "projections.pem", "trusted.json", "refresh.secret"}
    assert made <= first.keys()


def test_it_makes_no_keys_for_production(installation: Installation, tmp_path: Path) -> None:
    environ = {
        **installation.environ,
        "GIRIH_DATA": str(tmp_path),
        "GIRIH_ENVIRONMENT": "production",
    }

    done = Installation(tmp_path, environ).run("up")

    assert done.returncode == 78
    missing = (
        "GATEWAY_SIGNING_KEY, LATTICE_SIGNING_KEY, PROJECTIONS_SIGNING_KEY, GIRIH_TRUSTED_KEYS"
    )
    assert f"set {missing}" in done.stderr
    assert not (tmp_path / "keys").exists()


def test_keys_rotate_while_it_runs_and_no_call_notices(installation: Installation, up: Up) -> None:
    register(installation, "rotating")
    before = installation.run("lattices", "create", "-d", "2", "-n", "5", "--json")

    rotated = installation.run("signing-keys", "rotate")
    # The processes sign with the new keys once they have read them.
    assert wait_until(lambda: installation.run("login", *LOGIN, stdin=PASSWORD).returncode == 0)
    after = installation.run("lattices", "list", "--json")

    assert rotated.returncode == 0, rotated.stderr
    assert len(rotated.stdout.split()) == 3  # those of the gateway, lattice and projections
    created = json.loads(before.stdout)["latticeId"]
    assert [one["latticeId"] for one in json.loads(after.stdout)] == [created]
