"""Events are in the log behind a registration only if they were checked by it."""

import asyncio
import json
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import schemas_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.schemas_pb2_grpc import SchemaServiceStub
from services.events.app import built
from services.events.domain import SCHEMAS, LogState, SchemasSeen, StreamHead, decide
from services.events.errors import SchemasMoved
from services.events.settings import Settings
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.events.making import NOW, new_event, proposal
from tests.events.schemas.asking import CLOSED, append_request, refusal, schema_request
from tests.events.serving import until_serving

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.schemas_pb2_grpc import SchemaServiceAsyncStub


async def test_an_event_that_its_schema_refuses_is_not_appended_and_told_by_place(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED))
    request = append_request({"by": "Ada"})
    request.events.extend(append_request({"by": 7}).events)

    error = await refusal(events.Append(request))

    assert error.reason == "SCHEMA_VIOLATED"
    (violation,) = error.violations
    assert violation.field == "events[1].json"
    assert violation.description == '/by: 7 is not of type "string"'
    assert (await events.GetLog(pb.GetLogRequest())).head_position == 1


async def test_an_event_that_its_schema_takes_is_appended(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED))

    answer = await events.Append(append_request({"by": "Ada"}))

    assert answer.placements[0].position == 2


@pytest.mark.parametrize("version", [0, 2])
async def test_a_version_that_is_not_registered_is_refused(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub", version: int
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED))

    error = await refusal(events.Append(append_request({"by": "Ada"}, version)))

    assert error.reason == "SCHEMA_VERSION_UNKNOWN"
    assert error.violations[0].field == "events[0].schema_version"


async def test_types_without_schemas_take_anything(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED))

    await events.Append(append_request([1], version=9, name="another"))


async def test_bytes_are_refused_and_no_payload_counts_as_null_where_a_type_has_a_schema(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request({"type": "null"}))
    await schemas.RegisterSchema(schema_request(True, name="open"))
    bare = pb.Event(stream="s", type="submitted", schema_version=1)
    binary = pb.Event(stream="s", type="open", schema_version=1, binary=b"1")

    await events.Append(pb.AppendRequest(events=[bare]))
    error = await refusal(events.Append(pb.AppendRequest(events=[binary])))

    assert error.reason == "SCHEMA_VIOLATED"


async def test_an_append_that_is_stored_is_answered_again_whatever_was_registered_since(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    request = append_request({"by": 7})
    first = await events.Append(request)
    await schemas.RegisterSchema(schema_request(CLOSED))

    again = await events.Append(request)

    assert again.placements[0].position == first.placements[0].position
    assert again.placements[0].already_stored


async def test_stored_events_excuse_no_others_of_the_same_append(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    request = append_request({"by": 7})
    await events.Append(request)
    await schemas.RegisterSchema(schema_request(CLOSED))
    request.events.extend(append_request({"by": 8}).events)

    error = await refusal(events.Append(request))

    assert [violation.field for violation in error.violations] == ["events[1].json"]


async def test_requests_of_one_call_are_refused_one_by_one_and_stay_in_order(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED))
    # Large enough to be checked beside, while small ones are checked at once.
    values = [{"by": "x" * (3_000_000 if n % 5 == 0 else 5)} for n in range(10)]
    values.insert(5, {"by": 1})  # type: ignore[dict-item] # what is refused
    requests = [pb.AppendStreamRequest(events=append_request(value).events) for value in values]

    answers = [answer async for answer in events.AppendStream(iter(requests))]

    assert [answer.HasField("refusal") for answer in answers] == [n == 5 for n in range(11)]
    positions = [answer.placements[0].position for answer in answers if answer.placements]
    assert positions == list(range(2, 12))


async def test_checks_that_take_long_hold_up_nobody(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    heavy = {"items": {"anyOf": [{"type": "string", "minLength": n} for n in range(60)]}}
    await schemas.RegisterSchema(schema_request(heavy))
    await events.Append(append_request(["a"]))
    checking = asyncio.create_task(refusal(events.Append(append_request([0] * 1_000_000))))
    answered = 0

    while not checking.done():
        await events.Append(append_request({}, name="another"))
        answered += 1

    assert (await checking).reason in ("SCHEMA_VIOLATED", "SCHEMA_CHECK_TOO_LONG")
    assert answered > 5


async def test_what_takes_too_long_to_check_is_refused_and_the_next_one_is_checked(
    schemas: "SchemaServiceAsyncStub", settings: Settings, authority: Authority
) -> None:
    slow = {"items": {"allOf": [{"minimum": -n} for n in range(1_900)]}}
    await schemas.RegisterSchema(schema_request(slow))
    # A tenth of a second is soon over, also where others want the core.
    hasty = settings.model_copy(update={"schema_check_s": 0.1})
    async with (
        built(hasty) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        events = EventStoreServiceStub(channel)

        error = await refusal(events.Append(append_request([1] * 1_000_000)))
        await events.Append(append_request([1] * 10))

    assert error.reason == "SCHEMA_CHECK_TOO_LONG"


def test_a_batch_is_decided_on_the_schemas_that_the_log_has_then() -> None:
    state = LogState(0, {SCHEMAS: StreamHead(1, 0), "s": StreamHead(0, -1)}, "i")  # type: ignore[arg-type, dict-item]

    def outcome(seen: SchemasSeen) -> object:
        checked = proposal(new_event("s"))
        object.__setattr__(checked, "schemas", seen)
        return decide(state, [checked], {}, NOW).outcomes[0]

    assert isinstance(outcome(SchemasSeen("", -1)), SchemasMoved)  # type: ignore[arg-type]
    assert isinstance(outcome(SchemasSeen("before", 0)), SchemasMoved)  # type: ignore[arg-type]
    assert not isinstance(outcome(SchemasSeen("i", 0)), SchemasMoved)  # type: ignore[arg-type]


async def test_no_replica_appends_behind_a_registration_what_it_refuses(
    settings: Settings, authority: Authority
) -> None:
    """Two replicas append without a pause what the first version takes and the second does not;
    through one of them versions come and go.
    """
    async with (
        built(settings) as one,
        built(settings) as other,
        running(one, "127.0.0.1:0") as port,
        running(other, "127.0.0.1:0") as other_port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
        open_channel(f"127.0.0.1:{other_port}", bearer=authority.bearer) as other_channel,
    ):
        await until_serving(channel)
        await until_serving(other_channel)
        stop = asyncio.Event()
        writers = [
            asyncio.create_task(_write(EventStoreServiceStub(way), n, stop))
            for n, way in enumerate([channel, other_channel] * 3)
        ]
        for version in range(1, 13):
            # Odd versions take texts, even ones numbers.
            wanted = {"type": "string" if version % 2 else "number"}
            await SchemaServiceStub(channel if version % 3 else other_channel).RegisterSchema(
                schema_request(wanted, version, compatibility="NONE")
            )
            await asyncio.sleep(0.05)
        stop.set()
        counts = await asyncio.gather(*writers)
        recorded = await _all(EventStoreServiceStub(channel))

    _assert_each_was_taken(recorded)
    appended, refused = map(sum, zip(*counts, strict=True))
    assert appended > 50
    assert refused > 50
    assert appended == sum(one.event.type == "submitted" for one in recorded)


async def test_no_replica_refuses_what_others_schemas_take(
    settings: Settings, authority: Authority
) -> None:
    async with (
        built(settings) as one,
        built(settings) as other,
        running(one, "127.0.0.1:0") as port,
        running(other, "127.0.0.1:0") as other_port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
        open_channel(f"127.0.0.1:{other_port}", bearer=authority.bearer) as other_channel,
    ):
        await until_serving(channel)
        await until_serving(other_channel)
        events, schemas = EventStoreServiceStub(channel), SchemaServiceStub(other_channel)
        await schemas.RegisterSchema(schema_request({"type": "string"}))
        await events.Append(append_request("text"))

        await schemas.RegisterSchema(schema_request({"type": "number"}, 2, compatibility="NONE"))
        await events.Append(append_request(1, version=2))
        await schemas.DeleteSchemas(schemas_pb2.DeleteSchemasRequest(type="submitted"))
        await events.Append(append_request([], version=2))


async def _write(
    events: "EventStoreServiceAsyncStub", number: int, stop: asyncio.Event
) -> tuple[int, int]:
    """Append texts and numbers under versions that do not exist yet, do, or take others."""
    appended = refused = turn = 0
    while not stop.is_set():
        turn += 1
        value = "text" if (turn + number) % 2 else 1
        try:
            await events.Append(append_request(value, version=turn % 14, stream=f"s-{number}"))
        except grpc.aio.AioRpcError as error:
            refused += _is_by_schema(error)
        else:
            appended += 1
    return appended, refused


def _is_by_schema(error: grpc.aio.AioRpcError) -> bool:
    if from_rpc_error(error).reason in ("SCHEMA_VIOLATED", "SCHEMA_VERSION_UNKNOWN"):
        return True
    raise error


async def _all(events: "EventStoreServiceAsyncStub") -> list[pb.RecordedEvent]:
    call = events.Read(pb.ReadRequest())
    return [recorded async for response in call for recorded in response.events]


def _assert_each_was_taken(recorded: list[pb.RecordedEvent]) -> None:
    registered: set[int] = set()
    for one in recorded:
        if one.event.stream == SCHEMAS:
            registered.add(json.loads(one.event.json)["version"])
        elif registered:
            version, value = one.event.schema_version, json.loads(one.event.json)
            assert version in registered, one
            assert isinstance(value, str if version % 2 else int), one
