"""Snapshots in PostgreSQL. A `SnapshotStore`."""

from girih.ids import Position, Revision, StreamName, TenantId
from services.events.domain import LogEnd
from services.events.postgres.placed import wherever_it_is
from services.events.postgres.store import Connections
from services.events.snapshot import State, StoredSnapshot
from services.plumbing.postgres.sql import load


class PostgresSnapshots:
    """The snapshots of all tenants, in one database."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @wherever_it_is
    async def save(
        self,
        tenant: TenantId,
        stream: StreamName,
        state: State,
        position: Position,
        read_at: LogEnd,
        count_max: int,
    ) -> bool:
        async with self._connections.connection(tenant) as connection:
            is_kept = await connection.fetchval(
                _sql("save_snapshot"),
                tenant,
                stream,
                state.revision,
                position,
                state.schema_version,
                state.is_json,
                read_at.incarnation,
                state.content_type,
                state.seal(position),
                state.content,
                count_max,
                read_at.head,
            )
        return bool(is_kept)

    @wherever_it_is
    async def newest(
        self, tenant: TenantId, stream: StreamName, before: Revision
    ) -> StoredSnapshot | None:
        async with self._connections.connection(tenant) as connection:
            row = await connection.fetchrow(_sql("select_newest"), tenant, stream, before)
        if row is None:
            return None
        state = State(
            row["revision"],
            row["schema_version"],
            row["content"],
            row["is_json"],
            row["content_type"],
        )
        return StoredSnapshot(
            state,
            row["position"],
            row["incarnation"],
            row["seal"],
            row["saved_at"],
            row["current_position"],
        )


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.snapshots", name)
