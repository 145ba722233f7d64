"""Upcasts what readers are sent, response by response. Knows no log and no follower."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from girih.events.v1 import events_pb2 as pb
from girih.ids import TenantId
from services.events import ownership
from services.events.domain import EVENT_BYTES_MAX, RECORD_BYTES_MAX
from services.events.errors import SchemaCheckTooLong
from services.events.schemas import upcasting, worker
from services.events.schemas.beside import Beside
from services.events.schemas.compiled import DESCRIBED_HERE_MAX
from services.events.schemas.registries import Registries
from services.events.schemas.registry import RegisteredSchema, Registry
from services.events.schemas.upcasting import Upcaster

FRESH_S: Final = 1.0
"""How long upcasters count for a call before it asks for newer ones."""
INLINE_NS_MAX: Final = 2_000_000
_NS_A_STEP: Final = 2_000
_NS_A_BYTE: Final = 60
"""What it takes at most to read a byte, to copy it and to write it."""


class Upcasts:
    """Leads the events of reads through the upcasters of their log."""

    def __init__(self, registries: Registries, beside: Beside) -> None:
        self._registries = registries
        self._beside = beside

    async def of(
        self, tenant: TenantId, responses: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """The same responses, serialized `ReadResponse`s, with events as upcasters make them.

        Where events grow beyond what a response holds, one becomes several. Closes `responses`.
        """
        async with aclosing(responses):
            registry, read_s = await self._registries.newest(tenant), time.monotonic()
            async for response in responses:
                if time.monotonic() - read_s > FRESH_S:
                    registry, read_s = await self._registries.newest(tenant), time.monotonic()
                if not any(one.upcasters for one in registry.types.values()):
                    yield response
                    continue
                message = pb.ReadResponse.FromString(response)
                for changed in await self._changed(tenant, message, registry):
                    yield changed

    async def _changed(
        self, tenant: TenantId, response: pb.ReadResponse, registry: Registry
    ) -> Iterator[bytes]:
        spent_ns = 0
        for recorded in response.events:
            spent_ns += await self._upcast(tenant, recorded, registry)
            if spent_ns > INLINE_NS_MAX:
                spent_ns = 0
                await asyncio.sleep(0)
        return _fitting(response)

    async def _upcast(
        self, tenant: TenantId, recorded: pb.RecordedEvent, registry: Registry
    ) -> int:
        """Change an event in place; answers what that took here, at most."""
        event = recorded.event
        event_type = registry.types.get(event.type)
        if event_type is None or event.stream.startswith(ownership.RESERVED):
            return 0
        upcasters = upcasting.chain(event_type.upcasters, event.schema_version)
        if not upcasters or not event.HasField("json"):
            return 0
        recorded.upcast.from_version = event.schema_version
        target = event_type.schemas[upcasters[-1].to_version]
        json, problem, cost_ns = await self._made(tenant, event.json.encode(), upcasters, target)
        if not problem and event.ByteSize() - len(event.json) + len(json) > EVENT_BYTES_MAX:
            problem = "it would be larger than an event may be"
        if problem:
            recorded.upcast.problem = problem
        else:
            event.json, event.schema_version = json.decode(), target.version
        return cost_ns

    async def _made(
        self,
        tenant: TenantId,
        json: bytes,
        upcasters: Sequence[Upcaster],
        target: RegisteredSchema,
    ) -> tuple[bytes, str, int]:
        step_count = sum(1 + len(one.steps) for one in upcasters)
        added = sum(one.byte_count for one in upcasters)
        cost_ns = target.schema.cost_ns(json) + target.schema.weight * 100 * step_count
        cost_ns += _NS_A_STEP * step_count + _NS_A_BYTE * (len(json) + added)
        described = target.schema.description_cost(len(json) + added)
        if cost_ns <= INLINE_NS_MAX and described <= DESCRIBED_HERE_MAX:
            return *upcasting.upcast_text(json, upcasters, target.schema.problem_of), cost_ns
        try:
            made, problem = await self._beside.run(
                tenant,
                worker.upcast_text,
                json,
                upcasters,
                target.schema.text,
                target.schema.weight,
            )
        except SchemaCheckTooLong as error:
            return json, error.message, 0
        return made, problem, 0


def _fitting(response: pb.ReadResponse) -> Iterator[bytes]:
    """A response, or several of at most as many bytes as every client takes."""
    if response.ByteSize() <= RECORD_BYTES_MAX:
        yield response.SerializeToString()
        return
    piece = pb.ReadResponse(incarnation=response.incarnation)
    empty_bytes = byte_count = piece.ByteSize()
    for recorded in response.events:
        # What stands before an event in a response has 6 bytes at most.
        event_bytes = recorded.ByteSize() + 6
        if piece.events and byte_count + event_bytes > RECORD_BYTES_MAX:
            yield piece.SerializeToString()
            del piece.events[:]
            byte_count = empty_bytes
        piece.events.append(recorded)
        byte_count += event_bytes
    yield piece.SerializeToString()
