"""Runs the projections of all tenants whose shares this process holds, and no others.

Knows who wants what to run, and neither tables nor logs.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from girih.backoff import Backoff
from girih.client import GirihError
from girih.ids import Position, TenantId
from girih.projection import Projection
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger
from services.plumbing.postgres.leases import LeaseLost
from services.plumbing.tasks import end_tasks
from services.projections.domain import ProjectionKey, ReadPlace

_PAUSE_S_MIN: Final = 0.1
_PAUSE_S_MAX: Final = 30.0

_log = get_logger("projections")


class Run(Protocol):
    """One projection of one tenant under one lease."""

    def look_again(self) -> None:
        """What the tenant wants of it may have changed."""

    async def log_moved(self, head: Position) -> None:
        """The tenant's log ends at `head`, or behind it."""

    async def run(self) -> None:
        """Run for ever, or until it cannot go on."""

    async def until(self, position: Position) -> None:
        """Return once readers see the log up to a position."""

    @property
    def head(self) -> Position | None: ...

    @property
    def place(self) -> ReadPlace: ...

    @property
    def is_stopped(self) -> bool: ...

    def lag_s(self) -> float:
        """For how long readers have been without what the log holds. Also for other threads."""


RunOf = Callable[[ProjectionKey, int, Projection], Run]
"""Makes the run of a projection under the lease with a token."""


@dataclass(frozen=True, slots=True)
class _Running:
    run: Run
    task: "asyncio.Task[None]"
    fence: int


class Runner:
    """Starts what is to run and is not running, and ends what is not to run any more."""

    def __init__(
        self,
        projections: Mapping[str, Projection],
        ready: Callable[[], Collection[str]],
        held: Callable[[], Mapping[int, int]],
        run_of: RunOf,
    ) -> None:
        """`ready` names the projections that can run; `held` gives the token of each share that
        this process holds now."""
        self._projections = projections
        self._ready = ready
        self._held = held
        self._run_of = run_of
        self._heads: dict[TenantId, Position] = {}
        self._moved: set[TenantId] = set()
        self._begun: set[TenantId] = set()
        """Those whose logs were not known before, and whose projections were not started yet."""
        self._settled: tuple[Collection[str], Mapping[int, int]] | None = None
        """What was ready and held when all tenants were looked at; None when they are to be."""
        self._running: dict[ProjectionKey, _Running] = {}
        self._changed = asyncio.Event()

    @property
    def runs(self) -> Mapping[ProjectionKey, Run]:
        """What runs here now."""
        return {key: running.run for key, running in self._running.items()}

    def look(self) -> None:
        """Which shares are held, or which projections can run, may have changed. Never waits."""
        self._changed.set()

    def set_heads(self, heads: Mapping[TenantId, Position]) -> None:
        """These tenants have logs, which end there or behind it. Never waits."""
        for tenant, head in heads.items():
            if tenant not in self._heads:
                self._begun.add(tenant)
            if self._heads.get(tenant, -1) != head:
                self._heads[tenant] = head
                self._moved.add(tenant)
        if self._moved:
            self._changed.set()

    def look_again_at(self, key: ProjectionKey) -> None:
        """What a tenant wants of a projection may have changed, if it is run here."""
        if (running := self._running.get(key)) is not None:
            running.run.look_again()

    def look_again_at_all(self) -> None:
        """It may have changed of any, unnoticed."""
        for running in self._running.values():
            running.run.look_again()

    async def run(self) -> None:
        """Run for ever: the work of a task. What was started has ended when this has."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._settle()
                await self._wake_moved()
        finally:
            await self._end([*self._running])

    def _settle(self) -> None:
        """Start and end what is to be. All tenants are looked at only when it may be other for any
        of them: there are thousands, of which some begin and move at each look."""
        begun, self._begun = self._begun, set()
        ready, held = frozenset(self._ready()), dict(self._held())
        if (ready, held) == self._settled:
            self._start_all(_wanted(begun, ready, held))
            return
        self._settled = ready, held
        wanted = _wanted(self._heads, ready, held)
        for key, running in [*self._running.items()]:
            if wanted.get(key) != running.fence:
                running.task.cancel()
                del self._running[key]
        self._start_all(wanted)

    def _start_all(self, wanted: Mapping[ProjectionKey, int]) -> None:
        """Those that do not run."""
        for key, fence in wanted.items():
            if key not in self._running:
                self._start(key, fence)

    async def _wake_moved(self) -> None:
        moved, self._moved = self._moved, set()
        for tenant in moved:
            for name in self._projections:
                if (running := self._running.get(ProjectionKey(tenant, name))) is not None:
                    await running.run.log_moved(self._heads[tenant])

    def _start(self, key: ProjectionKey, fence: int) -> None:
        run = self._run_of(key, fence, self._projections[key.projection])
        name = f"projection {key.projection} of {key.tenant}"
        task = asyncio.create_task(_keep_running(run, key), name=name)
        self._running[key] = _Running(run, task, fence)
        self._moved.add(key.tenant)
        task.add_done_callback(lambda task: self._ended(key, task))

    def _ended(self, key: ProjectionKey, task: "asyncio.Task[None]") -> None:
        """It was cancelled, by whomever: the next look at all tenants starts it again."""
        running = self._running.get(key)
        if running is not None and running.task is task:
            del self._running[key]
            self._settled = None

    async def _end(self, keys: Collection[ProjectionKey]) -> None:
        await end_tasks([self._running.pop(key).task for key in keys])


def _wanted(
    tenants: Collection[TenantId], ready: Collection[str], held: Mapping[int, int]
) -> Mapping[ProjectionKey, int]:
    """What is to run of these tenants, and under which token."""
    return {
        key: held[key.share]
        for tenant in tenants
        for key in (ProjectionKey(tenant, name) for name in ready)
        if key.share in held
    }


async def _keep_running(run: Run, key: ProjectionKey) -> None:
    """Begin anew whatever ends it: one projection that cannot go on keeps no other from it."""
    backoff = Backoff(_PAUSE_S_MIN, _PAUSE_S_MAX)
    names: dict[str, object] = {"tenant": key.tenant, "projection": key.projection}
    reported = ""
    while True:
        started_s = time.monotonic()
        try:
            await run.run()
        except LeaseLost as lost:
            # Whoever holds it now is told of soon; or it was this process, and nothing is lost.
            _log.warning("a checkpoint was moved by another", **names, problem=str(lost))
        except (ServiceError, GirihError) as error:
            # Of the database or the log, which all of them meet at once: each tells it once.
            if str(error) != reported:
                _log.warning("a projection waits", **names, problem=str(error))
            reported = str(error)
        except Exception as error:  # noqa: BLE001 - it is told, and tried again
            _log.error("a projection cannot go on for now", **names, exc_info=error)
        if time.monotonic() - started_s > _PAUSE_S_MAX:
            backoff.reset()
            reported = ""
        await asyncio.sleep(backoff.next_s())
