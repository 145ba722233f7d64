"""Digests and restored records in PostgreSQL. A `TransferStore`."""

from collections.abc import Callable, Sequence

import asyncpg

from girih.ids import Position, Revision, StreamName, TenantId
from services.events.carried.records import (
    CarriedRecord,
    DigestPage,
    Outcome,
    Restored,
    SavedStream,
    StoredDigests,
)
from services.events.postgres import keeping
from services.events.postgres.placed import wherever_it_is
from services.events.postgres.store import Connections, PostgresEventStore
from services.events.rules.stream_rules import PlacedChange
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load

PayloadDigest = Callable[[bytes], bytes]
"""The digest of a payload."""


class PostgresTransfer:
    """The logs of all tenants, as far as they are carried to or from somewhere."""

    def __init__(
        self, connections: Connections, store: PostgresEventStore, payload_digest: PayloadDigest
    ) -> None:
        self._connections = connections
        self._store = store
        self._payload_digest = payload_digest

    @wherever_it_is
    async def digests(
        self, tenant: TenantId, start: Position, count_max: int, bytes_max: int
    ) -> DigestPage:
        incarnation, _ = await self._store.end(tenant)
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(
                _sql("select_digests"), tenant, start, count_max, bytes_max
            )
            gone = await self._hidden(connection, tenant, rows)
        return DigestPage(
            incarnation,
            [
                StoredDigests(position, digest, payload_digest or gone.get(position, b""), header)
                for position, digest, payload_digest, header in rows
            ],
        )

    @wherever_it_is
    async def restore(
        self, tenant: TenantId, after: Position, records: Sequence[CarriedRecord]
    ) -> Restored:
        async with self._connections.connection(tenant) as connection:
            await connection.execute(load("services.events.postgres.sql", "insert_log"), tenant)
        # Before the first record: a log that begins in an incarnation is all of it.
        await self._store.end(tenant)
        async with self._connections.connection(tenant) as connection:
            try:
                return await _restore(connection, tenant, after, records)
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name != "records_event_id":
                    raise
                return Restored(Outcome.ID_STORED, after)

    @wherever_it_is
    async def saved_streams(
        self, tenant: TenantId, after: Position, count_max: int
    ) -> Sequence[SavedStream]:
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(_sql("select_saved_streams"), tenant, after, count_max)
        return [SavedStream(Position(stream), StreamName(name)) for stream, name in rows]

    async def _hidden(
        self, connection: Connection, tenant: TenantId, rows: Sequence[asyncpg.Record]
    ) -> dict[Position, bytes]:
        """The digests of payloads that rules hide and that are still on the disk, one at a time."""
        there = [row["position"] for row in rows if row["payload_digest"] is None]
        fates = await keeping.fates_at(connection, tenant, there)
        digests = {}
        for position, fate in fates.rows.items():
            if fate["reason"] is None:
                continue
            row = await connection.fetchrow(_sql("select_payload"), tenant, position)
            assert row is not None, "no record leaves a log"
            payload, taken_digest = row
            # It may have been taken since it was seen to be there.
            digests[position] = taken_digest or self._payload_digest(payload)
        return digests


async def _restore(
    connection: Connection, tenant: TenantId, after: Position, records: Sequence[CarriedRecord]
) -> Restored:
    async with connection.transaction():
        row = await connection.fetchrow(
            _sql("restore_records"), tenant, after, [_row_of(one) for one in records]
        )
        assert row is not None
        restored = Restored(Outcome(row["outcome"]), Position(row["at"]))
        if restored.outcome is Outcome.RESTORED:
            for index, one in enumerate(records):
                if one.change is not None:
                    await _put_down(connection, tenant, one, Position(after + 1 + index))
    return restored


async def _put_down(
    connection: Connection, tenant: TenantId, record: CarriedRecord, position: Position
) -> None:
    """What an event of `$streams` changes, at its place among the others."""
    change = record.change
    assert change is not None
    behind = await connection.fetchval(
        load("services.events.postgres.sql", "select_revision_at"), tenant, change.stream, position
    )
    placed = PlacedChange(change, position, Revision(behind))
    await keeping.put_down(connection, tenant, record.recorded_at, placed)


def _row_of(record: CarriedRecord) -> tuple[object, ...]:
    """An `events.restored_record`."""
    return (
        record.stream,
        record.revision,
        record.recorded_at,
        record.event_id,
        record.type,
        record.correlation_id,
        record.digest,
        record.tags or None,
        record.header,
        record.payload,
        record.payload_digest,
    )


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.transfer", name)
