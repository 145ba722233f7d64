"""What rules over streams do to reads and appends, from the moment they are answered."""

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from tests.authority import USER
from tests.contract.calling import Callers, read, reason, refused
from tests.events.following import Follower

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

    Events = EventStoreServiceAsyncStub
else:
    Events = Any

pytestmark = pytest.mark.timeout(240)


def event(stream: str = "s", number: int = 0) -> pb.Event:
    return pb.Event(id=str(uuid4()), stream=stream, type="happened", json=f'{{"n":{number}}}')


async def fill(events: Events, *streams: str) -> pb.AppendResponse:
    """An event in each of `streams`, which may be named more than once."""
    sent = [event(stream, number) for number, stream in enumerate(streams)]
    return await events.Append(pb.AppendRequest(events=sent))


async def places(events: Events, **request: Any) -> list[tuple[str, int]]:
    """Stream and revision of what a read returns, but for the rules themselves."""
    events_read = await read(events, pb.ReadRequest(**request))
    return [(e.event.stream, e.revision) for e in events_read if e.event.stream != "$streams"]


async def retain(events: Events, stream: str = "s", **parts: int) -> int:
    request = keeping_pb.SetStreamRetentionRequest(
        stream=stream, retention=keeping_pb.Retention(**parts)
    )
    return (await events.SetStreamRetention(request)).position


async def delete(events: Events, stream: str = "s", **more: Any) -> int:
    request = keeping_pb.DeleteStreamRequest(stream=stream, **more)
    return (await events.DeleteStream(request)).position


@pytest.mark.parametrize("parts", [{"max_count": 2}, {"truncate_before": 3}], ids=str)
async def test_reads_pass_over_what_retention_does_not_keep(
    events: Events, parts: dict[str, Any]
) -> None:
    await fill(events, "s", "s", "other", "s", "s", "s")

    assert await retain(events, **parts) == 7

    assert await places(events, stream="s") == [("s", 3), ("s", 4)]
    assert await places(events, stream="s", direction=2) == [("s", 4), ("s", 3)]
    assert await places(events) == [("other", 0), ("s", 3), ("s", 4)]
    assert await places(events, direction=2) == [("s", 4), ("s", 3), ("other", 0)]
    assert await places(events, limit=1) == [("other", 0)]
    assert await places(events, stream="s", from_revision=0, limit=1) == [("s", 3)]


async def test_what_is_too_old_is_passed_over_as_time_goes_by(events: Events) -> None:
    await fill(events, "s", "s")
    await retain(events, max_age_s=2)
    await fill(events, "s")

    assert len(await places(events, stream="s")) == 3
    await asyncio.sleep(2.2)
    assert await places(events) == []


async def test_a_rule_that_is_relaxed_does_not_bring_back_what_lapsed_under_it(
    events: Events,
) -> None:
    await fill(events, "s", "s")
    position = await retain(events, max_count=1)
    await fill(events, "s")
    await retain(events)
    answer = await events.GetStream(pb.GetStreamRequest(stream="s"))

    assert not answer.HasField("retention")
    assert (answer.first_revision, answer.event_count) == (2, 1)
    assert await places(events, stream="s") == [("s", 2)]
    gone = await read(events, pb.ReadRequest(stream="s", include_gone=True))
    assert [e.gone.position for e in gone] == [position, position, 0]


async def test_what_is_gone_is_told_to_who_asks(events: Events) -> None:
    await fill(events, "s", "s")
    position = await retain(events, max_count=1)

    gone, there = await read(events, pb.ReadRequest(stream="s", include_gone=True))

    assert (gone.position, gone.revision, gone.event.type) == (1, 0, "happened")
    assert gone.event.WhichOneof("payload") is None
    assert gone.gone.reason == keeping_pb.GONE_REASON_RETENTION
    assert (gone.gone.actor, gone.gone.position) == (USER, position)
    assert there.event.json == '{"n":1}'
    assert not there.HasField("gone")
    (rule,) = await read(events, pb.ReadRequest(stream="$streams"))
    assert gone.gone.at == rule.recorded_at
    assert (rule.event.type, rule.event.json) == ("retention-set", '{"stream":"s","maxCount":"1"}')
    assert list(rule.event.tags) == ["s"]


async def test_what_is_gone_says_what_came_first(events: Events) -> None:
    await fill(events, "s", "s", "s")
    redaction = keeping_pb.RedactEventRequest(position=1, reason="an address")
    redacted = (await events.RedactEvent(redaction)).position
    retained = await retain(events, max_count=1)
    await delete(events)
    await fill(events, "s")
    await delete(events)

    gone = await read(events, pb.ReadRequest(stream="s", include_gone=True))

    reasons = keeping_pb.GoneReason.Name
    assert [
        (reasons(e.gone.reason).removeprefix("GONE_REASON_"), e.gone.position) for e in gone
    ] == [
        ("REDACTED", redacted),
        ("RETENTION", retained),
        ("DELETED", retained + 1),
        ("DELETED", retained + 3),
    ]
    assert await read(events, pb.ReadRequest(stream="s")) == []


async def test_an_id_that_is_gone_is_still_known(events: Events) -> None:
    sent = pb.AppendRequest(events=[event(), event()])
    first = await events.Append(sent)
    await delete(events)

    again = await events.Append(sent)

    assert [p.position for p in again.placements] == [p.position for p in first.placements]
    assert all(p.already_stored for p in again.placements)
    assert await places(events) == []


async def test_a_deleted_stream_is_absent_and_begins_anew_behind_its_revisions(
    events: Events,
) -> None:
    await fill(events, "s", "s")
    await delete(events, expected_revision=1)
    absent = pb.Precondition(stream="s", state=pb.Precondition.STATE_ABSENT)
    exists = pb.Precondition(stream="s", state=pb.Precondition.STATE_EXISTS)
    at_1 = pb.Precondition(stream="s", revision=1)

    assert await places(events, stream="s") == []
    described = await events.GetStream(pb.GetStreamRequest(stream="s"))
    assert (described.ending, described.event_count) == (keeping_pb.STREAM_ENDING_DELETED, 0)
    for wrong in (exists, at_1):
        request = pb.AppendRequest(events=[event()], preconditions=[wrong])
        assert reason(await refused(events.Append(request))) == "PRECONDITION_FAILED"
    await events.Append(pb.AppendRequest(events=[event()], preconditions=[absent]))

    assert await places(events) == [("s", 2)]
    described = await events.GetStream(pb.GetStreamRequest(stream="s"))
    assert (described.ending, described.event_count, described.first_revision) == (0, 1, 2)
    at_2 = pb.Precondition(stream="s", revision=2)
    await events.Append(pb.AppendRequest(events=[event()], preconditions=[at_2]))
    assert await places(events, stream="s") == [("s", 2), ("s", 3)]


async def test_a_stream_is_not_deleted_at_another_revision(events: Events) -> None:
    await fill(events, "s", "s")

    assert reason(await refused(delete(events, expected_revision=0))) == "PRECONDITION_FAILED"

    assert len(await places(events)) == 2
    assert await read(events, pb.ReadRequest(stream="$streams")) == []


async def test_nobody_appends_to_a_tombstoned_stream(events: Events) -> None:
    sent = pb.AppendRequest(events=[event(), event("t")])
    await events.Append(sent)
    await events.TombstoneStream(keeping_pb.TombstoneStreamRequest(stream="s"))

    error = await refused(fill(events, "t", "s"))
    assert reason(error) == "STREAM_TOMBSTONED"
    assert reason(await refused(delete(events))) == "STREAM_TOMBSTONED"
    assert reason(await refused(retain(events, max_count=1))) == "STREAM_TOMBSTONED"
    assert [p.already_stored for p in (await events.Append(sent)).placements] == [True, True]
    assert await places(events) == [("t", 0)]


async def test_a_redacted_event_comes_without_its_payload_and_says_why(events: Events) -> None:
    await fill(events, "s", "s")
    request = keeping_pb.RedactEventRequest(position=2, reason="an address", id=str(uuid4()))

    answer = await events.RedactEvent(request)

    for asked in (pb.ReadRequest(), pb.ReadRequest(stream="s"), pb.ReadRequest(include_gone=True)):
        kept, redacted = (await read(events, asked))[:2]
        assert kept.event.json == '{"n":0}'
        assert (redacted.position, redacted.revision) == (2, 1)
        assert redacted.event.WhichOneof("payload") is None
        assert redacted.gone.reason == keeping_pb.GONE_REASON_REDACTED
        assert redacted.gone.position == answer.position
    (ruling,) = await read(events, pb.ReadRequest(stream="$streams"))
    assert '"reason":"an address"' in ruling.event.json
    assert (await events.RedactEvent(request)).position == answer.position
    request.id = ""
    assert reason(await refused(events.RedactEvent(request))) == "EVENT_GONE"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (keeping_pb.RedactEventRequest(position=9, reason="r"), "EVENT_NOT_FOUND"),
        (keeping_pb.RedactEventRequest(position=2, reason="r"), "STREAM_OWNED"),
        (keeping_pb.RedactEventRequest(position=1), "INVALID_INPUT"),
        (keeping_pb.DeleteStreamRequest(stream="none"), "STREAM_NOT_FOUND"),
        (keeping_pb.DeleteStreamRequest(stream="$streams"), "STREAM_OWNED"),
        (keeping_pb.TombstoneStreamRequest(stream="$security"), "STREAM_OWNED"),
        (keeping_pb.SetStreamRetentionRequest(stream="s"), "INVALID_INPUT"),
        *[
            (
                keeping_pb.SetStreamRetentionRequest(
                    stream="s", retention=keeping_pb.Retention(**parts)
                ),
                "INVALID_INPUT",
            )
            for parts in (
                {"max_age_s": 0},
                {"max_age_s": 10**12 * 31_557_600 // 10**6},
                {"max_count": 0},
                {"truncate_before": -1},
                {"truncate_before": 2},
            )
        ],
        (keeping_pb.SetStreamMetadataRequest(stream="s"), "INVALID_INPUT"),
        (keeping_pb.SetStreamMetadataRequest(stream="s", metadata="{"), "INVALID_INPUT"),
        (
            keeping_pb.SetStreamMetadataRequest(stream="s", metadata=f'"{"x" * 9_000}"'),
            "INVALID_INPUT",
        ),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:60],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    events: Events, request_: Any, expected: str
) -> None:
    await fill(events, "s")
    await events.SetStreamMetadata(keeping_pb.SetStreamMetadataRequest(stream="s", metadata="{}"))
    rpc = getattr(events, type(request_).__name__.removesuffix("Request"))

    assert reason(await refused(rpc(request_))) == expected

    assert (await events.GetLog(pb.GetLogRequest())).head_position == 2
    assert await places(events) == [("s", 0)]


async def test_metadata_is_written_at_the_version_expected(events: Events) -> None:
    await fill(events, "s")
    request = keeping_pb.SetStreamMetadataRequest(
        stream="s", metadata='{"owner": "us"}', expected_version=0, id=str(uuid4())
    )

    assert (await events.SetStreamMetadata(request)).version == 2
    assert (await events.SetStreamMetadata(request)).version == 2

    request.id = ""
    assert reason(await refused(events.SetStreamMetadata(request))) == "STREAM_METADATA_CHANGED"
    described = await events.GetStream(pb.GetStreamRequest(stream="s"))
    assert (described.metadata, described.metadata_version) == ('{"owner": "us"}', 2)


async def test_of_racing_rules_each_is_decided_on_the_one_before(events: Events) -> None:
    await fill(events, "s")
    requests = [
        keeping_pb.SetStreamMetadataRequest(stream="s", metadata=str(n), expected_version=0)
        for n in range(10)
    ]

    outcomes = await asyncio.gather(
        *[events.SetStreamMetadata(request) for request in requests], return_exceptions=True
    )

    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1


async def test_followers_are_not_sent_what_was_gone_before_they_came(events: Events) -> None:
    await fill(events, "s", "s", "s", "t")
    first = Follower(events, pb.ReadRequest(from_position=5))
    await first.accepted()
    await fill(events, "s", "t")
    await first.until(2)
    await retain(events, max_count=1)

    # From the window of the tail that the first one keeps, were it not for the rule.
    later = Follower(events, pb.ReadRequest(from_position=1))
    assert await later.until(4) == [4, 5, 6, 7]
    await fill(events, "s")
    assert await later.until(5) == [4, 5, 6, 7, 8]
    third = Follower(events, pb.ReadRequest(from_position=5))
    assert await third.until(3) == [6, 7, 8]
    of_stream = Follower(events, pb.ReadRequest(stream="s"))
    assert await of_stream.until(1) == [8]
    limited = Follower(events, pb.ReadRequest(from_position=5, limit=2))
    assert await limited.until(2) == [6, 7]
    assert await limited.until_over() is None
    for follower in (first, later, third, of_stream):
        await follower.leave()


FILTERS = {
    "type": pb.Query(types=["happened"]),
    "category": pb.Query(category="s"),
    "prefix": pb.Query(stream_prefix="s"),
}


@pytest.mark.parametrize("query", FILTERS)
async def test_filters_find_nothing_that_is_gone(events: Events, query: str) -> None:
    wanted = pb.Filter(queries=[FILTERS[query]])
    await fill(events, "s", "s", "s", "s")
    first = Follower(events, pb.ReadRequest(from_position=5, filter=wanted))
    await first.accepted()
    await retain(events, max_count=1)
    await fill(events, "s")

    assert await places(events, filter=wanted) == [("s", 4)]
    assert await places(events, filter=wanted, limit=1) == [("s", 4)]
    assert await places(events, filter=wanted, direction=2) == [("s", 4)]
    assert await places(events, filter=wanted, include_gone=True, limit=2) == [("s", 0), ("s", 1)]
    later = Follower(events, pb.ReadRequest(from_position=1, filter=wanted))
    assert await first.until(1) == await later.until(1)
    await first.leave()
    await later.leave()


async def test_a_window_lets_go_of_what_becomes_too_old(events: Events) -> None:
    await fill(events, "t", "s")
    await retain(events, max_age_s=2)
    first = Follower(events, pb.ReadRequest(from_position=4))
    await first.accepted()
    await fill(events, "s", "t")
    await first.until(2)
    await asyncio.sleep(2.2)

    later = Follower(events, pb.ReadRequest(from_position=4))

    assert await later.until(1) == [5]
    await first.leave()
    await later.leave()


async def test_rules_of_one_tenant_are_nothing_to_another(events: Events, callers: Callers) -> None:
    theirs = callers.metadata("globex")
    await events.Append(pb.AppendRequest(events=[event()]), metadata=theirs)
    await fill(events, "s")
    await delete(events)

    events_read = await read(events, pb.ReadRequest(), metadata=theirs)

    assert [e.event.stream for e in events_read] == ["s"]
    request = keeping_pb.DeleteStreamRequest(stream="s")
    scopes = ["events.read", "events.append"]
    error = await refused(events.DeleteStream(request, metadata=callers.metadata(scopes=scopes)))
    assert reason(error) == "SCOPE_MISSING"
