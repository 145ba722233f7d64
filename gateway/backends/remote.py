"""The services behind the gateway: where they are, and the channels to them."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from gateway.backends.backlog import Backlog
from gateway.contract.descriptors import Contract, ContractError, http_rules
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.settings import Settings
from girih.client.calls import WrittenCall
from services.plumbing import correlation
from services.plumbing.grpc.channel import open_channel
from services.plumbing.metrics import ClientMetrics
from services.plumbing.tls import channel_credentials

_SHORT_CALLS: Final = frozenset({"events"})
"""Services of which no call takes long, so that what they answer tells how long others wait. One
that computes knows by itself what it takes on."""
_WAIT_S_MAX: Final = 5.0
"""How long a call may be expected to wait: well below what it may take, and what people would."""


Request = Message | bytes
"""What a method is called with: serialized already where it is large and nobody looks into it."""


class PendingCall(Protocol):
    """A call that nothing came back from yet."""

    def end(self, error: HttpError) -> None:
        """End it soon, with this error."""


class Backend(Protocol):
    """One service of the contract, wherever it is served."""

    @property
    def label(self) -> str:
        """Its name for people, and for its setting: `events` for girih.events.v1."""

    @property
    def service(self) -> ServiceDescriptor: ...

    def unary(self, method: MethodDescriptor) -> Callable[[Request], Any]:
        """What starts a call. It is awaited for its response, bytes, and can be cancelled."""

    def server_stream(self, method: MethodDescriptor) -> Callable[[Request], Any]:
        """What starts a call whose responses are read, as bytes."""

    def client_stream(self, method: MethodDescriptor) -> Callable[[], Any]:
        """What starts a call that requests are written to. Its responses are bytes."""

    def response_timeout_s(self) -> float | None:
        """How long a first response is worth waiting for; None while the service answers."""

    answered_count: int
    """How many calls it has answered."""

    backlog: Backlog | None
    """Which calls it is sent, where not all."""

    pending: set[PendingCall]
    """The calls that nothing came back from yet."""


class RemoteBackend:
    """A service of another process."""

    def __init__(
        self,
        service: ServiceDescriptor,
        calls: grpc.aio.Channel,
        streams: grpc.aio.Channel,
        down_timeout_s: float,
        backlog: Backlog | None = None,
    ) -> None:
        """`backlog` is that of the process, which all its services share."""
        self.label = label_of(service)
        self.service = service
        self.calls = calls
        """For calls that have one response."""
        self._streams = streams
        self._down_timeout_s = down_timeout_s
        self.answers = True
        """As far as is known. See `health.HealthMonitor`."""
        self.answered_count = 0
        self.backlog = backlog
        self.pending: set[PendingCall] = set()

    def unary(self, method: MethodDescriptor) -> Callable[[Request], Any]:
        return self.calls.unary_unary(
            _path(method),
            request_serializer=_serialized,
            response_deserializer=None,
        )

    def server_stream(self, method: MethodDescriptor) -> Callable[[Request], Any]:
        return self._streams.unary_stream(
            _path(method),
            request_serializer=_serialized,
            response_deserializer=None,
        )

    def client_stream(self, method: MethodDescriptor) -> Callable[[], Any]:
        kind = (
            self._streams.stream_stream if method.server_streaming else self._streams.stream_unary
        )
        start: Callable[[], Any] = kind(
            _path(method), request_serializer=_serialized, response_deserializer=None
        )
        return lambda: WrittenCall(start())

    def response_timeout_s(self) -> float | None:
        return None if self.answers else self._down_timeout_s

    def give_up(self) -> None:
        """End the calls that were begun before it was known that the service does not answer."""
        for call in tuple(self.pending):
            call.end(errors.no_answer())


@asynccontextmanager
async def open_backends(
    contract: Contract, settings: Settings, served_here: Iterable[str], metrics: ClientMetrics
) -> AsyncIterator[list[RemoteBackend]]:
    """Channels to every service that has an http rule and is not `served_here`.

    Raises ContractError for one that nobody knows an address of. Nothing is connected until
    it is called. Every call carries its caller's own token, and nothing of the gateway's.
    """
    tls = channel_credentials(settings)
    backlogs = {label: Backlog(_WAIT_S_MAX) for label in _SHORT_CALLS}
    async with AsyncExitStack() as stack:
        backends = []
        for service in _served(contract, frozenset(served_here)):
            label = label_of(service)
            address = _address(label, settings)
            # Streams have a connection of their own: however many are open, calls get through.
            calls, streams = [
                await stack.enter_async_context(
                    open_channel(address, bearer=callers_token, tls=tls, metrics=metrics)
                )
                for _ in range(2)
            ]
            backlog = backlogs.get(label)
            backends.append(
                RemoteBackend(service, calls, streams, settings.down_timeout_s, backlog)
            )
        yield backends


def answering(backends: Iterable[RemoteBackend]) -> dict[str, bool]:
    """Whether each process that is called answers, by its label, as far as is known."""
    answers: dict[str, bool] = {}
    for backend in backends:
        answers[backend.label] = answers.get(backend.label, True) and backend.answers
    return answers


def label_of(service: ServiceDescriptor) -> str:
    """`events` for girih.events.v1.EventStoreService."""
    parts = service.full_name.split(".")
    return parts[-3] if len(parts) > 2 else parts[0]


def callers_token() -> str:
    call = correlation.bound()
    return call.token if call is not None else ""


def _served(contract: Contract, served_here: frozenset[str]) -> Iterable[ServiceDescriptor]:
    for service in contract.services:
        has_rules = any(http_rules(method) for method in service.methods)
        if has_rules and service.full_name not in served_here:
            yield service


def _address(label: str, settings: Settings) -> str:
    address = getattr(settings, f"{label}_address", None)
    if not isinstance(address, str):
        raise ContractError(f"no setting says where the {label} service is")
    return address


def _serialized(request: Request) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _path(method: MethodDescriptor) -> str:
    assert method.containing_service is not None, "every method is of a service"
    return f"/{method.containing_service.full_name}/{method.name}"
