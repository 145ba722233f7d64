"""A projection whose content depends on the order of events, and what runs it in a test."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from girih.client import EventStoreClient, NewEvent, RecordedEvent
from girih.ids import TenantId
from girih.projection import PoisonPolicy, Projection, ProjectionTransaction
from services.projections.domain import ProjectionKey, ProjectionState
from services.projections.postgres.database import Database
from services.projections.postgres.store import PostgresProjectionStore, states
from services.projections.running.applying import FailureLimits
from services.projections.running.projection_run import ProjectionRun, RunLimits
from services.projections.running.tenant_logs import TenantLogs
from services.projections.running.turns import Turns
from services.projections.settings import Settings
from tests.authority import Authority
from tests.processes import PATIENT

TENANT = TenantId("default")
SHOP = ProjectionKey(TENANT, "shop")
FAST = FailureLimits(attempt_count_max=2, pause_s_min=0.001, pause_s_max=0.01)

_SELL = """
INSERT INTO projection_shop.sales (tenant, generation, stream, total, history)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, generation, stream) DO UPDATE
SET total = sales.total + excluded.total,
    history = md5(sales.history || excluded.history)
"""


class Shop(Projection):
    """Sums sales by stream, and keeps a digest of their order."""

    name: ClassVar = "shop"
    migrations: ClassVar = "tests.projections.shop.migrations"
    event_types: ClassVar = ("sold",)

    def __init__(self, poison_policy: PoisonPolicy = PoisonPolicy.STOP, version: str = "1") -> None:
        self.poison_policy = poison_policy
        self._version = version
        self.poison: set[int] = set()
        """Amounts that it cannot apply."""
        self.words = "cannot sell"
        """What it says of them."""

    @property
    def version(self) -> str:
        return self._version

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        for event in events:
            amount = event.data["amount"]
            if amount in self.poison:
                raise ValueError(f"{self.words} {amount}")
            await transaction.execute(
                _SELL, transaction.tenant, transaction.generation, event.stream, amount, str(amount)
            )

    async def forget(self, transaction: ProjectionTransaction, row_count_max: int) -> int:
        rows = await transaction.fetch(
            "WITH deleted AS (DELETE FROM projection_shop.sales"
            " WHERE tenant = $1 AND generation = $2 RETURNING 1) SELECT count(*) FROM deleted",
            transaction.tenant,
            transaction.generation,
        )
        return int(rows[0]["count"])


class Counts:
    """Instruments that count nothing."""

    def applied(self, projection: str, event_count: int, duration_s: float) -> None: ...

    def failed(self, projection: str) -> None: ...

    def set_aside(self, projection: str, event_count: int) -> None: ...


def projection_settings(database_url: str, authority: Authority, **environ: str) -> Settings:
    """The settings of a process in development."""
    response = {"GIRIH_ENVIRONMENT": "development", "DATABASE_URL": database_url}
    return Settings.from_environ(PATIENT | response | authority.environ | environ)


@asynccontextmanager
async def opened(
    database_url: str, authority: Authority, projections: Sequence[Projection], **environ: str
) -> AsyncIterator[Database]:
    """The database of these projections, migrated and connected to inside the block."""
    settings = projection_settings(database_url, authority, **environ)
    database = Database(settings, {one.name: one for one in projections})
    keeping = asyncio.create_task(database.keep_open())
    opening = asyncio.create_task(database.until_open())
    try:
        await asyncio.wait([keeping, opening], return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            await keeping
        yield database
    finally:
        opening.cancel()
        keeping.cancel()
        await asyncio.wait([keeping, opening])


def run_of(
    store: PostgresProjectionStore,
    log: EventStoreClient,
    projection: Projection,
    *,
    fence: int = 1,
    event_count_max: int = 100,
    failures: FailureLimits = FAST,
    idle_s: float = 60.0,
    turns: Turns | None = None,
) -> ProjectionRun:
    """The projection of the tenant "default", to be run."""
    logs = TenantLogs(log, lambda _tenant: "")
    return ProjectionRun(
        ProjectionKey(TENANT, projection.name),
        fence,
        projection,
        store,
        logs.follow,
        logs.event_at,
        Counts(),
        RunLimits(event_count_max=event_count_max, idle_s=idle_s, failures=failures),
        turns or Turns(4),
    )


@asynccontextmanager
async def running(run: ProjectionRun) -> AsyncIterator["asyncio.Task[None]"]:
    """A projection that runs inside the block."""
    task = asyncio.create_task(run.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def state(store: PostgresProjectionStore, key: ProjectionKey = SHOP) -> ProjectionState:
    async with store.for_tenant(key.tenant) as connection:
        return (await states(connection, key.tenant, [key.projection]))[0]


async def until(
    store: PostgresProjectionStore, position: int, key: ProjectionKey = SHOP
) -> ProjectionState:
    """Return once the projection holds the log up to a position, or has stopped."""
    async with asyncio.timeout(60):
        while True:
            async with store.for_tenant(key.tenant) as connection:
                reached = await states(connection, key.tenant, [key.projection])
            if reached and (
                reached[0].active.checkpoint.position >= position or reached[0].active.stop
            ):
                return reached[0]
            await asyncio.sleep(0.01)


async def digest(store: PostgresProjectionStore, tenant: TenantId = TENANT) -> str:
    """Of all that readers see of the shop."""
    async with store.for_tenant(tenant) as connection:
        rows = await connection.fetch(
            "SELECT stream, total, history FROM projection_shop.shop ORDER BY stream"
        )
    return hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()


def sales(amounts: Sequence[int], *, streams: int = 3) -> list[NewEvent]:
    """Events that sell, over some streams, with one in four that nobody wants."""
    return [
        NewEvent.with_data(
            f"till-{index % streams}", "looked" if index % 4 == 3 else "sold", {"amount": amount}
        )
        for index, amount in enumerate(amounts)
    ]


def expected(events: Sequence[NewEvent]) -> str:
    """The digest of what a plain fold of events makes."""
    folded: dict[str, tuple[int, str]] = {}
    for event in events:
        if event.type != "sold":
            continue
        amount = json.loads(event.json or "")["amount"]
        if event.stream in folded:
            total, history = folded[event.stream]
            mixed = hashlib.md5(f"{history}{amount}".encode()).hexdigest()
            folded[event.stream] = (total + amount, mixed)
        else:
            folded[event.stream] = (amount, str(amount))
    rows = [(stream, *folded[stream]) for stream in sorted(folded)]
    return hashlib.sha256(repr(rows).encode()).hexdigest()
