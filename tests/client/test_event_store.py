"""The client appends, reads and tells of errors as the contract says, on a real event store."""

import asyncio
import time
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from girih.client import (
    ABSENT,
    AsyncClient,
    BeyondEnd,
    CallContext,
    Cause,
    Client,
    ClientClosed,
    Compatibility,
    EventIdReused,
    EventStoreClient,
    GirihError,
    InvalidRequest,
    LogReplaced,
    NewEvent,
    NoMatch,
    PermissionDenied,
    Position,
    Precondition,
    PreconditionFailed,
    PreconditionViolation,
    Query,
    RequestTooLarge,
    RetryPolicy,
    SchemaIncompatible,
    SchemaViolated,
    StreamNotFound,
    Unauthenticated,
    Unavailable,
    bind_context,
    new_event_id,
)
from tests.authority import Authority
from tests.client.between import Between, Failure

AWAY = Failure(grpc.StatusCode.UNAVAILABLE)
LOST = Failure(grpc.StatusCode.UNAVAILABLE, after=True)


def numbered(stream: str, count: int) -> list[NewEvent]:
    return [NewEvent.with_data(stream, "counted", {"n": n}) for n in range(count)]


async def test_an_event_is_read_as_it_was_appended(events: EventStoreClient) -> None:
    event = NewEvent(
        stream="permit-1",
        type="submitted",
        json='{"by": "Ada"}',
        schema_version=3,
        metadata={"note": "x"},
        tags=("a", "b"),
    )
    binary = NewEvent(stream="permit-1", type="scanned", binary=b"\0", content_type="image/png")

    with bind_context(CallContext("correlation-1", "cause-1")):
        placements = await events.append([event, binary])
    read = [one async for one in events.read("permit-1")]

    assert [(one.position, one.revision) for one in placements] == [(1, 0), (2, 1)]
    assert [one.recorded_at for one in placements] == [one.recorded_at for one in read]
    first, second = read
    assert (first.id, first.stream, first.type, first.json) == (
        event.id,
        "permit-1",
        "submitted",
        '{"by": "Ada"}',
    )
    assert (first.data, first.binary, first.schema_version) == ({"by": "Ada"}, None, 3)
    assert (first.metadata, first.tags) == ({"note": "x"}, ("a", "b"))
    assert (first.correlation_id, first.causation_id) == ("correlation-1", "cause-1")
    assert first.actor.startswith("user:")
    assert (second.binary, second.json, second.content_type) == (b"\0", None, "image/png")


async def test_reads_go_both_ways_from_a_place_and_no_further_than_asked(
    events: EventStoreClient,
) -> None:
    await events.append(numbered("a", 3))
    await events.append(numbered("b", 2))

    async def positions(*args: str, **options: Any) -> list[int]:
        return [one.position async for one in events.read(*args, **options)]

    assert await positions() == [1, 2, 3, 4, 5]
    assert await positions(backwards=True) == [5, 4, 3, 2, 1]
    assert await positions(from_position=4) == [4, 5]
    assert await positions(from_position=3, backwards=True, limit=2) == [3, 2]
    assert await positions("a", from_revision=1) == [2, 3]
    assert await positions("b", backwards=True, limit=1) == [5]
    assert await positions("nothing") == []


async def test_the_ends_of_the_log_and_of_streams_are_known(events: EventStoreClient) -> None:
    assert (await events.head(), await events.head_revision("a")) == (0, ABSENT)
    assert await events.last("a") is None

    await events.append(numbered("a", 3))
    last = await events.last("a")
    info = await events.get_stream("a")

    assert (await events.head(), await events.head_revision("a")) == (3, 2)
    assert last is not None
    assert (last.revision, info.last_revision, info.last_position) == (2, 2, 3)
    with pytest.raises(StreamNotFound):
        await events.get_stream("nothing")


async def test_streams_are_listed_page_after_page(
    events: EventStoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("girih.client.wire._STREAMS_PAGE_SIZE", 2)
    for name in ("a-2", "b", "a-3", "a-1"):
        await events.append(numbered(name, 2))

    assert [one.stream async for one in events.streams()] == ["a-1", "a-2", "a-3", "b"]
    streams = [one async for one in events.streams("a-")]
    assert streams == [await events.get_stream(f"a-{number}") for number in (1, 2, 3)]


async def test_a_trace_is_read_page_after_page_with_causes(
    events: EventStoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("girih.client.wire._TRACE_PAGE_SIZE", 2)
    first, *_ = await events.acting(correlation_id="before").append(numbered("a", 1))
    caused = events.acting(correlation_id="c", causation_id=first.event_id)
    second, *_ = await caused.append(numbered("b", 1))
    await events.acting(correlation_id="c", causation_id=second.event_id).append(numbered("a", 2))

    traced = [one async for one in events.trace("c")]

    assert [(one.event.position, one.event.stream) for one in traced] == [
        (2, "b"),
        (3, "a"),
        (4, "a"),
    ]
    assert [one.cause and one.cause.position for one in traced] == [1, 2, 2]
    assert traced[0].cause == Cause(
        position=Position(1), correlation_id="before", stream="a", type="counted"
    )
    assert [one async for one in events.trace("nothing")] == []


async def test_an_append_is_refused_for_an_event_that_must_not_be_there(
    events: EventStoreClient,
) -> None:
    ada = NewEvent(stream="user-1", type="registered", tags=("name:ada",))
    named_ada = Query(tags=["name:ada"])
    (placed,) = await events.append([ada], unless=named_ada)
    assert (await events.append([ada], unless=named_ada))[0].already_stored
    await events.append(numbered("a", 1), unless=named_ada, after=placed.position)

    with pytest.raises(PreconditionFailed) as failed:
        await events.append(
            numbered("a", 1),
            [Precondition.at("a", 0), NoMatch([Query(types=["registered"])], after=0)],
            unless=[Query(stream_prefix="none"), named_ada],
        )
    with pytest.raises(BeyondEnd):
        await events.append(numbered("a", 1), unless=named_ada, after=3)
    async with events.append_stream() as appends:
        outcome = await appends.begin(numbered("a", 1), unless=named_ada)
        with pytest.raises(PreconditionFailed) as for_ever:
            await outcome

    assert failed.value.violations == (
        PreconditionViolation(1, "", None, position=1, event_id=ada.id, read_again=True),
        PreconditionViolation(2, "", None, position=1, event_id=ada.id, read_again=False),
    )
    assert (failed.value.read_again, for_ever.value.read_again) == (False, False)
    assert await events.head() == 2


async def test_a_decision_on_a_log_that_was_replaced_is_refused(events: EventStoreClient) -> None:
    (placed,) = await events.append(numbered("a", 1))
    ada, after = Query(tags=["name:ada"]), placed.position

    await events.append(numbered("a", 1), unless=ada, after=after, incarnation=placed.incarnation)
    with pytest.raises(LogReplaced) as caught:
        await events.append(numbered("a", 1), unless=ada, after=after, incarnation="elsewhere")
    with pytest.raises(ValueError, match="must be given with"):
        await events.append(numbered("a", 1), unless=ada, incarnation="elsewhere")

    assert caught.value.incarnation == placed.incarnation


async def test_what_makes_no_sense_together_is_not_sent(events: EventStoreClient) -> None:
    with pytest.raises(ValueError, match="after"):
        await events.append(numbered("a", 1), after=3)
    with pytest.raises(TypeError, match="tags"):
        Query(tags="name:ada")


async def test_a_failed_precondition_tells_what_is_the_case(events: EventStoreClient) -> None:
    await events.append(numbered("a", 2), [Precondition.at("a", ABSENT)])

    with pytest.raises(PreconditionFailed) as failed:
        await events.append(
            numbered("a", 1), [Precondition.at("a", 0), Precondition.exists("nothing")]
        )

    assert failed.value.violations == (
        PreconditionViolation(0, "a", 1),
        PreconditionViolation(1, "nothing", None, read_again=False),
    )
    assert (failed.value.code, failed.value.reason) == (
        grpc.StatusCode.ABORTED,
        "PRECONDITION_FAILED",
    )
    assert await events.head() == 2


async def test_the_same_events_are_appended_once(events: EventStoreClient) -> None:
    appended = numbered("a", 2)

    first = await events.append(appended)
    again = await events.append(appended)

    assert [one.already_stored for one in (*first, *again)] == [False, False, True, True]
    assert await events.head() == 2
    with pytest.raises(EventIdReused) as reused:
        await events.append([NewEvent(stream="a", type="other", id=appended[0].id)])
    assert reused.value.event_ids == (appended[0].id,)


async def test_refusals_have_names_and_are_not_repeated(
    events: EventStoreClient, broken: Between, patient: EventStoreClient, authority: Authority
) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        await patient.append([NewEvent(stream="not a name", type="x")])
    with pytest.raises(PermissionDenied):
        await patient.acting(token=authority.token(scopes=["events.read"])).append(numbered("a", 1))
    with pytest.raises(Unauthenticated) as expired:
        await patient.acting(token=authority.token(exp=1)).append(numbered("a", 1))
    with pytest.raises(RequestTooLarge):
        await patient.append([NewEvent(stream="a", type="x", binary=bytes(9 << 20))])

    assert invalid.value.violations[0].field == "events[0].stream"
    assert expired.value.is_expired
    assert len(broken.requests) == 3


async def test_an_append_whose_answer_was_lost_is_repeated_and_stored_once(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [AWAY, LOST, LOST]

    placements = await patient.append(numbered("a", 2), [Precondition.absent("a")])

    assert [one.already_stored for one in placements] == [True, True]
    assert await events.head() == 2
    assert len({request.SerializeToString() for request in broken.requests}) == 1
    assert len({one["x-correlation-id"] for one in broken.metadata}) == 1


async def test_the_server_is_left_alone_for_as_long_as_it_asks(
    broken: Between, patient: EventStoreClient
) -> None:
    busy = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "APPEND_QUEUE_FULL", retry_after_s=0.5)
    broken.failures = [busy]
    began_s = time.monotonic()

    await patient.append(numbered("a", 1))

    assert time.monotonic() - began_s >= 0.5


async def test_a_call_is_given_up_when_its_time_or_its_attempts_are_over(
    broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [AWAY] * 1_000
    for_ever = patient.acting(retry=RetryPolicy(timeout_s=3_600.0))
    with pytest.raises(Unavailable):
        await for_ever.append(numbered("a", 1), timeout=0.3)

    broken.requests.clear()
    thrice = patient.acting(retry=RetryPolicy(attempt_count_max=3, pause_s_min=0.01))
    with pytest.raises(Unavailable):
        await thrice.append(numbered("a", 1))
    assert len(broken.requests) == 3

    broken.failures = [Failure(grpc.StatusCode.UNAVAILABLE, retry_after_s=60)]
    with pytest.raises(Unavailable) as away:
        await patient.append(numbered("a", 1))
    assert away.value.retry_after_s == 60


async def test_the_deadline_of_the_context_bounds_every_call(
    broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [AWAY] * 1_000
    for_ever = patient.acting(retry=RetryPolicy(timeout_s=3_600.0))

    now_s = time.monotonic()
    with bind_context(CallContext(deadline_s=now_s + 0.2)), pytest.raises(Unavailable):
        await for_ever.append(numbered("a", 1))
    with bind_context(CallContext(deadline_s=now_s)), pytest.raises(Unavailable):
        await for_ever.head()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("stream", [None, "a"])
async def test_a_read_that_breaks_off_goes_on_where_it_was(
    events: EventStoreClient,
    broken: Between,
    patient: EventStoreClient,
    stream: str | None,
    backwards: bool,
) -> None:
    for _ in range(10):
        await events.append([*numbered("a", 1), *numbered("b", 1)])
    straight = [one.position async for one in events.read(stream, backwards=backwards, limit=9)]
    broken.batch_max = 2
    cut = Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", responses=1)
    broken.failures = [AWAY, cut, AWAY, cut, cut]

    read = [one.position async for one in patient.read(stream, backwards=backwards, limit=9)]

    assert read == straight
    assert len(broken.requests) == 6


async def test_an_expired_token_is_renewed_once(
    broken: Between, patient: EventStoreClient, authority: Authority, tenant: str
) -> None:
    tokens = [authority.token(tenant, exp=1), authority.token(tenant)]

    async def token() -> str:
        return tokens.pop(0)

    await patient.acting(token=token).append(numbered("a", 1))

    tokens[:] = [authority.token(tenant, exp=1)] * 5
    with pytest.raises(Unauthenticated):
        await patient.acting(token=token).append(numbered("a", 1))
    assert len(tokens) == 3


async def test_a_cancelled_call_ends_at_once(broken: Between, patient: EventStoreClient) -> None:
    broken.failures = [Failure(grpc.StatusCode.UNAVAILABLE, retry_after_s=4)]
    call = asyncio.create_task(patient.append(numbered("a", 1)))
    async with asyncio.timeout(60):
        while not broken.requests:  # noqa: ASYNC110 - what is waited for is in the server
            await asyncio.sleep(0.01)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_calls_act_for_whoever_they_are_made_for(
    events: EventStoreClient, authority: Authority
) -> None:
    other = events.acting(token=authority.token("other"), correlation_id="c1", causation_id="e1")

    await other.append(numbered("a", 1))

    assert await events.head() == 0
    async with aclosing(other.read()) as read:
        recorded = await anext(read)
    assert (recorded.correlation_id, recorded.causation_id) == ("c1", "e1")


async def test_what_no_server_takes_is_refused_here(events: EventStoreClient) -> None:
    with pytest.raises(ValueError, match="stream must have a name"):
        events.read_batches("")
    with pytest.raises(ValueError, match="limit must be"):
        events.read_batches(limit=0)
    with pytest.raises(ValueError, match="from_revision must come with a stream"):
        events.read_batches(from_revision=1)
    with pytest.raises(ValueError, match="json or binary"):
        NewEvent(stream="a", type="x", json="{}", binary=b"")
    with pytest.raises(ValueError, match="attempt_timeout_s"):
        RetryPolicy(timeout_s=1, attempt_timeout_s=2)


def test_events_made_one_after_the_other_have_ids_in_order() -> None:
    made = [new_event_id() for _ in range(100)]

    assert made == sorted(made)


async def test_a_client_that_is_closed_ends_what_follows_in_other_tasks(
    address: str, authority: Authority, tenant: str
) -> None:
    first, seen = asyncio.Event(), list[int]()

    async def follow(girih: AsyncClient) -> None:
        async for event in girih.follow():
            seen.append(event.position)
            first.set()

    async with AsyncClient(events=address, token=authority.token(tenant)) as girih:
        await girih.append(numbered("a", 1))
        following = asyncio.create_task(follow(girih))
        await first.wait()

    async with asyncio.timeout(30):
        await following
    assert seen == [1]


async def test_a_subscription_that_is_left_ends_its_call(
    broken: Between, patient: EventStoreClient
) -> None:
    await patient.append(numbered("a", 2))

    async with patient.follow() as events:
        async for event in events:
            assert event.position == 1
            break

    async with asyncio.timeout(30):
        while broken.open_calls:  # noqa: ASYNC110 - the server's side of it ends
            await asyncio.sleep(0.01)


async def test_a_task_that_is_cancelled_ends_as_cancelled(events: EventStoreClient) -> None:
    async def follow() -> None:
        async for _ in events.follow():
            pass

    following = asyncio.create_task(follow())
    await events.head()
    following.cancel()

    with pytest.raises(asyncio.CancelledError):
        await following


async def test_what_a_closed_client_is_asked_for_is_refused_by_name() -> None:
    async with AsyncClient(events="127.0.0.1:1", token="t") as girih:
        blocking = Client(events="127.0.0.1:1", token="t")
        under_way = asyncio.create_task(girih.log())
        await asyncio.sleep(0)
    blocking.close()

    with pytest.raises(GirihError):
        await under_way
    with pytest.raises(ClientClosed):
        await girih.log()
    with pytest.raises(ClientClosed):
        await anext(girih.read())
    with pytest.raises(ClientClosed):
        blocking.log()
    with pytest.raises(ClientClosed):
        next(blocking.read())


STEPS: list[dict[str, dict[str, object]]] = [
    {"rename": {"path": "/by", "name": "grantedBy"}},
    {"add": {"path": "/level", "value": 1}},
]


def granted(json: str) -> NewEvent:
    return NewEvent(stream="s", type="granted", schema_version=1, json=json)


async def test_schemas_are_registered_kept_to_and_upcast(events: EventStoreClient) -> None:
    first = {"type": "object", "required": ["by"]}
    second = {"type": "object", "required": ["grantedBy", "level"]}
    await events.register_schema("granted", 1, first)
    with pytest.raises(SchemaIncompatible):
        await events.register_schema("granted", 2, second)
    await events.register_schema("granted", 2, second, compatibility=Compatibility.NONE)
    await events.register_upcaster("granted", 1, 2, STEPS)

    with pytest.raises(SchemaViolated) as refused:
        await events.append([granted("{}")])
    await events.append([granted('{"by": "Ada"}')])
    (raw,) = [event async for event in events.read("s")]
    (upcast,) = [event async for event in events.read("s", upcast=True)]

    assert refused.value.violations[0].field == "events[0].json"
    assert (raw.data, raw.schema_version, raw.upcast_from) == ({"by": "Ada"}, 1, None)
    assert upcast.data == {"grantedBy": "Ada", "level": 1}
    assert (upcast.schema_version, upcast.upcast_from, upcast.upcast_problem) == (2, 1, "")
    assert [(one.version, one.has_upcaster) async for one in events.schemas("granted")] == [
        (1, True),
        (2, False),
    ]
    assert (await events.schema("granted", 1))[1] == first
    await events.delete_schemas("granted")
    assert [one async for one in events.schemas()] == []


async def test_a_snapshot_is_loaded_with_what_lies_behind_it(events: EventStoreClient) -> None:
    placements = await events.append(numbered("s", 3))
    incarnation = placements[0].incarnation

    is_kept = await events.save_snapshot(
        "s", 1, b"state", schema_version=2, incarnation=incarnation
    )
    loaded = await events.load("s", schema_version=3)
    without = await events.load("s", schema_version=1)

    assert is_kept
    assert loaded.snapshot is not None
    assert (loaded.snapshot.state, loaded.snapshot.revision) == (b"state", 1)
    assert loaded.snapshot.is_older
    assert [event.revision for event in loaded.events] == [2]
    assert loaded.incarnation == incarnation
    assert without.snapshot is None
    assert [event.revision for event in without.events] == [0, 1, 2]
