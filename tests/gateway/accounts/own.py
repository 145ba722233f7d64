"""The gateway's own access to an event store, and what lies in its logs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from gateway.own_calls import OwnLogs, refusals_named
from girih.client import RecordedEvent, open_channel
from services.plumbing.auth.keys import SigningKeyFile
from services.plumbing.auth.tokens import Issuer
from services.policy import GATEWAY
from tests.authority import Authority


@asynccontextmanager
async def own_logs(address: str, authority: Authority) -> AsyncIterator[OwnLogs]:
    """As the gateway opens them."""
    issuer = Issuer(SigningKeyFile(authority.gateway_key), GATEWAY)
    async with open_channel(address) as channel:
        yield OwnLogs(channel, issuer)


async def recorded(
    logs: OwnLogs, tenant: str, stream: str
) -> list[tuple[RecordedEvent, dict[str, Any]]]:
    """Everything in a stream, and the payloads read."""
    with refusals_named():
        events = [event async for event in logs.of(tenant).read(stream)]
    return [(event, orjson.loads(event.json or "")) for event in events]
