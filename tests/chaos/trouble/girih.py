"""A whole girih that stands on ground which may give way."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cli.local.postgres import USER, EmbeddedPostgres
from tests.chaos.trouble.asking import Asker
from tests.chaos.trouble.ground import Ground
from tests.chaos.trouble.proxy import Connect, Proxy, to_port, to_socket
from tests.plumbing.certificates import CertificateAuthority
from tests.processes import System, free_port, running_system
from tests.security.conftest import UNLIMITED

POOL_SIZE = 4
CONNECTIONS_MAX = 40
"""Of the database: few enough to be used up."""
HOSTS = ("127.0.0.2", "127.0.0.3")
"""Where names lead, and where they lead when what they name has moved."""
PROCESS = "process"
"""What the files of the certificate of all processes are called."""
DATABASE, EVENTS = "database.girih.test", "events.girih.test"

GATEWAY_PROCESSES = 2
"""Behind one port, where there are several."""
PLAIN, ENCRYPTED, SEVERAL_GATEWAYS = "plain", "encrypted", "several gateways"
"""Kinds of girih."""

SETTINGS = {
    **UNLIMITED,
    "GATEWAY_HASHING_MEMORY_KIB": "64",
    "EVENTS_POOL_SIZE_MAX": str(POOL_SIZE),
    "PROJECTIONS_POOL_SIZE_MAX": str(POOL_SIZE),
}


@dataclass(frozen=True)
class Girih:
    """What gets into trouble."""

    system: System
    postgres: EmbeddedPostgres
    through: Mapping[str, tuple[Proxy, Proxy]]
    """What stands in front of the database and of events, by the names that lead there: to the
    first, and to the second when it has moved."""
    events_target: str
    """Where callers find events."""
    asker: Asker
    ground: Ground
    certificates: CertificateAuthority | None = None
    """Whose certificate its processes show each other, when they do."""

    @property
    def proxy(self) -> Proxy:
        """What the database is reached through."""
        return self.through[DATABASE][0]

    @property
    def ca_file(self) -> Path | None:
        return self.certificates.directory / "ca.pem" if self.certificates else None

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self.system.processes)

    def refused_tokens(self) -> Counter[str]:
        """What services have refused tokens for so far, by what their logs say."""
        services = (self.system.events, self.system.lattice, self.system.projections)
        lines = [json.loads(line) for one in services for line in _json_lines(one.log)]
        return Counter(
            f"{line['reason']}: {line['why']}"
            for line in lines
            if line.get("event") == "a call was refused" and line["reason"].startswith("TOKEN_")
        )

    @property
    def are_running(self) -> bool:
        return all(process.is_running for process in self.system.processes)


def _json_lines(log: Path) -> Iterator[str]:
    # What stands behind the last end of a line is still being written, and a full disk cuts lines.
    lines = log.read_text().split("\n")[:-1]
    return (line for line in lines if line.startswith("{") and line.endswith("}"))


@asynccontextmanager
async def several_gateways(ground: Ground) -> AsyncIterator[Girih]:
    """One whose gateway has several processes, at rest, ended with the block."""
    processes = {"GATEWAY_PROCESSES": str(GATEWAY_PROCESSES)}
    async with troubled_girih(ground, processes) as girih:
        yield girih


@asynccontextmanager
async def troubled_girih(
    ground: Ground, further: Mapping[str, str] | None = None
) -> AsyncIterator[Girih]:
    """One that is at rest, ended with the block; `further` are settings that only it has."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        # What is not on the small disk is what does without it: the database's log ahead.
        room = stack.enter_context(_folder(ground.disk.folder)) if ground.disk else folder
        postgres = _postgres(ground, room, folder)
        await asyncio.to_thread(_keep_ahead_apart, postgres, folder / "wal")
        await asyncio.to_thread(stack.enter_context, postgres)
        database, events = free_port(), free_port()
        through = {
            DATABASE: await _hosts(stack, ground, to_socket(_socket(postgres.url)), database),
            EVENTS: await _hosts(stack, ground, to_port(events), events),
        }
        restore_names(ground)
        url = f"postgresql://{USER}@{_address(ground, DATABASE, database)}/postgres?sslmode=disable"
        target = f"dns:///{_address(ground, EVENTS, events)}"
        settings = {
            **SETTINGS,
            **(further or {}),
            **(ground.clock.environ if ground.clock else {}),
            "EVENTS_ADDRESS": f"127.0.0.1:{events}",
            "GATEWAY_EVENTS_ADDRESS": target,
            "LATTICE_EVENTS_ADDRESS": target,
            "PROJECTIONS_EVENTS_ADDRESS": target,
        }
        system = await asyncio.to_thread(stack.enter_context, running_system(url, room, **settings))
        asker = await asyncio.to_thread(Asker.settle, system.url)
        await asker.look_at_rest()
        yield Girih(system, postgres, through, target, asker, ground)


async def _hosts(
    stack: AsyncExitStack, ground: Ground, connect: Connect, port: int
) -> tuple[Proxy, Proxy]:
    """What is behind a name, now and when it has moved. The port is that of another process."""
    made = [Proxy(connect, port, host) for host in HOSTS]
    for proxy in made:
        await stack.enter_async_context(proxy)
    made[1].is_cut = True
    return made[0], made[1]


def _address(ground: Ground, name: str, port: int) -> str:
    return f"{name if ground.names else HOSTS[0]}:{port}"


def restore_names(ground: Ground) -> None:
    """Have the names lead where they do at rest."""
    if ground.names:
        ground.names.say({DATABASE: HOSTS[:1], EVENTS: HOSTS[:1]})


def _postgres(ground: Ground, room: Path, folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        room / "pg",
        options={"max_connections": str(CONNECTIONS_MAX)},
        environ={**os.environ, **(ground.clock.environ if ground.clock else {})},
        log_path=folder / "pg.log",
    )


def _keep_ahead_apart(postgres: EmbeddedPostgres, folder: Path) -> None:
    """Have it write ahead to another folder: without room for that PostgreSQL ends, and somebody
    has to start it."""
    with postgres:
        pass
    ahead = postgres.data_dir / "pg_wal"
    subprocess.run(["cp", "-a", str(ahead), str(folder)], check=True, timeout=60)
    shutil.rmtree(ahead)
    ahead.symlink_to(folder)


@contextmanager
def _folder(parent: Path | None = None) -> Iterator[Path]:
    """One whose data the server may reach that runs as another user."""
    with tempfile.TemporaryDirectory(prefix="girih-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@asynccontextmanager
async def behind_proxy(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of a database on a Unix socket; and how to get there through it."""
    parts = urlsplit(database_url)
    async with Proxy(to_socket(_socket(database_url)), free_port()) as proxy:
        yield proxy, f"postgresql://{USER}@127.0.0.1:{proxy.port}{parts.path}?sslmode=disable"


def _socket(database_url: str) -> str:
    """Where a server listens."""
    asked = parse_qs(urlsplit(database_url).query)
    return f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"
