"""What callers send is checked before anything else, and every bad field is named."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.events.v1 import events_pb2 as pb
from girih.ids import Position, Revision, StreamName
from services.events import convert, domain, record
from services.events.domain import PlacedEvent
from services.events.errors import PreconditionFailed, Violation
from services.events.reading.reader import ReadOptions
from services.plumbing.correlation import Call
from services.plumbing.errors import InvalidInput, NotFound
from tests.events.making import NOW, append_of, event_id, message

CALL = Call(correlation_id="c-1", causation_id="because")


async def bad_fields(request: pb.AppendRequest) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        await convert.proposal(request, CALL)
    return [violation.field for violation in caught.value.violations]


def whole(event: domain.NewEvent) -> pb.Event:
    """An event from the two pieces that it is stored in."""
    return pb.Event.FromString(event.header + event.payload)


def with_event(change: Callable[[pb.Event], object]) -> pb.AppendRequest:
    request = append_of("good", "s")
    change(request.events[1])
    return request


def setting(field: str, value: object) -> Callable[[pb.Event], None]:
    return lambda event: setattr(event, field, value)


BAD_EVENTS: dict[str, tuple[str, Callable[[pb.Event], object]]] = {
    "an id that is no UUID": ("id", setting("id", "7")),
    "an id in capitals": ("id", setting("id", "F" * 8 + "-0000-0000-0000-000000000000")),
    "an id without hyphens": ("id", setting("id", "0" * 32)),
    "an id with a newline": ("id", setting("id", "0" * 8 + "-0000-0000-0000-000000000000\n")),
    "no stream": ("stream", setting("stream", "")),
    "a stream of 1 MB": ("stream", setting("stream", "s" * 2**20)),
    "a stream with a space": ("stream", setting("stream", "a b")),
    "a stream that begins with a dot": ("stream", setting("stream", ".a")),
    "a stream with a newline": ("stream", setting("stream", "a\n")),
    "a stream with an umlaut": ("stream", setting("stream", "ä")),
    "a stream of 256 characters": ("stream", setting("stream", "s" * 256)),
    "a reserved stream of 256 characters": ("stream", setting("stream", "$" + "s" * 255)),
    "a stream that is a dollar": ("stream", setting("stream", "$")),
    "a stream with a dollar within": ("stream", setting("stream", "a$b")),
    "a stream with two dollars": ("stream", setting("stream", "$$a")),
    "no type": ("type", setting("type", "")),
    "a type of 256 characters": ("type", setting("type", "t" * 256)),
    "a type with NUL": ("type", setting("type", "a\x00")),
    "a type with a C1 control": ("type", setting("type", "a\x85")),
    "a negative schema version": ("schema_version", setting("schema_version", -1)),
    "empty JSON": ("json", setting("json", "")),
    "JSON with NaN": ("json", setting("json", "NaN")),
    "JSON with 10,000 levels": ("json", setting("json", "[" * 10_000 + "]" * 10_000)),
    "a content type beside JSON": ("content_type", setting("content_type", "text/plain")),
    "33 metadata keys": (
        "metadata",
        lambda event: event.metadata.update({str(n): "" for n in range(33)}),
    ),
    "an empty metadata key": ("metadata", lambda event: event.metadata.update({"": "x"})),
    "a long metadata key": ("metadata", lambda event: event.metadata.update({"k" * 65: "x"})),
    "a long metadata value": (
        "metadata[k]",
        lambda event: event.metadata.update({"k": "x" * 1_025}),
    ),
    "a metadata value with ESC": (
        "metadata[k]",
        lambda event: event.metadata.update({"k": "\x1b"}),
    ),
    "33 tags": ("tags", lambda event: event.tags.extend([str(n) for n in range(33)])),
    "an empty tag": ("tags[0]", lambda event: event.tags.append("")),
    "a tag twice": ("tags[1]", lambda event: event.tags.extend(["t", "t"])),
}


@pytest.mark.parametrize(("field", "change"), BAD_EVENTS.values(), ids=BAD_EVENTS)
async def test_refuses_an_event_with(field: str, change: Callable[[pb.Event], object]) -> None:
    assert await bad_fields(with_event(change)) == [f"events[1].{field}"]


async def test_refuses_a_long_content_type() -> None:
    event = pb.Event(stream="s", type="t", binary=b"x", content_type="c" * 256)

    assert await bad_fields(pb.AppendRequest(events=[event])) == ["events[0].content_type"]


async def test_names_all_bad_fields_of_all_events_and_preconditions() -> None:
    request = pb.AppendRequest(
        events=[pb.Event(stream="", type=""), pb.Event(stream="s", type="t", json="{")],
        preconditions=[
            pb.Precondition(stream="s"),
            pb.Precondition(stream="", revision=-1),
            pb.Precondition(stream="s", state=pb.Precondition.STATE_UNSPECIFIED),
            pb.Precondition(stream="s", state=7),  # type: ignore[arg-type]  # what a newer caller may send
        ],
    )

    assert set(await bad_fields(request)) == {
        "events[0].stream",
        "events[0].type",
        "events[1].json",
        "preconditions[0].expected",
        "preconditions[1].stream",
        "preconditions[1].revision",
        "preconditions[2].state",
        "preconditions[3].state",
    }


async def test_refuses_an_append_without_events() -> None:
    assert await bad_fields(pb.AppendRequest()) == ["events"]


async def test_refuses_too_many_events_without_looking_at_them() -> None:
    request = pb.AppendRequest(events=[pb.Event()] * 5_001)

    assert await bad_fields(request) == ["events"]


async def test_refuses_too_many_preconditions() -> None:
    request = append_of("s")
    request.preconditions.extend([pb.Precondition(stream="s", revision=0)] * 1_001)

    assert await bad_fields(request) == ["preconditions"]


async def test_refuses_an_event_that_is_too_large() -> None:
    request = pb.AppendRequest(
        events=[pb.Event(stream="s", type="t", binary=bytes(domain.EVENT_BYTES_MAX))]
    )

    assert await bad_fields(request) == ["events[0]"]


async def test_refuses_events_that_are_too_large_together() -> None:
    part = pb.Event(stream="s", type="t", binary=bytes(domain.EVENT_BYTES_MAX - 200))
    request = pb.AppendRequest(events=[part, part, part])

    assert await bad_fields(request) == ["events"]


async def test_refuses_an_id_that_is_given_twice() -> None:
    event = message()
    request = pb.AppendRequest(events=[event, message(), event])

    assert await bad_fields(request) == ["events[2].id"]


async def test_takes_everything_at_its_bounds() -> None:
    event = pb.Event(
        id="ffffffff-ffff-ffff-ffff-ffffffffffff",
        stream="_" + "Az09.:@-_" * 28 + "xx",
        type="ü" * 255,
        schema_version=2**31 - 1,
        binary=b"\x00",
        content_type="c" * 255,
        metadata={str(n).rjust(64, "k"): "v" * 1_024 for n in range(32)},
        tags=[str(n).rjust(255, "t") for n in range(32)],
    )

    taken = await convert.proposal(pb.AppendRequest(events=[event]), CALL)

    assert whole(taken.events[0]) == event


async def test_makes_ids_of_version_7_where_there_are_none() -> None:
    request = pb.AppendRequest(events=[pb.Event(stream="s", type="t")] * 300)

    taken = await convert.proposal(request, CALL)

    ids = [event.event_id for event in taken.events]
    assert len(set(ids)) == 300
    assert all(str(UUID(made)) == made and made[14] == "7" for made in ids)
    assert {made[19] for made in ids} <= set("89ab")
    assert [pb.Event.FromString(event.header).id for event in taken.events] == ids


async def test_equal_events_have_equal_digests_whatever_the_order_of_their_metadata() -> None:
    keys = [f"key-{number}" for number in range(32)]
    one, other = message(), message()
    other.id = one.id
    one.metadata.update(dict.fromkeys(keys, "v"))
    other.metadata.update(dict.fromkeys(reversed(keys), "v"))

    first = await convert.proposal(pb.AppendRequest(events=[one]), CALL)
    second = await convert.proposal(pb.AppendRequest(events=[other]), CALL)

    assert first.events[0].digest == second.events[0].digest


@pytest.mark.parametrize(
    "change",
    [
        setting("type", "other"),
        setting("stream", "other"),
        setting("schema_version", 1),
        setting("json", "{ }"),
        setting("binary", b"{}"),
        lambda event: event.metadata.update({"a": ""}),
        lambda event: event.tags.append("a"),
    ],
)
async def test_any_other_content_has_another_digest(
    change: Callable[[pb.Event], object],
) -> None:
    event = message()
    before = await convert.proposal(pb.AppendRequest(events=[event]), CALL)
    change(event)
    after = await convert.proposal(pb.AppendRequest(events=[event]), CALL)

    assert before.events[0].digest != after.events[0].digest


@pytest.mark.parametrize(
    "request_",
    [
        append_of(*["s"] * 2_000),
        pb.AppendRequest(events=[message(json=f"[{'[],' * 10_000}[]]") for _ in range(40)]),
        pb.AppendRequest(events=[message(json=f"[{'[],' * 300_000}[]]")]),
    ],
    ids=["many", "long", "huge"],
)
async def test_a_large_request_lets_others_run(request_: pb.AppendRequest) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    of_login = asyncio.create_task(other())
    await convert.proposal(request_, CALL)
    of_login.cancel()

    assert turns >= 9


PAYLOADS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "empty JSON": {"json": '""'},
    "JSON": {"json": '{"grüße": [1, 2.5, "x"]}'},
    "long JSON": {"json": f'"{"x" * 20_000}"'},
    "no bytes": {"binary": b""},
    "bytes": {"binary": bytes(range(256)), "content_type": "image/png"},
}


def stored(event: pb.Event, position: int, revision: int, at: datetime) -> tuple[bytes, bytes]:
    """The two pieces in which `event` is stored."""
    proposed = asyncio.run(convert.proposal(pb.AppendRequest(events=[event]), CALL))
    placed = PlacedEvent(
        proposed.events[0], Position(position), Position(1), Revision(revision), proposed.context
    )
    return record.encoder_at(at)(placed), proposed.events[0].payload


@settings(max_examples=100, deadline=None)
@given(
    position=st.integers(1, 2**63 - 1),
    revision=st.integers(0, 2**63 - 1),
    at=st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds have none
    payload=st.sampled_from(list(PAYLOADS.values())),
)
def test_the_pieces_of_a_record_read_as_the_whole_event(
    position: int, revision: int, at: datetime, payload: dict[str, Any]
) -> None:
    event = pb.Event(id=event_id(7), stream="s", type="t", tags=["a", "b"], metadata={"k": "v"})
    event.MergeFrom(pb.Event(**payload))

    read = pb.RecordedEvent.FromString(b"".join(stored(event, position, revision, at)))

    expected = pb.RecordedEvent(
        position=position,
        revision=revision,
        recorded_at=at,
        context=pb.Context(correlation_id="c-1", causation_id="because"),
        event=event,
    )
    assert read == expected
    assert json_format.MessageToJson(read) == json_format.MessageToJson(expected)
    assert read.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_is_the_last_field_of_the_only_event_of_its_record(
    payload: dict[str, Any],
) -> None:
    event = pb.Event(id=event_id(7), stream="s", type="t", tags=["a"], metadata={"k": "v"})
    event.MergeFrom(pb.Event(**payload))

    header, piece = stored(event, 3, 1, NOW)

    events = [content for number, content in fields(header + piece) if number == 5]
    assert [pb.Event.FromString(one) for one in events] == [event]
    assert events[0].endswith(piece)
    assert bool(piece) == bool(payload)
    assert not pb.Event.FromString(events[0].removesuffix(piece)).WhichOneof("payload")


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message as they lie there: their numbers, and what those of bytes hold."""
    at = 0
    while at < len(message):
        tag, at = number_at(message, at)
        length, at = number_at(message, at)
        content = message[at : at + length] if tag & 7 == 2 else b""
        yield tag >> 3, content
        at += len(content)


def number_at(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    end = next(index for index in count(at) if message[index] < 0x80) + 1
    return sum((byte & 0x7F) << 7 * n for n, byte in enumerate(message[at:end])), end


def test_digests_are_those_of_the_documented_layout_and_need_no_payload() -> None:
    event = pb.Event(id=event_id(7), stream="s", type="t", json="[1]")
    proposed = asyncio.run(convert.proposal(pb.AppendRequest(events=[event]), CALL))
    new = proposed.events[0]
    stored_header = record.encoder_at(NOW)(
        PlacedEvent(new, Position(258), Position(200), Revision(3), proposed.context)
    )

    header = pb.RecordedEvent.FromString(stored_header + new.payload)
    header.event.ClearField("json")
    payload_digest = sha256(b"\x2a\x05\x2a\x03[1]").digest()
    bare = header.event.SerializeToString(deterministic=True)
    digest = sha256(b"girih event 1" + payload_digest + bare).digest()
    context = header.context.SerializeToString()
    leaf = b"\x00\x01" + b"".join(
        number.to_bytes(8, "big") for number in (258, 3, header.recorded_at.ToMicroseconds())
    )
    leaf += len(context).to_bytes(4, "big") + context + digest

    assert new.digest == digest
    assert record.event_digest(bare, payload_digest) == digest
    assert record.payload_digest(new.payload) == payload_digest
    assert record.leaf_digest(stored_header + new.payload, digest) == sha256(leaf).digest()
    assert record.leaf_digest(header.SerializeToString(), digest) == sha256(leaf).digest()


def test_whatever_a_leaf_covers_changes_its_digest() -> None:
    proposed = asyncio.run(convert.proposal(append_of("s"), CALL))
    placed = PlacedEvent(
        proposed.events[0], Position(2), Position(1), Revision(1), proposed.context
    )
    changed = {
        "position": placed._replace(position=Position(3)),
        "revision": placed._replace(revision=Revision(2)),
        "context": placed._replace(
            context=record.call_context(replace(CALL, causation_id="other"))
        ),
        "event": placed._replace(event=placed.event._replace(digest=bytes(32))),
    }

    def leaf_of(one: PlacedEvent, at: datetime = NOW) -> bytes:
        return record.leaf_digest(record.encoder_at(at)(one) + one.event.payload, one.event.digest)

    leaves = {name: leaf_of(one) for name, one in changed.items()}
    leaves["time"] = leaf_of(placed, NOW + timedelta(microseconds=1))
    leaves["nothing"] = leaf_of(placed)

    assert len(set(leaves.values())) == 6


@pytest.mark.parametrize("sizes", [[], [0], [1, 127, 128, 16_383, 16_384, 100_000]])
def test_a_response_is_a_read_response_byte_for_byte(sizes: list[int]) -> None:
    recorded = [pb.RecordedEvent(event=pb.Event(binary=bytes(size))) for size in sizes]

    response = record.read_response([one.SerializeToString() for one in recorded])

    assert response == pb.ReadResponse(events=recorded).SerializeToString()


def test_a_refusal_lists_its_violations_as_far_as_they_fit() -> None:
    violations = [
        Violation(index, StreamName("s" * 255), Revision(index - 1) or None)
        for index in range(1_000)
    ]

    (detail,) = convert.details_of(PreconditionFailed(violations))

    assert isinstance(detail, pb.PreconditionFailure)
    assert 5 < len(detail.violations) < 1_000
    assert detail.ByteSize() < 4_096
    assert not detail.violations[1].HasField("actual_revision")
    assert detail.violations[2].actual_revision == 1


def test_other_errors_have_no_details_of_ours() -> None:
    assert convert.details_of(NotFound("gone")) == ()


BAD_READS = {
    "an ill-formed stream": (pb.ReadRequest(stream="a b"), ["stream"]),
    "position 0": (pb.ReadRequest(from_position=0), ["from_position"]),
    "a negative revision": (pb.ReadRequest(stream="s", from_revision=-1), ["from_revision"]),
    "a revision without a stream": (pb.ReadRequest(from_revision=1), ["stream"]),
    "a revision beside a position": (
        pb.ReadRequest(stream="s", from_revision=1, from_position=1),
        ["from_revision"],
    ),
    "a negative limit": (pb.ReadRequest(limit=-1), ["limit"]),
    "an unknown direction": (pb.ReadRequest(direction=9), ["direction"]),  # type: ignore[arg-type]
    "everything wrong": (
        pb.ReadRequest(from_position=-1, from_revision=-1, limit=-1),
        ["from_position", "from_revision", "limit", "from_revision", "stream"],
    ),
}


@pytest.mark.parametrize(("request_", "fields"), BAD_READS.values(), ids=BAD_READS)
def test_refuses_to_read_with(request_: pb.ReadRequest, fields: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.options(request_)

    assert [violation.field for violation in caught.value.violations] == fields


def test_reads_everything_when_nothing_is_said() -> None:
    assert convert.options(pb.ReadRequest()) == ReadOptions()
