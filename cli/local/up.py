"""`girih up`: a whole girih on this machine, from database to gateway, as one program."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import cli
from cli.local import health, keyfiles, logs, ports, state
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

SERVICES = ("events", "lattice", "gateway")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where everything shall be. Addresses are host:port."""

    data_dir: Path
    gateway_address: str
    events_address: str
    lattice_address: str
    gateway_metrics_port: int
    events_metrics_port: int
    lattice_metrics_port: int
    start_timeout_s: float
    http_transport: str = ""
    """What GATEWAY_HTTP_TRANSPORT says, where it says something."""

    @property
    def url(self) -> str:
        return url_of_gateway(self.settings())

    def settings(self) -> dict[str, str]:
        """What the processes are told, beside the database's URL and the environment."""
        return {
            "EVENTS_ADDRESS": self.events_address,
            "EVENTS_METRICS_PORT": str(self.events_metrics_port),
            "LATTICE_ADDRESS": self.lattice_address,
            "LATTICE_EVENTS_ADDRESS": self.events_address,
            "LATTICE_METRICS_PORT": str(self.lattice_metrics_port),
            "GATEWAY_ADDRESS": self.gateway_address,
            "GATEWAY_EVENTS_ADDRESS": self.events_address,
            "GATEWAY_LATTICE_ADDRESS": self.lattice_address,
            "GATEWAY_METRICS_PORT": str(self.gateway_metrics_port),
            **({"GATEWAY_HTTP_TRANSPORT": self.http_transport} if self.http_transport else {}),
        }

    def listening(self) -> list[tuple[str, str]]:
        """Every address and the setting that moves it."""
        return [
            (self.gateway_address, "--gateway-address"),
            (self.events_address, "--events-address"),
            (self.lattice_address, "--lattice-address"),
            (f"127.0.0.1:{self.gateway_metrics_port}", "GATEWAY_METRICS_PORT"),
            (f"127.0.0.1:{self.events_metrics_port}", "EVENTS_METRICS_PORT"),
            (f"127.0.0.1:{self.lattice_metrics_port}", "LATTICE_METRICS_PORT"),
        ]


class Obstructed(Exception):
    """Something is in the way; the message says what, and what to do."""


def up(
    plan: Plan,
    environ: Mapping[str, str],
    console: Console,
    *,
    is_verbose: bool = False,
    ends_when_ready: bool = False,
) -> None:
    """Run everything until a signal, or until it is ready.

    Raises InUse, Unusable, Obstructed, GaveUp and Failed, with nothing left running.
    """
    with state.for_owner_alone(), state.claimed(plan.data_dir):
        key_files = keyfiles.for_up(plan.data_dir, environ)
        orphans = state.end_orphans(plan.data_dir)
        for name in orphans:
            console.print(f"Ended {name}, left over from a run that was killed.")
        _refuse_taken_ports(plan, patience_s=_LEAVING_S if orphans else 0.0)
        try:
            variables = {**environ, **key_files.environ}
            _Up(plan, variables, console, is_verbose, ends_when_ready).run()
        finally:
            state.forget(plan.data_dir)


def _refuse_taken_ports(plan: Plan, patience_s: float) -> None:
    """Raise Obstructed for addresses that are taken, and stay so for `patience_s`."""
    deadline = time.monotonic() + patience_s
    while obstacles := list(_obstacles(plan)):
        if time.monotonic() > deadline:
            raise Obstructed("\n".join(obstacles))
        time.sleep(0.05)


def _obstacles(plan: Plan) -> Iterator[str]:
    for address, setting in plan.listening():
        if (obstacle := ports.obstacle(address)) is not None:
            yield f"{obstacle}; choose another with {setting}"


class _Up:
    """One run: the members, their supervisor, and what people see of it."""

    def __init__(
        self,
        plan: Plan,
        environ: Mapping[str, str],
        console: Console,
        is_verbose: bool,
        ends_when_ready: bool,
    ) -> None:
        self._plan = plan
        self._console = console
        self._ends_when_ready = ends_when_ready
        self._began = time.monotonic()
        self._log_dir = plan.data_dir / "logs"
        self._log_dir.mkdir(exist_ok=True)
        # Those of a run before may be readable.
        self._log_dir.chmod(0o700)
        self._postgres = self._embedded_postgres(environ)
        self._environ = self._child_environ(environ)
        self._members = self._make_members()
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
        self._console.print("Starting girih; the first time compiles for a while.")
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
            "events": lambda: health.grpc_problem(plan.events_address, self._environ),
            "lattice": lambda: health.grpc_problem(plan.lattice_address, self._environ),
            "gateway": lambda: health.http_problem(f"{plan.url}/health/ready"),
        }
        modules = {"events": "services.events", "lattice": "services.lattice"}
        programs: list[Member] = [
            Program(
                name,
                [sys.executable, "-m", modules.get(name, name)],
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
        children = [
            state.Started.of(member.name, pid)
            for member in self._members
            if (pid := member.pid()) is not None
        ]
        supervisor = state.Started.of("up", os.getpid())
        state.write(self._plan.data_dir, state.State(supervisor, variables, tuple(children)))

    def _tick(self) -> None:
        for name, follower in self._followers.items():
            for line in follower.new_lines():
                self._console.print(Text(f"{name:<8} {line}"), soft_wrap=True)
        for member in self._members:
            logs.bound(self._log_dir / f"{member.name}.log")

    def _say(self, line: str) -> None:
        self._console.print(Text(f"{time.strftime('%H:%M:%S')} {line}"), soft_wrap=True)

    def _on_ready(self) -> bool:
        took_s = time.monotonic() - self._began
        self._console.print(f"\n[bold]girih is ready[/bold] after {took_s:.1f} s.\n")
        if self._ends_when_ready:
            for name, after_s in self._supervisor.healthy_after_s.items():
                self._console.print(f"  {name:<8} {after_s:6.2f} s")
            return False
        self._console.print(self._summary())
        self._console.print("\nCtrl-C stops everything.", style="dim")
        return True

    def _summary(self) -> Table:
        plan = self._plan
        table = Table.grid(padding=(0, 2))
        for name, value in (
            ("To begin", "girih register"),
            ("Documentation", f"{plan.url}/docs"),
            ("REST", f"{plan.url}/v1"),
            ("Health", f"{plan.url}/health"),
            ("events, gRPC", plan.events_address),
            ("lattice, gRPC", plan.lattice_address),
            ("Database", self._database()),
            ("Logs", f"{self._log_dir}/"),
        ):
            table.add_row(f"  [dim]{name}[/dim]", Text(value))
        return table

    def _database(self) -> str:
        if self._postgres is None:
            return "as DATABASE_URL says"
        return f"PostgreSQL {self._postgres.binaries.major} in {self._postgres.data_dir}"


__all__ = ["GaveUp", "Obstructed", "Plan", "up"]
