"""The seeds of trouble: each begins with its block and ends with it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg

from services.events.postgres.database import SCHEMA
from services.plumbing.auth.keys import SigningKey
from tests.chaos.trouble.asking import RETRY_NEW_TOKEN, RETRY_SAME
from tests.chaos.trouble.girih import (
    CONNECTIONS_MAX,
    ENCRYPTED,
    GATEWAY_PROCESSES,
    HOSTS,
    PLAIN,
    PROCESS,
    SEVERAL_GATEWAYS,
    Girih,
    restore_names,
)
from tests.processes import ROOT

SLOW_S = 5.0
CERTIFICATE_S = 15
"""Of one that runs out: longer than it takes until all have read it."""
KILLED_EVERY_S = 2.0
"""Those are killed that come in the place of who was."""
HOLDS_S = 12.0
"""How long trouble lasts, unless what is asked meanwhile takes longer."""

_AWAY = frozenset({"DATABASE_UNAVAILABLE", "EVENTS_UNAVAILABLE"})
_BUSY = frozenset({"DATABASE_BUSY"})
_NEW_TOKEN = frozenset({RETRY_SAME, RETRY_NEW_TOKEN})
_NO_ANSWER = frozenset({"DEADLINE_EXCEEDED", "SERVICE_UNAVAILABLE"})


@dataclass(frozen=True)
class Trouble:
    """One seed."""

    what: str
    begin: Callable[[Girih], AbstractAsyncContextManager[None]]
    reasons: frozenset[str]
    """Reasons of which somebody must be told one, or there was no trouble."""
    silent: frozenset[str] = frozenset()
    """Processes that cannot say that they are alive."""
    needs: str = ""
    """What of the ground gives way."""
    retries: frozenset[str] = frozenset({RETRY_SAME})
    """What who fails may be told to do."""
    is_lived_with: bool = False
    """All is well again while it lasts, once callers have a new token."""
    of: str = PLAIN
    """The kind of girih that it comes over."""
    is_unnoticed: bool = False
    """Nobody may be told anything."""
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


def _killed(
    pids_of: Callable[[Girih], Iterator[int]], *, again: bool = False
) -> Callable[[Girih], AbstractAsyncContextManager[None]]:
    """Kill once; or also those that come in their place, until the block ends."""

    def kill(girih: Girih) -> int:
        pids = list(pids_of(girih))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    async def go_on(girih: Girih) -> None:
        while True:
            await asyncio.sleep(KILLED_EVERY_S)
            kill(girih)

    @asynccontextmanager
    async def begin(girih: Girih) -> AsyncIterator[None]:
        assert kill(girih), "there is nobody to be killed"
        going_on = asyncio.create_task(go_on(girih)) if again else None
        try:
            yield
        finally:
            if going_on is not None:
                going_on.cancel()
                await asyncio.gather(going_on, return_exceptions=True)

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


def _one_gateway(girih: Girih) -> Iterator[int]:
    """One of those that serve, and what it has beside it."""
    workers = children_of(girih.system.gateway.pid)
    serving = [pid for pid in workers if "gateway.processes.worker" in _command(pid)]
    assert len(serving) == GATEWAY_PROCESSES
    yield serving[0]
    yield from children(serving[0])


def _all_beside(girih: Girih) -> Iterator[int]:
    for process in girih.system.processes:
        yield from (pid for pid in children(process.pid) if "hasher" not in _command(pid))


def children(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    for child in children_of(pid):
        yield child
        yield from children(child)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started itself, the first one first."""
    folders = [one for one in Path("/proc").iterdir() if one.name.isdigit()]
    return sorted(int(one.name) for one in folders if _parent(one) == pid)


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


@asynccontextmanager
async def _disk_full(girih: Girih) -> AsyncIterator[None]:
    assert girih.ground.disk is not None
    await asyncio.to_thread(girih.ground.disk.fill)
    try:
        yield
    finally:
        girih.ground.disk.empty()


def _clock_moved(by_s: float) -> Callable[[Girih], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def begin(girih: Girih) -> AsyncIterator[None]:
        assert girih.ground.clock is not None
        girih.ground.clock.move(by_s)
        try:
            yield
        finally:
            girih.ground.clock.move(0)

    return begin


@asynccontextmanager
async def _names_moved(girih: Girih) -> AsyncIterator[None]:
    """The database and events are elsewhere, and nobody is where they were."""
    assert girih.ground.names is not None
    girih.ground.names.say(dict.fromkeys(girih.through, HOSTS[1:]))
    _lead(girih, to_second=True)
    try:
        yield
    finally:
        restore_names(girih.ground)
        _lead(girih, to_second=False)


def _lead(girih: Girih, *, to_second: bool) -> None:
    for first, second in girih.through.values():
        first.is_cut, second.is_cut = to_second, not to_second
        first.cut()
        second.cut()


@asynccontextmanager
async def _names_away(girih: Girih) -> AsyncIterator[None]:
    """Nobody knows where anything is, and who was connected is no more."""
    assert girih.ground.names is not None
    girih.ground.names.say({})
    for first, _ in girih.through.values():
        first.cut()
    try:
        yield
    finally:
        restore_names(girih.ground)


@asynccontextmanager
async def _keys_rotated(girih: Girih) -> AsyncIterator[None]:
    """Meanwhile, and behind it."""
    rotating = asyncio.create_task(_signing_keys(girih, "rotate"))
    try:
        yield
    finally:
        await rotating


@asynccontextmanager
async def _keys_stolen(girih: Girih) -> AsyncIterator[None]:
    """The keys are replaced, and what the gateway signed with the one before counts no longer."""
    stolen = SigningKey.load(girih.system.authority.gateway_key).kid
    await _signing_keys(girih, "rotate")
    await _signing_keys(girih, "retire", stolen, "--yes")
    yield


@asynccontextmanager
async def _certificate_ran_out(girih: Girih) -> AsyncIterator[None]:
    """Nobody who connects believes it; who was connected is no more."""
    assert girih.certificates is not None
    girih.certificates.issue(PROCESS, timedelta(seconds=CERTIFICATE_S))
    await asyncio.sleep(CERTIFICATE_S + 1)
    for proxy, _ in girih.through.values():
        proxy.cut()
    try:
        yield
    finally:
        girih.certificates.issue(PROCESS)


async def _signing_keys(girih: Girih, *arguments: str) -> None:
    command = [sys.executable, "-m", "cli", "signing-keys", *arguments]
    environ = {**os.environ, **girih.system.authority.environ}
    done = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await done.communicate()
    if done.returncode != 0:
        raise RuntimeError(f"{arguments} failed: {complaint.decode()}")


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
        # Another one takes its place, in time where the machine has some.
        frozenset(),
    ),
    "stopped-beside": Trouble(
        "SIGSTOP of all that processes have beside them, but of what hashes",
        _stopped(_all_beside),
        frozenset({"DEADLINE_EXCEEDED", "GATEWAY_BUSY"}),
    ),
    "killed-hasher": Trouble(
        "SIGKILL of what hashes passwords, again and again",
        _killed(_beside("gateway", "hasher"), again=True),
        frozenset(),
    ),
    "killed-beside": Trouble(
        "SIGKILL of all that processes have beside them but of what hashes, again and again",
        _killed(_all_beside, again=True),
        frozenset(),
    ),
    "stopped-postgres": Trouble(
        "SIGSTOP of PostgreSQL", _stopped(_postgres), _AWAY | _BUSY | _NO_ANSWER
    ),
    "disk": Trouble(
        "a full disk, of the database, of arrays and of logs",
        _disk_full,
        _AWAY | frozenset({"STORAGE_UNAVAILABLE"}),
        needs="disk",
    ),
    "clock-ahead": Trouble(
        "an hour ahead, and back again",
        _clock_moved(3_600),
        frozenset({"TOKEN_EXPIRED"}),
        needs="clock",
        retries=_NEW_TOKEN,
        is_lived_with=True,
    ),
    "clock-behind": Trouble(
        "an hour behind, and back again",
        _clock_moved(-3_600),
        frozenset(),
        needs="clock",
        retries=_NEW_TOKEN,
        is_lived_with=True,
    ),
    "names-moved": Trouble(
        "names of the database and of events lead elsewhere",
        _names_moved,
        frozenset(),
        needs="names",
        is_lived_with=True,
    ),
    "names-away": Trouble(
        "names of the database and of events lead nowhere", _names_away, _AWAY, needs="names"
    ),
    "keys-rotated": Trouble(
        "signing keys are rotated", _keys_rotated, frozenset(), is_unnoticed=True
    ),
    "keys-stolen": Trouble(
        "the gateway's key is replaced and retired at once",
        _keys_stolen,
        frozenset({"TOKEN_INVALID"}),
        retries=_NEW_TOKEN,
        is_lived_with=True,
    ),
    "certificate": Trouble(
        "the certificate of every process has run out",
        _certificate_ran_out,
        frozenset({"SERVICE_UNAVAILABLE", "EVENTS_UNAVAILABLE"}),
        frozenset({"events", "lattice", "projections"}),
        of=ENCRYPTED,
    ),
    "stopped-parent": Trouble(
        "SIGSTOP of the parent of two gateway processes",
        _stopped(_process("gateway")),
        frozenset(),
        is_lived_with=True,
        of=SEVERAL_GATEWAYS,
    ),
    "stopped-worker": Trouble(
        "SIGSTOP of one of two gateway processes",
        _stopped(_one_gateway),
        frozenset(),
        is_lived_with=True,
        of=SEVERAL_GATEWAYS,
    ),
    "killed-worker": Trouble(
        "SIGKILL of one of two gateway processes",
        _killed(_one_gateway),
        frozenset(),
        is_lived_with=True,
        of=SEVERAL_GATEWAYS,
    ),
}
