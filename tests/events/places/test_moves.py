"""A log that moves from one database to another is the same there, and is in one of them only."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn
from unittest.mock import patch

import asyncpg
import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import groups_pb2, keeping_pb2, snapshots_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.groups_pb2_grpc import GroupServiceStub
from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub
from girih.ids import Position, TenantId
from services.events.errors import LogMoved, MoveInterrupted
from services.events.places.mover import move
from services.events.places.moves import Moves
from services.events.places.placing import Placing
from services.events.places.store import CARRIED, DERIVED, Openers
from services.events.postgres.moving import Moving
from services.events.postgres.placed import Location, Places
from services.events.postgres.store import PostgresEventStore
from services.events.settings import DEFAULT_PLACE, Settings
from tests.events.following import following
from tests.events.making import append_of, message
from tests.events.places.conftest import WEST
from tests.events.serving import eventually

if TYPE_CHECKING:
    import grpc.aio

    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

TENANT = TenantId("default")
TABLES = ("streams", "records", *CARRIED)


async def asked(movers: Openers, source: str, goal: str | None) -> None:
    async with movers[source]() as store:
        assert await store.ask(TENANT, goal)


async def moved(movers: Openers, source: str, goal: str) -> None:
    """Have the log be moved, by one process that nobody disturbs."""
    await asked(movers, source, goal)
    assert await move(TENANT, source, movers)


async def tables(settings: Settings, place: str) -> Mapping[str, Sequence[str]]:
    """All that a place holds of the log, but for its number."""
    url = settings.at_places()[place].database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET bytea_output = hex")
        return {
            table: [
                json.dumps({**json.loads(row[0]), "place": ""}, sort_keys=True)
                for row in await connection.fetch(
                    f"SELECT to_jsonb(one) - 'log' FROM events.{table} AS one"
                    " WHERE log = (SELECT log FROM events.logs WHERE tenant = 'default')"
                )
            ]
            for table in TABLES
        }
    finally:
        await connection.close()


def in_order(rows_of: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    return {table: sorted(rows) for table, rows in rows_of.items()}


async def filled(channel: "grpc.aio.Channel") -> "EventStoreServiceAsyncStub":
    """A log with something of each kind."""
    events = EventStoreServiceStub(channel)
    for number in range(3):
        await events.Append(append_of(*[f"case-{one}" for one in range(number, number + 40)]))
    tagged = message("case-1", '{"a": "b"}')
    tagged.tags[:] = ["odd", "large"]
    await events.Append(pb.AppendRequest(events=[tagged]))
    await events.SetStreamRetention(
        keeping_pb2.SetStreamRetentionRequest(stream="case-5", retention={"max_count": 1})
    )
    await events.RedactEvent(keeping_pb2.RedactEventRequest(position=7, reason="asked for"))
    await events.DeleteStream(keeping_pb2.DeleteStreamRequest(stream="case-9"))
    await GroupServiceStub(channel).CreateGroup(
        groups_pb2.CreateGroupRequest(group="g", settings={"lane_count": 3})
    )
    snapshot = snapshots_pb2.SaveSnapshotRequest(
        stream="case-2", revision=1, schema_version=1, json='{"sum": 3}'
    )
    await SnapshotServiceStub(channel).SaveSnapshot(snapshot)
    return events


async def read(events: "EventStoreServiceAsyncStub") -> list[tuple[int, str]]:
    request = pb.ReadRequest()
    return [
        (one.position, one.event.id) async for page in events.Read(request) for one in page.events
    ]


async def test_all_that_belongs_to_a_log_comes_along(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    events = await filled(channel)
    seen, log = await read(events), await end(events)

    await moved(movers, DEFAULT_PLACE, WEST)

    # As it was left behind: payloads may have been taken just before.
    before = await tables(settings, DEFAULT_PLACE)
    assert all(before[table] for table in ("records", "redactions", "group_lanes", "snapshots"))
    assert in_order(await tables(settings, WEST)) == in_order(before)
    assert await read(events) == seen
    assert await end(events) == log
    filtered = pb.ReadRequest(filter=pb.Filter(queries=[pb.Query(tags=["odd"])]))
    assert len([one async for page in events.Read(filtered) for one in page.events]) == 1
    types = await events.ListEventTypes(keeping_pb2.ListEventTypesRequest())
    assert sum(one.event_count for one in types.types) == log[1]


async def end(events: "EventStoreServiceAsyncStub") -> tuple[str, int]:
    log = await events.GetLog(pb.GetLogRequest())
    return log.incarnation, log.head_position


async def test_a_log_moves_to_and_fro_while_it_is_written_and_followed(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    events = EventStoreServiceStub(channel)
    acknowledged: list[str] = []
    is_over = asyncio.Event()

    async def write(stream: str) -> None:
        while not is_over.is_set():
            request = append_of(stream)
            await events.Append(request)
            acknowledged.append(request.events[0].id)

    async with following(events) as follower:
        async with asyncio.TaskGroup() as writers:
            for number in range(4):
                writers.create_task(write(f"s-{number}"))
            await follower.until(20)
            for source, goal in (
                (DEFAULT_PLACE, WEST),
                (WEST, DEFAULT_PLACE),
                (DEFAULT_PLACE, WEST),
            ):
                await moved(movers, source, goal)
                await follower.until(len(follower.received) + 20)
                if source == WEST:
                    await gone(movers, WEST)
            is_over.set()
        await follower.until(len(acknowledged))

    assert follower.positions == list(range(1, len(acknowledged) + 1))
    assert {one.event.id for one in follower.received} == set(acknowledged)


async def gone(movers: Openers, place: str) -> None:
    """Have what was left behind be deleted, as it is once nobody reads it any more."""
    async with movers[place]() as store:
        placed = await store.placed(TENANT)
        assert placed is not None
        while not await store.discard(TENANT, placed.move):
            pass
        assert await store.head(TENANT) == 0


async def test_who_knows_an_old_place_neither_reads_nor_writes_there(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers, places: Places
) -> None:
    events = await filled(channel)
    log = PostgresEventStore(places)
    head = (await log.end(TENANT)).head
    await moved(movers, DEFAULT_PLACE, WEST)
    await events.Append(append_of("s"))

    assert places.guess(TENANT) == DEFAULT_PLACE
    assert (await log.end(TENANT)).head == head + 1
    assert places.guess(TENANT) == WEST


async def test_whoever_looks_for_a_log_ends_a_move_whose_mover_died_in_between(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    events = await filled(channel)
    seen = await read(events)

    with died(Moving, "arrive"):
        await asked(movers, DEFAULT_PLACE, WEST)
        with pytest.raises(MoverDied):
            await move(TENANT, DEFAULT_PLACE, movers)

    assert await read(events) == seen
    await events.Append(append_of("s"))
    async with movers[WEST]() as store:
        assert await store.head(TENANT) == (await end(events))[1] == seen[-1][0] + 1


class MoverDied(Exception):
    """As the process would."""


@contextmanager
def died(of: type, method: str) -> Iterator[None]:
    """Whoever calls that method dies of it."""

    async def die(*_: object, **__: object) -> NoReturn:
        raise MoverDied

    with patch.object(of, method, die):
        yield


@pytest.mark.parametrize("method", ["digest", "exchange", "leave"])
async def test_a_log_stays_when_its_mover_dies_before_it_left_and_the_next_one_goes_on(
    method: str, channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    events = await filled(channel)
    with died(Moving, method):
        await asked(movers, DEFAULT_PLACE, WEST)
        with pytest.raises(MoverDied):
            await move(TENANT, DEFAULT_PLACE, movers)

    await events.Append(append_of("between"))
    await unlocked(movers)
    assert await move(TENANT, DEFAULT_PLACE, movers)

    await events.Append(append_of("behind"))
    assert [stream for stream, _ in await last_two(events)] == ["between", "behind"]


async def last_two(events: "EventStoreServiceAsyncStub") -> list[tuple[str, int]]:
    read = [one async for page in events.Read(pb.ReadRequest()) for one in page.events]
    return [(one.event.stream, one.position) for one in read[-2:]]


async def unlocked(movers: Openers) -> None:
    """As if the lease of a mover had run out."""
    async with movers[DEFAULT_PLACE]() as store:
        placed = await store.placed(TENANT)
        assert placed is not None
        assert await store.renew(TENANT, placed.move, 0)


async def test_a_mover_that_was_overtaken_changes_nothing_more(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    await filled(channel)
    await asked(movers, DEFAULT_PLACE, WEST)
    async with movers[DEFAULT_PLACE]() as source, movers[WEST]() as target:
        first = await source.claim(TENANT, 0.0)
        assert first is not None
        assert await target.begin(TENANT, DEFAULT_PLACE, first.move)
        second = await source.claim(TENANT, 10.0)
        assert second is not None
        assert await target.begin(TENANT, DEFAULT_PLACE, second.move)
        copied = await source.records(TENANT, Position(0), 2**20)
        assert copied is not None

        assert not await target.receive(TENANT, first.move, Position(0), copied)
        assert not await target.exchange(TENANT, first.move, "groups", [], [])
        assert not await source.renew(TENANT, first.move, 10.0)
        assert not await target.begin(TENANT, DEFAULT_PLACE, first.move)
        async with source.held(TENANT, first.move) as is_held:
            assert not is_held
        assert not await source.leave(TENANT, first.move, WEST)


async def test_a_log_is_awaited_by_nobody_where_it_did_not_leave_for(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    await filled(channel)
    await moved(movers, DEFAULT_PLACE, WEST)

    async with movers[DEFAULT_PLACE]() as store:
        left = await store.placed(TENANT)
        assert left is not None
        assert not await store.arrive(TENANT, left.move)
    async with movers[WEST]() as store:
        assert not await store.arrive(TENANT, left.move)
        assert not await store.begin(TENANT, DEFAULT_PLACE, left.move + 1)


async def test_a_copy_that_differs_is_made_anew(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    await filled(channel)
    with died(Moving, "leave"):
        await asked(movers, DEFAULT_PLACE, WEST)
        with pytest.raises(MoverDied):
            await move(TENANT, DEFAULT_PLACE, movers)
    await damaged(settings, WEST)
    await unlocked(movers)

    with pytest.raises(MoveInterrupted, match="differed"):
        await move(TENANT, DEFAULT_PLACE, movers)
    assert await move(TENANT, DEFAULT_PLACE, movers)

    # Whose payload was taken before lies behind the others.
    there = in_order(await tables(settings, WEST))
    assert there["records"] == in_order(await tables(settings, DEFAULT_PLACE))["records"]


async def damaged(settings: Settings, place: str) -> None:
    url = settings.at_places()[place].database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SET session_replication_role = replica;"
            "UPDATE events.records SET payload = 'other' WHERE position = 3"
        )
    finally:
        await connection.close()


async def test_the_rest_of_a_move_that_is_given_up_is_deleted(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers
) -> None:
    events = await filled(channel)
    with died(Moving, "leave"):
        await asked(movers, DEFAULT_PLACE, WEST)
        with pytest.raises(MoverDied):
            await move(TENANT, DEFAULT_PLACE, movers)
    await asked(movers, DEFAULT_PLACE, None)

    moves = Moves(movers, NoInstruments(), 0.01)
    looking = asyncio.create_task(moves.run(WEST))
    async with movers[WEST]() as store:

        async def is_tidy() -> bool:
            return not await store.work(1)

        await eventually(is_tidy)
    looking.cancel()
    await asyncio.wait([looking])

    assert not any((await tables(settings, WEST)).values())
    await events.Append(append_of("s"))


class NoInstruments:
    def looked(self, place: str, *, moving_count: int, copy_count: int) -> None:
        pass

    def counted(self, place: str, log_count: int) -> None:
        pass


async def test_a_log_begins_no_second_time_where_another_database_has_the_name_of_its_place(
    channel: "grpc.aio.Channel", settings: Settings, movers: Openers, places: Places
) -> None:
    await EventStoreServiceStub(channel).Append(append_of("s"))
    await moved(movers, DEFAULT_PLACE, WEST)
    await execute(settings, WEST, "UPDATE events.logs SET tenant = 'another'")
    store = PostgresEventStore(places)

    with pytest.raises(LogMoved, match="place west, whose database does not know it"):
        await store.end(TENANT)
    with pytest.raises(LogMoved, match="place west, whose database does not know it"):
        await Placing(movers, lambda _: None).placement(TENANT)

    await execute(settings, WEST, "UPDATE events.logs SET tenant = 'default'")
    assert (await store.end(TENANT)).head == 1


async def execute(settings: Settings, place: str, statement: str) -> None:
    """Have a place execute a statement, as its owner."""
    url = settings.at_places()[place].database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_place_that_a_process_does_not_know_is_named(places: Places) -> None:
    store = PostgresEventStore(places)
    places.learn(TENANT, Location("nowhere", 3))

    with pytest.raises(Exception, match="nowhere"):
        await store.end(TENANT)


async def test_every_table_of_a_log_is_carried_along_or_made_anew(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'events' AND column_name = 'log'"
        )
    finally:
        await connection.close()

    assert {row["table_name"] for row in rows} - {"logs", "logs_here"} == {*TABLES, *DERIVED}
