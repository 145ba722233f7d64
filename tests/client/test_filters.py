"""Reads with a filter give what it means, and go on behind what was looked at in vain."""

import asyncio
from contextlib import aclosing

import grpc
import pytest

from girih.client import EventStoreClient, NewEvent, Query
from tests.client.between import Between, Failure

CUT = Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", responses=1)


def numbered(first: int, count: int) -> list[NewEvent]:
    """Every tenth of them is rare."""
    return [
        NewEvent(
            stream=f"count-{number % 3}",
            type="common" if number % 10 else "rare",
            tags=("even",) if number % 2 == 0 else (),
        )
        for number in range(first, first + count)
    ]


RARE = Query(types=("rare",))


async def test_a_filter_is_read_both_ways(events: EventStoreClient) -> None:
    await events.append(numbered(1, 40))

    assert [one.position async for one in events.read(filter=RARE)] == [10, 20, 30, 40]
    backwards = events.read(filter=[RARE, Query(tags=("odd",))], backwards=True, limit=2)
    assert [one.position async for one in backwards] == [40, 30]
    both = Query(tags=("even",), stream_prefix="count-1", category="count")
    assert [one.position async for one in events.read(filter=both)] == [4, 10, 16, 22, 28, 34, 40]


async def test_a_time_is_where_its_first_event_is(events: EventStoreClient) -> None:
    await events.append(numbered(1, 3))
    (placement,) = await events.append(numbered(4, 1))
    time = placement.recorded_at

    assert await events.position_at(time) == 4
    assert [one.position async for one in events.read(from_time=time)] == [4]
    backwards = events.read(from_time=time, backwards=True)
    assert [one.position async for one in backwards] == [4, 3, 2, 1]
    of_stream = events.read("count-1", from_time=time)
    assert [one.position async for one in of_stream] == [4]


async def test_a_subscription_goes_on_behind_the_last_checkpoint(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    await events.append(numbered(1, 9))
    broken.failures = [CUT]

    subscription = patient.follow(filter=RARE)
    async with aclosing(aiter(subscription)) as following:
        reading = asyncio.ensure_future(anext(following))
        async with asyncio.timeout(60):
            while len(broken.requests) < 2:  # noqa: ASYNC110 - it is told nowhere
                await asyncio.sleep(0.02)
            await events.append(numbered(10, 1))
            assert (await reading).position == 10

    assert [request.from_position for request in broken.requests[:2]] == [0, 10]
    assert subscription.position == 10


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_filtered_read_that_breaks_off_goes_on_where_it_was(
    events: EventStoreClient, broken: Between, patient: EventStoreClient, backwards: bool
) -> None:
    await events.append(numbered(1, 50))
    broken.batch_max = 1
    broken.failures = [CUT, CUT, CUT]

    read = [one.position async for one in patient.read(filter=RARE, backwards=backwards)]

    assert read == [10, 20, 30, 40, 50][:: -1 if backwards else 1]


async def test_what_cannot_be_filtered_is_refused_here(events: EventStoreClient) -> None:
    with pytest.raises(ValueError, match="without a stream"):
        events.read_batches("s", filter=RARE)
    with pytest.raises(TypeError, match="several texts"):
        Query(types="rare")
