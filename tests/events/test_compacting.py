"""The file of records gets shorter once payloads have gone, and no record changes by it."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from services.events.keeping.compactor import Compactor
from services.events.postgres import compacting, taking
from services.events.settings import Settings
from tests.contract.calling import read
from tests.events.serving import eventually

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

    Events = EventStoreServiceAsyncStub
else:
    Events = Any

pytestmark = pytest.mark.timeout(240)

COUNT = 6_000
RECORDS = "SELECT * FROM events.records ORDER BY log, position"
PAGES = "SELECT pg_relation_size('events.records') / 8192"
WITH_PAYLOAD = "SELECT count(*) FROM events.records WHERE payload IS NOT NULL"


class Pages:
    """How many were given back."""

    def __init__(self) -> None:
        self.count = 0

    def given_back(self, page_count: int) -> None:
        self.count += page_count


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    yield connection
    await connection.close()


async def fill(events: Events, stream: str, since: int, count: int) -> None:
    for first in range(since, since + count, 1_000):
        sent = [
            pb.Event(id=str(UUID(int=n + 1)), stream=stream, type="happened", json=f'"{"x" * 500}"')
            for n in range(first, first + 1_000)
        ]
        await events.Append(pb.AppendRequest(events=sent))


async def without_half(events: Events, owner: asyncpg.Connection) -> None:
    """Events of which the first half have lost their payloads."""
    await fill(events, "old", 0, COUNT // 2)
    await fill(events, "new", COUNT // 2, COUNT // 2)
    rule = keeping_pb.Retention(truncate_before=COUNT // 2)
    await events.SetStreamRetention(
        keeping_pb.SetStreamRetentionRequest(stream="old", retention=rule)
    )

    async def is_taken() -> bool:
        return bool(await owner.fetchval(WITH_PAYLOAD) == COUNT // 2 + 1)

    await eventually(is_taken)
    await owner.execute("VACUUM events.records")


async def compact(settings: Settings) -> int:
    """Compact once; how many pages that gave back."""
    pages = Pages()
    async with compacting.opened(settings) as file:
        compactor = Compactor(lambda: compacting.opened(settings), pages, interval_s=3_600)
        await compactor.compact(file)
    return pages.count


async def test_the_file_gets_shorter_and_no_record_changes(
    events: Events, owner: asyncpg.Connection, settings: Settings
) -> None:
    await without_half(events, owner)
    pages = await owner.fetchval(PAGES)
    stored = await owner.fetch(RECORDS)
    seen = await read(events, pb.ReadRequest(include_gone=True))

    given_back = await compact(settings)

    assert given_back > pages // 4
    assert await owner.fetchval(PAGES) < pages - pages // 4
    assert await owner.fetch(RECORDS) == stored
    assert await read(events, pb.ReadRequest(include_gone=True)) == seen
    await fill(events, "new", COUNT, 1_000)
    assert len(await read(events, pb.ReadRequest(stream="new"))) == COUNT // 2 + 1_000


async def test_where_no_room_is_free_nothing_is_moved(
    events: Events, owner: asyncpg.Connection, settings: Settings
) -> None:
    await fill(events, "s", 0, 1_000)
    await owner.execute("VACUUM events.records")
    places = "SELECT ctid::text FROM events.records ORDER BY log, position"
    before = await owner.fetch(places)

    assert await compact(settings) == 0

    assert await owner.fetch(places) == before


async def test_of_two_who_compact_one_leaves_it_to_the_other(
    events: Events, owner: asyncpg.Connection, settings: Settings
) -> None:
    await without_half(events, owner)
    async with owner.transaction():
        await owner.execute(
            "SELECT pg_advisory_xact_lock('events.records'::regclass::oid::integer, 0)"
        )
        assert await compact(settings) == 0
    assert await compact(settings) > 0


async def test_whoever_takes_a_payload_is_waited_for_and_held_up_by_nobody(
    events: Events, owner: asyncpg.Connection, settings: Settings
) -> None:
    await without_half(events, owner)
    async with owner.transaction():
        await owner.execute("SELECT 1 FROM events.records WHERE position = $1 FOR UPDATE", COUNT)
        assert await compact(settings) == 0
    assert await compact(settings) > 0


@pytest.mark.parametrize(
    "change",
    ["log = log + 1", "log = 2"],
)
async def test_whatever_the_compactor_updates_stays_as_it_was(
    events: Events, owner: asyncpg.Connection, change: str
) -> None:
    await fill(events, "s", 0, 1_000)
    stored = await owner.fetch(RECORDS)

    await owner.execute(f"SET ROLE {compacting.ROLE}")
    assert await owner.execute(f"UPDATE events.records SET {change}") == "UPDATE 1000"
    await owner.execute("RESET ROLE")

    assert await owner.fetch(RECORDS) == stored


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (compacting.ROLE, "SELECT payload FROM events.records"),
        (compacting.ROLE, "SELECT event_id FROM events.records"),
        (compacting.ROLE, "UPDATE events.records SET payload = NULL"),
        (compacting.ROLE, "DELETE FROM events.records"),
        (compacting.ROLE, "SELECT tenant FROM events.logs"),
        ("girih_events", "SELECT events.move_records(0, 1)"),
        (taking.ROLE, "SELECT events.move_records(0, 1)"),
    ],
)
async def test_the_compactor_reads_and_changes_nothing_else(
    events: Events, owner: asyncpg.Connection, role: str, statement: str
) -> None:
    await fill(events, "s", 0, 1_000)
    await owner.execute(f"SET ROLE {role}")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute(statement)
