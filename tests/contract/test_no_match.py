"""Preconditions that no event may match, over gRPC."""

from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2
from tests.contract.calling import details, read, reason, refused
from tests.events.making import message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


def query(*tags: str, **parts: object) -> pb.Query:
    return pb.Query(tags=tags, **parts)  # type: ignore[arg-type]  # by name


def unless(
    *queries: pb.Query, after: int | None = None, tags: tuple[str, ...] = ()
) -> pb.AppendRequest:
    """An event with these tags, unless one that the queries mean lies behind a position."""
    event = message()
    event.tags.extend(tags)
    no_match = pb.NoMatch(filter=pb.Filter(queries=queries), after_position=after)
    return pb.AppendRequest(events=[event], preconditions=[pb.Precondition(no_match=no_match)])


async def test_an_event_in_the_way_is_told_with_its_place(
    events: "EventStoreServiceAsyncStub",
) -> None:
    first = await events.Append(unless(query("name:ada"), tags=("name:ada", "x")))
    await events.Append(unless(query("name:ada"), after=1, tags=("name:ada",)))

    error = await refused(events.Append(unless(query("x"), query("name:ada"), after=0)))
    for_ever = await refused(events.Append(unless(query("name:ada"))))

    assert (error.code(), reason(error)) == (grpc.StatusCode.ABORTED, "PRECONDITION_FAILED")
    violation = pb.PreconditionFailure.Violation(
        index=0, position=1, event_id=first.placements[0].event_id, read_again=True
    )
    assert details(error)["PreconditionFailure"] == pb.PreconditionFailure(violations=[violation])
    violation.read_again = False
    assert details(for_ever)["PreconditionFailure"] == pb.PreconditionFailure(
        violations=[violation]
    )
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.metadata["position"], info.metadata["index"]) == ("1", "0")
    assert len(await read(events, pb.ReadRequest())) == 2


@pytest.mark.parametrize(
    "meant",
    [
        query("a", "b"),
        query(types=["other", "happened"]),
        query(stream_prefix="s"),
        query(category="s"),
        query(correlation_id="c-1"),
        query("a", types=["happened"], stream_prefix="s", category="s", correlation_id="c-1"),
    ],
)
async def test_each_part_of_a_query_means_events(
    events: "EventStoreServiceAsyncStub", meant: pb.Query
) -> None:
    request = unless(query("unused"), tags=("a", "b"))
    await events.Append(request, metadata=[("x-correlation-id", "c-1")])

    error = await refused(events.Append(unless(meant, after=0)))
    await events.Append(unless(meant, after=1))

    assert reason(error) == "PRECONDITION_FAILED"


async def test_a_position_beyond_the_end_is_told_with_the_end(
    events: "EventStoreServiceAsyncStub",
) -> None:
    error = await refused(events.Append(unless(query("a"), after=7)))

    assert (error.code(), reason(error)) == (grpc.StatusCode.ABORTED, "BEYOND_END")
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {
        "index": "0",
        "after_position": "7",
        "head_position": "0",
    }


async def test_a_decision_on_another_incarnation_is_refused(
    events: "EventStoreServiceAsyncStub",
) -> None:
    appended = await events.Append(unless(query("a")))

    def decided(after: int, incarnation: str) -> pb.AppendRequest:
        request = unless(query("a"), after=after)
        request.preconditions[0].no_match.incarnation = incarnation
        return request

    await events.Append(decided(1, appended.incarnation))
    await events.Append(decided(0, "elsewhere"))
    error = await refused(events.Append(decided(1, "elsewhere")))

    assert (error.code(), reason(error)) == (grpc.StatusCode.ABORTED, "LOG_REPLACED")
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"incarnation": appended.incarnation, "shared_position": "0"}


async def test_appends_over_one_stream_see_those_before_them(
    events: "EventStoreServiceAsyncStub",
) -> None:
    def requests() -> list[pb.AppendStreamRequest]:
        made = [unless(query("a"), tags=("a",)), unless(query("b"), tags=("b",))]
        made += [unless(query("a"), after=1), unless(query("b"), after=1)]
        return [
            pb.AppendStreamRequest(events=one.events, preconditions=one.preconditions)
            for one in made
        ]

    answers = [one async for one in events.AppendStream(iter(requests()))]

    assert [one.HasField("refusal") for one in answers] == [False, False, False, True]


async def test_an_event_that_newer_ones_have_pushed_out_is_in_nobodys_way(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(unless(query("unused"), tags=("name:ada",)))
    await retain(events, keeping_pb2.Retention(max_count=2))
    await refused(events.Append(unless(query("name:ada"))))

    await events.Append(unless(query("unused")))
    await refused(events.Append(unless(query("name:ada"))))
    await events.Append(unless(query("unused")))

    await events.Append(unless(query("name:ada")))


async def test_hundreds_of_events_that_are_gone_are_looked_past(
    events: "EventStoreServiceAsyncStub",
) -> None:
    many = [message() for _ in range(600)]
    for one in many:
        one.tags.append("x")
    await events.Append(pb.AppendRequest(events=many))
    await events.DeleteStream(keeping_pb2.DeleteStreamRequest(stream="s"))

    await events.Append(unless(query("x")))


async def retain(events: "EventStoreServiceAsyncStub", kept: keeping_pb2.Retention) -> None:
    request = keeping_pb2.SetStreamRetentionRequest(stream="s", retention=kept)
    await events.SetStreamRetention(request)


FILTER = pb.Filter(queries=[query("a")])
BAD = {
    "no query": (unless(), ["preconditions[0].no_match.filter.queries"]),
    "no filter": (
        pb.AppendRequest(
            events=[message()], preconditions=[pb.Precondition(no_match=pb.NoMatch())]
        ),
        ["preconditions[0].no_match.filter"],
    ),
    "17 queries": (unless(*[query("a")] * 17), ["preconditions[0].no_match.filter.queries"]),
    "an empty query": (
        unless(query("a"), pb.Query()),
        ["preconditions[0].no_match.filter.queries[1]"],
    ),
    "a position below 0": (
        unless(query("a"), after=-1),
        ["preconditions[0].no_match.after_position"],
    ),
    "an incarnation of nothing that was read": (
        pb.AppendRequest(
            events=[message()],
            preconditions=[
                pb.Precondition(no_match=pb.NoMatch(filter=FILTER, incarnation="0123456789abcdef"))
            ],
        ),
        ["preconditions[0].no_match.after_position"],
    ),
    "a tag with a newline": (
        unless(query("a\n")),
        ["preconditions[0].no_match.filter.queries[0].tags[0]"],
    ),
    "a stream as well": (
        pb.AppendRequest(
            events=[message()],
            preconditions=[pb.Precondition(stream="s", no_match=pb.NoMatch(filter=FILTER))],
        ),
        ["preconditions[0].stream"],
    ),
    "a revision without a stream": (
        pb.AppendRequest(events=[message()], preconditions=[pb.Precondition(revision=0)]),
        ["preconditions[0].stream"],
    ),
    "17 of them": (
        pb.AppendRequest(
            events=[message()],
            preconditions=[pb.Precondition(no_match=pb.NoMatch(filter=FILTER))] * 17,
        ),
        ["preconditions"],
    ),
    "33 queries": (
        pb.AppendRequest(
            events=[message()],
            preconditions=[
                pb.Precondition(no_match=pb.NoMatch(filter=pb.Filter(queries=[query("a")] * 11)))
            ]
            * 3,
        ),
        ["preconditions"],
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_an_ill_formed_one_is_refused_by_its_field(
    events: "EventStoreServiceAsyncStub", name: str
) -> None:
    request, fields = BAD[name]

    error = await refused(events.Append(request))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = details(error)["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert sorted({one.field for one in bad.field_violations}) == fields
    assert await read(events, pb.ReadRequest()) == []
