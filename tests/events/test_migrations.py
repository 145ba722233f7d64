"""What a database holds when it is migrated is carried over, or refused and left as it is."""

from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from girih.ids import Position, Revision, StreamName, TenantId
from services.events.domain import LogState, StreamHead
from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.events.settings import Settings
from services.plumbing.postgres.migrations import MigrationRefused, migrate
from tests.events.serving import opened, store_of

_AS_OF_0003 = """
    INSERT INTO events.logs (tenant, head) VALUES ('acme', 2), ('globex', 0);
    INSERT INTO events.streams (log, stream, name)
    SELECT log, 1, 's' FROM events.logs WHERE head = 2;
    INSERT INTO events.records (
        log, position, stream, revision, recorded_at, event_id, type, correlation_id, digest,
        leaf_digest, header, payload
    )
    SELECT log, n, 1, n - 1, now(), gen_random_uuid(), 'happened', 'c-1', sha256('d'),
        sha256('l'), decode('0801', 'hex'), decode('2a00', 'hex')
    FROM events.logs CROSS JOIN generate_series(1, 2) AS n
    WHERE head = 2;
"""


@pytest.fixture
def database_url(empty_url: str) -> str:
    """An empty one."""
    return empty_url


@pytest.fixture
async def at_0003(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that was filled by a version whose last revision was 0003."""
    package = tmp_path / "earlier_revisions"
    package.mkdir()
    for file in files(MIGRATIONS).iterdir():
        if file.name.endswith(".sql") and file.name < "0004":
            (package / file.name).write_text(file.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    await migrate(database_url, package.name, schema=SCHEMA)
    connection = await asyncpg.connect(database_url)
    await connection.execute(_AS_OF_0003)
    yield connection
    await connection.close()


@pytest.mark.usefixtures("at_0003")
async def test_events_of_0003_are_found_and_appended_to(settings: Settings) -> None:
    async with opened(settings) as database:
        store = store_of(database)

        acme, globex, stream = TenantId("acme"), TenantId("globex"), StreamName("s")
        assert await store.log(acme).state([stream]) == LogState(
            Position(2), {stream: StreamHead(Position(1), Revision(1))}
        )
        assert ((await store.end(acme)).head, (await store.end(globex)).head) == (2, 0)


@pytest.mark.parametrize("head", [1, 3])
async def test_heads_that_the_records_belie_are_refused_and_left_as_they_are(
    at_0003: asyncpg.Connection, database_url: str, head: int
) -> None:
    await at_0003.execute("UPDATE events.logs SET head = $1 WHERE head = 2", head)

    with pytest.raises(MigrationRefused, match=rf"has head {head} and its last record at 2"):
        await migrate(database_url, MIGRATIONS, schema=SCHEMA)

    assert await at_0003.fetchval("SELECT max(head) FROM events.logs") == head
