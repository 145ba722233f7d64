"""Many appends over one call: each with its own outcome, in order, and never too many at once."""

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.settings import MESSAGE_BYTES
from tests.contract.calling import Callers
from tests.events.making import message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

T = TypeVar("T")


def request(*streams: str) -> pb.AppendStreamRequest:
    return pb.AppendStreamRequest(events=[message(stream) for stream in streams])


async def answered(
    events: "EventStoreServiceAsyncStub", requests: Iterable[pb.AppendStreamRequest]
) -> list[pb.AppendStreamResponse]:
    return [response async for response in events.AppendStream(iter(requests))]


async def collect(answers: AsyncIterable[T], into: list[T]) -> None:
    """Keeps what came before an iteration raises."""
    async for one in answers:
        into.append(one)  # noqa: PERF401


async def test_many_requests_are_placed_and_answered_in_their_order(
    events: "EventStoreServiceAsyncStub",
) -> None:
    requests = [request("s", "t") for _ in range(500)]

    responses = await answered(events, requests)

    places = [place for response in responses for place in response.placements]
    assert [place.position for place in places] == list(range(1, 1_001))
    sent = [event.id for one in requests for event in one.events]
    assert [place.event_id for place in places] == sent
    assert not any(response.HasField("refusal") for response in responses)


async def test_a_request_that_is_refused_does_not_end_the_call(
    events: "EventStoreServiceAsyncStub",
) -> None:
    expects = request("s")
    expects.preconditions.add(stream="s", revision=7)

    bad, first, failed, second = await answered(
        events, [request("bad stream"), request("s"), expects, request("s")]
    )

    assert bad.refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert failed.refusal.code == grpc.StatusCode.ABORTED.value[0]
    info, violated = error_details_pb2.ErrorInfo(), pb.PreconditionFailure()
    assert failed.refusal.details[0].Unpack(info)
    assert failed.refusal.details[1].Unpack(violated)
    assert (info.reason, info.domain) == ("PRECONDITION_FAILED", "events.girih")
    assert violated.violations[0].actual_revision == 0
    assert [first.placements[0].position, second.placements[0].position] == [1, 2]


async def test_a_request_that_is_too_large_does_not_end_the_call(
    address: str, events: "EventStoreServiceAsyncStub", callers: Callers
) -> None:
    large = request("s")
    large.events[0].json = f'"{"x" * MESSAGE_BYTES}"'

    # Through a channel that sends messages of any size.
    async with grpc.aio.insecure_channel(address) as channel:
        call = EventStoreServiceStub(channel).AppendStream(
            iter([request("s"), large, request("s")]), metadata=callers.metadata("acme")
        )
        first, refused, second = [response async for response in call]

    info = error_details_pb2.ErrorInfo()
    assert refused.refusal.details[0].Unpack(info)
    assert info.reason == "MESSAGE_TOO_LARGE"
    assert info.metadata["byte_count_max"] == str(MESSAGE_BYTES)
    assert [first.placements[0].position, second.placements[0].position] == [1, 2]


async def test_far_too_many_events_are_refused_unparsed_and_do_not_end_the_call(
    events: "EventStoreServiceAsyncStub",
) -> None:
    many = pb.AppendStreamRequest(events=[pb.Event()] * 100_000)

    refused, placed = await answered(events, [many, request("s")])

    bad = error_details_pb2.BadRequest()
    assert refused.refusal.details[1].Unpack(bad)
    assert bad.field_violations[0].description == "must have 1 to 5,000 items"
    assert placed.placements[0].position == 1


async def test_a_message_that_does_not_parse_ends_the_call_behind_the_answers_before(
    channel: grpc.aio.Channel,
) -> None:
    append = channel.stream_stream(
        "/girih.events.v1.EventStoreService/AppendStream",
        request_serializer=bytes,
        response_deserializer=pb.AppendStreamResponse.FromString,
    )
    good = request("s").SerializeToString()
    # No third one: the call may be over before it is sent, of which gRPC's client makes an error of
    # its own.
    call = append(iter([good, b"\xff\xff"]))
    responses: list[pb.AppendStreamResponse] = []

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(call, responses)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(caught.value).reason == "INVALID_INPUT"
    assert [response.placements[0].position for response in responses] == [1]


async def test_an_answer_comes_before_the_next_request_is_sent(
    events: "EventStoreServiceAsyncStub",
) -> None:
    call = events.AppendStream()

    for position in range(1, 4):
        await call.write(request("s"))
        response = await call.read()
        assert isinstance(response, pb.AppendStreamResponse)
        assert response.placements[0].position == position

    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
