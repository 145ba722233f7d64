"""A gRPC server as every process of ours runs one, from the first port to the last call.

Handlers are registered from descriptors, every one behind the same chain. The server brings
health, reflection and graceful shutdown, and knows no service of its own.
"""

import asyncio
import contextlib
import inspect
import math
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry

from services.plumbing.auth.keys import TrustedKeys
from services.plumbing.auth.policy import TokenPolicy
from services.plumbing.auth.tokens import Verifier
from services.plumbing.errors import CannotRun, InvalidInput, Unimplemented
from services.plumbing.grpc import contract
from services.plumbing.grpc.chain import (
    Chain,
    Context,
    Deserialize,
    Rpc,
    RpcHandler,
    Serialize,
    grpc_type,
)
from services.plumbing.grpc.errors import DetailsOf, no_details
from services.plumbing.grpc.health import Health, HealthServicer
from services.plumbing.grpc.items import ItemLimits
from services.plumbing.grpc.reflection import reflection_services
from services.plumbing.grpc.requests import OVERSIZE_BYTES, UNREAD_BYTES_MAX, RequestMemory
from services.plumbing.identity import PUBLIC, SIGNED_IN
from services.plumbing.logging import get_logger
from services.plumbing.metrics import (
    DependencyMetrics,
    GrpcMetrics,
    ServedMethodMetrics,
    new_registry,
)
from services.plumbing.settings import ServerSettings
from services.plumbing.tasks import OwnedTasks
from services.plumbing.tls import ServerFiles, server_credentials

ScopeOf = Callable[[MethodDescriptor], str]

_log = get_logger("server")


class PortTaken(CannotRun):
    """The address cannot be listened on, most likely because another process does."""


class MissingRpc(CannotRun):
    """A servicer does not implement an rpc of its contract as a coroutine or async generator."""


class MissingScope(CannotRun):
    """The contract does not say who may call an rpc, so nobody may."""

    exit_code = 78


class Server:
    """A server with its health, its tasks and its numbers. Needs the event loop that serves."""

    def __init__(
        self,
        domain: str,
        settings: ServerSettings,
        *,
        policy: TokenPolicy,
        details_of: DetailsOf = no_details,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """`domain` stands in every error, for example "events.girih"; `policy` says whose tokens
        allow what; `details_of` gives the service's own details of an error, and is called for
        every `ServiceError`.
        """
        registry = new_registry(is_on=settings.metrics) if registry is None else registry
        self.settings = settings
        self.registry = registry
        self.tasks = OwnedTasks()
        self.health = Health(self.tasks)
        self.stopping = asyncio.Event()
        """Set when the process drains: streams that would go on for ever end then."""
        self.port = 0
        """Where it listens, once started."""
        self.after_calls: list[Callable[[], Awaitable[None]]] = []
        """Called in turn when the last call has ended, while the tasks still run: for what
        calls have begun and left behind."""
        self._metrics = GrpcMetrics(registry)
        registry.register(DependencyMetrics(self.health.dependencies))
        self._scopes = policy.scopes | {PUBLIC, SIGNED_IN}
        self._trusted = TrustedKeys.load(settings.trusted_keys)
        self._tls = ServerFiles(settings) if settings.encrypts else None
        self.memory = RequestMemory(settings.requests_mib * 2**20, settings.message_bytes_max)
        self._metrics.watch_memory(lambda: self.memory.bytes_held)
        self._chain = Chain(
            domain,
            verifier=Verifier(self._trusted, domain, policy),
            metrics=self._metrics,
            details_of=details_of,
            stopping=self.stopping,
            memory=self.memory,
            call_count_max=settings.concurrent_rpc_count_max,
        )
        self._handlers: dict[str, RpcHandler] = {}
        self._services: list[str] = []
        self._grpc = grpc.aio.server(options=_options(settings))

    def add_service(
        self,
        service: ServiceDescriptor,
        servicer: object,
        *,
        raw_responses: Collection[str] = (),
        scope_of: ScopeOf = contract.scope_of,
        quiet: bool = False,
        needs_nothing: bool = False,
        is_traced: bool = True,
    ) -> None:
        """Serve every rpc of `service` by the method of `servicer` that has its name.

        Nobody may call an rpc but those whose token has the scope that the contract gives it.
        Raises `MissingScope` when it gives none, and `MissingRpc` when one is not implemented.
        Rpcs named in `raw_responses` give bytes that are sent as they are. A service that
        `needs_nothing` is healthy whatever else is down; `quiet` calls are logged for debugging,
        and have no spans, as those of a service have none that is not `is_traced`. Where the
        contract says that an rpc stays open, its method says when a call is accepted; see
        `chain.accept`.
        """
        for method in service.methods:
            path = f"/{service.full_name}/{method.name}"
            metrics = self._metrics.of(_type(method), service.full_name, method.name)
            rpc = Rpc(
                path=path,
                handler=_handler(servicer, method),
                takes_stream=method.client_streaming,
                gives_stream=method.server_streaming,
                serialize=_serializer(metrics, raw=method.name in raw_responses),
                deserialize=_deserializer(metrics, method.input_type),
                request_bytes_max=contract.request_bytes_max(method),
                metrics=metrics,
                timeout_s=self._timeout_s(method),
                scope=self._scope(scope_of(method), method),
                quiet=quiet,
                is_traced=is_traced and not quiet,
                accepts=contract.stays_open(method),
            )
            self._handlers[path] = self._chain.wrap(rpc)
        self._services.append(service.full_name)
        self.health.add_service(service.full_name, needs_nothing=needs_nothing)

    async def start(self, address: str | None = None) -> int:
        """Listen on `address` (or the one in the settings) and give the port."""
        self._add_own_services()
        handlers = _Handlers(self._handlers, self._chain.wrap(_unknown_rpc(self._metrics)))
        self._grpc.add_generic_rpc_handlers([handlers])
        address = address or self.settings.address
        try:
            self.port = self._listen(address)
        except RuntimeError as error:
            raise PortTaken(f"cannot listen on {address}") from error
        self.tasks.start("trusted keys", self._trusted.watch())
        await self._grpc.start()
        _log.info("serving", address=address, port=self.port)
        return self.port

    def _listen(self, address: str) -> int:
        if self._tls is None:
            return self._grpc.add_insecure_port(address)
        self.tasks.start("certificates", self._tls.watch())
        asks_callers = self.settings.transport == "mtls"
        credentials = server_credentials(self._tls, asks_callers=asks_callers)
        return self._grpc.add_secure_port(address, credentials)

    async def drain(self) -> None:
        """Say that this process goes away, give callers time to notice, and end the streams."""
        self.health.enter_drain()
        await asyncio.sleep(self.settings.drain_duration_s)
        self.stopping.set()

    async def stop(self) -> None:
        """Take no more calls, let running ones end within the grace, stop the tasks.

        What `after_calls` names comes between the two.
        """
        self.health.enter_drain()
        self.stopping.set()
        await self._grpc.stop(self.settings.shutdown_grace_s)
        try:
            for settle in self.after_calls:
                await settle()
        finally:
            await self.tasks.stop()

    def _add_own_services(self) -> None:
        health = HealthServicer(self.health, self.settings.health_watch_count_max)
        _add_public(self, health_pb2.DESCRIPTOR.services_by_name["Health"], health)
        reflected = self.settings.reflection
        if reflected is None:
            reflected = self.settings.environment == "development"
        if reflected:
            for service, servicer in list(reflection_services(self._services)):
                _add_public(self, service, servicer)

    def _scope(self, scope: str, method: MethodDescriptor) -> str:
        if scope not in self._scopes:
            raise MissingScope(f"{method.full_name} has no scope that there is: {scope!r}")
        return scope

    def _timeout_s(self, method: MethodDescriptor) -> float:
        if method.client_streaming or method.server_streaming:
            return self.settings.stream_timeout_s
        return self.settings.call_timeout_s


async def serve(server: Server, address: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain, stop and return.

    Raises `PortTaken` at once, and `TaskDied` (after the same orderly stop) when a task that
    the server owns has ended by itself: the process must not go on without it.
    """
    asked_to_stop = asyncio.Event()
    with _signals(asked_to_stop.set):
        try:
            await server.start(address)
            await _first_of(asked_to_stop, server.tasks.failed)
            _log.info("stopping", drain_s=server.settings.drain_duration_s)
            await server.drain()
        finally:
            await server.stop()
    _log.info("stopped")
    if server.tasks.failure is not None:
        raise server.tasks.failure


@contextlib.asynccontextmanager
async def running(server: Server, address: str | None = None) -> AsyncIterator[int]:
    """Serve inside the block and stop after it; gives the port. For tests and embedding."""
    try:
        yield await server.start(address)
    finally:
        await server.stop()


class _Handlers(grpc.GenericRpcHandler):
    """Finds handlers by path. What nobody serves is refused by the same chain."""

    def __init__(
        self,
        handlers: Mapping[str, RpcHandler],
        unknown: RpcHandler,
    ) -> None:
        self._handlers = handlers
        self._unknown = unknown

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> RpcHandler:
        return self._handlers.get(handler_call_details.method, self._unknown)


def _add_public(server: Server, service: ServiceDescriptor, servicer: object) -> None:
    """Services that are not ours say nothing of scopes."""
    server.add_service(service, servicer, scope_of=lambda _method: PUBLIC, quiet=True)


def _type(method: MethodDescriptor) -> str:
    return grpc_type(takes_stream=method.client_streaming, gives_stream=method.server_streaming)


def _handler(servicer: object, method: MethodDescriptor) -> Callable[..., Any]:
    handler: Callable[..., Any] | None = getattr(servicer, method.name, None)
    may_generate = method.server_streaming and inspect.isasyncgenfunction(handler)
    if handler is None or not (may_generate or inspect.iscoroutinefunction(handler)):
        raise MissingRpc(f"{type(servicer).__name__} does not implement {method.full_name}")
    return handler


def _serializer(metrics: ServedMethodMetrics, *, raw: bool) -> Serialize:
    sent = metrics.sent

    def serialize(message: Message) -> bytes:
        sent.inc()
        return message.SerializeToString()

    def pass_on(data: bytes) -> bytes:
        sent.inc()
        return data

    return pass_on if raw else serialize


def _deserializer(metrics: ServedMethodMetrics, descriptor: Descriptor) -> Deserialize:
    parse = GetMessageClass(descriptor).FromString
    limits = ItemLimits.of(descriptor)
    received = metrics.received

    def deserialize(data: bytes) -> Message:
        received.inc()
        if limits is not None:
            data = limits.cut(data)
        try:
            return parse(data)
        except DecodeError as error:
            raise InvalidInput("the message is not of the type this rpc takes") from error

    return deserialize


def _unknown_rpc(metrics: GrpcMetrics) -> Rpc:
    """Stands for every rpc there is not, under one label: callers choose no labels."""

    async def refuse(_requests: object, _context: Context) -> None:
        raise Unimplemented("no such rpc")

    return Rpc(
        path="unknown",
        handler=refuse,
        takes_stream=True,
        gives_stream=True,
        serialize=bytes,
        deserialize=bytes,
        request_bytes_max=contract.REQUEST_BYTES_MAX,
        metrics=metrics.of("bidi_stream", "unknown", "unknown"),
        timeout_s=1.0,
        scope=PUBLIC,
        quiet=True,
        is_traced=False,
    )


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        # A second process on the same port is a mistake, and must not be a silent one.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.message_bytes_max + OVERSIZE_BYTES),
        ("grpc.max_send_message_length", settings.message_bytes_max),
        # What nobody has asked for yet stays with its sender. With a probe for the bandwidth
        # gRPC would let each call send some MiB of it.
        ("grpc.http2.lookahead_bytes", UNREAD_BYTES_MAX),
        ("grpc.http2.bdp_probe", 0),
        # Above the number of calls served at once: those beyond it are to be refused, not to
        # wait in their caller until their deadline.
        ("grpc.max_concurrent_streams", 2 * settings.concurrent_rpc_count_max),
        # Calls that come in a burst wait to be looked at. gRPC would cancel some beyond the
        # first thousand without a word.
        ("grpc.server.max_pending_requests", 2 * settings.concurrent_rpc_count_max),
        ("grpc.server.max_pending_requests_hard_limit", 2 * settings.concurrent_rpc_count_max),
        # Nor because this process was too busy to look at them for half a minute.
        ("grpc.server_max_unrequested_time_in_server", math.ceil(settings.stream_timeout_s)),
        # Connections end now and then, so that long-lived callers find new replicas.
        ("grpc.max_connection_age_ms", round(settings.connection_age_max_s * 1e3)),
        ("grpc.max_connection_age_grace_ms", round(settings.stream_timeout_s * 1e3)),
        # Notices callers that vanished without a word, and lets ours ping while idle: their
        # interval (see channel.py) must stay above the least one allowed here.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
