"""Whether this process can serve, as `grpc.health.v1` tells it: Check, Watch and List.

A service serves while every dependency it needs answers. Dependencies are probed in the
background, so asking costs nothing and the answer comes back by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, Final

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from girih.backoff import Backoff
from services.plumbing.errors import NotFound, ResourceExhausted
from services.plumbing.logging import get_logger
from services.plumbing.tasks import OwnedTasks

Status = health_pb2.HealthCheckResponse
SERVING: Final[int] = Status.SERVING
NOT_SERVING: Final[int] = Status.NOT_SERVING
SERVICE_UNKNOWN: Final[int] = Status.SERVICE_UNKNOWN
Context = grpc.aio.ServicerContext[Any, Any]
Probe = Callable[[], Awaitable[object]]

WHOLE_PROCESS = ""
LIVENESS: Final = "liveness"
"""Serves as long as the process answers at all: what a liveness probe asks for."""

_FIRST_PAUSE_S = 0.05

_log = get_logger("health")


class Health:
    """What serves and what does not. Starts as serving; has no way back once it drains."""

    def __init__(self, tasks: OwnedTasks) -> None:
        self._tasks = tasks
        self._needs: dict[str, set[str]] = {WHOLE_PROCESS: set()}
        self._independent: set[str] = set()
        self._down: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.draining = False
        self.watch_count = 0
        """Streams of `Watch` that are open."""

    def add_service(self, service: str, *, needs_nothing: bool = False) -> None:
        """Answer for `service` from now on. It needs what the whole process needs, or nothing."""
        self._needs.setdefault(service, set())
        if needs_nothing:
            self._independent.add(service)
        self._publish()

    def watch(
        self,
        dependency: str,
        probe: Probe,
        *,
        services: Collection[str] = (WHOLE_PROCESS,),
        interval_s: float = 1.0,
        timeout_s: float = 2.0,
    ) -> None:
        """Probe a dependency from now on. It counts as down until it answered once.

        `services` stop serving while it is down; the whole process needs it by default.
        A probe fails by raising anything, or by taking longer than `timeout_s`.
        """
        for service in services:
            self._needs.setdefault(service, set()).add(dependency)
        self.report(dependency, "not probed yet")
        work = self._probe_for_ever(dependency, probe, interval_s, timeout_s)
        self._tasks.start(f"health of {dependency}", work)

    def report(self, dependency: str, problem: str | None) -> None:
        """Say how a dependency is: None is well. Logs only changes."""
        if (problem is None) == (dependency not in self._down):
            return
        if problem is None:
            del self._down[dependency]
            _log.info("dependency is up", dependency=dependency)
        else:
            self._down[dependency] = problem
            _log.warning("dependency is down", dependency=dependency, problem=problem)
        self._publish()

    def dependencies(self) -> dict[str, bool]:
        """Whether each dependency that is watched is well."""
        watched = {one for needs in self._needs.values() for one in needs}
        return {dependency: dependency not in self._down for dependency in watched}

    def enter_drain(self) -> None:
        """Say NOT_SERVING for every service from now on, for good."""
        self.draining = True
        self._publish()

    def status(self, service: str) -> int:
        """SERVICE_UNKNOWN when this process does not answer for `service`."""
        if service == LIVENESS:
            return SERVING
        needs = self._needs.get(service)
        if needs is None:
            return SERVICE_UNKNOWN
        if service not in self._independent:
            needs = needs | self._needs[WHOLE_PROCESS]
        return NOT_SERVING if self.draining or self._down.keys() & needs else SERVING

    def statuses(self) -> dict[str, int]:
        return {service: self.status(service) for service in (*self._needs, LIVENESS)}

    async def changes(self, service: str) -> AsyncIterator[int]:
        """The status now and whenever it changes, until the process drains."""
        sent: int | None = None
        while True:
            # Together, and before the status is told: what changes meanwhile is told next.
            changed, draining, status = self._changed, self.draining, self.status(service)
            if status != sent:
                sent = status
                yield status
            if draining:
                return
            await changed.wait()

    def _publish(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _probe_for_ever(
        self, dependency: str, probe: Probe, interval_s: float, timeout_s: float
    ) -> None:
        # Processes that start together find each other a moment later, not an interval.
        pause = Backoff(min(_FIRST_PAUSE_S, interval_s), interval_s)
        while True:
            problem = await _problem(probe, timeout_s)
            self.report(dependency, problem)
            if problem is None:
                pause.reset()
            await asyncio.sleep(interval_s if problem is None else pause.next_s())


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated, untyped
    """`grpc.health.v1.Health` on a `Health`."""

    def __init__(self, health: Health, watch_count_max: int) -> None:
        self._health = health
        self._watch_count_max = watch_count_max

    async def Check(
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> health_pb2.HealthCheckResponse:
        status = self._health.status(request.service)
        if status == SERVICE_UNKNOWN:
            raise NotFound("this process does not serve that service")
        return Status(status=status)

    async def List(
        self, _request: health_pb2.HealthListRequest, _context: Context
    ) -> health_pb2.HealthListResponse:
        return health_pb2.HealthListResponse(
            statuses={
                service: Status(status=status)
                for service, status in self._health.statuses().items()
            }
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if self._health.watch_count >= self._watch_count_max:
            raise ResourceExhausted("too many callers watch the health of this process")
        self._health.watch_count += 1
        try:
            async for status in self._health.changes(request.service):
                yield Status(status=status)
        finally:
            self._health.watch_count -= 1


async def _problem(probe: Probe, timeout_s: float) -> str | None:
    try:
        async with asyncio.timeout(timeout_s):
            await probe()
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except Exception as error:  # noqa: BLE001 - whatever a probe raises means that it failed
        return f"{type(error).__name__}: {error}"
    return None
