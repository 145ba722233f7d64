"""Snapshots are answered byte for byte when they fit, and never otherwise."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from girih.events.v1 import events_pb2, keeping_pb2
from girih.events.v1 import snapshots_pb2 as pb
from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub
from girih.ids import Position, Revision
from services.events.metrics import SnapshotMetrics
from services.events.snapshot import State, StoredSnapshot, Unfit, unfitness
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from tests.events.making import NOW, append_of
from tests.events.serving import eventually

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub


@pytest.fixture
def snapshots(channel: grpc.aio.Channel) -> "SnapshotServiceAsyncStub":
    return SnapshotServiceStub(channel)


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who may change what is stored."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


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


@pytest.mark.parametrize(
    "damage",
    [
        "content = 'other'",
        "revision = revision - 1, content = content",
        "schema_version = 7",
        "is_json = true",
        "content_type = 'x/y'",
        "position = position + 1",
        "seal = decode(repeat('00', 32), 'hex')",
        "incarnation = 'elsewhere'",
    ],
)
async def test_a_snapshot_that_is_not_what_was_saved_is_passed_over_and_an_older_one_serves(
    events: "EventStoreServiceAsyncStub",
    snapshots: "SnapshotServiceAsyncStub",
    owner: asyncpg.Connection,
    damage: str,
) -> None:
    await events.Append(append_of("s", "s", "s", "s"))
    await snapshots.SaveSnapshot(saving(0, b"first"))
    await snapshots.SaveSnapshot(saving(2, b"third"))
    await owner.execute(
        "ALTER TABLE events.snapshots NO FORCE ROW LEVEL SECURITY;"
        f"UPDATE events.snapshots SET {damage} WHERE revision = 2;"
        "ALTER TABLE events.snapshots FORCE ROW LEVEL SECURITY"
    )

    snapshot, behind = await loaded(snapshots)

    assert snapshot is not None
    assert snapshot.binary == b"first"
    assert [event.revision for event in behind] == [1, 2, 3]


STATES = st.builds(
    State,
    st.integers(0, 9).map(Revision),
    st.integers(0, 3),
    st.binary(max_size=4),
    st.booleans(),
    st.text("ab", max_size=2),
)


@given(STATES, STATES, st.integers(1, 3), st.integers(1, 3))
def test_of_what_was_saved_nothing_else_fits(
    saved: State, loaded: State, at: int, current_position: int
) -> None:
    stored = StoredSnapshot(
        loaded,
        Position(current_position),
        "i",
        saved.seal(Position(at)),
        NOW,
        Position(current_position),
    )

    is_the_same = (saved, at) == (loaded, current_position)

    assert (unfitness(stored, 0) is None) == is_the_same


def test_each_that_is_passed_over_is_counted_by_its_reason() -> None:
    registry = CollectorRegistry()
    metrics = SnapshotMetrics(registry)

    metrics.passed_over(Unfit.CORRUPT)

    name = "events_snapshots_passed_over_total"
    counts = {one: registry.get_sample_value(name, {"reason": one.value}) for one in Unfit}
    assert counts == {Unfit.CORRUPT: 1, Unfit.REPLACED: 0, Unfit.NEWER: 0}


def test_a_snapshot_of_an_event_that_is_not_there_does_not_fit() -> None:
    state = State(Revision(1), 1, b"", False, "")
    stored = StoredSnapshot(state, Position(5), "i", state.seal(Position(5)), NOW, None)

    assert unfitness(stored, 0) is Unfit.REPLACED
    assert unfitness(stored._replace(current_position=Position(4)), 0) is Unfit.REPLACED
    assert unfitness(stored._replace(current_position=Position(5)), 0) is None


async def test_the_newest_two_are_kept_whoever_saves_at_once(
    events: "EventStoreServiceAsyncStub",
    snapshots: "SnapshotServiceAsyncStub",
    owner: asyncpg.Connection,
) -> None:
    await events.Append(append_of(*["s"] * 20))

    await asyncio.gather(*[snapshots.SaveSnapshot(saving(n, bytes([n]))) for n in range(20)])
    again = await snapshots.SaveSnapshot(saving(18, b"again"))
    late = await snapshots.SaveSnapshot(saving(3, b"late"))

    await owner.execute("ALTER TABLE events.snapshots NO FORCE ROW LEVEL SECURITY")
    rows = await owner.fetch("SELECT revision, content FROM events.snapshots ORDER BY revision")
    assert [tuple(row) for row in rows] == [(18, b"again"), (19, b"\x13")]
    assert (again.kept, late.kept) == (True, False)


async def test_what_was_deleted_or_redacted_is_in_no_snapshot_any_more(
    events: "EventStoreServiceAsyncStub",
    snapshots: "SnapshotServiceAsyncStub",
    owner: asyncpg.Connection,
) -> None:
    await events.Append(append_of("s", "s", "t", "t"))
    await snapshots.SaveSnapshot(saving(1, b"state"))
    await snapshots.SaveSnapshot(saving(0, b"before", stream="t"))
    await snapshots.SaveSnapshot(saving(1, b"behind", stream="t"))

    await events.DeleteStream(keeping_pb2.DeleteStreamRequest(stream="s", expected_revision=1))
    await events.RedactEvent(keeping_pb2.RedactEventRequest(position=4, reason="an address"))

    error = await refusal(snapshots.SaveSnapshot(saving(1, b"again")))
    await owner.execute("ALTER TABLE events.snapshots NO FORCE ROW LEVEL SECURITY")
    rows = await owner.fetch("SELECT content FROM events.snapshots")
    assert error.reason == "SNAPSHOT_REVISION_NOT_FOUND"
    assert [row["content"] for row in rows] == [b"before"]
    assert await loaded(snapshots) == (None, [])


SAVE = "SELECT events.save_snapshot('default', 's', 1, 2, 0, false, 'i', '', $1, 'state', 2)"
DELETE = """
    SELECT events.change_stream(
        'default', 's', 3, now(), '', 2, NULL, false, NULL, NULL, NULL, true, false, NULL
    )
"""
LEFT = "SELECT count(*) FROM events.snapshots"


async def somebody_waits(owner: asyncpg.Connection) -> None:
    async def waits() -> bool:
        return bool(await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await eventually(waits)


async def test_a_snapshot_that_is_being_saved_goes_with_its_stream(
    events: "EventStoreServiceAsyncStub", owner: asyncpg.Connection
) -> None:
    await events.Append(append_of("s", "s"))

    async with owner.transaction():
        assert await owner.fetchval(SAVE, bytes(32))
        deletion = keeping_pb2.DeleteStreamRequest(stream="s")
        deleting = asyncio.ensure_future(events.DeleteStream(deletion))
        await somebody_waits(owner)
    await deleting

    assert await owner.fetchval(LEFT) == 0


async def test_no_snapshot_is_saved_of_a_stream_that_is_being_deleted(
    events: "EventStoreServiceAsyncStub",
    snapshots: "SnapshotServiceAsyncStub",
    owner: asyncpg.Connection,
) -> None:
    await events.Append(append_of("s", "s"))
    await snapshots.SaveSnapshot(saving(0))

    async with owner.transaction():
        await owner.execute(DELETE)
        saving_late = asyncio.ensure_future(snapshots.SaveSnapshot(saving(1, b"state")))
        await somebody_waits(owner)
    answer = await saving_late

    assert not answer.kept
    assert await owner.fetchval(LEFT) == 0
