"""Child processes that die with this one, and what is known about processes of others."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.local.launch import REFUSED

Child = subprocess.Popen[bytes]

_LAUNCHER = Path(__file__).with_name("launch.py")


class LaunchError(Exception):
    """A program could not be started as asked; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a child is: see `cli.local.launch`. `uid` is what the child believes to be."""

    way: str
    uid: int
    gid: int

    @classmethod
    def own(cls) -> "Identity":
        return cls(way="self", uid=os.geteuid(), gid=os.getegid())

    @property
    def owner(self) -> tuple[int, int]:
        """The uid and gid, seen from here, that its files must have."""
        return (self.uid, self.gid) if self.way == "user" else (os.geteuid(), os.getegid())

    def __str__(self) -> str:
        return "self" if self.way == "self" else f"{self.way}:{self.uid}:{self.gid}"


def spawn(
    command: Sequence[str],
    *,
    directory: Path,
    output: IO[bytes] | int,
    environ: Mapping[str, str],
    death_signal: int = signal.SIGTERM,
    identity: Identity | None = None,
) -> Child:
    """Start `command` in a session of its own, out of reach of the terminal's Ctrl-C.

    Where the system can (Linux), it gets `death_signal` when this process ends, even by
    kill -9. `output` receives both its stdout and its stderr. May be called from any thread.
    """
    arguments = launching(command, directory, int(death_signal), identity or Identity.own())
    return _SPAWNER.run(arguments, output, environ)


def end(child: Child, signals: Sequence[signal.Signals], *, timeout_s: float) -> None:
    """Send the signals, each only if the one before was not enough, until the child is gone."""
    for number in signals:
        if child.poll() is not None:
            return
        child.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout_s)


def launching(
    command: Sequence[str], directory: Path, death_signal: int, identity: Identity
) -> list[str]:
    """The command line that becomes `command`. Its program must be an absolute path."""
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    return [
        *launcher,
        *(str(os.getpid()), str(death_signal), str(identity), str(directory)),
        *command,
    ]


def run(
    command: Sequence[str],
    *,
    directory: Path,
    environ: Mapping[str, str],
    identity: Identity | None = None,
    timeout_s: float,
) -> str:
    """Run `command` to its end and return what it wrote to stdout.

    Raises LaunchError with the last line of stderr when it could not be started, and
    subprocess.CalledProcessError when it failed.
    """
    done = subprocess.run(
        launching(command, directory, int(signal.SIGKILL), identity or Identity.own()),
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    if done.returncode == REFUSED:
        raise LaunchError(done.stderr.strip().rpartition("\n")[2])
    done.check_returncode()
    return done.stdout


@dataclass(frozen=True)
class _Order:
    arguments: list[str]
    output: IO[bytes] | int
    environ: Mapping[str, str]
    outcome: "Future[Child]"


class _Spawner:
    """One thread that starts every child and lives as long as the process.

    The kernel means the parent *thread* when it says that a parent died. A child started by
    a worker thread would get its death signal when that worker ends.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(
        self, arguments: list[str], output: IO[bytes] | int, environ: Mapping[str, str]
    ) -> Child:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="spawner", daemon=True)
                self._thread.start()
        order = _Order(arguments, output, environ, Future())
        self._orders.put(order)
        return order.outcome.result()

    def _work(self) -> None:
        while True:
            order = self._orders.get()
            try:
                order.outcome.set_result(_popen(order))
            except OSError as error:
                order.outcome.set_exception(error)


def _popen(order: _Order) -> Child:
    return subprocess.Popen(
        order.arguments,
        stdin=subprocess.DEVNULL,
        stdout=order.output,
        stderr=subprocess.STDOUT,
        env=dict(order.environ),
        start_new_session=True,
    )


_SPAWNER = _Spawner()


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists, whoever owns it. A zombie is not alive."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    fields = _stat(pid)
    if fields:
        return fields[0] != "Z"
    # Where there is /proc, it has gone since it was asked.
    return not Path("/proc/self").exists()


def start_time(pid: int) -> str:
    """What tells this process from a later one with the same id. Empty when it is gone."""
    fields = _stat(pid)
    return fields[19] if fields else _ask_ps(pid, "lstart")


def command_line(pid: int) -> str:
    """The words a process was started with; empty when that cannot be learned."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return _ask_ps(pid, "command")
    return os.fsdecode(b" ".join(words)).strip()


def _ask_ps(pid: int, column: str) -> str:
    """For systems without /proc."""
    if Path("/proc/self").exists():
        return ""
    asked = subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # The second field is the program's name in parentheses, which may hold anything.
    return text.rpartition(")")[2].split()


def working_directory(pid: int) -> Path | None:
    """Where a process works; None when that cannot be learned."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def program(pid: int) -> str:
    """The file name of the program a process runs; empty when that cannot be learned."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return ""
