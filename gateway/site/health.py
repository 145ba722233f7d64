"""How the gateway and what is behind it are: asked when somebody asks, never remembered.

Beside that a pulse is felt of every service, so that nobody waits for one that is not there.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
import orjson
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.backends.remote import RemoteBackend, answering
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.lifecycle import Lifecycle
from services.plumbing import correlation
from services.plumbing.logging import get_logger

R = TypeVar("R")

_log = get_logger("gateway")

SERVING = "SERVING"
NOT_SERVING = "NOT_SERVING"
UNREACHABLE = "UNREACHABLE"
DRAINING = "DRAINING"

NOT_NEEDED = frozenset({"projections"})
"""What holds copies of what the others hold: without it everything else is served, and written."""

DATABASE_STATUS_RPC = "GetDatabaseStatus"
"""The rpc by which a service tells how its database is."""


@dataclass(frozen=True)
class ServiceHealth:
    """How one service is."""

    label: str
    status: str
    latency_ms: float

    def as_json(self) -> dict[str, Any]:
        return {"status": self.status, "latencyMs": round(self.latency_ms, 3)}


class _SharedCall(Generic[R]):
    """Gives one answer to all who ask while it is found out. `find` never raises."""

    def __init__(self, find: Callable[[], Coroutine[Any, Any, R]]) -> None:
        self._find = find
        self._finding: asyncio.Task[R] | None = None

    async def __call__(self) -> R:
        if self._finding is None or self._finding.done():
            self._finding = asyncio.ensure_future(self._find())
        return await asyncio.shield(self._finding)


class Health:
    """Asks the services. Many who ask at once share one answer."""

    def __init__(
        self, backends: Sequence[RemoteBackend], lifecycle: Lifecycle, *, timeout_s: float
    ) -> None:
        self._backends = backends
        self._lifecycle = lifecycle
        self._timeout_s = timeout_s
        self._stubs = [health_pb2_grpc.HealthStub(backend.calls) for backend in backends]
        self._ask_once = _SharedCall(self._ask_all)

    async def parts(self) -> list[ServiceHealth]:
        """One per service, within the timeout."""
        return await self._ask_once()

    def status(self, parts: Sequence[ServiceHealth]) -> str:
        """The gateway is as good as its worst part that it needs."""
        if self._lifecycle.is_draining:
            return DRAINING
        needed = (part for part in parts if part.label not in NOT_NEEDED)
        return SERVING if all(part.status == SERVING for part in needed) else NOT_SERVING

    async def _ask_all(self) -> list[ServiceHealth]:
        pairs = zip(self._backends, self._stubs, strict=True)
        return await asyncio.gather(*(self._ask(*pair) for pair in pairs))

    async def _ask(self, backend: RemoteBackend, stub: Any) -> ServiceHealth:  # noqa: ANN401 - a generated stub
        started_s, answered_count = time.monotonic(), self._answered_count(backend.label)
        request = health_pb2.HealthCheckRequest(service=backend.service.full_name)
        try:
            reply = await stub.Check(request, timeout=self._timeout_s)
            serving = reply.status == health_pb2.HealthCheckResponse.SERVING
            status = SERVING if serving else NOT_SERVING
        except grpc.aio.AioRpcError as error:
            is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            # One that answers calls is there, and has too much to do to say so at once.
            is_alive = is_late and self._answered_count(backend.label) > answered_count
            status = SERVING if is_alive else UNREACHABLE
        return ServiceHealth(backend.label, status, (time.monotonic() - started_s) * 1e3)

    def _answered_count(self, label: str) -> int:
        """How many calls a process has answered, whichever of its services they were of."""
        return sum(one.answered_count for one in self._backends if one.label == label)


class HealthMonitor:
    """Asks all services all the time, and tells their backends which ones do not even answer.

    A service that says that it does not serve answers its calls by itself, and knows better
    which of them it can serve all the same. One that is frozen, or cut off, says nothing.
    """

    _INTERVAL_S = 1.0
    _MISSES_MAX = 1
    _MISSES_BEFORE_GIVING_UP = 3

    def __init__(self, health: Health, backends: Sequence[RemoteBackend]) -> None:
        self._health = health
        self._backends = backends
        self._miss_counts = [0] * len(backends)
        """In a row, for each backend: several of them are services of one process."""

    async def run(self) -> None:
        """Go on for ever: the work of a task."""
        while True:
            self._note(await self._health.parts())
            await asyncio.sleep(self._INTERVAL_S)

    def _note(self, parts: Sequence[ServiceHealth]) -> None:
        before = answering(self._backends)
        for index, (backend, part) in enumerate(zip(self._backends, parts, strict=True)):
            is_missed = part.status == UNREACHABLE
            miss_count = self._miss_counts[index] + 1 if is_missed else 0
            self._miss_counts[index] = miss_count
            if miss_count >= self._MISSES_BEFORE_GIVING_UP:
                backend.give_up()
            backend.answers = miss_count <= self._MISSES_MAX
        for label, answers in answering(self._backends).items():
            if answers and not before[label]:
                _log.info("a service answers again", service=label)
            elif before[label] and not answers:
                _log.warning("a service does not answer", service=label)


class HealthPages:
    """The routes under `/health`."""

    def __init__(
        self,
        health: Health,
        backends: Sequence[RemoteBackend],
        ops_token: Callable[[str], str],
        *,
        timeout_s: float,
    ) -> None:
        """`ops_token` is the gateway's own, to ask the service of that name."""
        self._health = health
        self._database = _database_call(backends)
        self._ops_token = ops_token
        self._timeout_s = timeout_s
        # Anybody may ask, and not even calls a minute are counted: the database must not feel it.
        self._ask_database_once = _SharedCall(self._ask_database)

    def routes(self) -> list[Route]:
        routes = [
            Route("/health", self.report),
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
        ]
        if self._database is not None:
            routes.append(Route("/health/database", self.database))
        return routes

    async def report(self, _request: Request) -> Response:
        """Every part and its state; 503 unless all of them serve that are needed."""
        parts = await self._health.parts()
        status = self._health.status(parts)
        report = {"status": status, "parts": _as_json(parts)}
        return _json(200 if status == SERVING else 503, report)

    async def live(self, _request: Request) -> Response:
        """The process answers. Says nothing of what is behind it: a restart would not mend that."""
        return _json(200, {"status": SERVING})

    async def ready(self, _request: Request) -> Response:
        """200 when requests may be sent here, else 503."""
        parts = await self._health.parts()
        status = self._health.status(parts)
        if status == SERVING:
            return _json(200, {"status": status})
        return _failure(_not_ready(status, parts))

    async def database(self, _request: Request) -> Response:
        """Whether the event store reaches its database; 503 when it does not.

        No more: anybody may ask. Who may know its version and its connections asks the rpc.
        """
        status = await self._ask_database_once()
        return _failure(status) if isinstance(status, HttpError) else _json(200, status)

    async def _ask_database(self) -> dict[str, Any] | HttpError:
        assert self._database is not None, "there is no such route"
        label, rpc, parse = self._database
        call = replace(correlation.current(), token=self._ops_token(f"{label}.girih"))
        try:
            with correlation.bind(call):
                reply = parse(await rpc(timeout=self._timeout_s))
        except grpc.aio.AioRpcError as error:
            return errors.from_call(error, label)
        return {"reachable": True} if reply.reachable else _database_down()


def _not_ready(status: str, parts: Sequence[ServiceHealth]) -> HttpError:
    processes = _worst(parts)
    bad = [f"{label} is {one.status}" for label, one in processes.items() if one.status != SERVING]
    why = ", ".join(bad) if bad else f"the gateway is {status}"
    return errors.unavailable(f"not ready: {why}", "NOT_READY", {"parts": _as_json(parts)})


def _as_json(parts: Sequence[ServiceHealth]) -> dict[str, Any]:
    return {label: one.as_json() for label, one in _worst(parts).items()}


def _worst(parts: Sequence[ServiceHealth]) -> dict[str, ServiceHealth]:
    """Of each process that part which is worst off: it is told of as one."""
    order = (SERVING, NOT_SERVING, UNREACHABLE)
    return {part.label: part for part in sorted(parts, key=lambda part: order.index(part.status))}


def _database_down() -> HttpError:
    details = {"database": {"reachable": False}}
    return errors.unavailable("the database cannot be reached", "DATABASE_UNAVAILABLE", details)


def _database_call(backends: Sequence[RemoteBackend]) -> tuple[str, Any, Any] | None:
    """The label and the call of the first service that has a database, and what reads the
    answer."""
    for backend in backends:
        method = backend.service.methods_by_name.get(DATABASE_STATUS_RPC)
        if method is not None:
            request = GetMessageClass(method.input_type)()
            call = functools.partial(backend.unary(method), request)
            return backend.label, call, GetMessageClass(method.output_type).FromString
    return None


def _json(status: int, value: object) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(value), status, headers, "application/json")


def _failure(error: HttpError) -> Response:
    body = error.body(correlation.current().correlation_id)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(
        body, error.status, {"cache-control": "no-store", **headers}, "application/json"
    )
