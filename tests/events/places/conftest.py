"""Two databases for logs, a mover for each, and a replica of the store that knows both."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest

from girih.ids import TenantId
from services.events.places.store import Openers
from services.events.postgres import moving
from services.events.postgres.placed import Places
from services.events.postgres.store import PostgresEventStore
from services.events.settings import DEFAULT_PLACE, Settings
from tests.authority import Authority
from tests.events.serving import development, opened

WEST = "west"


@pytest.fixture
def settings(database_url: str, other_url: str, authority: Authority) -> Settings:
    """Of a process with two places, which moves nothing by itself: the tests do."""
    places = {"EVENTS_PLACES": f"{WEST}={other_url}", "EVENTS_MOVING_INTERVAL_S": "3600"}
    return development(database_url, authority, **places)


@pytest.fixture
def movers(settings: Settings) -> Openers:
    return {place: partial(moving.opened, one) for place, one in settings.at_places().items()}


@pytest.fixture
async def places(settings: Settings, movers: Openers) -> AsyncIterator[Places]:
    """What one replica knows of where logs are."""

    async def arrive(place: str, tenant: TenantId, move: int) -> bool:
        async with movers[place]() as store:
            return await store.arrive(tenant, move)

    async with AsyncExitStack() as stack:
        databases = {
            place: await stack.enter_async_context(opened(one))
            for place, one in settings.at_places().items()
        }
        assert list(databases) == [DEFAULT_PLACE, WEST]
        yield Places(databases, arrive)


@pytest.fixture
def store(places: Places) -> PostgresEventStore:
    return PostgresEventStore(places)
