"""The services behind the gateway: where they are, and the channels to them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from gateway.contract import Contract, ContractError, http_rules
from gateway.settings import Settings
from services.plumbing.channel import open_channel


@dataclass(frozen=True)
class Backend:
    """One service of the contract."""

    label: str
    """Its name for people, and for its setting: `events` for girih.events.v1."""
    service: ServiceDescriptor
    calls: grpc.aio.Channel
    """For calls that are answered at once."""
    streams: grpc.aio.Channel
    """For streams, on a connection of their own: however many are open, calls get through."""


@asynccontextmanager
async def open_backends(contract: Contract, settings: Settings) -> AsyncIterator[list[Backend]]:
    """Channels to every service that has an http rule; raises ContractError for an unknown one.

    Nothing is connected until it is called.
    """
    async with AsyncExitStack() as stack:
        backends = []
        for service in _served(contract):
            label = label_of(service)
            address = _address(label, settings)
            calls = await stack.enter_async_context(open_channel(address))
            streams = await stack.enter_async_context(open_channel(address))
            backends.append(Backend(label, service, calls, streams))
        yield backends


def label_of(service: ServiceDescriptor) -> str:
    """`events` for girih.events.v1.EventStoreService."""
    parts = service.full_name.split(".")
    return parts[-3] if len(parts) > 2 else parts[0]


def _served(contract: Contract) -> Iterable[ServiceDescriptor]:
    for service in contract.services:
        if service.file.package == "girih.accounts.v1":
            continue  # served by the gateway itself
        if any(http_rules(method) for method in service.methods):
            yield service


def _address(label: str, settings: Settings) -> str:
    address = getattr(settings, f"{label}_address", None)
    if not isinstance(address, str):
        raise ContractError(f"no setting says where the {label} service is")
    return address
