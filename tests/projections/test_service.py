"""The projections of a tenant as its people see and steer them, in a whole process."""

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from girih.client import EventStoreClient
from girih.ids import TenantId
from girih.projections.v1 import projections_pb2 as pb
from services.plumbing.grpc.errors import from_rpc_error
from services.projections.postgres.store import PostgresProjectionStore
from tests.authority import Authority
from tests.projections.running import TENANT, Shop, digest, expected, sales

if TYPE_CHECKING:
    from girih.projections.v1.projections_pb2_grpc import ProjectionServiceAsyncStub

STOPPED = pb.Projection.STATE_STOPPED


async def get(projections: "ProjectionServiceAsyncStub", name: str = "shop") -> pb.Projection:
    answer = await projections.GetProjection(pb.GetProjectionRequest(projection=name))
    return answer.projection


async def reached(
    projections: "ProjectionServiceAsyncStub", position: int, name: str = "shop"
) -> bool:
    request = pb.WaitForProjectionRequest(projection=name, position=position, timeout_s=20)
    return (await projections.WaitForProjection(request)).reached


async def until(
    projections: "ProjectionServiceAsyncStub", name: str = "shop", **fields: int
) -> pb.Projection:
    """The projection once its fields are so."""
    async with asyncio.timeout(30):
        while True:
            status = await get(projections, name)
            if all(getattr(status, field) == value for field, value in fields.items()):
                return status
            await asyncio.sleep(0.01)


async def test_ones_own_write_is_read_once_the_projection_was_waited_for(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    store: PostgresProjectionStore,
) -> None:
    total = 0
    for amount in range(10):
        placements = await log.append(sales([amount]))
        total += amount
        assert await reached(projections, placements[-1].position)

        async with store.for_tenant(TENANT) as connection:
            seen = await connection.fetchval("SELECT sum(total) FROM projection_shop.shop")
        assert seen == total


async def test_a_wait_that_is_in_vain_ends_in_time(
    projections: "ProjectionServiceAsyncStub", log: EventStoreClient
) -> None:
    await log.append(sales([1]))
    request = pb.WaitForProjectionRequest(projection="shop", position=99, timeout_s=0)

    answer = await projections.WaitForProjection(request)

    assert not answer.reached


async def test_all_projections_tell_where_they_are(
    projections: "ProjectionServiceAsyncStub", log: EventStoreClient
) -> None:
    await log.append(sales([1, 2, 3, 4]))
    assert await reached(projections, 4)
    assert await reached(projections, 4, "event_types")

    answer = await projections.ListProjections(pb.ListProjectionsRequest())

    status_of = {one.projection: one for one in answer.projections}
    assert {"event_types", "shop"} <= status_of.keys()
    assert status_of["shop"].state == pb.Projection.STATE_RUNNING
    assert (status_of["shop"].position, status_of["shop"].head, status_of["shop"].lag_events) == (
        4,
        4,
        0,
    )
    assert (status_of["shop"].event_count, status_of["event_types"].event_count) == (3, 4)


async def test_a_paused_projection_stands_still_until_it_is_resumed(
    projections: "ProjectionServiceAsyncStub", log: EventStoreClient
) -> None:
    await log.append(sales([1]))
    assert await reached(projections, 1)
    await projections.PauseProjection(pb.PauseProjectionRequest(projection="shop"))
    await log.append(sales([2]))
    assert await reached(projections, 2, "event_types")

    paused = await get(projections)
    await projections.ResumeProjection(pb.ResumeProjectionRequest(projection="shop"))

    assert (paused.state, paused.position) == (pb.Projection.STATE_PAUSED, 1)
    assert paused.lag_events == 1
    assert await reached(projections, 2)


async def test_poison_is_told_and_goes_on_after_the_fix(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    store: PostgresProjectionStore,
    shop: Shop,
) -> None:
    shop.poison = {666}
    events = sales([1, 2, 666, 3, 4])
    await log.append(events)
    stopped = await until(projections, state=STOPPED)
    request = pb.WaitForProjectionRequest(projection="shop", position=5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await projections.WaitForProjection(request)

    shop.poison = set()
    await projections.ResumeProjection(pb.ResumeProjectionRequest(projection="shop"))

    assert (stopped.failed_position, stopped.stop_cause) == (3, pb.Projection.STOP_CAUSE_POISON)
    assert "cannot sell 666" in stopped.problem
    error = from_rpc_error(refused.value)
    assert (error.reason, error.metadata["failed_position"]) == ("PROJECTION_STOPPED", "3")
    assert await reached(projections, 5)
    assert await digest(store) == expected(events)


async def test_what_was_put_aside_is_replayed_in_order_and_makes_what_a_fold_makes(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    store: PostgresProjectionStore,
    shop: Shop,
) -> None:
    shop.poison = {666}
    await projections.SetProjectionPolicies(
        pb.SetProjectionPoliciesRequest(
            projection="shop", poison_policy=pb.POISON_POLICY_QUARANTINE
        )
    )
    events = sales([1, 666, 2, 0, 3, 4, 5, 0, 6, 7])
    await log.append(events)
    assert await reached(projections, 10)
    aside = await projections.ListQuarantinedEvents(
        pb.ListQuarantinedEventsRequest(projection="shop")
    )

    shop.poison = set()
    asked = await projections.ReplayQuarantinedEvents(
        pb.ReplayQuarantinedEventsRequest(projection="shop", all=True)
    )

    assert [event.held_back for event in aside.events][:2] == [False, True]
    assert aside.events[0].position == 2
    assert "cannot sell 666" in aside.events[0].problem
    assert asked.event_count == aside.total_count == len(aside.events)
    await until(projections, quarantined_count=0)
    assert await digest(store) == expected(events)


async def test_an_event_that_cannot_be_replayed_stays_and_one_that_is_given_up_does_not(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    store: PostgresProjectionStore,
    shop: Shop,
) -> None:
    shop.poison = {666}
    await projections.SetProjectionPolicies(
        pb.SetProjectionPoliciesRequest(
            projection="shop", poison_policy=pb.POISON_POLICY_QUARANTINE
        )
    )
    events = sales([666, 1, 2, 0, 3], streams=1)
    await log.append(events)
    assert await reached(projections, 5)

    replay = pb.ReplayQuarantinedEventsRequest(projection="shop", stream="till-0")
    await projections.ReplayQuarantinedEvents(replay)
    page = await _settled(projections)
    await projections.DiscardQuarantinedEvent(
        pb.DiscardQuarantinedEventRequest(projection="shop", position=1)
    )
    await projections.ReplayQuarantinedEvents(replay)

    assert page.total_count == 4
    assert page.events[0].attempt_count == 3
    await until(projections, quarantined_count=0)
    assert await digest(store) == expected(events[1:])


async def _settled(projections: "ProjectionServiceAsyncStub") -> pb.ListQuarantinedEventsResponse:
    async with asyncio.timeout(30):
        while True:
            page = await projections.ListQuarantinedEvents(
                pb.ListQuarantinedEventsRequest(projection="shop")
            )
            if not any(event.pending for event in page.events):
                return page
            await asyncio.sleep(0.01)


async def test_a_rebuild_makes_the_same_again(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    store: PostgresProjectionStore,
) -> None:
    events = sales(range(300))
    await log.append(events)
    assert await reached(projections, 300)

    begun = await projections.RebuildProjection(pb.RebuildProjectionRequest(projection="shop"))

    assert begun.projection.rebuild.cause == pb.Rebuild.CAUSE_ASKED
    async with asyncio.timeout(30):
        while (await get(projections)).HasField("rebuild"):
            assert await digest(store) == expected(events)
    assert await digest(store) == expected(events)
    async with store.for_tenant(TENANT) as connection:
        generations = await connection.fetchval(
            "SELECT count(DISTINCT generation) FROM projection_shop.sales"
        )
    assert generations <= 2


async def test_an_unknown_projection_is_named(projections: "ProjectionServiceAsyncStub") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await get(projections, "nothing")

    error = from_rpc_error(refused.value)
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "PROJECTION_NOT_FOUND")


async def test_an_event_that_was_not_put_aside_is_not_found(
    projections: "ProjectionServiceAsyncStub",
) -> None:
    answer = await projections.DiscardQuarantinedEvent(
        pb.DiscardQuarantinedEventRequest(projection="shop", position=7)
    )

    assert not answer.found


async def test_tenants_see_their_own_projections_alone(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    authority: Authority,
    store: PostgresProjectionStore,
) -> None:
    await log.append(sales([1, 2]))
    assert await reached(projections, 2)

    other = await projections.GetProjection(
        pb.GetProjectionRequest(projection="shop"), metadata=authority.metadata("acme")
    )

    assert (other.projection.state, other.projection.position) == (
        pb.Projection.STATE_WAITING,
        0,
    )
    assert await digest(store, TenantId("acme")) == expected([])


async def test_no_stream_is_not_all_streams(
    projections: "ProjectionServiceAsyncStub",
) -> None:
    for stream, is_all in (("", False), ("till-0", True)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await projections.ReplayQuarantinedEvents(
                pb.ReplayQuarantinedEventsRequest(projection="shop", stream=stream, all=is_all)
            )
        assert from_rpc_error(refused.value).reason == "INVALID_INPUT"
