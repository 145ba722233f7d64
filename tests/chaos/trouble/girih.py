"""A whole girih whose database is behind a proxy."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cli.local.postgres import USER, EmbeddedPostgres
from tests.chaos.trouble.asking import Asker
from tests.chaos.trouble.proxy import Proxy, to_socket
from tests.processes import System, free_port, running_system
from tests.security.conftest import UNLIMITED

POOL_SIZE = 4
CONNECTIONS_MAX = 40
"""Of the database: few enough to be used up."""

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
    proxy: Proxy
    """In front of the database."""
    asker: Asker
    folder: Path

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self.system.processes)

    @property
    def are_running(self) -> bool:
        return all(process.is_running for process in self.system.processes)


@asynccontextmanager
async def troubled_girih() -> AsyncIterator[Girih]:
    """One that is at rest, ended with the block."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        postgres = EmbeddedPostgres(
            folder / "pg", options={"max_connections": str(CONNECTIONS_MAX)}
        )
        await asyncio.to_thread(stack.enter_context, postgres)
        proxy, url = await stack.enter_async_context(behind_proxy(postgres.url))
        system = await asyncio.to_thread(
            stack.enter_context, running_system(url, folder, **SETTINGS)
        )
        asker = await asyncio.to_thread(Asker.settle, system.url)
        await asker.look_at_rest()
        yield Girih(system, postgres, proxy, asker, folder)


@contextmanager
def _folder() -> Iterator[Path]:
    """One whose data the server may reach that runs as another user."""
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@asynccontextmanager
async def behind_proxy(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of a database on a Unix socket; and how to get there through it."""
    parts = urlsplit(database_url)
    asked = parse_qs(parts.query)
    socket = f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"
    async with Proxy(to_socket(socket), free_port()) as proxy:
        yield proxy, f"postgresql://{USER}@127.0.0.1:{proxy.port}{parts.path}?sslmode=disable"
