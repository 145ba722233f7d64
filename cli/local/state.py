"""What a running `girih up` leaves for others to find, in its data directory.

`doctor` and `import` read where things listen; the next `up` reads which processes to end
when the one before was killed.
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
_PATIENCE_S = 20.0


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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            state = read(data_dir)
            who = f"process {state.supervisor.pid}" if state else "another process"
            raise InUse(f"girih is up already on {data_dir} ({who})") from error
        yield


@contextmanager
def for_owner_alone() -> Iterator[None]:
    """What this process and its children make meanwhile, nobody else can read or enter."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _opened_lock(data_dir: Path) -> IO[str]:
    try:
        if not data_dir.exists():
            data_dir.mkdir(parents=True)
            # PostgreSQL may run as another user, who must get to its folder, past all others.
            data_dir.chmod(0o711)
        return (data_dir / _LOCK).open("w")
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
        deadline = time.monotonic() + _PATIENCE_S
        while orphan.is_running() and time.monotonic() < deadline:
            time.sleep(0.02)
        if not orphan.is_running():
            return
