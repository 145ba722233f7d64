"""Payloads that rules hide leave the disk, by the one role that may take them, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import grpc
import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.ids import TenantId
from services.events import record
from services.events.postgres import taking
from services.events.postgres.isolation import ROLE
from services.events.settings import Settings
from tests.contract.calling import read
from tests.events.serving import eventually

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

    Events = EventStoreServiceAsyncStub
else:
    Events = Any

pytestmark = pytest.mark.timeout(240)

TENANT = TenantId("default")
LEFT = "SELECT count(*) FROM events.records WHERE payload IS NOT NULL"


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    yield connection
    await connection.close()


async def fill(events: Events, count: int, stream: str = "s") -> None:
    sent = [
        pb.Event(id=str(uuid4()), stream=stream, type="happened", json=f'{{"n":{n}}}', tags=["t"])
        for n in range(count)
    ]
    await events.Append(pb.AppendRequest(events=sent))


async def retain(events: Events, **parts: Any) -> None:
    retention = keeping_pb.Retention(**parts)
    await events.SetStreamRetention(
        keeping_pb.SetStreamRetentionRequest(stream="s", retention=retention)
    )


async def leaves(owner: asyncpg.Connection) -> dict[int, bytes]:
    """The leaf digest of each position."""
    rows = await owner.fetch(
        "SELECT position, header || coalesce(payload, '') AS record, digest FROM events.records"
    )
    return {row["position"]: record.leaf_digest(row["record"], row["digest"]) for row in rows}


async def test_payloads_that_are_gone_leave_the_disk_and_nothing_else_does(
    events: Events, owner: asyncpg.Connection
) -> None:
    await fill(events, 1_200)
    await fill(events, 3, "other")
    before = await leaves(owner)
    await retain(events, max_count=100)
    await events.RedactEvent(keeping_pb.RedactEventRequest(position=1_200, reason="r"))

    async def is_taken() -> bool:
        return bool(await owner.fetchval(LEFT) == 99 + 3 + 2)

    await eventually(is_taken)

    after = await leaves(owner)
    assert {position: after[position] for position in before} == before
    events_read = await read(events, pb.ReadRequest(include_gone=True))
    assert [e.position for e in events_read] == list(range(1, 1_206))
    assert [e.position for e in events_read if e.HasField("gone")] == [*range(1, 1_101), 1_200]
    assert {e.gone.reason for e in events_read[:1_100]} == {keeping_pb.GONE_REASON_RETENTION}
    assert events_read[1_199].gone.reason == keeping_pb.GONE_REASON_REDACTED
    assert events_read[0].event.tags == ["t"]
    kept = [e.position for e in await read(events, pb.ReadRequest(stream="s"))]
    assert kept == list(range(1_101, 1_201))
    digests = await owner.fetch(
        "SELECT header, digest, payload_digest FROM events.records WHERE payload IS NULL"
    )
    for header, digest, payload_digest in digests:
        event = pb.RecordedEvent.FromString(header).event
        serialized = event.SerializeToString(deterministic=True)
        assert record.event_digest(serialized, payload_digest) == digest


async def test_what_was_taken_does_not_come_back_when_the_rule_is_relaxed(
    events: Events, owner: asyncpg.Connection
) -> None:
    await fill(events, 5)
    await retain(events, truncate_before=3)

    async def is_taken() -> bool:
        return bool(await owner.fetchval(LEFT) == 2 + 1)

    await eventually(is_taken)
    await retain(events)

    events_read = await read(events, pb.ReadRequest())
    assert [e.position for e in events_read if e.event.stream == "s"] == [4, 5]
    gone = await read(events, pb.ReadRequest(stream="s", include_gone=True))
    assert [e.HasField("gone") for e in gone] == [True, True, True, False, False]


async def test_what_lapsed_stays_gone_however_late_it_is_taken(
    events: Events, owner: asyncpg.Connection
) -> None:
    async def gone_by() -> list[int]:
        events_read = await read(events, pb.ReadRequest(stream="s", include_gone=True))
        return [e.gone.position for e in events_read]

    async def is_taken() -> bool:
        return bool(await owner.fetchval(LEFT + " AND stream = 1") == 2)

    await fill(events, 4)
    # The keeper has no turn.
    turn = "('events.kept_logs'::regclass::oid::integer, log::integer) FROM events.logs"
    await owner.execute(f"SELECT pg_advisory_lock{turn}")
    await retain(events, max_count=3)
    await fill(events, 1)
    await retain(events, truncate_before=3)
    await retain(events, max_age_s=3_600)
    await fill(events, 1)
    await owner.execute(
        "SET session_replication_role = replica;"
        " UPDATE events.records SET recorded_at = recorded_at - interval '1 day' WHERE revision < 4"
    )
    await retain(events)

    assert await gone_by() == [5, 5, 7, 8, 0, 0]
    assert [e.revision for e in await read(events, pb.ReadRequest(stream="s"))] == [4, 5]
    await owner.execute(f"SELECT pg_advisory_unlock{turn}")
    await retain(events)
    await eventually(is_taken)
    assert await gone_by() == [5, 5, 7, 8, 0, 0]


@pytest.mark.parametrize("is_taken_each_time", [True, False])
async def test_what_is_gone_says_what_came_first_whenever_it_is_taken(
    events: Events, owner: asyncpg.Connection, is_taken_each_time: bool
) -> None:
    turn = "('events.kept_logs'::regclass::oid::integer, log::integer) FROM events.logs"

    async def is_taken() -> bool:
        return bool(await owner.fetchval(LEFT + " AND stream = 1") == 0)

    async def taken() -> None:
        if is_taken_each_time:
            await eventually(is_taken)

    await fill(events, 3)
    if not is_taken_each_time:
        await owner.execute(f"SELECT pg_advisory_lock{turn}")
    redacted = await events.RedactEvent(keeping_pb.RedactEventRequest(position=1, reason="r"))
    await retain(events, truncate_before=3)
    await taken()
    await events.DeleteStream(keeping_pb.DeleteStreamRequest(stream="s"))
    await fill(events, 1)
    deleted = await events.DeleteStream(keeping_pb.DeleteStreamRequest(stream="s"))
    await taken()
    await fill(events, 1)
    tombstoned = await events.TombstoneStream(keeping_pb.TombstoneStreamRequest(stream="s"))
    gone = await read(events, pb.ReadRequest(stream="s", include_gone=True))
    if not is_taken_each_time:
        await owner.execute(f"SELECT pg_advisory_unlock{turn}")
    await eventually(is_taken)

    by = [redacted.position, 5, 5, deleted.position, tombstoned.position]
    assert [e.gone.position for e in gone] == by
    assert [e.gone.reason for e in gone] == [3, 1, 1, 2, 2]
    assert await read(events, pb.ReadRequest(stream="s", include_gone=True)) == gone
    assert await read(events, pb.ReadRequest(stream="s")) == []


async def test_several_who_take_at_once_take_each_payload_once(
    events: Events, owner: asyncpg.Connection, settings: Settings
) -> None:
    await fill(events, 1_600)
    await owner.execute(
        "INSERT INTO events.kept_logs (log, tenant) SELECT log, tenant FROM events.logs;"
        "INSERT INTO events.stream_rules (log, stream, max_count, retention_position,"
        " retention_at, retention_by) SELECT log, 1, 10, 1, now(), '' FROM events.logs"
    )
    async with AsyncExitStack() as stack:
        takers = [
            await stack.enter_async_context(taking.opened(settings, record.payload_digest))
            for _ in range(3)
        ]

        async def take(taker: taking.Taking) -> int:
            count = 0
            for _ in range(200):
                count += await taker.take_of_stream(TENANT, 1)
            return count

        assert sum(await asyncio.gather(*map(take, takers))) == 1_590
    assert await owner.fetchval(LEFT) == 10


REFUSED = [
    (ROLE, "UPDATE events.records SET payload = NULL, payload_digest = sha256('')"),
    (ROLE, "UPDATE events.redactions SET is_taken = true"),
    (ROLE, "DELETE FROM events.records"),
    (taking.ROLE, "INSERT INTO events.records (log, position) VALUES (1, 9)"),
    (taking.ROLE, "INSERT INTO events.stream_rules (log, stream) VALUES (1, 9)"),
    (taking.ROLE, "SELECT events.append('default', 1, now(), '{}', '{}', '{}')"),
    (taking.ROLE, "UPDATE events.records SET digest = sha256('')"),
    (taking.ROLE, "UPDATE events.records SET payload = 'other'"),
    (taking.ROLE, "UPDATE events.records SET header = header"),
    (taking.ROLE, "UPDATE events.stream_rules SET max_age_s = 1"),
    (taking.ROLE, "DELETE FROM events.records"),
]


@pytest.mark.parametrize(("role", "statement"), REFUSED)
async def test_no_role_may_do_what_is_the_others_part(
    events: Events, owner: asyncpg.Connection, role: str, statement: str
) -> None:
    await fill(events, 1)
    await owner.execute(f"SET ROLE {role}")
    await owner.execute("SELECT set_config('girih.tenant', 'default', false)")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute(statement)


async def test_the_keeper_sees_no_record_before_it_tells_a_tenant(
    events: Events, owner: asyncpg.Connection
) -> None:
    await fill(events, 1)
    await events.DeleteStream(keeping_pb.DeleteStreamRequest(stream="s"))
    await owner.execute(f"SET ROLE {taking.ROLE}")

    assert await owner.fetchval("SELECT count(*) FROM events.kept_logs") == 1
    for table in ("logs", "records", "stream_rules", "redactions"):
        assert await owner.fetchval(f"SELECT count(*) FROM events.{table}") == 0


async def test_an_event_that_is_too_old_by_now_is_in_nobodys_way(
    events: Events, owner: asyncpg.Connection
) -> None:
    def named_ada() -> pb.AppendRequest:
        event = pb.Event(stream="u", type="named", tags=["name:ada"])
        wanted = pb.NoMatch(filter=pb.Filter(queries=[pb.Query(tags=["t"])]))
        return pb.AppendRequest(events=[event], preconditions=[pb.Precondition(no_match=wanted)])

    await fill(events, 3)
    await retain(events, max_age_s=3_600)
    with pytest.raises(grpc.aio.AioRpcError):
        await events.Append(named_ada())

    # Hidden by its age, of which nobody is told when it comes to be.
    await owner.execute(
        "SET session_replication_role = replica;"
        " UPDATE events.records SET recorded_at = recorded_at - interval '1 day'"
    )

    await events.Append(named_ada())
