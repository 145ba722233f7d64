"""Creates, changes and shows consumer groups in PostgreSQL. A `GroupAdministration`."""

from collections.abc import Sequence
from typing import cast

from girih.ids import Position, TenantId
from services.events.lanes.group import (
    CUT_COUNT_MAX,
    ConsumerState,
    GroupName,
    GroupSettings,
    GroupState,
    GroupSummary,
    LaneState,
    ParkedEvent,
)
from services.events.lanes.store import UpdateOutcome
from services.events.postgres.groups import leading
from services.events.postgres.placed import wherever_it_is
from services.events.postgres.store import Connections
from services.plumbing.postgres.sql import load


class PostgresGroups:
    """The groups of all tenants, in one database."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @wherever_it_is
    async def create(
        self,
        tenant: TenantId,
        group: GroupName,
        settings: GroupSettings,
        behind: Position,
        incarnation: str,
        count_max: int,
    ) -> tuple[int, bool]:
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(
                _sql("create_group"),
                tenant,
                group,
                *_columns(settings),
                behind,
                incarnation,
                count_max,
            )
        [(version, is_new)] = rows
        return version, is_new

    @wherever_it_is
    async def update(
        self, tenant: TenantId, group: GroupName, settings: GroupSettings, expected_version: int
    ) -> UpdateOutcome:
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(
                _sql("update_group"),
                tenant,
                group,
                *_columns(settings),
                expected_version,
                CUT_COUNT_MAX,
            )
        return UpdateOutcome(*rows[0])

    @wherever_it_is
    async def delete(self, tenant: TenantId, group: GroupName) -> None:
        async with self._connections.connection(tenant) as connection:
            await connection.execute(_sql("delete_group"), tenant, group)

    @wherever_it_is
    async def reset(
        self, tenant: TenantId, group: GroupName, behind: Position, incarnation: str
    ) -> bool:
        async with self._connections.connection(tenant) as connection:
            was_there = await connection.fetchval(
                _sql("reset_group"), tenant, group, behind, incarnation
            )
        return bool(was_there)

    @wherever_it_is
    async def state(self, tenant: TenantId, group: GroupName) -> GroupState | None:
        async with self._connections.connection(tenant) as connection:
            row = await connection.fetchrow(leading.sql("select_group"), tenant, group)
            if row is None:
                return None
            stored = leading.stored_group(row)
            [(now, head)] = await connection.fetch(_sql("select_now"), tenant)
            consumers = await connection.fetch(_sql("select_consumers"), tenant, group)
            lane_count = stored.settings.lane_count
            lanes = await connection.fetch(_sql("select_lanes"), tenant, group, lane_count)
        return GroupState(
            stored,
            head,
            now,
            [ConsumerState(*one) for one in consumers],
            [LaneState(*lane) for lane in lanes],
        )

    @wherever_it_is
    async def groups(self, tenant: TenantId, behind: str, count_max: int) -> Sequence[GroupSummary]:
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(_sql("select_groups"), tenant, behind, count_max)
        return [GroupSummary(*row) for row in rows]

    @wherever_it_is
    async def parked(
        self, tenant: TenantId, group: GroupName, behind: Position, count_max: int
    ) -> Sequence[ParkedEvent]:
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(_sql("select_parked"), tenant, group, behind, count_max)
        return [ParkedEvent(*row) for row in rows]

    @wherever_it_is
    async def unpark(
        self,
        tenant: TenantId,
        group: GroupName,
        positions: Sequence[Position] | None,
        *,
        is_replayed: bool,
    ) -> int | None:
        async with self._connections.connection(tenant) as connection:
            count = await connection.fetchval(_sql("unpark"), tenant, group, positions, is_replayed)
        return cast("int | None", count)


def _columns(settings: GroupSettings) -> Sequence[object]:
    """In the order in which the statements take them."""
    return (
        settings.lane_count,
        settings.key_tag_prefix,
        settings.filter,
        settings.attempt_count_max,
        settings.passes_parked,
        settings.held_count_max,
        settings.lease_s,
    )


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.groups.administration", name)
