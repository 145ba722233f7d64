"""What operators ask of places, and what a place that is away means for the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.events.v1 import events_pb2 as events_pb
from girih.events.v1 import logs_pb2
from girih.events.v1 import places_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.logs_pb2_grpc import LogServiceStub
from girih.events.v1.places_pb2_grpc import PlaceServiceStub
from services.events.settings import DEFAULT_PLACE, Settings
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.settings import WrongSettings
from tests.authority import Authority
from tests.events.making import append_of
from tests.events.places.conftest import WEST
from tests.events.serving import development, eventually, is_serving

if TYPE_CHECKING:
    from girih.events.v1.places_pb2_grpc import PlaceServiceAsyncStub

Metadata = Sequence[tuple[str, str]]


@pytest.fixture
def settings(database_url: str, other_url: str, authority: Authority) -> Settings:
    """Of a process that moves what it is told to."""
    places = {"EVENTS_PLACES": f"{WEST}={other_url}", "EVENTS_MOVING_INTERVAL_S": "0.05"}
    return development(database_url, authority, **places)


@pytest.fixture
def places(channel: grpc.aio.Channel) -> "PlaceServiceAsyncStub":
    return PlaceServiceStub(channel)


def operator(authority: Authority, tenant: str) -> Metadata:
    return authority.metadata(tenant, scopes=["logs.place", "ops.read"])


async def placed_logs(places: "PlaceServiceAsyncStub") -> dict[str, pb.PlacedLog]:
    page = await places.ListPlacedLogs(pb.ListPlacedLogsRequest())
    assert list(page.places) == [DEFAULT_PLACE, WEST]
    return {log.tenant: log for log in page.logs}


async def reason_of(call: Awaitable[object]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return grpc_errors.from_rpc_error(caught.value).reason


async def test_a_log_is_placed_before_its_first_event_and_moved_behind_it(
    channel: grpc.aio.Channel, places: "PlaceServiceAsyncStub", authority: Authority
) -> None:
    events = EventStoreServiceStub(channel)
    placed, plain = operator(authority, "placed"), operator(authority, "plain")

    answer = await places.PlaceLog(pb.PlaceLogRequest(place=WEST), metadata=placed)
    again = await places.PlaceLog(pb.PlaceLogRequest(place=WEST), metadata=placed)
    for tenant in ("placed", "plain"):
        await events.Append(append_of("s"), metadata=authority.metadata(tenant))

    assert answer.log.place == again.log.place == WEST
    logs = await placed_logs(places)
    assert (logs["placed"].place, logs["placed"].head_position) == (WEST, 1)
    assert (logs["plain"].place, logs["plain"].head_position) == (DEFAULT_PLACE, 1)
    refused = places.PlaceLog(pb.PlaceLogRequest(place=WEST), metadata=plain)
    assert await reason_of(refused) == "LOG_NOT_EMPTY"

    await places.MoveLog(pb.MoveLogRequest(place=WEST), metadata=plain)

    async def has_moved() -> bool:
        return (await placed_logs(places))["plain"].place == WEST

    await eventually(has_moved)
    log = await events.GetLog(events_pb.GetLogRequest(), metadata=authority.metadata("plain"))
    assert log.head_position == 1


async def test_what_makes_no_sense_is_refused_by_name(
    places: "PlaceServiceAsyncStub", authority: Authority
) -> None:
    caller = operator(authority, "acme")
    unknown = places.MoveLog(pb.MoveLogRequest(place="nowhere"), metadata=caller)
    owner = authority.metadata("acme", scopes=["events.append", "events.read", "ops.read"])
    user = places.MoveLog(pb.MoveLogRequest(place=WEST), metadata=owner)

    assert await reason_of(unknown) == "PLACE_UNKNOWN"
    assert await reason_of(user) == "SCOPE_MISSING"


async def test_a_log_that_nobody_has_is_not_made_by_moving_it(
    places: "PlaceServiceAsyncStub", authority: Authority
) -> None:
    mistyped = places.MoveLog(pb.MoveLogRequest(place=WEST), metadata=operator(authority, "amce"))

    assert await reason_of(mistyped) == "LOG_NOT_FOUND"
    assert await placed_logs(places) == {}


async def test_which_databases_places_lead_to_is_told(places: "PlaceServiceAsyncStub") -> None:
    page = await places.ListPlacedLogs(pb.ListPlacedLogsRequest())

    default, west = page.databases
    assert default
    assert west
    assert default != west


@pytest.fixture
async def away(postgres: EmbeddedPostgres, other_url: str) -> AsyncIterator[None]:
    """Nobody reaches the second place, once a test says so."""
    yield
    name = other_url.partition("?")[0].rpartition("/")[2]
    await asyncio.to_thread(
        postgres.execute, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true", database=DATABASE
    )


async def test_a_place_that_is_away_holds_up_nobody_elsewhere(
    away: None,
    channel: grpc.aio.Channel,
    places: "PlaceServiceAsyncStub",
    authority: Authority,
    postgres: EmbeddedPostgres,
    other_url: str,
) -> None:
    events = EventStoreServiceStub(channel)
    there, here = authority.metadata("there"), authority.metadata("here")
    await places.PlaceLog(pb.PlaceLogRequest(place=WEST), metadata=operator(authority, "there"))
    await events.Append(append_of("s"), metadata=there)
    await events.Append(append_of("s"), metadata=here)

    name = other_url.partition("?")[0].rpartition("/")[2]
    for statement in (
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'",
    ):
        await asyncio.to_thread(postgres.execute, statement, database=DATABASE)

    async def is_away() -> bool:
        return not await is_serving(channel, f"place.{WEST}")

    await eventually(is_away)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events.GetLog(events_pb.GetLogRequest(), metadata=there)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await events.Append(append_of("s"), metadata=here)
    assert await is_serving(channel)
    logs = await placed_logs(places)
    assert (logs["there"].place, logs["there"].reachable) == (WEST, False)
    assert (logs["here"].reachable, logs["here"].head_position) == (True, 2)
    listed = await LogServiceStub(channel).ListLogs(logs_pb2.ListLogsRequest())
    assert [log.tenant for log in listed.logs] == ["here"]


@pytest.mark.parametrize(
    ("places", "problem"),
    [
        ("west", "must be a URL|must begin with postgresql://"),
        ("West=postgresql:///a", "names of a-z"),
        ("default=postgresql:///a", "none called default"),
        ("a=postgresql:///a a=postgresql:///b", "each place once"),
    ],
)
def test_places_are_names_and_urls(places: str, problem: str, authority: Authority) -> None:
    with pytest.raises(WrongSettings, match=f"EVENTS_PLACES: .*({problem})"):
        development("postgresql:///a", authority, EVENTS_PLACES=places)


def test_each_place_has_the_settings_of_all_but_its_database(authority: Authority) -> None:
    settings = development(
        "postgresql:///a",
        authority,
        EVENTS_PLACES="west=postgresql:///b\neast=postgresql:///c",
        EVENTS_MIGRATION_PLACES="west=postgresql://owner@/b",
        EVENTS_POOL_SIZE_MAX="7",
    )

    placed_logs = settings.at_places()

    assert list(placed_logs) == [DEFAULT_PLACE, "west", "east"]
    assert [one.migrating_url for one in placed_logs.values()] == [
        "postgresql:///a",
        "postgresql://owner@/b",
        "postgresql:///c",
    ]
    assert {one.pool_size_max for one in placed_logs.values()} == {7}
    assert "postgresql:///b" not in repr(settings)
