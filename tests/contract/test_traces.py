"""What one request caused, as a tree, from the table to the wire."""

from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest

from girih.events.v1 import events_pb2 as pb
from tests.contract.calling import Callers, read, refused

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

NOBODYS = "00000000-0000-4000-8000-000000000000"


async def append(
    events: "EventStoreServiceAsyncStub", correlation_id: str, causation_id: str = "", **fields: str
) -> str:
    """The id of an event that a call with these ids appended."""
    event = pb.Event(id=str(uuid4()), stream="s", type="happened", json="1")
    event.MergeFrom(pb.Event(**fields))  # type: ignore[arg-type]  # texts, all of them
    ids = (("x-correlation-id", correlation_id), ("x-causation-id", causation_id))
    await events.Append(pb.AppendRequest(events=[event]), metadata=[one for one in ids if one[1]])
    return event.id


async def trace(
    events: "EventStoreServiceAsyncStub", correlation_id: str, **fields: object
) -> pb.ReadTraceResponse:
    request = pb.ReadTraceRequest(correlation_id=correlation_id, **fields)  # type: ignore[arg-type]  # by name
    response: pb.ReadTraceResponse = await events.ReadTrace(request)
    return response


def drawn(response: pb.ReadTraceResponse) -> list[tuple[int, int]]:
    """The depth and the position of each event, in the order of the answer."""
    return [(one.depth, one.recorded.position) for one in response.events]


async def test_what_a_request_caused_hangs_below_its_causes(
    events: "EventStoreServiceAsyncStub",
) -> None:
    first = await append(events, "c", stream="permit-1")
    second = await append(events, "c", first, stream="permit-2")
    await append(events, "other", first)
    await append(events, "c", first, stream="permit-1")
    await append(events, "c", second, stream="permit-3")
    await append(events, "c", stream="permit-1")

    response = await trace(events, "c")

    assert drawn(response) == [(0, 1), (1, 2), (2, 5), (1, 4), (0, 6)]
    assert response.next_page_token == ""
    assert response.incarnation != ""
    third = response.events[2].cause
    assert (third.position, third.correlation_id, third.stream) == (2, "c", "permit-2")
    assert not response.events[0].HasField("cause")


async def test_events_of_a_trace_are_those_that_reads_answer_but_for_their_payloads(
    events: "EventStoreServiceAsyncStub",
) -> None:
    sent = [
        pb.Event(id=str(uuid4()), stream="s", type="t", schema_version=3, metadata={"k": "v"}),
        pb.Event(id=str(uuid4()), stream="s", type="t", binary=b"12", content_type="a/b"),
        pb.Event(id=str(uuid4()), stream="s", type="t", json=f'"{"x" * 70_000}"', tags=["a"]),
    ]
    await events.Append(pb.AppendRequest(events=sent), metadata=[("x-correlation-id", "c")])

    expected = await read(events, pb.ReadRequest())
    for one in expected:
        one.event.ClearField("json")
        one.event.ClearField("binary")

    assert [one.recorded for one in (await trace(events, "c")).events] == expected


@pytest.mark.parametrize("causation_id", ["", "a-job", NOBODYS, NOBODYS.upper()])
async def test_a_cause_that_is_no_event_is_not_told(
    events: "EventStoreServiceAsyncStub", causation_id: str
) -> None:
    await append(events, "c", causation_id)

    response = await trace(events, "c")

    assert drawn(response) == [(0, 1)]
    assert response.events[0].recorded.context.causation_id == causation_id
    assert not response.events[0].HasField("cause")


async def test_an_event_that_names_itself_begins_a_tree(
    events: "EventStoreServiceAsyncStub",
) -> None:
    own = str(uuid4())
    await append(events, "c", own, id=own)

    response = await trace(events, "c")

    assert drawn(response) == [(0, 1)]
    assert not response.events[0].HasField("cause")


async def test_a_circle_is_cut_where_a_cause_lies_behind_what_it_caused(
    events: "EventStoreServiceAsyncStub",
) -> None:
    one, two = str(uuid4()), str(uuid4())
    await append(events, "c", two, id=one)
    await append(events, "c", one, id=two)

    response = await trace(events, "c")

    assert drawn(response) == [(0, 1), (1, 2)]
    assert [event.cause.position for event in response.events] == [2, 1]


async def test_a_cause_of_another_request_is_told_with_its_correlation_id(
    events: "EventStoreServiceAsyncStub",
) -> None:
    cause = await append(events, "before", stream="permit-7", type="submitted")
    await append(events, "c", cause)

    (event,) = (await trace(events, "c")).events

    assert event.depth == 0
    assert event.cause == pb.TracedEvent.Cause(
        position=1, correlation_id="before", stream="permit-7", type="submitted"
    )


async def test_pages_of_a_trace_have_each_event_once_and_tell_of_causes_before_them(
    events: "EventStoreServiceAsyncStub",
) -> None:
    last = ""
    for _ in range(5):
        last = await append(events, "c", last)
        await append(events, "other")

    pages = [await trace(events, "c", page_size=2)]
    while token := pages[-1].next_page_token:
        if len(pages) == 1:
            await append(events, "c", last)
        pages.append(await trace(events, "c", page_size=2, page_token=token))

    assert list(map(drawn, pages[:2])) == [[(0, 1), (1, 3)], [(0, 5), (1, 7)]]
    assert pages[1].events[0].cause.position == 3
    positions = [one.recorded.position for page in pages for one in page.events]
    assert positions == [1, 3, 5, 7, 9, 11]


async def test_a_page_of_a_trace_ends_before_it_is_too_large_for_a_message(
    events: "EventStoreServiceAsyncStub",
) -> None:
    notes = {f"{number}": "ä" * 1_024 for number in range(32)}
    request = pb.AppendRequest(
        events=[pb.Event(stream="s", type="t", metadata=notes) for _ in range(40)]
    )
    await events.Append(request, metadata=[("x-correlation-id", "c")])

    first = await trace(events, "c", page_size=1_000)
    rest = await trace(events, "c", page_size=1_000, page_token=first.next_page_token)

    assert len(first.events) < 20 <= len(first.events) + len(rest.events)
    assert first.ByteSize() < 2**20 + 2**16
    assert rest.events[0].recorded.position == first.events[-1].recorded.position + 1


async def test_a_page_of_a_log_that_was_replaced_is_refused_and_one_of_this_log_is_not(
    events: "EventStoreServiceAsyncStub",
) -> None:
    for _ in range(2):
        await append(events, "c")
    token = (await trace(events, "c", page_size=1)).next_page_token
    position, _, incarnation = token.partition("-")
    other = f"{position}-{incarnation[::-1]}"

    error = await refused(
        events.ReadTrace(pb.ReadTraceRequest(correlation_id="c", page_token=other))
    )

    assert error.code() is grpc.StatusCode.ABORTED
    for good in (token, position):
        assert len((await trace(events, "c", page_token=good)).events) == 1


async def test_a_correlation_id_that_caused_nothing_has_an_empty_trace(
    events: "EventStoreServiceAsyncStub", callers: Callers
) -> None:
    assert await trace(events, "nothing") == pb.ReadTraceResponse()

    await append(events, "c")
    response = await events.ReadTrace(
        pb.ReadTraceRequest(correlation_id="c"), metadata=callers.metadata("globex")
    )

    assert list(response.events) == []


@pytest.mark.parametrize(
    "request_",
    [
        pb.ReadTraceRequest(),
        pb.ReadTraceRequest(correlation_id="a b"),
        pb.ReadTraceRequest(correlation_id="c" * 65),
        pb.ReadTraceRequest(correlation_id="c", page_size=-1),
        pb.ReadTraceRequest(correlation_id="c", page_token="x"),
        pb.ReadTraceRequest(correlation_id="c", page_token="9" * 19),
    ],
)
async def test_an_ill_formed_trace_is_refused(
    events: "EventStoreServiceAsyncStub", request_: pb.ReadTraceRequest
) -> None:
    error = await refused(events.ReadTrace(request_))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
