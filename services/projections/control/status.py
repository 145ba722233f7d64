"""How projections stand: what is kept of them beside where their log is. Knows no transport."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from girih.client import LogInfo, RecordedEvent
from girih.ids import NO_POSITION, Position, TenantId
from girih.projection import Projection
from services.projections.control.store import ControlStore
from services.projections.domain import ProjectionState
from services.projections.errors import ProjectionNotFound, ProjectionUnfit


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionStatus:
    """A projection of a tenant, beside its log."""

    projection: Projection
    state: ProjectionState | None
    """None before it has begun."""
    head: Position
    lag_s: float
    unfit_problem: str
    """Why it cannot run; empty when it can."""

    @property
    def position(self) -> Position:
        return self.state.active.checkpoint.position if self.state else NO_POSITION

    @property
    def lag_events(self) -> int:
        return max(0, self.head - self.position)


class Logs(Protocol):
    """The logs of tenants. Methods raise EventsUnavailable."""

    async def info(self, tenant: TenantId) -> LogInfo:
        """Where a log ends."""

    async def first_behind(self, tenant: TenantId, position: Position) -> RecordedEvent | None:
        """The first event behind a position."""


class Statuses:
    """Tells how projections stand."""

    def __init__(
        self,
        projections: Mapping[str, Projection],
        problems: Callable[[], Mapping[str, str]],
        store: ControlStore,
        logs: Logs,
    ) -> None:
        """`problems` tells why projections cannot run, by name."""
        self._projections = projections
        self._problems = problems
        self._store = store
        self._logs = logs

    def find(self, name: str) -> Projection:
        """Raises ProjectionNotFound."""
        if (projection := self._projections.get(name)) is None:
            raise ProjectionNotFound(name)
        return projection

    def fit(self, name: str) -> Projection:
        """Raises ProjectionNotFound, and ProjectionUnfit for one that cannot run."""
        projection = self.find(name)
        if problem := self._problems().get(name):
            raise ProjectionUnfit(name, problem)
        return projection

    async def one(self, tenant: TenantId, name: str) -> ProjectionStatus:
        """Raises ProjectionNotFound."""
        return (await self._of(tenant, [self.find(name)]))[0]

    async def all(self, tenant: TenantId) -> Sequence[ProjectionStatus]:
        """By name."""
        return await self._of(
            tenant, [self._projections[name] for name in sorted(self._projections)]
        )

    async def _of(
        self, tenant: TenantId, projections: Sequence[Projection]
    ) -> Sequence[ProjectionStatus]:
        names = [projection.name for projection in projections]
        states = {state.key.projection: state for state in await self._store.states(tenant, names)}
        head = (await self._logs.info(tenant)).head
        return [
            await self._beside(tenant, projection, states.get(projection.name), head)
            for projection in projections
        ]

    async def _beside(
        self,
        tenant: TenantId,
        projection: Projection,
        state: ProjectionState | None,
        head: Position,
    ) -> ProjectionStatus:
        position = state.active.checkpoint.position if state else NO_POSITION
        return ProjectionStatus(
            projection=projection,
            state=state,
            head=head,
            lag_s=await self._lag_s(tenant, position) if head > position else 0.0,
            unfit_problem=self._problems().get(projection.name, ""),
        )

    async def _lag_s(self, tenant: TenantId, position: Position) -> float:
        first = await self._logs.first_behind(tenant, position)
        if first is None:
            return 0.0
        return max(0.0, (datetime.now(UTC) - first.recorded_at).total_seconds())
