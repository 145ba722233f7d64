"""The seeds of trouble: each begins with its block and ends with it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from services.events.postgres.database import SCHEMA
from tests.chaos.trouble.girih import CONNECTIONS_MAX, Girih

SLOW_S = 5.0
HOLDS_S = 12.0
"""How long trouble lasts, unless what is asked meanwhile takes longer."""

_AWAY = frozenset({"DATABASE_UNAVAILABLE", "EVENTS_UNAVAILABLE"})
_BUSY = frozenset({"DATABASE_BUSY"})
_NO_ANSWER = frozenset({"DEADLINE_EXCEEDED", "SERVICE_UNAVAILABLE"})


@dataclass(frozen=True)
class Trouble:
    """One seed."""

    what: str
    begin: Callable[[Girih], AbstractAsyncContextManager[None]]
    told: frozenset[str]
    """Reasons of which somebody must be told one, or there was no trouble."""
    silent: frozenset[str] = frozenset()
    """Processes that cannot say that they are alive."""
    holds_s: float = HOLDS_S

    @property
    def has_gateway(self) -> bool:
        """Whether anybody can be asked by REST."""
        return "gateway" not in self.silent


@asynccontextmanager
async def _pool_exhausted(girih: Girih) -> AsyncIterator[None]:
    """Somebody holds locks that every statement waits for, so that no connection comes free."""
    connection = await asyncpg.connect(girih.postgres.url)
    try:
        tables = await connection.fetch(
            "SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = $1", SCHEMA
        )
        names = ", ".join(f"{SCHEMA}.{row['name']}" for row in tables)
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def _connections_used_up(girih: Girih) -> AsyncIterator[None]:
    """Others have all connections that the database gives."""
    held: list[asyncpg.Connection[asyncpg.Record]] = []

    async def take() -> None:
        while True:
            try:
                held.append(await asyncpg.connect(girih.postgres.url))
            except asyncpg.TooManyConnectionsError:
                girih.proxy.cut()
                await asyncio.sleep(0.2)

    taking = asyncio.create_task(take())
    try:
        while len(held) < CONNECTIONS_MAX // 2:  # noqa: ASYNC110 - the task goes on
            await asyncio.sleep(0.05)
        yield
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in held))


@asynccontextmanager
async def _slow(girih: Girih) -> AsyncIterator[None]:
    girih.proxy.delay_s = SLOW_S
    try:
        yield
    finally:
        girih.proxy.delay_s = 0.0


@asynccontextmanager
async def _cut_off(girih: Girih) -> AsyncIterator[None]:
    girih.proxy.is_cut = True
    girih.proxy.cut()
    try:
        yield
    finally:
        girih.proxy.is_cut = False


def _answering(sql_state: str) -> Callable[[Girih], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def begin(girih: Girih) -> AsyncIterator[None]:
        girih.proxy.sql_state = sql_state
        try:
            yield
        finally:
            girih.proxy.sql_state = ""
            # What their sessions are told now is not what the server told them.
            girih.proxy.cut()

    return begin


def _stopped(
    pids_of: Callable[[Girih], Iterator[int]],
) -> Callable[[Girih], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def begin(girih: Girih) -> AsyncIterator[None]:
        pids = list(pids_of(girih))
        assert pids, "there is nobody to be stopped"
        try:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    return begin


def _process(name: str) -> Callable[[Girih], Iterator[int]]:
    def pids(girih: Girih) -> Iterator[int]:
        yield getattr(girih.system, name).pid

    return pids


def _postgres(girih: Girih) -> Iterator[int]:
    assert girih.postgres.pid is not None
    yield girih.postgres.pid
    yield from children(girih.postgres.pid)


def _beside(name: str, module: str) -> Callable[[Girih], Iterator[int]]:
    """What a process has beside it."""

    def pids(girih: Girih) -> Iterator[int]:
        for pid in children(getattr(girih.system, name).pid):
            if module in _command(pid):
                yield pid

    return pids


def children(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _parent(folder) == pid:
            yield int(folder.name)
            yield from children(int(folder.name))


def _parent(folder: Path) -> int:
    try:
        # The name, in brackets, may hold anything.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


TROUBLES: Mapping[str, Trouble] = {
    "pool": Trouble("no connection comes free", _pool_exhausted, _BUSY),
    "connections": Trouble("the database gives no connection", _connections_used_up, _BUSY | _AWAY),
    "slow": Trouble(
        f"each answer of the database comes {SLOW_S:g} s later", _slow, _BUSY | _AWAY | _NO_ANSWER
    ),
    "cut-off": Trouble("nothing reaches the database", _cut_off, _AWAY),
    "errors-io": Trouble("the database answers 58030, io_error", _answering("58030"), _AWAY),
    "errors-memory": Trouble("it answers 53200, out_of_memory", _answering("53200"), _AWAY),
    "errors-internal": Trouble("it answers XX000, internal_error", _answering("XX000"), _AWAY),
    "errors-cancelled": Trouble(
        "it answers 57014, query_canceled", _answering("57014"), _BUSY | _AWAY
    ),
    "stopped-events": Trouble(
        "SIGSTOP of events", _stopped(_process("events")), _NO_ANSWER, frozenset({"events"})
    ),
    "stopped-lattice": Trouble(
        "SIGSTOP of lattice", _stopped(_process("lattice")), _NO_ANSWER, frozenset({"lattice"})
    ),
    "stopped-projections": Trouble(
        "SIGSTOP of projections",
        _stopped(_process("projections")),
        _NO_ANSWER,
        frozenset({"projections"}),
    ),
    "stopped-gateway": Trouble(
        "SIGSTOP of the gateway", _stopped(_process("gateway")), frozenset(), frozenset({"gateway"})
    ),
    "stopped-hasher": Trouble(
        "SIGSTOP of what hashes passwords",
        _stopped(_beside("gateway", "hasher")),
        frozenset({"HASHING_BUSY", "DEADLINE_EXCEEDED"}),
    ),
    "stopped-postgres": Trouble(
        "SIGSTOP of PostgreSQL", _stopped(_postgres), _AWAY | _BUSY | _NO_ANSWER
    ),
}
