"""Who leads which lane of a consumer group, in PostgreSQL. A `LaneStore`."""

import time
from collections.abc import Mapping, Sequence

import asyncpg

from girih.ids import Position, TenantId
from services.events.lanes.group import (
    CONSUMER_COUNT_MAX,
    Beat,
    ClaimedLane,
    Cut,
    GroupName,
    GroupSettings,
    HeldEvent,
    HeldState,
    Key,
    LaneChange,
    StoredGroup,
    hash_of,
)
from services.events.lanes.store import ConsumerId
from services.events.postgres.placed import wherever_it_is
from services.events.postgres.store import Connections
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load


class PostgresLanes:
    """The lanes of all groups, in one database."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @wherever_it_is
    async def group(self, tenant: TenantId, group: GroupName) -> StoredGroup | None:
        async with self._connections.connection(tenant) as connection:
            row = await connection.fetchrow(sql("select_group"), tenant, group)
        return None if row is None else stored_group(row)

    @wherever_it_is
    async def beat(
        self, consumer: ConsumerId, lanes: Mapping[int, int], *, is_up_to_date: bool
    ) -> Beat | None:
        numbers, tokens = list(lanes), list(lanes.values())
        async with self._connections.connection(consumer.tenant) as connection:
            row = await connection.fetchrow(
                sql("beat"), *consumer, numbers, tokens, CONSUMER_COUNT_MAX, is_up_to_date
            )
        if row is None:
            return None
        version, lane_count, rank, consumer_count, kept, created_at, is_freed = row
        lanes_kept = frozenset(kept or ())
        return Beat(version, created_at, lane_count, rank, consumer_count, lanes_kept, is_freed)

    @wherever_it_is
    async def claim(
        self, consumer: ConsumerId, known: StoredGroup, count_max: int, *, least_s: float = 0.0
    ) -> Sequence[ClaimedLane]:
        tenant, group, name = consumer.tenant, consumer.group, consumer.consumer
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(
                sql("claim"),
                tenant,
                group,
                name,
                known.version,
                count_max,
                least_s,
                known.created_at,
            )
            if not rows:
                return ()
            held = await _held(connection, tenant, group, [row["lane"] for row in rows])
            cuts = await _cuts(connection, tenant, group)
        return [
            ClaimedLane(
                row["lane"],
                row["token"],
                row["checkpoint"],
                row["acked"],
                row["incarnation"],
                held[row["lane"]],
                cuts,
            )
            for row in rows
        ]

    @wherever_it_is
    async def settle(
        self, tenant: TenantId, group: GroupName, changes: Sequence[LaneChange]
    ) -> frozenset[int]:
        held = [(change.lane, one) for change in changes for one in change.held]
        acked = [(change.lane, position) for change in changes for position in change.acked]
        freed = [(change.lane, position) for change in changes for position in change.freed]
        async with self._connections.connection(tenant) as connection:
            accepted = await connection.fetchval(
                sql("settle"),
                tenant,
                group,
                [change.lane for change in changes],
                [change.token for change in changes],
                [change.checkpoint for change in changes],
                [change.incarnation for change in changes],
                *_columns(acked, 2),
                [lane for lane, _ in held],
                [one.position for _, one in held],
                [one.key for _, one in held],
                [hash_of(one.key) for _, one in held],
                [one.state.value for _, one in held],
                [one.attempt_count for _, one in held],
                [one.due_s for _, one in held],
                [one.reason for _, one in held],
                *_columns(freed, 2),
            )
        return frozenset(accepted)

    @wherever_it_is
    async def release(self, consumer: ConsumerId, lanes: Mapping[int, int], *, goes: bool) -> None:
        async with self._connections.connection(consumer.tenant) as connection:
            await connection.execute(
                sql("release"), *consumer[:3], list(lanes), list(lanes.values()), goes
            )


async def _held(
    connection: Connection, tenant: TenantId, group: GroupName, lanes: Sequence[int]
) -> Mapping[int, Sequence[HeldEvent]]:
    """What lanes hold apart, by lane."""
    stored = await connection.fetchrow(sql("select_group"), tenant, group)
    lane_count = 1 if stored is None else stored["lane_count"]
    held: dict[int, list[HeldEvent]] = {lane: [] for lane in lanes}
    now_s = time.monotonic()
    for row in await connection.fetch(sql("select_held"), tenant, group, lanes, lane_count):
        if row["lane"] in held:
            held[row["lane"]].append(
                HeldEvent(
                    row["position"],
                    Key(row["key"]),
                    HeldState(row["state"]),
                    row["attempt_count"],
                    now_s + row["delay_s"],
                    row["reason"],
                )
            )
    return held


async def _cuts(connection: Connection, tenant: TenantId, group: GroupName) -> Sequence[Cut]:
    return [
        Cut(
            row["through"],
            row["checkpoints"],
            frozenset(row["acked"]),
            row["incarnation"],
            row["filter"],
        )
        for row in await connection.fetch(sql("select_cuts"), tenant, group)
    ]


def stored_group(row: asyncpg.Record) -> StoredGroup:
    """The group in a row of `select_group`."""
    settings = GroupSettings(
        row["lane_count"],
        row["key_tag_prefix"],
        row["filter"],
        row["attempt_count_max"],
        row["passes_parked"],
        row["held_count_max"],
        row["lease_s"],
    )
    return StoredGroup(settings, row["version"], row["created_at"])


def _columns(rows: Sequence[tuple[int, Position]], count: int) -> Sequence[Sequence[int]]:
    """Rows turned into columns; empty ones of none."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


def sql(name: str) -> str:
    """A statement about groups."""
    return load("services.events.postgres.sql.groups", name)
