"""A database that the projection of documents is kept in."""

from collections.abc import AsyncIterator

import pytest

from services.projections.postgres.store import PostgresProjectionStore
from services.projections.shipped.documents.projection import Documents
from tests.authority import Authority
from tests.projections.running import opened


@pytest.fixture
async def store(database_url: str, authority: Authority) -> AsyncIterator[PostgresProjectionStore]:
    async with opened(database_url, authority, [Documents()]) as database:
        yield PostgresProjectionStore(database)
