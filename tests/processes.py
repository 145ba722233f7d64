"""Starts whole processes of girih on free ports of the loopback, and ends them by pid."""

import atexit
import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.client.credentials import Credential, CredentialsFile
from cli.local import ports
from cli.local.health import http_problem
from cli.local.postgres import EmbeddedPostgres
from services.plumbing.auth.tokens import LIFETIME_S_MAX
from tests import forked
from tests.authority import Authority

ROOT = forked.ROOT

FORKS = False
"""Whether processes of girih are forked from one that has imported it, where they can be. Benches
and proofs that are run by hand start them as users do; the suite would import for minutes."""

_PORTS = range(20_000, 32_000)
"""None that the system gives to whoever connects: such a one would be taken by the next client,
before the process that it was chosen for listens."""


_CLAIMS_MAX = 64
_claims: deque[int] = deque()
"""Descriptors, the oldest first: whoever was given its port listens by now."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now, and no other tests were given."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with claim, socket.socket() as probe, contextlib.suppress(OSError):
            # A name of Linux, which one process can have, until it ends.
            claim.bind(f"\0girih-test-port-{port}")
            probe.bind(("127.0.0.1", port))
            if len(_claims) == _CLAIMS_MAX:
                os.close(_claims.popleft())
            _claims.append(claim.detach())
            return port


@dataclass
class Process:
    """One process of girih, its log in a file."""

    command: list[str]
    environ: Mapping[str, str]
    log: Path
    is_ready: Callable[[], bool]
    directory: Path = ROOT
    """Whose code it runs."""
    is_forked: bool = False
    """From a process that has imported the modules of girih: see `tests.forked`."""
    child: "subprocess.Popen[bytes] | forked.Forked | None" = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        assert self.child is not None, "not started"
        return self.child.pid

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def start(self) -> None:
        environ = {**os.environ, **self.environ}
        if self.is_forked:
            _, option, *words = self.command
            assert option == "-m"
            self.log.touch()
            log_file = str(self.log)
            order = forked.Order(words, environ, stdout=log_file, stderr=log_file)
            self.child = forked.start(order)
            return
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self, within_s: float = 240.0) -> None:
        """Wait until the process serves; a process that ends instead is an error. It is asked the
        less often the longer that takes, so that it gets ready meanwhile."""
        began_s = time.monotonic()
        while not self.is_ready():
            waited_s = time.monotonic() - began_s
            if not self.is_running or waited_s > within_s:
                raise RuntimeError(f"{self.command} is not ready:\n{self.log.read_text()[-4000:]}")
            time.sleep(min(max(0.05, waited_s / 10), 0.2))

    def kill(self) -> None:
        """End it as a crash would: at once, with nothing said."""
        assert self.child is not None, "not started"
        self.child.kill()
        self.child.wait(timeout=30)

    def stop(self, within_s: float = 60.0) -> int:
        """Ask it to end, and answer its exit code."""
        assert self.child is not None, "not started"
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=within_s)


def is_serving(address: str) -> bool:
    """Whether grpc.health.v1 says SERVING for the whole process, and has compiled all kernels."""
    if not ports.listens(address, timeout_s=2):
        return False
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        try:
            reply = health.List(health_pb2.HealthListRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return all(
            part.status == health_pb2.HealthCheckResponse.SERVING
            for name, part in reply.statuses.items()
            if not name or name.startswith("kernels.")
        )


def is_http_ready(url: str) -> bool:
    return http_problem(f"{url}/health/ready") is None


@functools.cache
def authority_of(folder: Path) -> Authority:
    """Whose tokens the processes of a folder take, unless they are told otherwise."""
    return Authority.create(folder / "keys")


@dataclass
class Caller:
    """Calls as one tenant, with a token that is renewed before it expires."""

    authority: Authority
    tenant: str = "default"
    _token: str = field(default="", repr=False)
    _good_until_s: float = 0.0

    @property
    def token(self) -> str:
        if time.monotonic() > self._good_until_s:
            self._token = self.authority.token(self.tenant)
            self._good_until_s = time.monotonic() + LIFETIME_S_MAX / 2
        return self._token

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """For a gRPC call."""
        return (("authorization", f"Bearer {self.token}"),)

    @property
    def headers(self) -> dict[str, str]:
        """For an HTTP request."""
        return {"Authorization": f"Bearer {self.token}"}


def signed_in(authority: Authority, tenant: str, file: Path) -> dict[str, str]:
    """What tells the command to call as a tenant, where no gateway is: a session in a file,
    which ends with its token."""
    url = "http://127.0.0.1:1"
    with CredentialsFile(file).locked() as sessions:
        sessions[url] = Credential(
            access_token=authority.token(tenant),
            refresh_token="",
            expires_at_s=time.time() + LIFETIME_S_MAX,
            url=url,
        )
    return {"GIRIH_URL": url, "GIRIH_CREDENTIALS": str(file)}


_DEVELOPMENT = {"GIRIH_ENVIRONMENT": "development", "GIRIH_LOG_FORMAT": "json"}


def events_process(
    database_url: str, folder: Path, *, module: str = "services.events", **environ: str
) -> tuple[Process, str]:
    """The events service on a port of its own, not started; and its address."""
    answer = {"DATABASE_URL": database_url} | environ
    return _process("events", module, folder, answer, is_serving)


def lattice_process(events_address: str, folder: Path, **environ: str) -> tuple[Process, str]:
    """The lattice service on a port of its own, not started; and its address."""
    # On a machine that is always busy, as one that runs tests, jobs would never have a turn.
    answer = {"LATTICE_EVENTS_ADDRESS": events_address, "LATTICE_JOB_NICENESS": "0"} | environ
    return _process("lattice", "services.lattice", folder, answer, is_serving)


INDICATORS = ROOT / "tests" / "projections" / "indicators" / "indicators.toml"
"""What the processes of tests tell of events."""


def projections_process(
    database_url: str,
    events_address: str,
    folder: Path,
    *,
    module: str = "services.projections",
    **environ: str,
) -> tuple[Process, str]:
    """What runs projections on a port of its own, not started; and its address."""
    answer = {
        "DATABASE_URL": database_url,
        "PROJECTIONS_EVENTS_ADDRESS": events_address,
        "PROJECTIONS_TENANTS_INTERVAL_S": "0.1",
        "PROJECTIONS_INDICATORS_FILE": str(INDICATORS),
    } | environ
    return _process("projections", module, folder, answer, is_serving)


def gateway_process(
    events_address: str,
    lattice_address: str,
    folder: Path,
    *,
    module: str = "gateway",
    **environ: str,
) -> tuple[Process, str]:
    """The gateway on a port of its own, not started; and its URL."""
    answer = {
        "GATEWAY_EVENTS_ADDRESS": events_address,
        "GATEWAY_LATTICE_ADDRESS": lattice_address,
    } | environ
    process, address = _process(
        "gateway", module, folder, answer, lambda address: is_http_ready(f"http://{address}")
    )
    return process, f"http://{address}"


def _process(
    name: str,
    module: str,
    folder: Path,
    environ: Mapping[str, str],
    is_ready: Callable[[str], bool],
) -> tuple[Process, str]:
    """A process of girih, not started, and its address: a free one where `environ` says none."""
    address = environ.get(f"{name.upper()}_ADDRESS") or f"127.0.0.1:{free_port()}"
    ports = {
        f"{name.upper()}_ADDRESS": address,
        f"{name.upper()}_METRICS_PORT": str(free_port()),
    }
    keys = {} if "GIRIH_TRUSTED_KEYS" in environ else authority_of(folder).environ
    process = Process(
        [sys.executable, "-m", module],
        {**_DEVELOPMENT, **ports, **keys, **environ},
        folder / f"{name}-{address.replace(':', '-')}.log",
        lambda: is_ready(address),
        # Kernels that were imported are kept where they were when that happened.
        is_forked=FORKS and "LATTICE_KERNEL_CACHE_DIR" not in environ,
    )
    return process, address


def with_data(data_dir: Path) -> Path:
    """Lay there what a server begins with, and answer where: initdb takes four times as long as a
    copy of what it made once for this process. All servers that begin so have one identifier."""
    subprocess.run(["cp", "-a", str(_made_once()), str(data_dir)], check=True)
    return data_dir


@functools.cache
def _made_once() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="girih-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # The server may run as another user, who must reach its data.
    folder.chmod(0o755)
    with EmbeddedPostgres(folder / "pg"):
        return folder / "pg"


@contextlib.contextmanager
def own_postgres() -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """A PostgreSQL of its own, durable as in production, and a folder for logs beside it."""
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        folder = Path(name)
        # The server may run as another user, who must reach its data.
        folder.chmod(0o755)
        with EmbeddedPostgres(with_data(folder / "pg")) as postgres:
            yield postgres, folder


@dataclass(frozen=True)
class System:
    """A whole girih: the services, the projections and the gateway, ready."""

    events: Process
    events_address: str
    lattice: Process
    lattice_address: str
    projections: Process
    projections_address: str
    gateway: Process
    url: str
    authority: Authority

    @property
    def processes(self) -> tuple[Process, ...]:
        return self.events, self.lattice, self.projections, self.gateway


WITHOUT_LIMITS = {f"GATEWAY_{who}_CALLS_PER_MINUTE": "0" for who in ("ADDRESS", "USER", "TENANT")}
"""For a gateway that is called by one caller alone, as fast as it can be."""


PATIENT = {
    f"{whose}_{what}": value
    for whose in ("EVENTS", "PROJECTIONS")
    for what, value in {
        "POOL_ACQUIRE_TIMEOUT_S": "60",
        "DATABASE_CONNECT_TIMEOUT_S": "60",
        "LOCK_TIMEOUT_S": "20",
        "IDLE_TRANSACTION_TIMEOUT_S": "20",
        "STATEMENT_TIMEOUT_S": "20",
        "COMMAND_TIMEOUT_S": "25",
    }.items()
} | {
    "EVENTS_APPEND_RETRY_S": "10",
    "LATTICE_EVENTS_TIMEOUT_S": "20",
    "LATTICE_EVENTS_DOWN_TIMEOUT_S": "10",
    "GATEWAY_HEALTH_TIMEOUT_S": "3",
}
"""For a system on a machine where any process may stand still for some seconds, and of which it is
not asked how soon it notices that."""


_NAMED_AFTER = ("EVENTS", "LATTICE", "PROJECTIONS", "GATEWAY")


@contextlib.contextmanager
def running_system(
    database_url: str,
    folder: Path,
    *,
    gateway_module: str = "gateway",
    **environ: str,
) -> Iterator[System]:
    """A whole girih on one database, ended when the block ends. `environ` is for the process that
    a variable is named after, and what is named after none for all of them."""

    def of(process: str) -> dict[str, str]:
        named = {name: name.partition("_")[0] for name in environ}
        return {
            name: value
            for name, value in environ.items()
            if named[name] == process or named[name] not in _NAMED_AFTER
        }

    events, events_address = events_process(database_url, folder, **of("EVENTS"))
    lattice_service, lattice_address = lattice_process(events_address, folder, **of("LATTICE"))
    projections, projections_address = projections_process(
        database_url, events_address, folder, **of("PROJECTIONS")
    )
    gateway, url = gateway_process(
        events_address,
        lattice_address,
        folder,
        module=gateway_module,
        **{"GATEWAY_PROJECTIONS_ADDRESS": projections_address, **of("GATEWAY")},
    )
    system = System(
        *(events, events_address, lattice_service, lattice_address),
        *(projections, projections_address, gateway, url),
        authority_of(folder),
    )
    with ending(*system.processes):
        for process in system.processes:
            process.start()
        for process in system.processes:
            process.wait_ready()
        yield system


@contextlib.contextmanager
def ending(*processes: Process) -> Iterator[None]:
    """End the processes with the block, last first, whatever happened in it."""
    try:
        yield
    finally:
        for process in reversed(processes):
            if process.is_running:
                process.kill()
