"""What a running `girih up` leaves for others to find, in its data directory.

Commands read where things listen (`girih.servers` does, in the same files); `down` and `status`
which processes there are; the next `up` which to end when the one before was killed.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from cli.local import process

_LOCK = "lock"
_STATE = "state.json"
_STOP_TIMEOUT_S = 20.0
# Whoever asks whether it is up holds the lock for a moment.
_ASKED_S = 0.5


class InUse(Exception):
    """Another `girih up` runs on this data directory."""


class Unusable(Exception):
    """The data directory cannot be written; the message says why."""


@dataclass(frozen=True)
class Started:
    """A process, told from a later one with the same id by when it began."""

    name: str
    pid: int
    start_time: str

    @classmethod
    def of(cls, name: str, pid: int) -> "Started":
        return cls(name, pid, process.start_time(pid))

    def is_running(self) -> bool:
        return process.is_alive(self.pid) and process.start_time(self.pid) == self.start_time


@dataclass(frozen=True)
class State:
    """One run of `girih up`."""

    supervisor: Started
    environ: Mapping[str, str]
    """Which settings it gave its processes, none of them secret."""
    children: tuple[Started, ...] = ()
    healthy: tuple[str, ...] = ()
    """The children that have been healthy since they were started."""
    began_at_s: float = 0.0
    """Seconds since 1970."""
    is_detached: bool = False
    """Runs in the background, and not in a terminal."""
    is_ready: bool = False
    """Everything was healthy once."""
    is_stopping: bool = False
    """Its processes are being ended."""

    def is_running(self) -> bool:
        return self.supervisor.is_running()


def read(data_dir: Path) -> State | None:
    """The last run's state, also when it has ended; None when there is none to be read."""
    try:
        document: dict[str, Any] = json.loads((data_dir / _STATE).read_text())
        return State(
            supervisor=Started(**document["supervisor"]),
            environ=document["environ"],
            children=tuple(Started(**child) for child in document["children"]),
            healthy=tuple(document.get("healthy", ())),
            began_at_s=float(document.get("began_at_s", 0.0)),
            is_detached=document.get("is_detached") is True,
            is_ready=document.get("is_ready") is True,
            is_stopping=document.get("is_stopping") is True,
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(data_dir: Path, state: State) -> None:
    """Replace the state whole, readable to its owner alone."""
    new = data_dir / f"{_STATE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
        json.dump(asdict(state), file, indent=2)
    new.replace(data_dir / _STATE)


def forget(data_dir: Path) -> None:
    (data_dir / _STATE).unlink(missing_ok=True)


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process alone.

    Raises InUse, naming the other process, and Unusable.
    """
    with _opened_lock(data_dir) as lock:
        _take(lock, data_dir)
        yield


def _take(lock: IO[str], data_dir: Path) -> None:
    deadline = time.monotonic() + _ASKED_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline:
                raise InUse(_in_use(data_dir)) from error
            time.sleep(0.01)
        else:
            return


def _in_use(data_dir: Path) -> str:
    state = read(data_dir)
    if state is None:
        return f"girih is up already on {data_dir} (another process)"
    if state.is_stopping:
        return stopping(data_dir, state)
    where = ", in the background" if state.is_detached else ""
    return (
        f"girih is up already on {data_dir} (process {state.supervisor.pid}{where})"
        "\nLook with `girih status`, stop it with `girih down`."
    )


def stopping(data_dir: Path, state: State) -> str:
    """What is said to who would start another."""
    return (
        f"girih is stopping on {data_dir} (process {state.supervisor.pid})"
        "\nStart it again once `girih status` says that it is not running."
    )


@contextmanager
def for_owner_alone() -> Iterator[None]:
    """What this process and its children make meanwhile, nobody else can read or enter."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def log_dir(data_dir: Path) -> Path:
    """The folder of its logs, made where it is not there. Raises Unusable."""
    with _explained(data_dir):
        _make(data_dir)
        (data_dir / "logs").mkdir(exist_ok=True)
        return data_dir / "logs"


def _opened_lock(data_dir: Path) -> IO[str]:
    with _explained(data_dir):
        _make(data_dir)
        return (data_dir / _LOCK).open("a")


def _make(data_dir: Path) -> None:
    if not data_dir.exists():
        data_dir.mkdir(parents=True)
        # PostgreSQL may run as another user, who must get to its folder, past all others.
        data_dir.chmod(0o711)


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unusable(
            f"{data_dir} cannot be written: {reason}; choose another folder with --data"
        ) from error


def end_orphans(data_dir: Path) -> list[str]:
    """End what a run that was killed left running, and tell the names. Only under the claim."""
    state = read(data_dir)
    orphans = [child for child in state.children if child.is_running()] if state else []
    # Last started, first ended. PostgreSQL's own start knows best how to end PostgreSQL.
    for orphan in reversed(orphans):
        if orphan.name != "postgres":
            _end(orphan)
    forget(data_dir)
    return [orphan.name for orphan in orphans]


def _end(orphan: Started) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(orphan.pid, number)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while orphan.is_running() and time.monotonic() < deadline:
            time.sleep(0.02)
        if not orphan.is_running():
            return
