"""How the gateway and what is behind it are: asked when somebody asks, never remembered."""

import asyncio
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import orjson
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import errors
from gateway.backends import Backend
from gateway.codec import Encoder
from gateway.contract import message_class
from gateway.errors import HttpError
from gateway.lifecycle import Lifecycle
from services.plumbing import correlation

SERVING = "SERVING"
NOT_SERVING = "NOT_SERVING"
UNREACHABLE = "UNREACHABLE"
DRAINING = "DRAINING"

DATABASE_STATUS_RPC = "GetDatabaseStatus"
"""The rpc by which a service tells how its database is."""


@dataclass(frozen=True)
class Part:
    """How one service is."""

    label: str
    status: str
    latency_ms: float

    def as_json(self) -> dict[str, Any]:
        return {"status": self.status, "latency_ms": round(self.latency_ms, 3)}


class Health:
    """Asks the services. Many who ask at once share one answer."""

    def __init__(
        self, backends: Sequence[Backend], lifecycle: Lifecycle, *, timeout_s: float
    ) -> None:
        self._backends = backends
        self._lifecycle = lifecycle
        self._timeout_s = timeout_s
        self._stubs = [health_pb2_grpc.HealthStub(backend.calls) for backend in backends]
        self._asking: asyncio.Task[list[Part]] | None = None

    async def parts(self) -> list[Part]:
        """One per service, within the timeout."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask_all())
        return await asyncio.shield(self._asking)

    def status(self, parts: Sequence[Part]) -> str:
        """The gateway is as good as its worst part."""
        if self._lifecycle.is_draining:
            return DRAINING
        return SERVING if all(part.status == SERVING for part in parts) else NOT_SERVING

    async def _ask_all(self) -> list[Part]:
        asked = zip(self._backends, self._stubs, strict=True)
        return await asyncio.gather(*(self._ask(*pair) for pair in asked))

    async def _ask(self, backend: Backend, stub: Any) -> Part:  # noqa: ANN401 - a generated stub
        started_s = time.monotonic()
        request = health_pb2.HealthCheckRequest(service=backend.service.full_name)
        try:
            reply = await stub.Check(request, timeout=self._timeout_s)
            serving = reply.status == health_pb2.HealthCheckResponse.SERVING
            status = SERVING if serving else NOT_SERVING
        except grpc.aio.AioRpcError:
            status = UNREACHABLE
        return Part(backend.label, status, (time.monotonic() - started_s) * 1e3)


class HealthPages:
    """The routes under `/health`."""

    def __init__(self, health: Health, backends: Sequence[Backend], *, timeout_s: float) -> None:
        self._health = health
        self._database = _database_call(backends)
        self._timeout_s = timeout_s

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
        """Every part and its state; 503 unless all of them serve."""
        parts = await self._health.parts()
        status = self._health.status(parts)
        shown = {"status": status, "parts": {part.label: part.as_json() for part in parts}}
        return _json(200 if status == SERVING else 503, shown)

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
        """How the event store is connected to its database; 503 when it is not."""
        assert self._database is not None, "there is no such route"
        label, call, encode = self._database
        try:
            reply = await call(timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return _failure(errors.from_call(error, label, lambda _detail: None))
        shown = encode(reply)
        if reply.reachable:
            return _json(200, shown)
        return _failure(_database_down(shown))


def _not_ready(status: str, parts: Sequence[Part]) -> HttpError:
    bad = [f"{part.label} is {part.status}" for part in parts if part.status != SERVING]
    why = ", ".join(bad) if bad else f"the gateway is {status}"
    shown = {"parts": {part.label: part.as_json() for part in parts}}
    return errors.unavailable(f"not ready: {why}", "NOT_READY", shown)


def _database_down(shown: dict[str, Any]) -> HttpError:
    message = "the database cannot be reached"
    return errors.unavailable(message, "DATABASE_UNAVAILABLE", {"database": shown})


def _database_call(backends: Sequence[Backend]) -> tuple[str, Any, Any] | None:
    """The label, the call and the encoder of the first service that has a database."""
    for backend in backends:
        method = backend.service.methods_by_name.get(DATABASE_STATUS_RPC)
        if method is not None:
            encode = Encoder().message(method.output_type)
            return backend.label, functools.partial(_start(backend, method), _empty(method)), encode
    return None


def _empty(method: MethodDescriptor) -> Message:
    return message_class(method.input_type)()


def _start(backend: Backend, method: MethodDescriptor) -> Any:  # noqa: ANN401 - a multi-callable
    return backend.calls.unary_unary(
        f"/{backend.service.full_name}/{method.name}",
        request_serializer=message_class(method.input_type).SerializeToString,
        response_deserializer=message_class(method.output_type).FromString,
    )


def _json(status: int, value: object) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(value), status, headers, "application/json")


def _failure(error: HttpError) -> Response:
    body = error.body(correlation.current().correlation_id)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(
        body, error.status, {"cache-control": "no-store", **headers}, "application/json"
    )
