"""`girih up`: a whole girih on this machine, from database to gateway, as one program."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.text import Text

import cli
from cli.local import addresses, health, keyfiles, logs, state
from cli.local.postgres import EmbeddedPostgres
from cli.local.supervisor import (
    GaveUp,
    Member,
    PostgresMember,
    Program,
    Supervisor,
    SupervisorLimits,
)
from girih.servers import url_of_gateway

# A process that has ended may hold its ports until its last thread has.
_LEAVING_S = 5.0

SERVICES = ("events", "lattice", "projections", "gateway")

SUPERVISOR = "up"
"""What `girih up` itself is called among the logs."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where everything shall be. Addresses are host:port."""

    data_dir: Path
    addresses: Mapping[str, str]
    """By their settings, as in `cli.local.addresses.DEFAULTS`."""
    start_timeout_s: float
    http_transport: str = ""
    """What GATEWAY_HTTP_TRANSPORT says, where it says something."""
    storage: str = ""
    """What LATTICE_STORAGE says, where it says something."""

    @property
    def url(self) -> str:
        return url_of_gateway(self.settings())

    def settings(self) -> dict[str, str]:
        """What the processes are told, beside the database's URL and the environment."""
        events, lattice = self.addresses["EVENTS_ADDRESS"], self.addresses["LATTICE_ADDRESS"]
        return {
            **self.addresses,
            "LATTICE_EVENTS_ADDRESS": events,
            "PROJECTIONS_EVENTS_ADDRESS": events,
            "LATTICE_STORAGE": self.storage or str(self.data_dir / "arrays"),
            "GATEWAY_EVENTS_ADDRESS": events,
            "GATEWAY_LATTICE_ADDRESS": lattice,
            "GATEWAY_PROJECTIONS_ADDRESS": self.addresses["PROJECTIONS_ADDRESS"],
            **({"GATEWAY_HTTP_TRANSPORT": self.http_transport} if self.http_transport else {}),
        }


class Obstructed(Exception):
    """Something is in the way; the message says what, and what to do."""


def up(
    plan: Plan,
    environ: Mapping[str, str],
    console: Console,
    *,
    is_verbose: bool = False,
    ends_when_ready: bool = False,
    is_detached: bool = False,
) -> None:
    """Run everything until a signal, or until it is ready.

    Raises InUse, Unusable, Obstructed, GaveUp and Failed, with nothing left running.
    """
    with state.for_owner_alone(), state.claimed(plan.data_dir):
        key_files = keyfiles.for_up(plan.data_dir, environ)
        orphans = state.end_orphans(plan.data_dir)
        for name in orphans:
            console.print(f"Ended {name}, left over from a run that was killed.")
        try:
            _refuse_taken_ports(plan, timeout_s=_LEAVING_S if orphans else 0.0)
            addresses.remember(plan.data_dir, plan.addresses)
            variables = {**environ, **key_files.environ}
            _Up(plan, variables, console, is_verbose, ends_when_ready, is_detached).run()
        finally:
            state.forget(plan.data_dir)


def _refuse_taken_ports(plan: Plan, timeout_s: float) -> None:
    """Raise Obstructed for addresses that are taken, and stay so for `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while problems := addresses.obstacles(plan.addresses, addresses.as_options):
        if time.monotonic() > deadline:
            raise Obstructed(problems)
        time.sleep(0.05)


class _Up:
    """One run: the members, their supervisor, and what people see of it."""

    def __init__(
        self,
        plan: Plan,
        environ: Mapping[str, str],
        console: Console,
        is_verbose: bool,
        ends_when_ready: bool,
        is_detached: bool,
    ) -> None:
        self._plan = plan
        self._console = console
        self._ends_when_ready = ends_when_ready
        self._is_detached = is_detached
        self._is_ready = False
        self._began = time.monotonic()
        self._began_at_s = time.time()
        self._log_dir = state.log_dir(plan.data_dir)
        # Those of a run before may be readable.
        self._log_dir.chmod(0o700)
        self._postgres = self._embedded_postgres(environ)
        self._environ = self._child_environ(environ)
        self._members = self._make_members()
        self._started: dict[str, state.Started] = {}
        self._supervisor = Supervisor(
            self._members,
            say=self._say,
            on_change=self._write_state,
            on_tick=self._tick,
            limits=SupervisorLimits(start_timeout_s=plan.start_timeout_s),
        )
        self._followers = {
            name: logs.Follower(self._log_dir / f"{name}.log")
            for name in (member.name for member in self._members)
            if is_verbose
        }

    def run(self) -> None:
        self._write_state()
        self._console.print(f"Starting girih{about_compiling(self._environ)}")
        with self._supervisor.stopped_by_signals():
            self._supervisor.run(self._on_ready)
        self._console.print("girih has stopped.")

    def _embedded_postgres(self, environ: Mapping[str, str]) -> EmbeddedPostgres | None:
        if environ.get("DATABASE_URL"):
            return None
        return EmbeddedPostgres(
            self._plan.data_dir / "postgres",
            environ=environ,
            log_path=self._log_dir / "postgres.log",
        )

    def _child_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What is set stays set; `girih up` is for development unless told otherwise."""
        root = str(Path(cli.__file__).resolve().parent.parent)
        variables = {
            "GIRIH_ENVIRONMENT": "development",
            **environ,
            **self._plan.settings(),
            "PYTHONPATH": os.pathsep.join(filter(None, (root, environ.get("PYTHONPATH")))),
            # Logs are files here; without this their last lines sit in a buffer.
            "PYTHONUNBUFFERED": "1",
        }
        return (
            variables
            if self._postgres is None
            else {**variables, "DATABASE_URL": self._postgres.url}
        )

    def _make_members(self) -> Sequence[Member]:
        plan = self._plan
        probes = {
            name: partial(health.problem, name, plan.settings(), self._environ) for name in SERVICES
        }
        programs: list[Member] = [
            Program(
                name,
                [sys.executable, "-m", name if name == "gateway" else f"services.{name}"],
                directory=Path.cwd(),
                environ=self._environ,
                log_path=self._log_dir / f"{name}.log",
                problem=probes[name],
            )
            for name in SERVICES
        ]
        return programs if self._postgres is None else [PostgresMember(self._postgres), *programs]

    def _write_state(self) -> None:
        also = ("GIRIH_ENVIRONMENT", "GIRIH_TRANSPORT", *keyfiles.VARIABLES)
        variables = {name: self._environ[name] for name in also if name in self._environ}
        variables |= self._plan.settings()
        if self._postgres is not None:
            # A URL from outside may hold a password; ours holds none.
            variables["DATABASE_URL"] = self._postgres.url
        for member in self._members:
            # One that has just died stays as it was, until it is started again.
            if (pid := member.pid()) is not None:
                self._started[member.name] = state.Started.of(member.name, pid)
        supervisor = state.Started.of("up", os.getpid())
        state.write(
            self._plan.data_dir,
            state.State(
                supervisor,
                variables,
                # In the order of the members, whichever of them was there first.
                tuple(filter(None, (self._started.get(member.name) for member in self._members))),
                healthy=self._supervisor.healthy,
                began_at_s=self._began_at_s,
                is_detached=self._is_detached,
                is_ready=self._is_ready,
                is_stopping=self._supervisor.is_stopping,
            ),
        )

    def _tick(self) -> None:
        for name, follower in self._followers.items():
            for line in follower.new_lines():
                self._console.print(Text(f"{name:<8} {line}"), soft_wrap=True)
        for member in self._members:
            logs.bound(self._log_dir / f"{member.name}.log")
        if self._is_detached:
            logs.bound(self._log_dir / f"{SUPERVISOR}.log")

    def _say(self, line: str) -> None:
        self._console.print(Text(f"{time.strftime('%H:%M:%S')} {line}"), soft_wrap=True)

    def _on_ready(self) -> bool:
        took_s = time.monotonic() - self._began
        self._console.print(f"\n[bold]girih is ready[/bold] after {took_s:.1f} s.\n")
        if self._ends_when_ready:
            for name, after_s in self._supervisor.healthy_after_s.items():
                self._console.print(f"  {name:<8} {after_s:6.2f} s")
            return False
        self._console.print(self._summary(), soft_wrap=True)
        kinds = health.compiling(self._plan.addresses["LATTICE_ADDRESS"], self._environ)
        if kinds:
            waits = "what needs it waits, or is told to come again"
            self._console.print(
                f"\nlattice still compiles {', '.join(kinds)}: {waits}.", soft_wrap=True
            )
        how = "girih down stops it." if self._is_detached else "Ctrl-C stops everything."
        self._console.print(f"\n{how}", style="dim")
        self._is_ready = True
        self._write_state()
        return True

    def _summary(self) -> Text:
        plan = self._plan
        lines = (
            ("To begin", "girih register"),
            ("Console", f"{plan.url}/console"),
            ("Documentation", f"{plan.url}/docs"),
            ("REST", f"{plan.url}/v1"),
            ("Health", f"{plan.url}/health"),
            ("events, gRPC", plan.addresses["EVENTS_ADDRESS"]),
            ("lattice, gRPC", plan.addresses["LATTICE_ADDRESS"]),
            ("projections", plan.addresses["PROJECTIONS_ADDRESS"]),
            ("Database", self._database()),
            ("Logs", f"{self._log_dir}/"),
        )
        parts = ((("  ", (f"{name:<13}", "dim"), f"  {value}")) for name, value in lines)
        return Text("\n").join(Text.assemble(*part) for part in parts)

    def _database(self) -> str:
        if self._postgres is None:
            return "as DATABASE_URL says"
        return f"PostgreSQL {self._postgres.binaries.major} in {self._postgres.data_dir}"


def about_compiling(environ: Mapping[str, str]) -> str:
    """What is to be said of the kernels, which are compiled once if they can be kept."""
    # By name: the command knows the processes as programs, and imports none of them.
    named = environ.get("LATTICE_KERNEL_CACHE_DIR")
    compiler = import_module("services.lattice.compiler")
    cache = compiler.KernelCache.of(Path(named) if named else None, environ)
    if not cache.is_writable:
        return (
            f"; it compiles for a while, every time, since {cache.directory.parent} cannot be"
            " written. Set LATTICE_KERNEL_CACHE_DIR to a folder where compiled kernels can be kept."
        )
    return "." if cache.is_filled else "; the first time compiles for a while."


__all__ = ["GaveUp", "Obstructed", "Plan", "up"]
