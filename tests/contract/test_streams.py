"""Streams: where they begin and end, and how they are listed."""

from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import grpc.aio
import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from tests.contract.calling import read, reason, refused
from tests.events.making import append_of

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


async def test_a_stream_tells_where_it_begins_and_ends(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(append_of("other", "s", "other", "s", "s"))
    recorded = await read(events, pb.ReadRequest(stream="s"))

    stream = await events.GetStream(pb.GetStreamRequest(stream="s"))

    assert stream == pb.GetStreamResponse(
        stream="s",
        last_revision=2,
        first_position=2,
        last_position=5,
        created_at=recorded[0].recorded_at,
        updated_at=recorded[-1].recorded_at,
        event_count=3,
    )


async def listed(
    events: "EventStoreServiceAsyncStub", request: pb.ListStreamsRequest
) -> list[list[str]]:
    """The names on each page."""
    pages = []
    while True:
        response = await events.ListStreams(request)
        pages.append([one.stream for one in response.streams])
        if not response.next_page_token:
            return pages
        request.page_token = response.next_page_token


async def test_streams_are_listed_by_name_with_their_ends(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(append_of("b", "a", "b", "Z"))

    response = await events.ListStreams(pb.ListStreamsRequest())

    assert [one.stream for one in response.streams] == ["Z", "a", "b"]
    assert response.next_page_token == ""
    for one in response.streams:
        alone = await events.GetStream(pb.GetStreamRequest(stream=one.stream))
        assert one.SerializeToString(deterministic=True) == alone.SerializeToString(
            deterministic=True
        )


async def test_each_stream_is_on_exactly_one_page_whatever_begins_meanwhile(
    events: "EventStoreServiceAsyncStub",
) -> None:
    names = ["a", "a.1", "a1", "ab", "b", "c"]
    await events.Append(append_of(*names))
    assert await listed(events, pb.ListStreamsRequest(page_size=2)) == [
        ["a", "a.1"],
        ["a1", "ab"],
        ["b", "c"],
    ]

    first = await events.ListStreams(pb.ListStreamsRequest(page_size=3))
    await events.Append(append_of("0", "a0", "a2", "d"))
    rest = await listed(events, pb.ListStreamsRequest(page_token=first.next_page_token))

    assert [one.stream for one in first.streams] == ["a", "a.1", "a1"]
    assert rest == [["a2", "ab", "b", "c", "d"]]


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["Permit", "permit", "permit-1", "permit-z", "permit_", "permiu"]),
        ("permit", ["permit", "permit-1", "permit-z", "permit_"]),
        ("permit-", ["permit-1", "permit-z"]),
        ("permit-1", ["permit-1"]),
        ("permits", []),
        ("$", []),
    ],
)
async def test_streams_are_listed_by_how_their_names_begin(
    events: "EventStoreServiceAsyncStub", prefix: str, names: list[str]
) -> None:
    await events.Append(append_of("permit-z", "permit", "permit_", "Permit", "permiu", "permit-1"))

    assert await listed(events, pb.ListStreamsRequest(prefix=prefix)) == [names]


async def test_a_page_of_streams_has_a_hundred_and_at_most_a_thousand(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(append_of(*(f"s-{number:04}" for number in range(1_001))))

    assert [len(page) for page in await listed(events, pb.ListStreamsRequest())] == [100] * 10 + [1]
    large = pb.ListStreamsRequest(page_size=5_000)
    assert [len(page) for page in await listed(events, large)] == [1_000, 1]


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListStreamsRequest(prefix="a b"),
        pb.ListStreamsRequest(prefix="-" * 256),
        pb.ListStreamsRequest(page_size=-1),
        pb.ListStreamsRequest(page_token="ä"),
    ],
)
async def test_an_ill_formed_list_of_streams_is_refused(
    events: "EventStoreServiceAsyncStub", request_: pb.ListStreamsRequest
) -> None:
    error = await refused(events.ListStreams(request_))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_that_does_not_exist_is_not_found(
    events: "EventStoreServiceAsyncStub",
) -> None:
    error = await refused(events.GetStream(pb.GetStreamRequest(stream="s")))

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert reason(error) == "STREAM_NOT_FOUND"
    assert await read(events, pb.ReadRequest(stream="s")) == []


async def test_an_ill_formed_stream_cannot_be_asked_about(
    events: "EventStoreServiceAsyncStub",
) -> None:
    error = await refused(events.GetStream(pb.GetStreamRequest(stream="a b")))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def fill(events: "EventStoreServiceAsyncStub", *named: tuple[str, str]) -> None:
    sent = [pb.Event(id=str(uuid4()), stream=stream, type=type_) for stream, type_ in named]
    await events.Append(pb.AppendRequest(events=sent))


async def counted(
    events: "EventStoreServiceAsyncStub",
) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Streams and events by category, and events by type."""
    categories = await events.ListCategories(keeping_pb.ListCategoriesRequest())
    types = await events.ListEventTypes(keeping_pb.ListEventTypesRequest())
    assert categories.counted_position == types.counted_position
    return (
        {one.category: (one.stream_count, one.event_count) for one in categories.categories},
        {one.type: one.event_count for one in types.types},
    )


async def test_a_category_has_the_streams_that_are_named_so_up_to_the_first_hyphen(
    events: "EventStoreServiceAsyncStub",
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
    events: "EventStoreServiceAsyncStub",
) -> None:
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
