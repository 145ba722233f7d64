"""Projections are killed between what they write and their checkpoint, again and again.

Several processes share the projections of several tenants, while events are appended. Each process
kills itself in the middle of transactions and is started anew. In the end what each projection
holds must be the fold of its tenant's log: the shop's content depends on each event being applied
once and in order, and the counts of event types on all of them.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from girih.client import EventStoreClient, NewEvent
from girih.ids import TenantId
from tests.chaos.projecting import DEATH, KILLS, UNPROTECTED
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
    projections_process,
)
from tests.projections.running import expected, sales

TENANT_COUNT = 6
PROCESS_COUNT = 3
_DEATH = 0.2
_BATCH = 20
_APPEND_COUNT = 40
_AHEAD = 400
"""So many events of a tenant wait to be applied at most: enough to be killed over."""
_LOOK_S = 0.1
_MODULE = "tests.chaos.projecting"


@dataclass
class Outcome:
    """What happened, and which promises were broken."""

    figures: dict[str, int] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)


async def kill_projections(*, kills: int, seed: int, is_protected: bool) -> Outcome:
    """Kill until there were so many, then let them come to the end and compare."""
    outcome = Outcome()
    with own_postgres() as (postgres, folder):
        events, address = events_process(postgres.url, folder)
        with ending(events):
            events.start()
            await asyncio.to_thread(events.wait_ready)
            async with _logs(address, folder) as logs:
                proof = _Proof(postgres.url, folder, address, is_protected=is_protected)
                await proof.run(logs, kills, seed)
                outcome.figures = {"kills": proof.kill_count, **await proof.settle(logs)}
                for tenant, log in logs.items():
                    outcome.broken.update(await proof.differences(tenant, log))
    return outcome


class _Proof:
    def __init__(
        self, database_url: str, folder: Path, events_address: str, *, is_protected: bool
    ) -> None:
        self._database_url = database_url
        self._folder = folder
        self._events_address = events_address
        self._unprotected = "" if is_protected else "1"

    async def run(self, logs: "dict[TenantId, _Log]", kills: int, seed: int) -> None:
        """Append and be killed, until there were so many kills."""
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(logs, is_over))
            for log in logs.values():
                tasks.create_task(log.append_until(is_over, random.Random(seed)))
            for number in range(PROCESS_COUNT):
                tasks.create_task(self._be_killed(number, kills, is_over))

    @property
    def kill_count(self) -> int:
        """How often a process has killed itself."""
        return sum(file.stat().st_size for file in self._folder.glob("*.kills"))

    async def _follow(self, logs: "dict[TenantId, _Log]", is_over: asyncio.Event) -> None:
        """Tell logs how far their projections are."""
        while not is_over.is_set():
            for tenant, position in (await self._positions()).items():
                logs[tenant].applied = position
            await asyncio.sleep(_LOOK_S)

    async def settle(self, logs: "dict[TenantId, _Log]") -> dict[str, int]:
        """Let a process that is not killed come to the end of all logs."""
        process = self._process("last", death=0.0)
        with ending(process):
            process.start()
            await asyncio.to_thread(process.wait_ready)
            async with asyncio.timeout(240):
                while not await self._are_at_end(logs):  # noqa: ASYNC110 - others work
                    await asyncio.sleep(0.2)
        return {
            "events": sum(len(log.appended) for log in logs.values()),
            "tenants": len(logs),
            "processes": PROCESS_COUNT,
        }

    async def differences(self, tenant: TenantId, log: "_Log") -> Sequence[str]:
        """How what is read is not the fold of the log."""
        connection = await asyncpg.connect(self._database_url)
        try:
            shop = await connection.fetch(
                "SELECT stream, total, history FROM projection_shop.sales"
                " WHERE tenant = $1 ORDER BY stream",
                tenant,
            )
            counts = await connection.fetch(
                "SELECT type, event_count FROM projection_event_types.counts WHERE tenant = $1",
                tenant,
            )
        finally:
            await connection.close()
        differences = []
        if expected(log.appended) != _digest(shop):
            differences.append("the shop is not the fold of the log")
        if Counter(event.type for event in log.appended) != dict(map(tuple, counts)):
            differences.append("the counts are not those of the log")
        return differences

    async def _be_killed(self, number: int, kills: int, is_over: asyncio.Event) -> None:
        process = self._process(str(number), death=_DEATH)
        with ending(process):
            process.start()
            while self.kill_count < kills:
                await asyncio.sleep(_LOOK_S)
                if not process.is_running:
                    raise RuntimeError(f"a process ended:\n{process.log.read_text()[-4000:]}")
        is_over.set()

    def _process(self, name: str, death: float) -> Process:
        process, _ = projections_process(
            self._database_url,
            self._events_address,
            self._folder,
            module=_MODULE,
            PROJECTIONS_LEASE_S="1",
            PROJECTIONS_BATCH_EVENT_COUNT_MAX=str(_BATCH),
            **{
                DEATH: str(death),
                UNPROTECTED: self._unprotected,
                KILLS: str(self._folder / f"{name}.kills"),
            },
        )
        process.log = self._folder / f"projections-{name}.log"
        return process

    async def _are_at_end(self, logs: "dict[TenantId, _Log]") -> bool:
        positions = await self._positions()
        return all(positions.get(tenant, 0) >= len(log.appended) for tenant, log in logs.items())

    async def _positions(self) -> dict[TenantId, int]:
        """Up to where both projections of a tenant are true."""
        connection = await asyncpg.connect(self._database_url)
        try:
            if await connection.fetchval("SELECT to_regclass('projections.checkpoints')") is None:
                return {}
            rows = await connection.fetch(
                "SELECT tenant, min(position) FROM projections.checkpoints"
                " WHERE projection IN ('shop', 'event_types') GROUP BY tenant"
                " HAVING count(*) = 2"
            )
        finally:
            await connection.close()
        return {TenantId(tenant): position for tenant, position in rows}


class _Log:
    """The log of one tenant, and what was appended to it."""

    def __init__(self, events: EventStoreClient) -> None:
        self._events = events
        self.appended: list[NewEvent] = []
        self.applied = 0
        """Up to where projections were when somebody looked."""

    async def append_until(self, is_over: asyncio.Event, chance: random.Random) -> None:
        while not is_over.is_set():
            if len(self.appended) < self.applied + _AHEAD:
                batch = sales([chance.randrange(1_000) for _ in range(_APPEND_COUNT)], streams=7)
                await self._events.append(batch)
                self.appended += batch
            else:
                await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def _logs(address: str, folder: Path) -> "AsyncIterator[dict[TenantId, _Log]]":
    callers = [Caller(authority_of(folder), f"tenant-{number}") for number in range(TENANT_COUNT)]
    async with EventStoreClient.connect(address, token="") as events:
        yield {
            TenantId(caller.tenant): _Log(events.acting(token=_token_of(caller)))
            for caller in callers
        }


def _token_of(caller: Caller) -> Callable[[], str]:
    return lambda: caller.token


def _digest(rows: Sequence[asyncpg.Record]) -> str:
    return hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()
