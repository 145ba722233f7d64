"""The store keeps its promises on a real PostgreSQL."""

import asyncio

import asyncpg
import pytest

from girih.ids import Position, Revision, StreamName, TenantId
from services.events.domain import NO_STREAM, LogState, StoredEvent, StreamHead
from services.events.postgres.database import Database
from services.events.postgres.store import PostgresEventStore
from services.events.settings import Settings
from services.events.store import Log, RecordBatch, WriteResult
from services.plumbing.postgres.failures import UnsafeDatabase
from tests.authority import Authority
from tests.events.making import NOW, event_id, new_event, placed_event, record_batch
from tests.events.serving import eventually, opened, production, store_of

ACME = TenantId("acme")


def placed(head: int, *streams: str, first_id: int = 0) -> RecordBatch:
    """The next events behind `head`, the first of each stream at revision 0."""
    revisions = dict.fromkeys(streams, -1)
    firsts: dict[str, int] = {}
    result = []
    for number, stream in enumerate(streams, 1):
        revisions[stream] += 1
        first = firsts.setdefault(stream, head + number)
        event = new_event(stream, with_id=event_id((first_id or head) + number))
        result.append(placed_event(event, head + number, revisions[stream], first))
    return record_batch(result, [f"record {one.position}".encode() for one in result])


async def write(log: Log, head: int, *streams: str, first_id: int = 0) -> WriteResult:
    return await log.write(Position(head), placed(head, *streams, first_id=first_id))


async def test_a_log_is_empty_before_its_first_event(store: PostgresEventStore) -> None:
    assert (await store.end(ACME)).head == 0
    assert await store.log(ACME).state([StreamName("a")]) == LogState(
        Position(0), {StreamName("a"): NO_STREAM}
    )


async def test_state_tells_head_and_last_revisions(store: PostgresEventStore) -> None:
    log = store.log(ACME)
    await log.state([])
    await write(log, 0, "a", "b", "a")

    assert await log.state([StreamName("a"), StreamName("b"), StreamName("c")]) == LogState(
        Position(3),
        {
            StreamName("a"): StreamHead(Position(1), Revision(1)),
            StreamName("b"): StreamHead(Position(2), Revision(0)),
            StreamName("c"): NO_STREAM,
        },
    )
    assert await log.state([]) == LogState(Position(3), {})
    assert (await store.end(ACME)).head == 3


async def test_writes_nothing_when_the_head_has_moved(store: PostgresEventStore) -> None:
    log = store.log(ACME)
    await log.state([])
    await write(log, 0, "a", "a")

    assert await write(log, 1, "b", first_id=50) is WriteResult.HEAD_MOVED
    assert await log.state([StreamName("b")]) == LogState(Position(2), {StreamName("b"): NO_STREAM})


async def test_writes_nothing_when_one_of_the_ids_is_stored(store: PostgresEventStore) -> None:
    log = store.log(ACME)
    await log.state([])
    await write(log, 0, "a", "b")

    assert await write(log, 2, "d", "e", first_id=1) is WriteResult.ID_STORED
    assert await log.state([StreamName("d"), StreamName("e")]) == LogState(
        Position(2), {StreamName("d"): NO_STREAM, StreamName("e"): NO_STREAM}
    )


async def test_writes_nothing_when_a_stream_that_begins_is_stored(
    store: PostgresEventStore,
) -> None:
    log = store.log(ACME)
    await log.state([])
    await write(log, 0, "a", "b")

    assert await write(log, 2, "c", "a", first_id=50) is WriteResult.STREAM_STORED
    assert await log.state([StreamName("c")]) == LogState(Position(2), {StreamName("c"): NO_STREAM})


async def test_finds_where_ids_are_and_leaves_out_the_rest(store: PostgresEventStore) -> None:
    log = store.log(ACME)
    await log.state([])
    batch = placed(0, "a", "a")
    await log.write(Position(0), batch)

    assert await log.find([event_id(2), event_id(9)]) == {
        event_id(2): StoredEvent(Position(2), Revision(1), NOW, batch.placed[1].event.digest)
    }


async def test_tenants_share_neither_positions_nor_streams_nor_ids(
    store: PostgresEventStore,
) -> None:
    ours, theirs = store.log(ACME), store.log(TenantId("globex"))
    await ours.state([])
    await theirs.state([])
    await write(ours, 0, "a", "a")

    assert await theirs.state([StreamName("a")]) == LogState(
        Position(0), {StreamName("a"): NO_STREAM}
    )
    assert await theirs.find([event_id(1)]) == {}
    assert await write(theirs, 0, "a") is WriteResult.WRITTEN
    assert (await store.end(ACME)).head == 2


async def test_what_is_written_under_the_lock_is_gone_when_the_block_fails(
    store: PostgresEventStore,
) -> None:
    log = store.log(ACME)
    await log.state([])

    async def fail_after_writing() -> None:
        async with log.locked() as view:
            assert await view.write(Position(0), placed(0, "a")) is WriteResult.WRITTEN
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_writing()

    assert (await store.end(ACME)).head == 0


async def test_nobody_appends_while_a_log_is_locked(store: PostgresEventStore) -> None:
    log = store.log(ACME)
    await log.state([])

    async with log.locked() as view:
        late = asyncio.create_task(write(log, 0, "b", first_id=50))
        await asyncio.sleep(0.1)
        assert not late.done()
        await view.write(Position(0), placed(0, "a"))

    assert await late is WriteResult.HEAD_MOVED


async def test_nobody_waits_for_the_turn_of_another_tenant(store: PostgresEventStore) -> None:
    ours, theirs = store.log(ACME), store.log(TenantId("globex"))
    await ours.state([])
    await theirs.state([])

    async with ours.locked():
        assert await write(theirs, 0, "a") is WriteResult.WRITTEN


async def test_turns_come_in_the_order_of_asking(
    store: PostgresEventStore, settings: Settings
) -> None:
    log = store.log(ACME)
    await log.state([])
    observer = await asyncpg.connect(settings.database_url.get_secret_value())
    turns: list[int] = []

    async def take_turn(number: int) -> None:
        async with log.locked():
            turns.append(number)

    async def waiting() -> int:
        count = await observer.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(count)

    async with asyncio.TaskGroup() as group, log.locked():
        for number in range(5):
            group.create_task(take_turn(number))

            async def waits(count: int = number + 1) -> bool:
                return await waiting() == count

            await eventually(waits)
    await observer.close()

    assert turns == [0, 1, 2, 3, 4]


async def test_appends_take_turns_whatever_isolation_the_database_prefers(
    database_url: str, settings: Settings
) -> None:
    owner = await asyncpg.connect(database_url)
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    await owner.close()

    async with opened(settings) as database:
        await test_nobody_appends_while_a_log_is_locked(store_of(database))


async def test_an_append_that_commits_late_never_appears_below_a_later_one(
    store: PostgresEventStore, settings: Settings
) -> None:
    log = store.log(ACME)
    await log.state([])
    await write(log, 0, "a")
    other = await asyncpg.connect(settings.database_url.get_secret_value())
    late = other.transaction()
    await late.start()
    await other.execute("SELECT events.take_turn('acme')")
    await other.execute(
        "INSERT INTO events.records (log, position, stream, revision, recorded_at, event_id, type,"
        " correlation_id, digest, header, payload)"
        " SELECT log, 2, 2, 0, recorded_at, gen_random_uuid(), type,"
        " correlation_id, digest, header, payload FROM events.records"
    )

    meanwhile = asyncio.create_task(write(log, 1, "b", first_id=50))
    await asyncio.sleep(0.1)
    seen_before = (
        (await store.end(ACME)).head,
        (await log.state([StreamName("b")])).streams[StreamName("b")],
    )
    await late.commit()
    await other.close()

    assert seen_before == (1, NO_STREAM)
    assert await meanwhile is WriteResult.HEAD_MOVED
    assert await write(log, 2, "b", first_id=50) is WriteResult.WRITTEN


async def test_an_append_leaves_no_old_version_of_any_row(
    store: PostgresEventStore, settings: Settings
) -> None:
    log = store.log(ACME)
    for head in range(20):
        await log.state([])
        await write(log, head, "a" if head == 0 else f"s-{head}")
    observer = await asyncpg.connect(settings.database_url.get_secret_value())

    async def is_counted() -> bool:
        # A session hands in its counts when it has been idle for a moment, or now and then.
        await observer.execute("SELECT pg_stat_clear_snapshot()")
        return bool(await observer.fetchval(_INSERTED) >= 20)

    await eventually(is_counted)
    versions = await observer.fetch(_VERSIONS)
    await observer.close()

    assert [tuple(row) for row in versions] == []


_INSERTED = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 'events.records'::regclass"
_VERSIONS = """
    SELECT relname, n_tup_upd, n_tup_del, n_dead_tup
    FROM pg_stat_user_tables
    WHERE schemaname = 'events' AND n_tup_upd + n_tup_del + n_dead_tup > 0
        AND relname <> 'schema_revision'
"""


async def test_a_payload_goes_only_where_its_digest_stays(
    store: PostgresEventStore, settings: Settings
) -> None:
    await store.log(ACME).state([])
    await write(store.log(ACME), 0, "a")
    owner = await asyncpg.connect(settings.database_url.get_secret_value())
    await owner.execute("ALTER TABLE events.records DISABLE TRIGGER ALL")
    take_away = "UPDATE events.records SET payload = NULL, payload_digest = $1"

    for kept in (None, b"short"):
        with pytest.raises(asyncpg.CheckViolationError, match="records_payload_or_its_digest"):
            await owner.execute(take_away, kept)
    await owner.execute(take_away, bytes(32))
    with pytest.raises(asyncpg.CheckViolationError, match="records_payload_or_its_digest"):
        await owner.execute("UPDATE events.records SET payload = 'again'")
    await owner.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events.records SET payload = NULL",
        "DELETE FROM events.records",
        "TRUNCATE events.records",
        "UPDATE events.streams SET name = 'b'",
        "DELETE FROM events.streams",
        "TRUNCATE events.streams",
    ],
)
async def test_history_cannot_be_rewritten(
    store: PostgresEventStore, settings: Settings, statement: str
) -> None:
    log = store.log(ACME)
    await log.state([])
    await write(log, 0, "a")
    owner = await asyncpg.connect(settings.database_url.get_secret_value())

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement)

    await owner.close()


@pytest.mark.parametrize("length", [0, 1, 2, 7, 40])
async def test_finds_the_revision_at_any_position(store: PostgresEventStore, length: int) -> None:
    log = store.log(ACME)
    await log.state([])
    streams = ["a" if number % 3 == 2 else "other" for number in range(3 * length)]
    positions = [number + 1 for number, stream in enumerate(streams) if stream == "a"]
    if streams:
        await write(log, 0, *streams)

    outcome = [
        await store.revision_at(ACME, StreamName("a"), Position(position))
        for position in range(1, 3 * length + 3)
    ]

    assert outcome == [
        sum(before < position for before in positions) for position in range(1, 3 * length + 3)
    ]


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_tells_where_a_stream_begins_and_ends_and_when(
    store: PostgresEventStore, length: int
) -> None:
    log = store.log(ACME)
    await log.state([])
    await write(log, 0, *["a"] * length)

    ends = await store.stream_ends(ACME, StreamName("a"))

    assert ends is not None
    assert (ends.first_position, ends.created_at) == (1, NOW)
    assert (ends.last_position, ends.last_revision) == (length, length - 1)
    assert ends.updated_at == NOW


async def test_a_stream_without_events_has_no_ends(store: PostgresEventStore) -> None:
    assert await store.stream_ends(ACME, StreamName("a")) is None


async def test_a_database_that_lies_about_durability_is_refused_in_production(
    database_url: str, authority: Authority
) -> None:
    with pytest.raises(UnsafeDatabase, match="fsync, full_page_writes, synchronous_commit is off"):
        await Database(production(database_url, authority)).keep_open()


async def test_status_tells_how_the_pool_is_used(database: Database) -> None:
    async with database.connection():
        status = await database.status()

    assert status.latency_ms is not None
    assert status.latency_ms > 0
    assert status.server_version[0].isdigit()
    assert (status.pool_size, status.pool_idle, status.pool_waiting) == (2, 1, 0)


async def test_status_counts_who_waits_for_a_connection(database: Database) -> None:
    release = asyncio.Event()

    async def use() -> None:
        async with database.connection():
            await release.wait()

    users = [asyncio.create_task(use()) for _ in range(13)]

    async def three_wait() -> bool:
        return database.pool_waiting == 3

    await eventually(three_wait)
    release.set()
    await asyncio.gather(*users)
    assert database.pool_waiting == 0
