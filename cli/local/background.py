"""A `girih up` in the background, looked at and ended from other commands.

Ends no process but those that it started: each is told from a later one with the same id.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

import cli
from cli import exit_codes
from cli.failure import Failed
from cli.local import health, logs, state
from cli.local.postgres import EmbeddedPostgres, PostgresError
from cli.local.state import Started, State
from cli.local.up import SERVICES, SUPERVISOR, Plan
from girih import servers

_POLL_S = 0.05
# Longer than the supervisor gives its members one after the other, before it is hastened.
_STOP_TIMEOUT_S = 60.0
_HASTE_S = 20.0
_RESTART_S = 120.0

POSTGRES = "postgres"


def start(plan: Plan, console: Console) -> None:
    """Start a supervisor that outlives this process, and return once it is ready.

    Its words are shown meanwhile. One that runs already is left as it is. Raises Failed with
    its exit code when it ends instead, and ends it at Ctrl-C.
    """
    if servers.is_up(plan.data_dir):
        _check_same(plan)
        console.print(f"girih is up already on {plan.data_dir}: girih status", soft_wrap=True)
        return
    with state.for_owner_alone():
        log_path = state.log_dir(plan.data_dir) / f"{SUPERVISOR}.log"
        logs.bound(log_path)
        follower = logs.Follower(log_path)
        child = _spawned(plan, log_path)
    try:
        _show_until_ready(child, plan, follower, console)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    if child.poll() is not None:
        _show(follower, console)
        message = "girih has ended instead of running in the background; see girih logs"
        raise Failed(message, child.returncode or exit_codes.FAILED)


def _check_same(plan: Plan) -> None:
    running = state.read(plan.data_dir)
    if running and running.is_stopping:
        raise Failed(state.stopping(plan.data_dir, running), exit_codes.UNAVAILABLE)
    others = running.environ if running else {}
    moved = [name for name, address in plan.addresses.items() if others.get(name) != address]
    if running and moved:
        message = f"girih is up already on {plan.data_dir}, with another {', '.join(moved)}"
        raise Failed(f"{message}\nTo move it: girih down, then girih up -d again.")


def _spawned(plan: Plan, log_path: Path) -> "subprocess.Popen[bytes]":
    root = str(Path(cli.__file__).resolve().parent.parent)
    addresses = {
        f"--{name.lower().replace('_', '-')}": address for name, address in plan.addresses.items()
    }
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "cli", "up", "--is-detached", "--data", str(plan.data_dir)),
                *(word for option in addresses.items() for word in option),
                *("--start-timeout-s", str(plan.start_timeout_s)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
                "PYTHONUNBUFFERED": "1",
            },
            # Out of reach of this terminal: of its Ctrl-C, and of its end.
            start_new_session=True,
        )


def _show_until_ready(
    child: "subprocess.Popen[bytes]", plan: Plan, follower: logs.Follower, console: Console
) -> None:
    while child.poll() is None:
        running = state.read(plan.data_dir)
        is_ready = running is not None and running.is_ready and running.supervisor.pid == child.pid
        _show(follower, console)
        if is_ready:
            return
        time.sleep(_POLL_S)


def _show(follower: logs.Follower, console: Console) -> None:
    for line in follower.new_lines():
        console.print(Text(line), soft_wrap=True)


def stop(data_dir: Path, say: Callable[[str], None]) -> None:
    """End the `girih up` of a data directory, wherever it runs, and what one that was killed
    left behind. Raises Failed."""
    if not servers.is_up(data_dir):
        left = end_left_over(data_dir)
        ended = f"; ended {', '.join(left)}, left over from a run that was killed" if left else ""
        say(f"girih is not running here ({data_dir}){ended}.")
        return
    supervisor = _supervisor(data_dir)
    say(f"Stopping girih on {data_dir}.")
    for number, timeout_s in (
        (signal.SIGTERM, _STOP_TIMEOUT_S),
        (signal.SIGTERM, _HASTE_S),  # the second hastens
        (signal.SIGKILL, _HASTE_S),
    ):
        if supervisor.is_running():
            with suppress(ProcessLookupError):
                os.kill(supervisor.pid, number)
        # It lets go of the data directory just before it ends.
        if _comes_true(
            lambda: not servers.is_up(data_dir) and not supervisor.is_running(), timeout_s
        ):
            end_left_over(data_dir)
            say("girih has stopped.")
            return
    raise Failed(f"process {supervisor.pid} does not end")


def end_left_over(data_dir: Path) -> list[str]:
    """End what a run that was killed left running, and tell the names. Raises Failed."""
    if state.read(data_dir) is None:
        return []
    try:
        with state.claimed(data_dir):
            left = state.end_orphans(data_dir)
            if POSTGRES in left:
                EmbeddedPostgres(data_dir / POSTGRES).end_left_over()
            return left
    except (state.InUse, state.Unusable, PostgresError) as error:
        raise Failed(str(error)) from error


def restart(data_dir: Path, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Let processes end in order and be started again by their supervisor, the last first.

    Raises Failed where girih does not run, or where one is not healthy again in time.
    """
    running = _running(data_dir)
    children = {child.name: child for child in running.children}
    chosen = [name for name in reversed(children) if name in names or not names]
    if unknown := set(names) - set(children):
        message = f"there is no {', '.join(sorted(unknown))}; there are {', '.join(children)}"
        raise Failed(message, exit_codes.USAGE)
    for name in chosen:
        say(f"Restarting {name}.")
        _end(children[name])
        if not _comes_true(lambda: _is_back(data_dir, children[name]), _RESTART_S):  # noqa: B023
            message = f"{name} is not healthy again after {_RESTART_S:g} s"
            raise Failed(f"{message}; see girih logs {name}", exit_codes.UNAVAILABLE)


def _end(child: Started) -> None:
    """In order, and at once when it hangs: PostgreSQL excepted, which would have to recover."""
    ways = (signal.SIGINT,) if child.name == POSTGRES else (signal.SIGTERM, signal.SIGKILL)
    for way in ways:
        if child.is_running():
            os.kill(child.pid, way)
            _comes_true(lambda: not child.is_running(), _HASTE_S)


def _is_back(data_dir: Path, former: Started) -> bool:
    now = _running(data_dir)
    pid = next((child.pid for child in now.children if child.name == former.name), former.pid)
    return pid != former.pid and former.name in now.healthy


def _running(data_dir: Path) -> State:
    recorded = state.read(data_dir)
    if recorded is None or not servers.is_up(data_dir):
        message = f"girih is not running here ({data_dir}); start it: girih up"
        raise Failed(message, exit_codes.UNAVAILABLE)
    return recorded


def _supervisor(data_dir: Path) -> Started:
    """Whoever holds the data directory; it may be about to say so."""
    _comes_true(lambda: state.read(data_dir) is not None, 2.0)
    recorded = state.read(data_dir)
    if recorded is None or not recorded.supervisor.is_running():
        raise Failed(f"another process holds {data_dir / servers.LOCK}, and says not which")
    return recorded.supervisor


def _comes_true(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


@dataclass(frozen=True)
class Look:
    """One process of a girih, as it is now."""

    name: str
    pid: int
    is_running: bool
    problem: str | None
    address: str

    @property
    def state(self) -> str:
        """In a word."""
        if not self.is_running:
            return "gone"
        return "healthy" if self.problem is None else "unhealthy"


@dataclass(frozen=True)
class Status:
    """How a girih is. `word` is one of starting, running, stopping, stopped and killed."""

    data_dir: Path
    word: str
    run: State | None
    processes: tuple[Look, ...] = ()

    @property
    def is_well(self) -> bool:
        """Runs, and every process is healthy."""
        return self.word == "running" and all(one.state == "healthy" for one in self.processes)

    @property
    def url(self) -> str:
        """Where REST is served; empty when it does not run."""
        is_up = self.run is not None and self.word in {"running", "starting"}
        return servers.url_of_gateway(self.run.environ) if is_up and self.run else ""

    def document(self) -> dict[str, Any]:
        """For programs."""
        began_at_s = self.run.began_at_s if self.run else 0.0
        return {
            "state": self.word,
            "isWell": self.is_well,
            "data": str(self.data_dir),
            "url": self.url,
            "pid": self.run.supervisor.pid if self.run else None,
            "isDetached": bool(self.run and self.run.is_detached),
            "beganAt": datetime.fromtimestamp(began_at_s, UTC).isoformat() if began_at_s else None,
            "processes": [
                {
                    "name": one.name,
                    "state": one.state,
                    "pid": one.pid,
                    "address": one.address,
                    "problem": one.problem,
                }
                for one in self.processes
            ],
        }


def look(data_dir: Path, environ: Mapping[str, str]) -> Status:
    """Ask every process of a data directory how it is, all at once: 2 s at most."""
    run = state.read(data_dir)
    if not servers.is_up(data_dir):
        left = tuple(_left_over(run)) if run else ()
        return Status(data_dir, "killed" if run else "stopped", run, left)
    if run is None:
        return Status(data_dir, "starting", None)
    variables = {**environ, **run.environ}
    with ThreadPoolExecutor(len(SERVICES) + 1) as threads:
        looks = tuple(threads.map(lambda child: _look(child, run, variables), run.children))
    return Status(data_dir, _word(run), run, looks)


def _word(run: State) -> str:
    if run.is_stopping:
        return "stopping"
    return "running" if run.is_ready else "starting"


def _left_over(run: State) -> Iterator[Look]:
    for child in run.children:
        if child.is_running():
            yield Look(child.name, child.pid, True, "left over", "")


def _look(child: Started, run: State, environ: Mapping[str, str]) -> Look:
    is_running = child.is_running()
    if child.name not in SERVICES:
        return Look(child.name, child.pid, is_running, None, "")
    problem = health.problem(child.name, run.environ, environ) if is_running else "not running"
    is_gateway = child.name == "gateway"
    address = run.environ.get(f"{child.name.upper()}_ADDRESS", "")
    where = servers.url_of_gateway(run.environ) if is_gateway else address
    return Look(child.name, child.pid, is_running, problem, where)
