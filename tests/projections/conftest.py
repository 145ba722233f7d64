"""A log to project, in a whole event store in this process, and a database to keep it in."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from girih.client import EventStoreClient
from girih.projection import PoisonPolicy
from girih.projections.v1.indicators_pb2_grpc import IndicatorServiceStub
from girih.projections.v1.lattices_pb2_grpc import LatticeViewServiceStub
from girih.projections.v1.projections_pb2_grpc import ProjectionServiceStub
from services.events.app import built
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from services.projections.app import built as projections_built
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.registry import all_projections
from services.projections.shipped.all import shipped
from tests.authority import Authority
from tests.events.serving import development, until_serving
from tests.projections.indicators.declared import INDICATORS
from tests.projections.running import Shop, opened, projection_settings

if TYPE_CHECKING:
    from girih.projections.v1.indicators_pb2_grpc import IndicatorServiceAsyncStub
    from girih.projections.v1.lattices_pb2_grpc import LatticeViewServiceAsyncStub
    from girih.projections.v1.projections_pb2_grpc import ProjectionServiceAsyncStub


@pytest.fixture
def database_url(migrated_url: str) -> str:
    """One that has the schema."""
    return migrated_url


@pytest.fixture
async def events_address(database_url: str, authority: Authority) -> AsyncIterator[str]:
    settings = development(database_url, authority)
    async with built(settings) as server, running(server, "127.0.0.1:0") as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def channel(events_address: str, authority: Authority) -> AsyncIterator[grpc.aio.Channel]:
    """To the event store, for the tenant "default"."""
    async with open_channel(events_address, bearer=authority.bearer) as channel:
        await until_serving(channel)
        yield channel


@pytest.fixture
def log(channel: grpc.aio.Channel) -> EventStoreClient:
    """The log of the tenant "default"."""
    return EventStoreClient(channel)


@pytest.fixture
async def store(database_url: str, authority: Authority) -> AsyncIterator[PostgresProjectionStore]:
    async with opened(database_url, authority, [Shop()]) as database:
        yield PostgresProjectionStore(database)


@pytest.fixture
def shop() -> Shop:
    """What is projected beside what girih ships."""
    return Shop(PoisonPolicy.STOP)


@pytest.fixture
async def projections_channel(
    database_url: str, events_address: str, authority: Authority, shop: Shop
) -> AsyncIterator[grpc.aio.Channel]:
    """To the whole process that runs projections, for a user of the tenant "default"."""
    settings = projection_settings(
        database_url,
        authority,
        PROJECTIONS_EVENTS_ADDRESS=events_address,
        PROJECTIONS_TENANTS_INTERVAL_S="0.05",
        PROJECTIONS_ATTEMPT_COUNT_MAX="2",
        PROJECTIONS_RETRY_PAUSE_S_MAX="0.01",
    )
    all_of_them = all_projections([*shipped(INDICATORS), shop], ())
    async with (
        projections_built(settings, all_of_them, INDICATORS) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        yield channel


@pytest.fixture
def projections(projections_channel: grpc.aio.Channel) -> "ProjectionServiceAsyncStub":
    return ProjectionServiceStub(projections_channel)


@pytest.fixture
def indicators(projections_channel: grpc.aio.Channel) -> "IndicatorServiceAsyncStub":
    return IndicatorServiceStub(projections_channel)


@pytest.fixture
def lattices(projections_channel: grpc.aio.Channel) -> "LatticeViewServiceAsyncStub":
    return LatticeViewServiceStub(projections_channel)
