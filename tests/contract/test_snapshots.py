"""Snapshots are answered byte for byte when they fit, and never otherwise."""

import json
import random
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from girih.events.v1 import events_pb2, keeping_pb2
from girih.events.v1 import snapshots_pb2 as pb
from services.events.snapshot import STATE_BYTES_MAX
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from tests.contract.calling import Callers
from tests.events.making import append_of, message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub


async def refusal(call: Awaitable[object]) -> RemoteError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def loaded(
    snapshots: "SnapshotServiceAsyncStub", **options: Any
) -> tuple[pb.Snapshot | None, list[events_pb2.RecordedEvent]]:
    """The snapshot of the stream `s`, if one came, and the events behind it."""
    call = snapshots.LoadStream(pb.LoadStreamRequest(**{"stream": "s", **options}))
    responses = [response async for response in call]
    assert not responses[0].events
    assert not any(response.HasField("snapshot") for response in responses[1:])
    events = [event for response in responses[1:] for event in response.events]
    first = responses[0]
    return (first.snapshot if first.HasField("snapshot") else None), events


def saving(revision: int, state: bytes = b"", **fields: Any) -> pb.SaveSnapshotRequest:
    named = {"stream": "s", "revision": revision, "binary": state, **fields}
    return pb.SaveSnapshotRequest(**named)


async def test_a_state_comes_back_byte_for_byte_with_what_was_appended_behind_it(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    state = random.Random(1).randbytes(STATE_BYTES_MAX)
    await events.Append(append_of("s", "other", "s"))
    request = saving(1, state, schema_version=3, content_type="a/b")

    saved = await snapshots.SaveSnapshot(request)
    await events.Append(append_of("s", "s"))
    snapshot, behind = await loaded(snapshots, schema_version=3)

    assert snapshot is not None
    assert snapshot.binary == state
    assert (snapshot.revision, snapshot.schema_version, snapshot.content_type) == (1, 3, "a/b")
    assert snapshot.digest == saved.digest
    assert not snapshot.is_older
    assert [event.revision for event in behind] == [2, 3]


async def test_json_comes_back_as_it_was_spelled(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    await events.Append(append_of("s"))
    await snapshots.SaveSnapshot(
        pb.SaveSnapshotRequest(stream="s", revision=0, json='{ "b" : 1.50, "a": [] }')
    )

    snapshot, _ = await loaded(snapshots)

    assert snapshot is not None
    assert snapshot.json == '{ "b" : 1.50, "a": [] }'


async def test_without_a_snapshot_the_whole_stream_comes(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    nothing = await loaded(snapshots, stream="absent")
    await events.Append(append_of("s", "s"))

    snapshot, behind = await loaded(snapshots)

    assert nothing == (None, [])
    assert snapshot is None
    assert [event.revision for event in behind] == [0, 1]


async def test_a_snapshot_and_its_tail_are_the_whole_stream_wherever_it_was_taken(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    """Numbers are appended and folded into their sum, saved now and then under the revision."""
    chance, numbers = random.Random(7), list[int]()
    for _ in range(60):
        new = [chance.randrange(1_000) for _ in range(chance.randrange(1, 5))]
        await events.Append(
            events_pb2.AppendRequest(events=[message("s", str(number)) for number in new])
        )
        numbers += new
        if chance.random() < 0.5:
            at = chance.randrange(len(numbers))
            await snapshots.SaveSnapshot(saving(at, str(sum(numbers[: at + 1])).encode()))

        snapshot, behind = await loaded(snapshots)

        total = int(snapshot.binary) if snapshot else 0
        total += sum(json.loads(event.event.json) for event in behind)
        assert total == sum(numbers)
        assert [event.revision for event in behind] == list(
            range(snapshot.revision + 1 if snapshot else 0, len(numbers))
        )


async def test_versions_are_told_and_those_that_the_reader_does_not_know_passed_over(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    await events.Append(append_of("s", "s"))
    await snapshots.SaveSnapshot(saving(0, b"old", schema_version=1))
    await snapshots.SaveSnapshot(saving(1, b"new", schema_version=3))

    newest, _ = await loaded(snapshots)
    older, behind = await loaded(snapshots, schema_version=2)

    assert newest is not None
    assert (newest.binary, newest.is_older) == (b"new", False)
    assert older is not None
    assert (older.binary, older.schema_version, older.is_older) == (b"old", 1, True)
    assert [event.revision for event in behind] == [1]


async def test_a_state_of_before_an_event_was_redacted_is_not_kept(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    await events.Append(append_of("s", "s", "t", "s"))
    responses = [one async for one in snapshots.LoadStream(pb.LoadStreamRequest(stream="s"))]
    read_position = responses[0].head_position
    await events.RedactEvent(keeping_pb2.RedactEventRequest(position=2, reason="an address"))

    unknown = await snapshots.SaveSnapshot(saving(2, b"state"))
    before = await snapshots.SaveSnapshot(saving(2, b"state", read_position=read_position))
    whole, _ = await loaded(snapshots)
    less = await snapshots.SaveSnapshot(saving(0, b"less", read_position=read_position))
    behind = await snapshots.SaveSnapshot(saving(2, b"left", read_position=read_position + 1))
    left, _ = await loaded(snapshots)

    assert (read_position, whole) == (4, None)
    assert [one.kept for one in (unknown, before, less, behind)] == [False, False, True, True]
    assert left is not None
    assert left.binary == b"left"


async def test_a_revision_that_the_stream_does_not_have_is_refused(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    await events.Append(append_of("s"))

    beyond = await refusal(snapshots.SaveSnapshot(saving(1)))
    absent = await refusal(snapshots.SaveSnapshot(saving(0, stream="absent")))

    assert beyond.reason == absent.reason == "SNAPSHOT_REVISION_NOT_FOUND"


async def test_a_state_of_a_log_that_is_no_more_is_refused(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    answer = await events.Append(append_of("s"))

    await snapshots.SaveSnapshot(saving(0, incarnation=answer.incarnation))
    error = await refusal(snapshots.SaveSnapshot(saving(0, incarnation="elsewhere")))

    assert error.reason == "LOG_REPLACED"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (saving(-1), "revision"),
        (saving(0, stream="/"), "stream"),
        (saving(0, schema_version=-1), "schema_version"),
        (saving(0, b"x" * (STATE_BYTES_MAX + 1)), "binary"),
        (pb.SaveSnapshotRequest(stream="s", json="{"), "json"),
        (pb.SaveSnapshotRequest(stream="s", json="{}", content_type="a/b"), "content_type"),
    ],
)
async def test_bad_input_is_told_by_its_field(
    snapshots: "SnapshotServiceAsyncStub", request_: pb.SaveSnapshotRequest, field: str
) -> None:
    error = await refusal(snapshots.SaveSnapshot(request_))

    assert error.reason == "INVALID_INPUT"
    assert [violation.field for violation in error.violations] == [field]


async def test_no_tenant_sees_the_snapshots_of_another(
    events: "EventStoreServiceAsyncStub",
    snapshots: "SnapshotServiceAsyncStub",
    callers: Callers,
) -> None:
    other = callers.metadata("other")
    await events.Append(append_of("s"))
    await events.Append(append_of("s", "s"), metadata=other)
    await snapshots.SaveSnapshot(saving(0, b"mine"))

    call = snapshots.LoadStream(pb.LoadStreamRequest(stream="s"), metadata=other)
    responses = [response async for response in call]

    assert not any(response.HasField("snapshot") for response in responses)
    assert sum(len(response.events) for response in responses) == 2


async def test_a_snapshot_serves_where_what_lies_before_it_was_cut_off_and_not_behind_a_gap(
    events: "EventStoreServiceAsyncStub", snapshots: "SnapshotServiceAsyncStub"
) -> None:
    await events.Append(append_of(*["s"] * 5))
    await snapshots.SaveSnapshot(saving(1, b"first two"))

    async def cut(before: int) -> None:
        retention = keeping_pb2.Retention(truncate_before=before)
        request = keeping_pb2.SetStreamRetentionRequest(stream="s", retention=retention)
        await events.SetStreamRetention(request)

    await cut(2)
    snapshot, behind = await loaded(snapshots)
    await cut(3)
    gap, rest = await loaded(snapshots)

    assert snapshot is not None
    assert [event.revision for event in behind] == [2, 3, 4]
    assert gap is None
    assert [event.revision for event in rest] == [3, 4]
