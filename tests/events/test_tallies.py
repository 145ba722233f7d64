"""Streams by category, and how many events there are of each category and type."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from services.events.postgres import keeping

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

    Events = EventStoreServiceAsyncStub
else:
    Events = Any


async def fill(events: Events, *named: tuple[str, str]) -> None:
    sent = [pb.Event(id=str(uuid4()), stream=stream, type=type_) for stream, type_ in named]
    await events.Append(pb.AppendRequest(events=sent))


async def counted(events: Events) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Streams and events by category, and events by type."""
    categories = await events.ListCategories(keeping_pb.ListCategoriesRequest())
    types = await events.ListEventTypes(keeping_pb.ListEventTypesRequest())
    assert categories.counted_position == types.counted_position
    return (
        {one.category: (one.stream_count, one.event_count) for one in categories.categories},
        {one.type: one.event_count for one in types.types},
    )


async def test_what_takes_long_to_count_is_counted_in_several_answers(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "COUNT_AT_A_TIME", 2)
    monkeypatch.setattr(keeping, "COUNT_S", 0.0)
    await fill(events, ("a", "x"), ("a", "x"), ("a", "x"))

    positions = [
        (await events.ListEventTypes(keeping_pb.ListEventTypesRequest())).counted_position
        for _ in range(2)
    ]

    assert positions == [2, 3]
