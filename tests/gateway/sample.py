"""A contract made for tests, a service that really serves it, and a gateway in front.

Clients call with a token that allows everything, unless a test says otherwise.
"""

import asyncio
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import grpc
import httpx
from google.api import http_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc  # type: ignore[import-untyped] # has no types
from prometheus_client import CollectorRegistry

from gateway.accounts.errors import TicketInvalid
from gateway.accounts.tickets.ticket import Target
from gateway.accounts.tickets.tickets import OpenedStream
from gateway.admission.admission import AccountChecks, Admission
from gateway.admission.counts import CountsMetrics, open_counts
from gateway.admission.limits import LimitMetrics, Limits
from gateway.admission.tickets import BrowserCookie
from gateway.app import open_gateway
from gateway.application import Application
from gateway.composition import Composition
from gateway.contract.descriptors import Contract
from gateway.http.caller import Proxies, trusted_networks
from gateway.http.lifecycle import Lifecycle
from gateway.serving.server import listen, running
from gateway.settings import Settings
from girih.ids import NO_TENANT
from girih.rules.violations import FieldViolation
from services.plumbing import correlation
from services.plumbing.auth.keys import SigningKeyFile, TrustedKeys
from services.plumbing.auth.tokens import Issuer, Verifier
from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.grpc import server as plumbing_server
from services.plumbing.grpc.chain import accept
from services.plumbing.grpc.requests import CallIdle
from services.plumbing.identity import OPS_READ, Principal
from services.plumbing.metrics import ClientMetrics
from services.plumbing.settings import ServerSettings
from services.plumbing.tasks import OwnedTasks
from services.policy import GATEWAY, POLICY
from tests.authority import Authority

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Whom clients trust that speak without TLS. Reading the authorities of the world takes longer
than most tests."""

HERE = Path(__file__).parent
PROTOS = HERE.parent.parent / "protos"
PACKAGE = "sample.events.v1"
REFUSED_NUMBER = 13
LAST_NUMBER = 14
"""Behind which the service ends the call, as when a client pauses while others wait."""


@functools.cache
def sample_contract() -> Contract:
    return contract_from(HERE / "sample.proto")


def contract_from(proto: Path) -> Contract:
    """Compile a proto file as the build does, with its imports and comments."""
    annotations = Path(http_pb2.__file__).parent.parent.parent
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.binpb"
        code = protoc.main(
            [
                "protoc",
                *(f"-I{proto.parent}", f"-I{PROTOS}", f"-I{annotations}"),
                f"-I{files('grpc_tools') / '_proto'}",
                *("--include_imports", "--include_source_info"),
                f"--descriptor_set_out={target}",
                str(proto),
            ]
        )
        assert code == 0, f"protoc refuses {proto}"
        return Contract.from_descriptor_set(target.read_bytes())


def descriptor(name: str) -> Descriptor:
    return sample_contract().pool.FindMessageTypeByName(f"{PACKAGE}.{name}")


def message(name: str, **fields: Any) -> Message:
    return GetMessageClass(descriptor(name))(**fields)


class ThingNotFound(NotFound):
    reason = "THING_NOT_FOUND"


class ThingChanged(Conflict):
    reason = "THING_CHANGED"


def _failures() -> dict[str, Exception]:
    violations = [
        FieldViolation("children[3].long_number", "is too long"),
        FieldViolation("exit_code", "is too large"),
        FieldViolation("x-tenant-id", "is odd"),
    ]
    return {
        "invalid": InvalidInput(violations=violations),
        "unauthenticated": Unauthenticated("who are you?"),
        "denied": PermissionDenied("you may not"),
        "missing": ThingNotFound("no such thing", thing_id=7),
        "exists": AlreadyExists("it is there"),
        "changed": ThingChanged("it changed"),
        "unfit": FailedPrecondition("it is not of that kind"),
        "busy": ResourceExhausted("too much", retry_after_s=2.5),
        "too large": ResourceExhausted("too much at once", retry_after_s=None),
        "down": Unavailable("away", retry_after_s=0.2),
        "bug": ZeroDivisionError("secret /usr/lib"),
    }


@dataclass
class SampleService:
    """Serves the sample contract."""

    authority: Authority
    cancelled: asyncio.Event
    """Set when a call was cancelled while it hung."""
    calls: list[correlation.Call]
    """Who called, latest last."""
    remaining_s: float | None = None
    is_database_reachable: bool = True
    database_asked_count: int = 0
    yielded: int = 0
    taken: int = 0
    """Lines that have come."""
    sums: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """What Echo was sent, latest last."""
    metadata: list[dict[str, Any]] = field(default_factory=list)
    """What calls carried beside ids and tokens, latest last."""
    peers: list[str] = field(default_factory=list)
    """The connections that calls came by, latest last."""
    live_end: int = 0
    """So far it has been counted by now; see `count_on`."""
    following: dict[str, int] = field(default_factory=dict)
    """Who follows, by correlation id, and up to where each was told."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    broken: set[str] = field(default_factory=set)
    """Whose calls break when they are told more."""
    placing_s: float = 0.0
    """How long it takes to know whether a call of Count is refused."""
    accepts: bool = True
    """Says of calls of Count that they are accepted ahead of what it answers."""
    lost_count: int = 0
    """So many calls of Echo and Fail that come next are lost, as when a connection breaks."""

    def count_on(self, count: int) -> None:
        """Count so many more, for all who follow."""
        self.live_end += count
        self.moved.set()
        self.moved = asyncio.Event()

    async def Echo(self, request: Any, context: Any) -> Any:
        self._note(context)
        self.texts.append(request.text)
        await self._lose(context)
        if request.text == "hang":
            await self._hang()
        return request

    async def Name(self, request: Any, _context: Any) -> Any:
        return request

    async def Publish(self, request: Any, _context: Any) -> Any:
        return request

    async def Fail(self, request: Any, context: Any) -> Any:
        await self._lose(context)
        raise _failures()[request.kind]

    async def _lose(self, context: Any) -> None:
        if self.lost_count:
            self.lost_count -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def Count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note(context)
        size = request.batch_size or request.to or 1
        await self._place(request, context)
        if request.order:
            last = request.from_position if request.HasField("from_position") else request.to
            for n in range(last, 0, -1):
                yield message("CountResponse", counted=[self._counted(n, request)])
            return
        begin = request.from_position - 1 if request.HasField("from_position") else 0
        for first in range(begin, request.to, size):
            last = min(first + size, request.to)
            counted = [self._counted(n, request) for n in range(first + 1, last + 1)]
            incarnation = request.present_incarnation
            yield message(
                "CountResponse", counted=counted, head=request.to, incarnation=incarnation
            )
            self.yielded = last
        if request.follow:
            async for response in self._live(max(begin, request.to), request):
                yield response
        if request.hang:
            await self._hang()

    async def _place(self, request: Any, context: Any) -> None:
        """Refuse a call of Count, or accept it."""
        await asyncio.sleep(self.placing_s)
        if request.HasField("from_position") and request.HasField("from_place"):
            raise ThingChanged("two ways to begin")
        if request.incarnation not in ("", request.present_incarnation):
            raise ThingChanged("what was counted is no more")
        if request.HasField("fail_after") and request.fail_after == 0 == request.to:
            raise ThingChanged("it changed meanwhile")
        if self.accepts:
            await accept(context)

    async def _live(self, last: int, request: Any) -> AsyncIterator[Any]:
        call_id = correlation.current().correlation_id
        self.following[call_id] = last
        try:
            while True:
                while last >= self.live_end:
                    await self.moved.wait()
                if call_id in self.broken:
                    raise ThingChanged("it broke")
                first, last = last, min(last + 10, self.live_end)
                self.following[call_id] = last
                counted = [self._counted(n, request) for n in range(first + 1, last + 1)]
                incarnation = request.present_incarnation
                yield message("CountResponse", counted=counted, incarnation=incarnation)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            del self.following[call_id]

    async def CountPlainly(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        for n in range(1, request.to + 1):
            yield message("CountPlainlyResponse", counted=self._counted(n, request))

    async def Converse(self, requests: Any, _context: Any) -> AsyncIterator[Any]:
        total = 0
        async for line in requests:
            self.taken += 1
            if line.number < 0:
                raise ThingNotFound("no such number")
            total += line.number
            answer = message("LineAnswer", sum=total, text="x" * line.text_length)
            if line.number == REFUSED_NUMBER:
                refusal = grpc_errors.to_proto(ThingChanged("it changed", times=3), "events.girih")
                answer.refusal.ParseFromString(refusal.SerializeToString())  # type: ignore[attr-defined]
            yield answer
            if line.number == LAST_NUMBER:
                raise CallIdle("no message came, and others wait for its room")

    async def Sum(self, requests: Any, _context: Any) -> Any:
        total = 0
        async for line in requests:
            self.taken += 1
            if line.number < 0:
                raise ThingNotFound("no such number")
            total += line.number
        self.sums.append(total)
        return message("SumResponse", sum=total)

    async def Download(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        for n in range(request.chunk_count):
            if request.HasField("fail_after") and n >= request.fail_after:
                raise ThingChanged("it changed meanwhile")
            yield self._body(request)
            self.yielded = n + 1

    async def Paint(self, request: Any, _context: Any) -> Any:
        return self._body(request)

    async def GetDatabaseStatus(self, _request: Any, _context: Any) -> Any:
        self.database_asked_count += 1
        return message(
            "GetDatabaseStatusResponse",
            reachable=self.is_database_reachable,
            server_version="18.6",
        )

    def _body(self, request: Any) -> Any:
        made = descriptor("DownloadRequest").file.pool.FindMessageTypeByName("google.api.HttpBody")
        data = b"x" * request.chunk_bytes
        return GetMessageClass(made)(content_type=request.content_type, data=data)

    def _note(self, context: Any) -> None:
        self.peers.append(context.peer())
        own = {"authorization", "x-correlation-id"}
        pairs = dict(context.invocation_metadata())
        self.metadata.append({key: value for key, value in pairs.items() if key not in own})
        call = correlation.current()
        self.calls.append(call)
        self.remaining_s = call.remaining_s()

    def _counted(self, n: int, request: Any) -> dict[str, Any]:
        if request.HasField("fail_after") and n > request.fail_after:
            raise ThingChanged("it changed meanwhile")
        return {"position": n, "text": "x" * request.text_length, "json": f'{{"n":\n{n}}}'}

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def explain(error: ServiceError) -> Sequence[Message]:
    return [message("Explanation", times=2**53 + 1)] if isinstance(error, ThingChanged) else []


# The service allows more time than the gateway asks for.
_DEVELOPMENT = {"GIRIH_ENVIRONMENT": "development"}
# The document of a contract with recursive messages is two thirds of what a gateway costs.
_UNDOCUMENTED = {"GATEWAY_DOCS": "false"}
_SERVICE_ENVIRON = {**_DEVELOPMENT, "SAMPLE_CALL_TIMEOUT_S": "300"}


@dataclass
class SecurityRecords:
    """What was recorded in the security log."""

    records: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def record(self, tenant: str, kind: str, *, subject: str = "", **fields: str) -> None:
        self.records.append((tenant, kind, {"subject": subject, **fields}))


class NoSuchKey(Unauthenticated):
    reason = "KEY_INVALID"


SESSION = "0d6f6e3e-0000-4000-8000-000000000001"
"""The session of every ticket here."""


@dataclass
class SampleAccounts:
    """Sessions and keys as a test has them, for admission."""

    revoked: set[str] = field(default_factory=set)
    tokens_of_keys: dict[str, str] = field(default_factory=dict)
    tokens_of_tickets: dict[tuple[str, Target], str] = field(default_factory=dict)
    are_away: bool = False
    over_plan: set[str] = field(default_factory=set)
    counted: list[tuple[str, str]] = field(default_factory=list)
    """Calls that were counted: tenant and route."""
    security: SecurityRecords = field(default_factory=SecurityRecords)

    async def token_of_key(self, key: str) -> str:
        if self.are_away:
            raise Unavailable("accounts cannot be asked now")
        if key not in self.tokens_of_keys:
            raise NoSuchKey("the key is not valid")
        return self.tokens_of_keys[key]

    async def admit_call(self, principal: Principal, route: str) -> None:
        if principal.tenant in self.over_plan:
            raise ResourceExhausted("the plan allows no more", retry_after_s=60.0)
        self.counted.append((principal.tenant, route))

    def give_back_call(self, principal: Principal, route: str) -> None:
        self.counted.remove((principal.tenant, route))

    async def open_stream(
        self, text: str, target: Target, kept: Callable[[str], str]
    ) -> OpenedStream:
        token = self.tokens_of_tickets.get((text, target))
        if token is None:
            raise TicketInvalid("the ticket is not valid")
        return OpenedStream(token, SESSION, f"after {kept(SESSION) or 'nothing'}")

    def checks(self) -> AccountChecks:
        return AccountChecks(
            self.revoked.__contains__,
            self.token_of_key,
            self.admit_call,
            self.give_back_call,
            self.security,
            self.open_stream,
        )


class SampleServerSettings(ServerSettings):
    model_config: ClassVar[Any] = {"env_prefix": "SAMPLE_"}


@dataclass
class Gateway:
    """A gateway, what is behind it, and how to call it."""

    application: Application
    service: SampleService
    settings: Settings
    lifecycle: Lifecycle
    registry: CollectorRegistry
    client: httpx.AsyncClient
    """Calls it in this process, without a socket. Takes no streams apart."""
    backend: plumbing_server.Server
    accounts: "SampleAccounts"
    tasks: OwnedTasks

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client through a real socket and server."""
        headers = self.service.authority.headers()
        with listen("127.0.0.1:0") as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with (
                running(self.application, self.settings, self.lifecycle, listener),
                httpx.AsyncClient(
                    base_url=url, timeout=20, trust_env=False, headers=headers, verify=NOBODY
                ) as client,
            ):
                yield client


@asynccontextmanager
async def gateway_before(
    service: SampleService, environ: dict[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """A gateway for the sample contract; `environ` is put over a development's without pages
    of documentation."""
    contract, authority = sample_contract(), service.authority
    server_settings = SampleServerSettings.from_environ(_SERVICE_ENVIRON | authority.environ)
    backend = plumbing_server.Server(
        "events.girih", server_settings, policy=POLICY, details_of=explain
    )
    backend.add_service(contract.services[0], service)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(plumbing_server.running(backend, "127.0.0.1:0"))
        own = _DEVELOPMENT | _UNDOCUMENTED | {"GATEWAY_EVENTS_ADDRESS": f"127.0.0.1:{port}"}
        settings = Settings.from_environ(authority.environ | own | (environ or {}))
        accounts = SampleAccounts()
        registry, lifecycle, tasks = CollectorRegistry(), Lifecycle(), OwnedTasks()
        stack.push_async_callback(tasks.stop)
        composition = await _composition(stack, settings, registry, accounts)
        application = await stack.enter_async_context(
            open_gateway(settings, contract, registry, lifecycle, composition, tasks)
        )
        transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
        client = httpx.AsyncClient(
            transport=transport,
            base_url="http://gateway",
            trust_env=False,
            headers=authority.headers(),
        )
        await stack.enter_async_context(client)
        yield Gateway(
            application, service, settings, lifecycle, registry, client, backend, accounts, tasks,
        )  # fmt: skip


async def _composition(
    stack: AsyncExitStack,
    settings: Settings,
    registry: CollectorRegistry,
    accounts: SampleAccounts,
) -> Composition:
    counts = await stack.enter_async_context(open_counts(None, CountsMetrics(registry)))
    trusted = TrustedKeys(settings.trusted_keys)
    admission = Admission(
        Verifier(trusted, GATEWAY, POLICY),
        accounts.checks(),
        Limits(settings, counts, LimitMetrics(registry)),
        Proxies(trusted_networks(settings.trusted_proxies), settings.forwarded_header),
        BrowserCookie(is_secure=settings.http_transport != "plain"),
    )
    issuer = Issuer(SigningKeyFile(settings.signing_key), GATEWAY)
    return Composition(
        admission,
        {},
        trusted,
        lambda service: issuer.service_token(service, NO_TENANT, (OPS_READ,)),
        ClientMetrics(registry),
        _caught_up,
    )


async def _caught_up() -> None:
    """There is nothing to catch up with."""


async def until(is_true: Callable[[], object]) -> None:
    """Wait for what other tasks bring about, and no event tells."""
    async with asyncio.timeout(60):
        while not is_true():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)
