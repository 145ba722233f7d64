"""Whatever a service refuses, it gives the reason: a status without one cannot be acted upon."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.app import read_contract
from girih.errors.v1.reasons_pb2 import ErrorReason
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.settings import MESSAGE_BYTES
from tests.authority import Authority
from tests.security.conftest import Deployment
from tests.security.matrix import Pairs, served_methods

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TIMEOUT_S = 10.0
NO_MESSAGE = b"\xff\xff"
"""Bytes that no parser of protobuf takes."""


@dataclass(frozen=True)
class Call:
    """One way to call an rpc that is refused, if the rpc looks at what is wrong with it."""

    name: str
    messages: tuple[bytes, ...] = (b"",)
    metadata: Pairs = ()


def calls(authority: Authority) -> Iterator[Call]:
    allowed = authority.metadata()
    yield Call("without a token")
    yield Call("with no token", metadata=[("authorization", "Bearer x.y.z")])
    yield Call("with a token twice", metadata=[*allowed, *allowed])
    yield Call("with a token for nothing", metadata=authority.metadata(scopes=[]))
    yield Call("with no message", messages=(NO_MESSAGE,), metadata=allowed)
    yield Call("without a message", messages=(), metadata=allowed)
    yield Call("with an empty message", metadata=allowed)
    yield Call("with a large message", (b"x" * (MESSAGE_BYTES + 1),), allowed)
    # Field 1 of all of ours that have one is a text, a number or a message: this fits none.
    yield Call("with odd fields", messages=(b"\x0a\x03\x0a\x01\xff",), metadata=allowed)


def methods(packages: tuple[str, ...]) -> Iterator[MethodDescriptor]:
    for method in served_methods(read_contract()):
        if method.full_name.startswith(packages):
            yield method
    yield from health_pb2.DESCRIPTOR.services_by_name["Health"].methods
    yield from reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].methods


def started(channel: grpc.aio.Channel, path: str, call: Call) -> Any:
    """The call under way. On the wire a single message is a stream of one."""
    options: Any = {"metadata": list(call.metadata), "timeout": TIMEOUT_S}
    start: Any
    if not call.messages:
        start = channel.stream_stream(path)
        return start(iter(()), **options)
    # All at once: a client of grpc.aio that writes while it is refused reports that it could not.
    (message,) = call.messages
    start = channel.unary_stream(path)
    return start(message, **options)


async def refusals_without_reason(address: str, paths: list[str], call: Call) -> list[str]:
    wrong = []
    listed = ErrorReason.keys()
    async with grpc.aio.insecure_channel(address) as channel:
        for path in paths:
            under_way = started(channel, path, call)
            try:
                # Refused, or answered once: some go on for ever.
                await under_way.read()
            except grpc.aio.AioRpcError as error:
                remote = from_rpc_error(error)
                # By our own clock, not by the server's.
                is_late = remote.code is grpc.StatusCode.DEADLINE_EXCEEDED
                if not (remote.reason in listed and remote.domain) and not is_late:
                    wrong.append(f"{path} {call.name}: {remote.code.name} {remote.message}")
            under_way.cancel()
    return wrong


async def test_every_refusal_of_every_rpc_has_a_reason(deployment: Deployment) -> None:
    served = {
        deployment.system.events_address: ("girih.events.", "girih.ops."),
        deployment.system.lattice_address: ("girih.lattice.", "girih.ops."),
        deployment.system.projections_address: ("girih.projections.", "girih.ops."),
    }

    wrong: list[str] = []
    for address, packages in served.items():
        paths = [f"/{m.containing_service.full_name}/{m.name}" for m in methods(packages)]
        assert len(paths) > 8
        paths += ["/girih.events.v1.EventStoreService/Unknown", "/unknown/unknown"]
        for call in calls(deployment.system.authority):
            wrong += await refusals_without_reason(address, paths, call)

    assert wrong == []
