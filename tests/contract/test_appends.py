"""Appends and reads: what is taken, what is refused, and what comes back."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.rules import requests
from services.plumbing.grpc.errors import from_rpc_error
from tests.contract.calling import Callers, details, largest_event, read, reason, refused
from tests.events.making import append_of, message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


async def test_what_is_appended_is_read_as_it_was_sent(
    events: "EventStoreServiceAsyncStub",
) -> None:
    sent = [
        pb.Event(
            id=str(uuid4()),
            stream="orders",
            type="placed",
            schema_version=3,
            json='{ "n" : 1.50, "ü" : [ ] }',
            metadata={"b": "2", "a": "1"},
            tags=["x", "y"],
        ),
        pb.Event(id=str(uuid4()), stream="s", type="t", binary=b"\x00\xff", content_type="a/b"),
        pb.Event(id=str(uuid4()), stream="orders", type="bare"),
    ]

    response = await events.Append(pb.AppendRequest(events=sent))

    assert [(p.position, p.revision, p.event_id) for p in response.placements] == [
        (1, 0, sent[0].id),
        (2, 0, sent[1].id),
        (3, 1, sent[2].id),
    ]
    recorded = await read(events, pb.ReadRequest())
    assert [one.event for one in recorded] == sent
    assert [(one.position, one.revision) for one in recorded] == [(1, 0), (2, 0), (3, 1)]
    age = datetime.now(UTC) - recorded[0].recorded_at.ToDatetime(tzinfo=UTC)
    assert timedelta(0) <= age < timedelta(minutes=1)


async def test_the_ids_of_the_call_are_recorded(
    events: "EventStoreServiceAsyncStub", address: str, callers: Callers
) -> None:
    ids = (("x-correlation-id", "corr-1"), ("x-causation-id", "cause-1"))

    await events.Append(append_of("s"), metadata=ids)
    async with grpc.aio.insecure_channel(address) as bare:
        call = EventStoreServiceStub(bare).Append(append_of("s"), metadata=callers.metadata())
        await call

    answer, made = [one.context for one in await read(events, pb.ReadRequest())]
    assert (answer.correlation_id, answer.causation_id) == ("corr-1", "cause-1")
    assert len(made.correlation_id) == 32
    assert made.causation_id == ""


async def test_a_repeated_call_answers_the_first_places(
    events: "EventStoreServiceAsyncStub",
) -> None:
    request = append_of("s", "s")
    request.preconditions.add(stream="s", state=pb.Precondition.STATE_ABSENT)
    first = await events.Append(request)

    again = await events.Append(request)

    assert [place.already_stored for place in first.placements] == [False, False]
    assert [place.already_stored for place in again.placements] == [True, True]
    for place in again.placements:
        place.already_stored = False
    assert again == first
    assert len(await read(events, pb.ReadRequest())) == 2


async def test_ids_are_made_and_told_where_none_are_sent(
    events: "EventStoreServiceAsyncStub",
) -> None:
    event = pb.Event(stream="s", type="t")

    response = await events.Append(pb.AppendRequest(events=[event, event]))

    recorded = await read(events, pb.ReadRequest())
    assert [place.event_id for place in response.placements] == [r.event.id for r in recorded]
    assert len({r.event.id for r in recorded}) == 2


async def test_tenants_do_not_see_each_other(
    events: "EventStoreServiceAsyncStub", callers: Callers
) -> None:
    acme, globex = callers.metadata("acme"), callers.metadata("globex")
    request = append_of("s")

    ours = await events.Append(request, metadata=acme)
    theirs = await events.Append(request, metadata=globex)

    assert [(one.event_id, one.position) for one in ours.placements] == [
        (one.event_id, one.position) for one in theirs.placements
    ]
    assert not theirs.placements[0].already_stored
    await events.Append(append_of("ours"), metadata=acme)
    assert len(await read(events, pb.ReadRequest(), globex)) == 1
    stream = pb.GetStreamRequest(stream="ours")
    error = await refused(events.GetStream(stream, metadata=globex))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    log = await events.GetLog(pb.GetLogRequest(), metadata=globex)
    assert log.head_position == 1


async def test_a_violated_precondition_is_aborted_with_every_violation(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(append_of("a", "a"))
    request = append_of("new")
    request.preconditions.add(stream="a", revision=0)
    request.preconditions.add(stream="a", revision=1)
    request.preconditions.add(stream="b", state=pb.Precondition.STATE_EXISTS)

    error = await refused(events.Append(request))

    assert error.code() is grpc.StatusCode.ABORTED
    assert reason(error) == "PRECONDITION_FAILED"
    assert details(error)["PreconditionFailure"] == pb.PreconditionFailure(
        violations=[
            pb.PreconditionFailure.Violation(
                index=0, stream="a", actual_revision=1, read_again=True
            ),
            pb.PreconditionFailure.Violation(index=2, stream="b"),
        ]
    )
    assert (await events.GetLog(pb.GetLogRequest())).head_position == 2


async def test_a_revision_of_another_incarnation_is_refused(
    events: "EventStoreServiceAsyncStub",
) -> None:
    appended = await events.Append(append_of("a"))

    def decided(incarnation: str) -> pb.AppendRequest:
        request = append_of("b")
        request.preconditions.add(stream="a", revision=0, incarnation=incarnation)
        return request

    await events.Append(decided(appended.incarnation))
    error = await refused(events.Append(decided("elsewhere")))

    assert (error.code(), reason(error)) == (grpc.StatusCode.ABORTED, "LOG_REPLACED")
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"incarnation": appended.incarnation, "shared_position": "0"}
    assert (await events.GetLog(pb.GetLogRequest())).head_position == 2


async def test_an_incarnation_belongs_to_a_revision(events: "EventStoreServiceAsyncStub") -> None:
    request = append_of("a")
    absent = pb.Precondition.STATE_ABSENT
    request.preconditions.add(stream="a", state=absent, incarnation="elsewhere")

    error = await refused(events.Append(request))

    bad = details(error)["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [one.field for one in bad.field_violations] == ["preconditions[0].revision"]


async def test_an_id_with_other_content_already_exists(
    events: "EventStoreServiceAsyncStub",
) -> None:
    event = message()
    await events.Append(pb.AppendRequest(events=[event]))
    event.json = "[]"

    error = await refused(events.Append(pb.AppendRequest(events=[event])))

    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason(error) == "EVENT_ID_REUSED"
    assert event.id in str(details(error)["ErrorInfo"])


async def test_bad_fields_are_named_and_nothing_is_stored(
    events: "EventStoreServiceAsyncStub",
) -> None:
    request = append_of("good", "bad stream")
    request.events[1].json = "NaN"

    error = await refused(events.Append(request))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = details(error)["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [violation.field for violation in bad.field_violations] == [
        "events[1].stream",
        "events[1].json",
    ]
    assert (await events.GetLog(pb.GetLogRequest())).head_position == 0


async def test_many_bad_fields_still_reach_the_caller(events: "EventStoreServiceAsyncStub") -> None:
    request = pb.AppendRequest(events=[pb.Event()] * 5_000)

    error = await refused(events.Append(request))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "BadRequest" in details(error)


async def test_many_violated_preconditions_still_reach_the_caller(
    events: "EventStoreServiceAsyncStub",
) -> None:
    request = append_of("s")
    for number in range(1_000):
        request.preconditions.add(stream=f"{number}".rjust(255, "s"), revision=0)

    error = await refused(events.Append(request))

    assert error.code() is grpc.StatusCode.ABORTED
    assert "PreconditionFailure" in details(error)
    assert '"1000"' in str(details(error)["ErrorInfo"])


async def test_an_append_of_8_mib_is_stored(events: "EventStoreServiceAsyncStub") -> None:
    parts = [largest_event(), largest_event()]

    await events.Append(pb.AppendRequest(events=parts))

    responses = [response async for response in events.Read(pb.ReadRequest(limit=1))]
    assert [one.event for response in responses for one in response.events] == parts[:1]


async def test_as_much_as_the_contract_allows_fits_into_a_message(
    events: "EventStoreServiceAsyncStub",
) -> None:
    request = append_of(*["s"] * 5_000)
    for event in request.events:
        event.ClearField("json")
        event.binary = bytes(requests.APPEND_BYTES_MAX // 5_000 - event.ByteSize() - 3)
    for number in range(1_000):
        request.preconditions.add(stream=f"{number}".rjust(255, "s"), revision=2**63 - 1)

    error = await refused(events.Append(request))

    assert error.code() is grpc.StatusCode.ABORTED


async def test_reused_ids_are_told_whole(events: "EventStoreServiceAsyncStub") -> None:
    request = append_of(*["s"] * 30)
    ids = [event.id for event in request.events]
    await events.Append(request)
    for event in request.events:
        event.type = "changed"

    error = from_rpc_error(await refused(events.Append(request)))

    assert error.metadata["event_ids"].split(",") == ids[:8]
    assert error.metadata["event_id_count"] == "30"


async def test_reads_backwards_from_a_revision(events: "EventStoreServiceAsyncStub") -> None:
    await events.Append(append_of(*["s"] * 10))

    recorded = await read(
        events,
        pb.ReadRequest(stream="s", direction=pb.DIRECTION_BACKWARDS, from_revision=8, limit=3),
    )

    assert [one.revision for one in recorded] == [8, 7, 6]


async def test_two_hundred_callers_at_once_get_two_hundred_places(
    events: "EventStoreServiceAsyncStub",
) -> None:
    responses = await asyncio.gather(*[events.Append(append_of("s")) for _ in range(200)])

    positions = [response.placements[0].position for response in responses]
    assert sorted(positions) == list(range(1, 201))
    assert sorted(r.placements[0].revision for r in responses) == list(range(200))


@pytest.mark.parametrize("is_live", [False, True], ids=["stored", "live"])
@pytest.mark.parametrize("stream", ["", "large"], ids=["log", "stream"])
async def test_every_event_that_is_taken_reaches_clients_with_grpcs_default_limits(
    events: "EventStoreServiceAsyncStub",
    address: str,
    callers: Callers,
    stream: str,
    is_live: bool,
) -> None:
    context = [("x-correlation-id", "c" * 64), ("x-causation-id", "d" * 64)]
    largest = largest_event()
    sent = [message("large"), message("large"), largest, message("large"), largest_event()]
    request = pb.ReadRequest(stream=stream, follow=True, limit=5)

    async with grpc.aio.insecure_channel(address) as stock:
        reading = read(EventStoreServiceStub(stock), request, list(callers.metadata()))
        live = asyncio.create_task(reading) if is_live else None
        for event in sent:
            await events.Append(pb.AppendRequest(events=[event]), metadata=context)
        received = await (live or reading)

    assert largest.ByteSize() == requests.EVENT_BYTES_MAX
    assert [recorded.event for recorded in received] == sent


async def test_an_event_that_a_client_with_grpcs_default_limits_could_not_read_is_not_taken(
    events: "EventStoreServiceAsyncStub",
) -> None:
    larger = largest_event()
    larger.binary += b"x"

    error = await refused(events.Append(pb.AppendRequest(events=[larger])))

    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
