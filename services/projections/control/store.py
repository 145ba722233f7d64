"""Who keeps what tenants want of their projections. An interface; knows no SQL."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from girih.ids import Position, TenantId
from girih.projection import PoisonPolicy, ReplacedPolicy
from services.projections.domain import ProjectionKey, ProjectionState, QuarantinePage


class ControlStore(Protocol):
    """Methods raise DatabaseUnavailable and DatabaseBusy."""

    async def states(
        self, tenant: TenantId, projections: Sequence[str]
    ) -> Sequence[ProjectionState]:
        """Those of a tenant's projections that have begun."""

    async def states_of(
        self, keys: Collection[ProjectionKey]
    ) -> Mapping[ProjectionKey, ProjectionState]:
        """Those of these projections, of any tenants, that have begun: over one connection."""

    async def set_paused(self, key: ProjectionKey, version: str, *, is_paused: bool) -> None:
        """Pause a projection, or have it go on, also where it has stopped."""

    async def begin_rebuild(self, key: ProjectionKey, version: str) -> None:
        """Build it anew beside what is read."""

    async def set_policies(
        self,
        key: ProjectionKey,
        version: str,
        poison: PoisonPolicy | None,
        replaced: ReplacedPolicy | None,
    ) -> None:
        """Set its policies; None for its own."""

    async def quarantine(
        self, key: ProjectionKey, behind: Position, count_max: int
    ) -> QuarantinePage:
        """Events that were put aside, behind a position."""

    async def ask_replay(self, key: ProjectionKey, stream: str) -> int:
        """Ask that the events of a stream be applied, or of all where it is empty; how many."""

    async def ask_discard(self, key: ProjectionKey, position: Position) -> int:
        """Ask that an event be given up; 0 when it was not put aside."""
