"""Creates, changes and shows consumer groups. Knows neither PostgreSQL nor the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from girih.ids import NO_POSITION, Position, TenantId
from services.events.errors import (
    BeyondEnd,
    GroupChanged,
    GroupChanging,
    GroupExists,
    GroupKeyFixed,
    GroupNotFound,
    GroupsFull,
    ParkedEventNotFound,
)
from services.events.groups.consumers import Consumers
from services.events.lanes.group import (
    GROUP_COUNT_MAX,
    GroupName,
    GroupSettings,
    GroupState,
    GroupSummary,
    ParkedEvent,
)
from services.events.lanes.store import GroupAdministration
from services.events.store import EventStore, LogPlace

FIRST: Final = Position(1)

Start = Position | datetime | None
"""A position, a time, or the beginning of the log."""


class Groups:
    """The groups of all tenants."""

    def __init__(
        self, groups: GroupAdministration, store: EventStore, consumers: Consumers
    ) -> None:
        """`consumers` of this process learn at once what is changed."""
        self._groups = groups
        self._store = store
        self._consumers = consumers

    async def create(
        self,
        tenant: TenantId,
        group: GroupName,
        settings: GroupSettings,
        start: Start,
        count_max: int,
    ) -> tuple[int, bool]:
        """The version of its settings, and whether it is new. `count_max` are allowed, 0 for as
        many as a tenant may have.

        Raises `GroupExists`, `GroupsFull` and `BeyondEnd`.
        """
        place = await self._place(tenant, start)
        behind = Position(place.position - 1)
        most = min(count_max or GROUP_COUNT_MAX, GROUP_COUNT_MAX)
        version, is_new = await self._groups.create(
            tenant, group, settings, behind, place.incarnation, most
        )
        if not version:
            raise GroupsFull(
                f"the tenant has {most} groups already", retry_after_s=None, group_count_max=most
            )
        if not is_new:
            known = await self.state(tenant, group)
            if known.group.settings != settings:
                raise GroupExists(f"the group {group} has other settings", group=group)
        return version, is_new

    async def update(
        self, tenant: TenantId, group: GroupName, settings: GroupSettings, expected_version: int
    ) -> int:
        """The version of its settings from now on.

        Raises `GroupNotFound`, `GroupChanged`, `GroupKeyFixed` and `GroupChanging`.
        """
        outcome, version = await self._groups.update(tenant, group, settings, expected_version)
        match outcome:
            case "absent":
                raise _absent(group)
            case "moved":
                raise GroupChanged(
                    f"the settings of the group {group} are version {version} by now",
                    group=group,
                    version=version,
                )
            case "key":
                raise GroupKeyFixed(
                    f"key_tag_prefix of the group {group} cannot be changed", group=group
                )
            case "cutting":
                raise GroupChanging(
                    f"the lanes of the group {group} were cut anew too often", group=group
                )
        self._consumers.changed(tenant, group)
        return version

    async def delete(self, tenant: TenantId, group: GroupName) -> None:
        """Does nothing when there is none."""
        await self._groups.delete(tenant, group)
        self._consumers.changed(tenant, group)

    async def reset(self, tenant: TenantId, group: GroupName, start: Start) -> Position:
        """Where it goes on. Raises `GroupNotFound` and `BeyondEnd`."""
        place = await self._place(tenant, start)
        behind = Position(place.position - 1)
        if not await self._groups.reset(tenant, group, behind, place.incarnation):
            raise _absent(group)
        self._consumers.changed(tenant, group)
        return place.position

    async def state(self, tenant: TenantId, group: GroupName) -> GroupState:
        """How it is now. Raises `GroupNotFound`."""
        state = await self._groups.state(tenant, group)
        if state is None:
            raise _absent(group)
        return state

    async def groups(self, tenant: TenantId, behind: str, count_max: int) -> Sequence[GroupSummary]:
        """The first groups behind a name."""
        return await self._groups.groups(tenant, behind, count_max)

    async def parked(
        self, tenant: TenantId, group: GroupName, behind: Position, count_max: int
    ) -> Sequence[ParkedEvent]:
        """The first events behind a position that it has parked. Raises `GroupNotFound`."""
        await self.state(tenant, group)
        return await self._groups.parked(tenant, group, behind, count_max)

    async def replay(
        self, tenant: TenantId, group: GroupName, positions: Sequence[Position] | None
    ) -> int:
        """Have parked events tried again, all for None. Raises `GroupNotFound` and
        `ParkedEventNotFound`.
        """
        return await self._unpark(tenant, group, positions, is_replayed=True)

    async def discard(
        self, tenant: TenantId, group: GroupName, positions: Sequence[Position] | None
    ) -> int:
        """Take them for settled, as `replay` does otherwise."""
        return await self._unpark(tenant, group, positions, is_replayed=False)

    async def _unpark(
        self,
        tenant: TenantId,
        group: GroupName,
        positions: Sequence[Position] | None,
        *,
        is_replayed: bool,
    ) -> int:
        count = await self._groups.unpark(tenant, group, positions, is_replayed=is_replayed)
        if count is None:
            raise _absent(group)
        if count < 0:
            raise ParkedEventNotFound(
                f"not all of these are parked by the group {group}", group=group
            )
        self._consumers.changed(tenant, group)
        return count

    async def _place(self, tenant: TenantId, start: Start) -> LogPlace:
        if isinstance(start, datetime):
            return await self._store.position_at(tenant, start)
        incarnation, head = await self._store.end(tenant)
        position = FIRST if start is None else start
        if position > max(head, NO_POSITION) + 1:
            raise BeyondEnd(f"the log ends at position {head}", head_position=head)
        return LogPlace(incarnation, position)


def _absent(group: GroupName) -> GroupNotFound:
    return GroupNotFound(f"there is no group {group}", group=group)
