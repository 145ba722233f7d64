"""The service over gRPC, from the request to the table and back."""

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from girih.events.v1 import events_pb2 as pb
from tests.authority import USER, Authority
from tests.contract.calling import read
from tests.events.making import append_of
from tests.events.serving import is_serving

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


async def test_who_appended_is_recorded_as_the_token_proves_it(
    events: "EventStoreServiceAsyncStub", authority: Authority
) -> None:
    acting = authority.service_token("events.girih", sub="key:machine-1")

    await events.Append(append_of("s"), metadata=authority.metadata(sub=USER))
    await events.Append(append_of("s"), metadata=[("authorization", f"Bearer {acting}")])

    recorded = await read(events, pb.ReadRequest())
    assert [one.context.actor for one in recorded] == [USER, "key:machine-1"]


async def test_the_database_status_is_told(events: "EventStoreServiceAsyncStub") -> None:
    status = await events.GetDatabaseStatus(pb.GetDatabaseStatusRequest())

    assert status.reachable
    assert status.latency_ms > 0
    assert (status.pool_size_min, status.pool_size_max) == (1, 10)
    assert 1 <= status.pool_size <= 10


async def test_serves_under_its_name(channel: grpc.aio.Channel) -> None:
    assert await is_serving(channel, "girih.events.v1.EventStoreService")


async def test_callers_who_leave_early_leave_nothing_broken(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(append_of(*["s"] * 5_000))

    async def glance() -> None:
        call = events.Read(pb.ReadRequest())
        await call.read()
        call.cancel()

    await asyncio.gather(*[glance() for _ in range(30)])

    assert len(await read(events, pb.ReadRequest())) == 5_000
    status = await events.GetDatabaseStatus(pb.GetDatabaseStatusRequest())
    assert status.pool_waiting == 0
