"""What tenants want of their projections, in PostgreSQL. Knows their tables, and runs nothing."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from asyncpg import Record

from girih.ids import Position, TenantId
from girih.projection import PoisonPolicy, ReplacedPolicy
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load
from services.projections.domain import (
    ProjectionKey,
    ProjectionState,
    QuarantinedEvent,
    QuarantinePage,
    RebuildCause,
)
from services.projections.postgres.store import PostgresProjectionStore, states


class PostgresControl:
    """A `ControlStore`."""

    def __init__(self, store: PostgresProjectionStore) -> None:
        self._store = store

    async def states(
        self, tenant: TenantId, projections: Sequence[str]
    ) -> Sequence[ProjectionState]:
        async with self._store.for_tenant(tenant) as connection:
            return await states(connection, tenant, projections)

    async def states_of(
        self, keys: Collection[ProjectionKey]
    ) -> Mapping[ProjectionKey, ProjectionState]:
        of: dict[TenantId, list[str]] = {}
        for key in keys:
            of.setdefault(key.tenant, []).append(key.projection)
        async with aclosing(self._store.for_each(of)) as tenants:
            return {
                state.key: state
                async for tenant, connection in tenants
                for state in await states(connection, tenant, of[tenant])
            }

    async def set_paused(self, key: ProjectionKey, version: str, *, is_paused: bool) -> None:
        async with self._known(key, version) as connection:
            await connection.execute(_sql("set_paused"), key.tenant, key.projection, is_paused)
            if not is_paused:
                await connection.execute(_sql("start_again"), key.tenant, key.projection)

    async def begin_rebuild(self, key: ProjectionKey, version: str) -> None:
        async with self._known(key, version):
            pass
        # Under no lease: whoever runs it takes it over, as it does with all of its generations.
        await self._store.begin_rebuild(key, version, RebuildCause.ASKED, fence=0)

    async def set_policies(
        self,
        key: ProjectionKey,
        version: str,
        poison: PoisonPolicy | None,
        replaced: ReplacedPolicy | None,
    ) -> None:
        async with self._known(key, version) as connection:
            await connection.execute(
                _sql("set_policies"),
                key.tenant,
                key.projection,
                poison and poison.value,
                replaced and replaced.value,
            )

    async def quarantine(
        self, key: ProjectionKey, behind: Position, count_max: int
    ) -> QuarantinePage:
        async with self._store.for_tenant(key.tenant) as connection:
            rows = await connection.fetch(
                _quarantine("select_page"), key.tenant, key.projection, behind, count_max
            )
        events = [_quarantined(row) for row in rows if row["position"] is not None]
        return QuarantinePage(events=events, total_count=rows[0]["total_count"])

    async def ask_replay(self, key: ProjectionKey, stream: str) -> int:
        async with self._store.for_tenant(key.tenant) as connection:
            return int(
                await connection.fetchval(
                    _quarantine("ask_replay"), key.tenant, key.projection, stream
                )
            )

    async def ask_discard(self, key: ProjectionKey, position: Position) -> int:
        async with self._store.for_tenant(key.tenant) as connection:
            return int(
                await connection.fetchval(
                    _quarantine("ask_discard"), key.tenant, key.projection, position
                )
            )

    @asynccontextmanager
    async def _known(self, key: ProjectionKey, version: str) -> AsyncIterator[Connection]:
        """A transaction in which the projection is known for its tenant."""
        async with self._store.for_tenant(key.tenant) as connection:
            await connection.execute(
                load("services.projections.postgres.sql", "insert_state"),
                key.tenant,
                key.projection,
                version,
            )
            yield connection


def _quarantined(row: Record) -> QuarantinedEvent:
    return QuarantinedEvent(
        position=Position(row["position"]),
        stream=row["stream"],
        type=row["type"],
        event_id=row["event_id"],
        problem=row["problem"],
        is_held_back=row["is_held_back"],
        attempt_count=row["attempt_count"],
        set_aside_at=row["set_aside_at"],
        is_pending=row["asked"] is not None,
    )


def _sql(name: str) -> str:
    return load("services.projections.postgres.sql.control", name)


def _quarantine(name: str) -> str:
    return load("services.projections.postgres.sql.quarantine", name)
