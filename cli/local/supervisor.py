"""Keeps a handful of processes alive: starts them side by side, watches, restarts, stops.

Knows what a member must be able to do and nothing of girih.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from cli import exit_codes
from cli.local import process
from cli.local.logs import tail
from cli.local.postgres import EmbeddedPostgres, PostgresError

_POLL_S = 0.05
_START_POLL_S = 0.02
"""Until all are healthy: somebody waits for that."""


class Member(Protocol):
    """A process that is kept alive."""

    name: str

    def start(self, is_cancelled: Callable[[], bool]) -> None:
        """Start it. Raises StartError when it can be told at once that this failed, which
        is final unless it was healthy before."""

    def pid(self) -> int | None:
        """Its process id while it runs."""

    def ended(self) -> str | None:
        """How it ended, in words; None while it runs."""

    def is_hopeless(self) -> bool:
        """Whether it ended in a way that starting it again cannot mend."""

    def ended_in_order(self) -> bool:
        """Whether it ended as it does when somebody asks it to."""

    def problem(self) -> str | None:
        """Why it is not healthy, in words; None when it is. Raises StartError, with the same
        meaning, when `start` went on beside the others and failed."""

    def last_words(self) -> str:
        """The end of its log."""

    def stop(self) -> None:
        """Ask it to end and wait until it has."""

    def hasten(self) -> None:
        """Make a `stop` that is under way, or the next one, take no time."""


class StartError(Exception):
    """A member could not be started."""


class GaveUp(Exception):
    """The members could not be kept alive. The message says why."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class SupervisorLimits:
    """When to lose patience."""

    start_timeout_s: float = 120.0
    report_interval_s: float = 10.0
    """How often to say what a long start is waiting for."""
    restart_count_max: int = 5
    """Restarts of one member within the window; the next death ends everything."""
    restart_window_s: float = 60.0
    backoff_min_s: float = 0.2
    backoff_max_s: float = 5.0


@dataclass
class _Watch:
    """What the supervisor remembers of one member."""

    member: Member
    restarts: deque[float] = field(default_factory=deque)
    start_at: float | None = 0.0
    """When to start it; None while it is started."""
    is_healthy: bool = False
    was_restarted: bool = False
    first_healthy_after_s: float | None = None


class Supervisor:
    """Runs members until told to stop, in one thread and without locks.

    `say` gets a line for people whenever something happens. `on_change` is called after
    every start of a member, when process ids have changed, when one has become healthy, and
    before the first is stopped for good; `on_tick` all the time.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        say: Callable[[str], None],
        on_change: Callable[[], None] = lambda: None,
        on_tick: Callable[[], None] = lambda: None,
        limits: SupervisorLimits | None = None,
    ) -> None:
        self._watches = [_Watch(member) for member in members]
        self._say = say
        self._on_change = on_change
        self._on_tick = on_tick
        self._limits = limits or SupervisorLimits()
        self._stop_requests = 0
        self._is_stopping = False
        self._began = time.monotonic()

    @property
    def healthy_after_s(self) -> dict[str, float]:
        """How long each member took until it was healthy for the first time."""
        return {
            watch.member.name: watch.first_healthy_after_s
            for watch in self._watches
            if watch.first_healthy_after_s is not None
        }

    @property
    def healthy(self) -> tuple[str, ...]:
        """The members that have been healthy since they were started."""
        return tuple(watch.member.name for watch in self._watches if watch.is_healthy)

    @property
    def is_stopping(self) -> bool:
        """Members are being stopped for good, the last one first."""
        return self._is_stopping

    def request_stop(self) -> None:
        """End `run`. A second request hastens.

        Signal handlers call this, in the middle of anything: it must take no lock that the
        interrupted code may hold, so not even that of an Event.
        """
        self._stop_requests += 1
        if self._stop_requests > 1:
            for watch in self._watches:
                watch.member.hasten()

    def run(self, on_ready: Callable[[], bool]) -> None:
        """Start the members, call `on_ready` once all are healthy, and keep them alive.

        Returns after a request to stop, or when `on_ready` answers False, with every member
        stopped in reverse order. Raises GaveUp, likewise after stopping all.
        """
        try:
            if self._become_ready() and on_ready():
                while not self._stop_requests:
                    self._tend()
                    time.sleep(_POLL_S)
        finally:
            self._is_stopping = True
            try:
                self._on_change()
            finally:
                self._stop_all()

    def _become_ready(self) -> bool:
        """Answers False when asked to stop before all were healthy."""
        deadline = time.monotonic() + self._limits.start_timeout_s
        reported_at = time.monotonic()
        while not self._stop_requests:
            self._tend()
            missing = [watch.member for watch in self._watches if not watch.is_healthy]
            if not missing:
                return True
            if time.monotonic() > deadline:
                raise GaveUp(self._what_is_missing(missing))
            if time.monotonic() > reported_at + self._limits.report_interval_s:
                reported_at = time.monotonic()
                self._say(self._what_is_waited_for(missing))
            time.sleep(_START_POLL_S)
        return False

    def _tend(self) -> None:
        """One look at every member."""
        self._on_tick()
        for watch in self._watches:
            if watch.start_at is None and (how := watch.member.ended()) is not None:
                self._schedule(watch, how)
            if watch.start_at is not None and time.monotonic() >= watch.start_at:
                self._start(watch)
            if watch.start_at is None and not watch.is_healthy:
                self._look_after_health(watch)
            if self._stop_requests:
                return

    def _start(self, watch: _Watch) -> None:
        watch.start_at = None
        watch.is_healthy = False
        try:
            watch.member.start(lambda: self._stop_requests > 0)
        except StartError as error:
            self._start_failed(watch, error)
        else:
            self._on_change()

    def _start_failed(self, watch: _Watch, error: StartError) -> None:
        if self._stop_requests:
            return
        if watch.first_healthy_after_s is None:
            raise GaveUp(f"{watch.member.name}: {error}") from error
        self._schedule(watch, str(error))

    def _look_after_health(self, watch: _Watch) -> None:
        try:
            problem = watch.member.problem()
        except StartError as error:
            self._start_failed(watch, error)
            return
        if problem is None:
            watch.is_healthy = True
            if watch.first_healthy_after_s is None:
                watch.first_healthy_after_s = time.monotonic() - self._began
            if watch.was_restarted:
                self._say(f"{watch.member.name} is back")
            self._on_change()

    def _schedule(self, watch: _Watch, how: str) -> None:
        """Decide about a member that has ended."""
        was_healthy, watch.is_healthy, watch.was_restarted = watch.is_healthy, False, True
        name, now = watch.member.name, time.monotonic()
        if watch.member.is_hopeless():
            raise GaveUp(f"{name} {how}:\n{watch.member.last_words()}", exit_codes.CONFIG)
        if was_healthy and watch.member.ended_in_order():
            # It served, and somebody asked it to end: no death that would count.
            watch.start_at = now
            self._say(f"{name} was asked to end; starting it again")
            return
        while watch.restarts and watch.restarts[0] < now - self._limits.restart_window_s:
            watch.restarts.popleft()
        if len(watch.restarts) >= self._limits.restart_count_max:
            raise GaveUp(
                f"{name} {how}, after {len(watch.restarts)} restarts within"
                f" {self._limits.restart_window_s:g} s:\n{watch.member.last_words()}"
            )
        delay_s = self._backoff_s(len(watch.restarts))
        watch.restarts.append(now)
        watch.start_at = now + delay_s
        self._say(f"{name} {how}; starting it again in {delay_s:g} s")

    def _backoff_s(self, restart_count: int) -> float:
        limits = self._limits
        return min(limits.backoff_max_s, limits.backoff_min_s * 2.0**restart_count)

    def _what_is_waited_for(self, missing: Sequence[Member]) -> str:
        """The last line of the first's log tells why: the others may wait for it."""
        first = missing[0]
        names = ", ".join(member.name for member in missing)
        return f"waiting for {names}; {first.name}: {first.last_words().splitlines()[-1]}"

    def _what_is_missing(self, missing: Sequence[Member]) -> str:
        return f"not ready after {self._limits.start_timeout_s:g} s:\n" + "\n".join(
            f"{member.name}: {member.ended() or member.problem()}\n{member.last_words()}"
            for member in missing
        )

    def _stop_all(self) -> None:
        for watch in reversed(self._watches):
            if self._stop_requests > 1:
                watch.member.hasten()
            watch.member.stop()

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Let SIGINT, SIGTERM and SIGHUP request a stop. Only in the main thread."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self.request_stop()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        former = [signal.signal(number, handle) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, former, strict=True):
                signal.signal(number, handler)


class Program:
    """A member that is a command of its own, its output appended to a log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        environ: Mapping[str, str],
        log_path: Path,
        problem: Callable[[], str | None] = lambda: None,
        grace_s: float = 20.0,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._directory = directory
        self._environ = environ
        self._problem = problem
        self._grace_s = grace_s
        self._is_hasty = False
        self._log_start = 0
        self._child: process.Child | None = None

    def start(self, is_cancelled: Callable[[], bool]) -> None:
        if is_cancelled():
            return
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._child = process.spawn(
                    self._command, directory=self._directory, output=log, environ=self._environ
                )
            except OSError as error:
                raise StartError(f"could not be started: {error}") from error

    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def ended(self) -> str | None:
        code = None if self._child is None else self._child.poll()
        return None if code is None else _how(code)

    def is_hopeless(self) -> bool:
        # Its settings are wrong: it would end like this again.
        return self._child is not None and self._child.poll() == exit_codes.CONFIG

    def ended_in_order(self) -> bool:
        return self._child is not None and self._child.poll() == 0

    def problem(self) -> str | None:
        return self._problem()

    def last_words(self) -> str:
        return tail(self.log_path, self._log_start)

    def stop(self) -> None:
        if self._child is None:
            return
        signals = (signal.SIGKILL,) if self._is_hasty else (signal.SIGTERM, signal.SIGKILL)
        process.end(self._child, signals, timeout_s=self._grace_s)

    def hasten(self) -> None:
        self._is_hasty = True
        if self._child is not None:
            self._child.kill()


class PostgresMember:
    """The embedded PostgreSQL as a member. It starts beside the others, which wait for it."""

    name = "postgres"

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._is_stopping = False
        self._starting: Future[str] | None = None

    def start(self, is_cancelled: Callable[[], bool]) -> None:
        self._starting = Future()
        threading.Thread(
            target=self._start, args=(self._starting, is_cancelled), name="postgres", daemon=True
        ).start()

    def _start(self, starting: "Future[str]", is_cancelled: Callable[[], bool]) -> None:
        try:
            starting.set_result(
                self._postgres.start(is_cancelled=lambda: self._is_stopping or is_cancelled())
            )
        except BaseException as error:  # noqa: BLE001 - raised where it is asked how it went
            starting.set_exception(error)

    def pid(self) -> int | None:
        return self._postgres.pid

    def ended(self) -> str | None:
        if self._starting is None or not self._starting.done():
            return None
        code = self._postgres.exit_code
        return None if code is None else _how(code)

    def is_hopeless(self) -> bool:
        return False

    def ended_in_order(self) -> bool:
        return self._postgres.exit_code == 0

    def problem(self) -> str | None:
        if self._starting is None or not self._starting.done():
            return "still starting"
        try:
            self._starting.result()
        except PostgresError as error:
            raise StartError(str(error)) from error
        return None if self._postgres.is_running() else "not running"

    def last_words(self) -> str:
        return tail(self._postgres.log_path, 0)

    def stop(self) -> None:
        self._is_stopping = True
        if self._starting is not None:
            # Within the bounds of what a start waits for; it has left nothing behind then.
            wait([self._starting])
        self._postgres.stop()

    def hasten(self) -> None:
        self._postgres.hasten()


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
