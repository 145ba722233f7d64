"""What consumer groups need of a database. Knows none.

Whatever is asked of a store raises `Unavailable` when the database cannot be reached, and
`ResourceExhausted` when it is too busy to answer in time.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from girih.ids import Position, TenantId
from services.events.lanes.group import (
    Beat,
    ClaimedLane,
    GroupName,
    GroupSettings,
    GroupState,
    GroupSummary,
    LaneChange,
    ParkedEvent,
    StoredGroup,
)


class ConsumerId(NamedTuple):
    """A consumer of a group: a call."""

    tenant: TenantId
    group: GroupName
    consumer: str
    """Its id."""
    called: str
    """What it calls itself."""
    actor: str
    """Who it is."""


class LaneStore(Protocol):
    """The lanes of all groups, for those who lead them."""

    async def group(self, tenant: TenantId, group: GroupName) -> StoredGroup | None:
        """A group, None when there is none."""

    async def beat(
        self, consumer: ConsumerId, lanes: Mapping[int, int], *, is_up_to_date: bool
    ) -> Beat | None:
        """Have a consumer be there for as long as the lease, and lead these lanes, by their tokens,
        as far as it still does. None when there is no group.

        Nobody else is given lanes while one does not hear that some were taken from it, for as long
        as these would have been its own.
        """

    async def claim(
        self, consumer: ConsumerId, known: StoredGroup, count_max: int, *, least_s: float = 0.0
    ) -> Sequence[ClaimedLane]:
        """Lead up to so many lanes more that nobody leads, for the lease, or longer: `least_s`.

        None of a group that is not as `known`, nor while one does not hear that it has lost some.
        """

    async def settle(
        self, tenant: TenantId, group: GroupName, changes: Sequence[LaneChange]
    ) -> frozenset[int]:
        """Write how far lanes are, in one transaction, each as far as it is led under its token.

        Answers those that are written.
        """

    async def release(self, consumer: ConsumerId, lanes: Mapping[int, int], *, goes: bool) -> None:
        """Give up lanes, by their tokens, as far as they are its own; all when it goes."""


class UpdateOutcome(NamedTuple):
    """What came of changing settings."""

    outcome: str
    """One of changed, same, absent, key, moved and cutting."""
    version: int


class GroupAdministration(Protocol):
    """The groups of all tenants, for those who look after them."""

    async def create(
        self,
        tenant: TenantId,
        group: GroupName,
        settings: GroupSettings,
        behind: Position,
        incarnation: str,
        count_max: int,
    ) -> tuple[int, bool]:
        """Create a group whose events are those behind a position. Its version and whether it is
        new; 0 when there are as many as there may be.
        """

    async def update(
        self, tenant: TenantId, group: GroupName, settings: GroupSettings, expected_version: int
    ) -> UpdateOutcome:
        """Change the settings of a group."""

    async def delete(self, tenant: TenantId, group: GroupName) -> None:
        """Delete a group, if there is one."""

    async def reset(
        self, tenant: TenantId, group: GroupName, behind: Position, incarnation: str
    ) -> bool:
        """Have it go on behind a position; False when there is none."""

    async def state(self, tenant: TenantId, group: GroupName) -> GroupState | None:
        """How it is now, None when there is none."""

    async def groups(self, tenant: TenantId, behind: str, count_max: int) -> Sequence[GroupSummary]:
        """The first groups behind a name, in the order of their names."""

    async def parked(
        self, tenant: TenantId, group: GroupName, behind: Position, count_max: int
    ) -> Sequence[ParkedEvent]:
        """The first events behind a position that it has parked."""

    async def unpark(
        self,
        tenant: TenantId,
        group: GroupName,
        positions: Sequence[Position] | None,
        *,
        is_replayed: bool,
    ) -> int | None:
        """Replay or discard parked events, all when None is given. How many; None when there is no
        group, -1 when one of them is not parked.
        """
