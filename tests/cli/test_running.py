"""`girih up -d` with the real processes, as other commands of the folder see it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.client.credentials import CredentialsFile
from cli.local import process, state
from girih import servers
from tests import asking, forked
from tests.installations import Installation
from tests.processes import PATIENT, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PASSWORD = "a strapwork of stars\n"
EMAIL = "ada@girih.dev"
PROCESSES = ["postgres", "events", "lattice", "projections", "gateway"]


@dataclass(frozen=True)
class Folder:
    """A folder that somebody works in, who says nowhere where girih listens."""

    path: Path
    installation: Installation

    @property
    def data_dir(self) -> Path:
        return self.path / ".girih"

    @property
    def state(self) -> state.State:
        result = state.read(self.data_dir)
        assert result is not None, "nothing is up"
        return result

    def pids(self) -> dict[str, int]:
        return {child.name: child.pid for child in self.state.children}

    def girih(
        self, *words: str, below: str = ".", stdin: str = "", **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        directory = self.path / below
        done = forked.run(words, self.environ | environ, stdin=stdin, directory=directory)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "cli", *words]

    @property
    def environ(self) -> dict[str, str]:
        """Without addresses: they are found, or remembered."""
        ours = ("GIRIH_DATA", "GATEWAY_", "EVENTS_", "LATTICE_", "PROJECTIONS_")
        kept = {
            name: value
            for name, value in self.installation.environ.items()
            if not name.startswith(ours)
        }
        return kept | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A folder in which girih is up in the background, and somebody is logged in."""
    path = tmp_path_factory.mktemp("workshop")
    path.chmod(0o755)
    (path / "below").mkdir()
    installation = Installation.made(path / ".girih")
    folder = Folder(path, installation)
    try:
        up = folder.girih("up", "-d", **PATIENT, **_addresses(installation))
        assert up.returncode == 0, up.stderr
        assert "girih is ready" in up.stdout
        assert "girih down stops it." in up.stdout
        register = ("register", EMAIL, "--password-stdin")
        done = asking.done(lambda: folder.girih(*register, stdin=PASSWORD))
        assert done.returncode == 0, done.stderr
        yield folder
    finally:
        folder.girih("down")


def _addresses(installation: Installation) -> dict[str, str]:
    ends = ("_ADDRESS", "_METRICS_PORT")
    return {name: value for name, value in installation.environ.items() if name.endswith(ends)}


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_it_is_up_once_in_a_terminal_or_in_the_background(folder: Folder) -> None:
    before = folder.pids()

    in_terminal = folder.girih("up")
    again = folder.girih("up", "-d")
    elsewhere = folder.girih("up", "-d", "--gateway-address", "127.0.0.1:1")

    assert (in_terminal.returncode, again.returncode, elsewhere.returncode) == (1, 0, 1)
    assert "girih is up already" in in_terminal.stderr
    assert "in the background" in in_terminal.stderr
    assert "with another GATEWAY_ADDRESS" in elsewhere.stderr
    assert folder.pids() == before


def test_commands_below_the_folder_find_it(folder: Folder) -> None:
    answer = folder.girih("whoami", below="below")
    status = folder.girih("status", below="below")

    assert (answer.returncode, status.returncode) == (0, 0)
    assert folder.installation.url in answer.stdout
    assert [line.split()[:2] for line in status.stdout.splitlines()[1:]] == [
        [name, "healthy"] for name in PROCESSES
    ]


def test_elsewhere_it_is_the_last_login_and_named(folder: Folder, tmp_path: Path) -> None:
    answer = folder.girih("whoami", below=str(tmp_path))

    assert answer.returncode == 0
    assert f"profile {folder.path.name}, {folder.installation.url}" in answer.stderr


def test_a_process_that_is_restarted_by_name_comes_back_alone(folder: Folder) -> None:
    before = folder.pids()

    done = folder.girih("restart", "gateway")

    assert done.returncode == 0, done.stderr
    after = folder.pids()
    assert after.pop("gateway") != before.pop("gateway")
    assert after == before
    assert "gateway was asked to end" in folder.girih("logs", "up").stdout


def test_a_gateway_that_hangs_is_told(folder: Folder) -> None:
    gateway = folder.pids()["gateway"]
    os.kill(gateway, signal.SIGSTOP)
    try:
        done = folder.girih("whoami")
    finally:
        os.kill(gateway, signal.SIGCONT)

    assert done.returncode == 69
    assert "takes connections and does not answer for 10 s" in done.stderr


def test_after_kill_9_nothing_is_left_and_it_starts_where_it_was(folder: Folder) -> None:
    before, pids = folder.state.supervisor.pid, folder.pids().values()
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: not servers.is_up(folder.data_dir))
    assert wait_until(lambda: not any(process.is_alive(pid) for pid in pids))

    killed = folder.girih("status")
    again = folder.girih("up", "-d")

    assert (killed.returncode, again.returncode) == (69, 0), again.stderr
    assert "was killed here" in killed.stdout
    assert folder.state.supervisor.pid != before
    # The address is remembered, and so is who was logged in there.
    assert folder.girih("whoami").returncode == 0


def test_down_ends_it_and_followed_logs_and_no_stranger_is_called(folder: Folder) -> None:
    pids = [folder.state.supervisor.pid, *folder.pids().values()]
    with subprocess.Popen(
        folder.command("logs", "-f", "-n", "1", "events", "gateway"),
        cwd=folder.path,
        env=folder.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        first = [following.stdout.readline(), following.stdout.readline()]
        down = folder.girih("down")
        rest = following.stdout.read()
    assert sorted(line.split()[0] for line in first) == ["events", "gateway"]
    assert "stopping" in rest
    assert (following.returncode, down.returncode) == (0, 0), down.stderr
    assert not any(process.is_alive(pid) for pid in pids)

    host, _, port = folder.installation.environ["GATEWAY_ADDRESS"].rpartition(":")
    with socket.create_server((host, int(port))) as stranger:
        login = folder.girih("login", EMAIL, GIRIH_PASSWORD=PASSWORD)
        named = folder.girih("whoami", GIRIH_URL=folder.installation.url)
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.accept()

    assert (login.returncode, named.returncode) == (69, 77)
    assert "girih is not running here" in login.stderr
    assert folder.girih("down").returncode == 0
    logins = CredentialsFile(Path(folder.environ["GIRIH_CREDENTIALS"])).read()
    assert [one.data_dir for one in logins.values()] == [str(folder.data_dir.resolve())]
