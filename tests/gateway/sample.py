"""A contract made for tests, a service that really serves it, and a gateway in front."""

import asyncio
import functools
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import httpx
from google.api import http_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from grpc_tools import protoc  # type: ignore[import-untyped] # has no types
from prometheus_client import CollectorRegistry

from gateway.app import open_gateway
from gateway.contract import Contract, message_class
from gateway.front import Front
from gateway.lifecycle import Lifecycle
from gateway.server import listen, running
from gateway.settings import Settings
from services.plumbing import correlation
from services.plumbing import server as plumbing_server
from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    FieldViolation,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from services.plumbing.settings import ServerSettings

HERE = Path(__file__).parent
PROTOS = HERE.parent.parent / "protos"
PACKAGE = "sample.events.v1"


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
    return message_class(descriptor(name))(**fields)


class ThingNotFound(NotFound):
    reason = "THING_NOT_FOUND"


class ThingChanged(Conflict):
    reason = "THING_CHANGED"


def _failures() -> dict[str, Exception]:
    violations = [
        FieldViolation("children[3].long_number", "is too long"),
        FieldViolation("x-tenant-id", "is odd"),
    ]
    return {
        "invalid": InvalidInput(violations=violations),
        "unauthenticated": Unauthenticated("who are you?"),
        "denied": PermissionDenied("you may not"),
        "missing": ThingNotFound("no such thing", thing_id=7),
        "exists": AlreadyExists("it is there"),
        "changed": ThingChanged("it changed"),
        "busy": ResourceExhausted("too much", retry_after_s=2.5),
        "too large": ResourceExhausted("too much at once", retry_after_s=None),
        "down": Unavailable("away", retry_after_s=0.2),
        "bug": ZeroDivisionError("secret /usr/lib"),
    }


@dataclass
class SampleService:
    """Serves the sample contract."""

    cancelled: asyncio.Event
    """Set when a call was cancelled while it hung."""
    calls: list[correlation.Call]
    """Who called, latest last."""
    remaining_s: float | None = None
    is_database_reachable: bool = True
    yielded: int = 0
    peers: list[str] = field(default_factory=list)
    """The connections that calls came by, latest last."""

    async def Echo(self, request: Any, context: Any) -> Any:
        self._note(context)
        if request.text == "hang":
            await self._hang()
        return request

    async def Name(self, request: Any, _context: Any) -> Any:
        return request

    async def Publish(self, request: Any, _context: Any) -> Any:
        return request

    async def Fail(self, request: Any, _context: Any) -> Any:
        raise _failures()[request.kind]

    async def Count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note(context)
        size = request.batch_size or request.to or 1
        for first in range(0, request.to, size):
            last = min(first + size, request.to)
            counted = [self._counted(n, request) for n in range(first + 1, last + 1)]
            yield message("CountResponse", counted=counted)
            self.yielded = last
        if request.hang:
            await self._hang()

    async def CountPlainly(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        for n in range(1, request.to + 1):
            yield message("CountPlainlyResponse", counted=self._counted(n, request))

    async def GetDatabaseStatus(self, _request: Any, _context: Any) -> Any:
        return message("GetDatabaseStatusResponse", reachable=self.is_database_reachable)

    def _note(self, context: Any) -> None:
        self.peers.append(context.peer())
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
_SERVICE_ENVIRON = {"GIRIH_ENVIRONMENT": "development", "SAMPLE_CALL_TIMEOUT_S": "300"}


class SampleServerSettings(ServerSettings):
    model_config: ClassVar[Any] = {"env_prefix": "SAMPLE_"}


@dataclass
class Gateway:
    """A gateway, what is behind it, and how to call it."""

    front: Front
    service: SampleService
    settings: Settings
    lifecycle: Lifecycle
    registry: CollectorRegistry
    client: httpx.AsyncClient
    """Calls it in this process, without a socket. Takes no streams apart."""
    backend: plumbing_server.Server

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client through a real socket and server."""
        with listen("127.0.0.1:0") as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with (
                running(self.front, self.settings, self.lifecycle, listener),
                httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
            ):
                yield client


@asynccontextmanager
async def gateway_before(
    service: SampleService, environ: dict[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """A gateway for the sample contract; `environ` is put over a development's."""
    contract = sample_contract()
    server_settings = SampleServerSettings.from_environ(_SERVICE_ENVIRON)
    backend = plumbing_server.build_server("sample.girih", server_settings, details_of=explain)
    plumbing_server.add_service(
        backend, contract.services[0], service, without_tenant=["GetDatabaseStatus"]
    )
    async with plumbing_server.running(backend, "127.0.0.1:0") as port:
        told = {
            "GIRIH_ENVIRONMENT": "development",
            "GATEWAY_EVENTS_ADDRESS": f"127.0.0.1:{port}",
        }
        settings = Settings.from_environ(told | (environ or {}))
        registry, lifecycle = CollectorRegistry(), Lifecycle()
        async with open_gateway(settings, contract, registry, lifecycle) as front:
            transport = httpx.ASGITransport(app=front, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://gateway", trust_env=False
            ) as client:
                yield Gateway(front, service, settings, lifecycle, registry, client, backend)


async def until(is_true: Callable[[], object]) -> None:
    """Wait for what other tasks bring about, and no event tells."""
    async with asyncio.timeout(15):
        while not is_true():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)
