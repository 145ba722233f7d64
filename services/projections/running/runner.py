"""Runs the projections of all tenants whose shares this process holds, and no others.

Knows who wants what to run, and neither tables nor logs.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from girih.backoff import Backoff
from girih.ids import TenantId
from girih.projection import Projection
from services.plumbing.logging import get_logger
from services.plumbing.postgres.leases import LeaseLost
from services.projections.domain import ProjectionKey

_PAUSE_S_MIN: Final = 0.1
_PAUSE_S_MAX: Final = 30.0

_log = get_logger("projections")


class Run(Protocol):
    """One projection of one tenant under one lease."""

    def look_again(self) -> None:
        """What the tenant wants of it may have changed."""

    async def run(self) -> None:
        """Run for ever, or until it cannot go on."""


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
        held: Callable[[], Mapping[int, int]],
        run_of: RunOf,
    ) -> None:
        """`held` gives the token of each share that this process holds now."""
        self._projections = projections
        self._held = held
        self._run_of = run_of
        self._tenants: set[TenantId] = set()
        self._running: dict[ProjectionKey, _Running] = {}
        self._changed = asyncio.Event()

    @property
    def run_count(self) -> int:
        return len(self._running)

    def runs(self, key: ProjectionKey) -> bool:
        """Whether this process runs a projection."""
        return key in self._running

    def look(self) -> None:
        """Which shares are held may have changed. Never waits."""
        self._changed.set()

    def found(self, tenants: Collection[TenantId]) -> None:
        """These tenants have logs, too."""
        if not self._tenants.issuperset(tenants):
            self._tenants.update(tenants)
            self._changed.set()

    def look_again_at(self, key: ProjectionKey) -> None:
        """What a tenant wants of a projection may have changed, if it is run here."""
        self.found([key.tenant])
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
        finally:
            await self._end([*self._running])

    def _settle(self) -> None:
        held = self._held()
        wanted = {
            key: held[key.share]
            for tenant in self._tenants
            for key in (ProjectionKey(tenant, name) for name in self._projections)
            if key.share in held
        }
        for key, running in [*self._running.items()]:
            if wanted.get(key) != running.fence:
                running.task.cancel()
                del self._running[key]
        for key in wanted.keys() - self._running.keys():
            self._start(key, wanted[key])

    def _start(self, key: ProjectionKey, fence: int) -> None:
        run = self._run_of(key, fence, self._projections[key.projection])
        name = f"projection {key.projection} of {key.tenant}"
        task = asyncio.create_task(_keep_running(run, key), name=name)
        self._running[key] = _Running(run, task, fence)
        task.add_done_callback(lambda task: self._ended(key, task))

    def _ended(self, key: ProjectionKey, task: "asyncio.Task[None]") -> None:
        """Its lease is lost, or it was cancelled."""
        running = self._running.get(key)
        if running is not None and running.task is task:
            del self._running[key]

    async def _end(self, keys: Collection[ProjectionKey]) -> None:
        tasks = [self._running.pop(key).task for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_running(run: Run, key: ProjectionKey) -> None:
    """Begin anew whatever ends it, but for a lost lease: one projection that cannot go on keeps
    no other from it."""
    backoff = Backoff(_PAUSE_S_MIN, _PAUSE_S_MAX)
    names = {"tenant": key.tenant, "projection": key.projection}
    while True:
        try:
            await run.run()
        except LeaseLost as lost:
            _log.warning("a lease was lost", **names, problem=str(lost))
            return
        except Exception as error:  # noqa: BLE001 - it is told, and tried again
            _log.error("a projection cannot go on for now", **names, exc_info=error)
        await asyncio.sleep(backoff.next_s())
