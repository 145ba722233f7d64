"""The gateway's own channel to an event store, and what lies in its logs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import orjson

from gateway.own_calls import as_gateway, own_bearer
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.plumbing.auth.keys import SigningKeyFile
from services.plumbing.auth.tokens import Issuer
from services.plumbing.grpc.channel import open_channel
from services.policy import GATEWAY
from tests.authority import Authority


@asynccontextmanager
async def own_channel(address: str, authority: Authority) -> AsyncIterator[grpc.aio.Channel]:
    """As the gateway opens it."""
    issuer = Issuer(SigningKeyFile(authority.gateway_key), GATEWAY)
    async with open_channel(address, bearer=own_bearer(issuer)) as channel:
        yield channel


async def recorded(
    channel: grpc.aio.Channel, tenant: str, stream: str
) -> list[tuple[pb.RecordedEvent, dict[str, Any]]]:
    """Everything in a stream, and the payloads read."""
    with as_gateway(tenant):
        call = EventStoreServiceStub(channel).Read(pb.ReadRequest(stream=stream))
        events = [event async for response in call for event in response.events]
    return [(event, orjson.loads(event.event.json)) for event in events]
