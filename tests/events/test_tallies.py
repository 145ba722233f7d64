"""Streams by category, and how many events there are of each category and type."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from services.events.postgres import keeping
from tests.events.test_service import reason, refused

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


async def test_a_category_has_the_streams_that_are_named_so_up_to_the_first_hyphen(
    events: Events,
) -> None:
    names = ["a", "a-1", "a-1-2", "a.b", "a0", "ab", "ab-1", "b-a"]
    await fill(events, *[(name, "t") for name in names])

    listed = await events.ListStreams(pb.ListStreamsRequest(category="a"))
    pages = [
        await events.ListStreams(pb.ListStreamsRequest(category="a", page_size=2, page_token=at))
        for at in ("", "a-1")
    ]

    assert [one.stream for one in listed.streams] == ["a", "a-1", "a-1-2"]
    assert [[one.stream for one in page.streams] for page in pages] == [["a", "a-1"], ["a-1-2"]]
    assert [page.next_page_token for page in pages] == ["a-1", ""]
    both = events.ListStreams(pb.ListStreamsRequest(category="a", prefix="a"))
    assert reason(await refused(both)) == "INVALID_INPUT"


async def test_events_are_counted_by_category_and_type_as_they_come(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "COUNT_AT_A_TIME", 2)
    assert await counted(events) == ({}, {})
    await fill(events, ("a-1", "x"), ("a-2", "y"), ("a-1", "x"), ("b", "x"))
    assert await counted(events) == ({"a": (2, 3), "b": (1, 1)}, {"x": 3, "y": 1})

    await fill(events, ("a-1", "z"), ("a-3", "x"))

    assert await counted(events) == ({"a": (3, 5), "b": (1, 1)}, {"x": 4, "y": 1, "z": 1})
    first = await events.ListEventTypes(keeping_pb.ListEventTypesRequest(page_size=2))
    rest = await events.ListEventTypes(
        keeping_pb.ListEventTypesRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [one.type for page in (first, rest) for one in page.types] == ["x", "y", "z"]
    assert rest.next_page_token == ""


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
