"""What a filter finds in the database is what it means of each event, however it is found."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import pytest

from girih.ids import Position, StreamName, TenantId
from services.events.domain import CallContext
from services.events.matching.queries import Filter, Labels, Query
from services.events.postgres.isolation import ROLE
from services.events.postgres.store import PostgresEventStore
from services.events.store import FilteredRequest
from tests.events.making import event_id, new_event, placed_event, record_batch

ACME = TenantId("acme")
STREAMS = ("permit-1", "permit-2", "permit-10", "permit", "order-1", "$own-1", "other.x-1")


@dataclass
class FilledLog:
    """A log in the database, and what it holds."""

    store: PostgresEventStore
    labels: list[Labels] = field(default_factory=list)

    async def append(self, *batch: Labels) -> None:
        head = len(self.labels)
        counts: dict[str, list[int]] = {}
        for position, one in enumerate(self.labels, 1):
            counts.setdefault(one.stream, [position, 0])[1] += 1
        placed = []
        for position, one in enumerate(batch, head + 1):
            first, revision = counts.setdefault(one.stream, [position, 0])
            counts[one.stream][1] += 1
            event = new_event(one.stream, with_id=event_id(position))
            event = event._replace(type=one.type, tags=tuple(one.tags))
            context = CallContext(one.correlation_id, b"")
            placed.append(placed_event(event, position, revision, first)._replace(context=context))
        records = [f"record {one.position}".encode() for one in placed]
        await self.store.log(ACME).write(Position(head), record_batch(placed, records))
        self.labels += batch

    def meant(self, asked: Filter) -> list[int]:
        return [position for position, one in enumerate(self.labels, 1) if asked.matches(one)]

    async def positions_of(
        self, asked: Filter, *, is_backwards: bool = False, start: int = 0, row_count: int = 7
    ) -> list[int]:
        """The positions, page by page."""
        positions: list[int] = []
        start = start or (2**63 - 1 if is_backwards else 1)
        while True:
            request = FilteredRequest(asked, is_backwards, Position(start), row_count, 2**20)
            _, (rows, looked_at, is_end) = await self.store.filtered(ACME, request)
            assert all(record == f"record {position}".encode() for position, record in rows)
            positions += [position for position, _ in rows]
            if is_end:
                return positions
            assert rows or (looked_at < start if is_backwards else looked_at >= start)
            start = looked_at + (-1 if is_backwards else 1)


@pytest.fixture
async def log(store: PostgresEventStore) -> FilledLog:
    await store.log(ACME).state([])
    return FilledLog(store)


def query(
    *,
    types: Sequence[str] = (),
    tags: Sequence[str] = (),
    prefix: str = "",
    category: str = "",
    correlation: str = "",
) -> Query:
    return Query(
        types=frozenset(types),
        tags=frozenset(tags),
        stream_prefix=prefix,
        category=category,
        correlation_id=correlation,
    )


def some_labels(random: random.Random, count: int) -> list[Labels]:
    """Some are common and some are rare."""
    return [
        Labels(
            StreamName(random.choice(STREAMS)),
            random.choice(("opened", "opened", "closed", f"rare {random.randrange(40)}")),
            random.sample(["a", "b", "c", f"t{random.randrange(60)}"], random.randrange(4)),
            f"call-{random.randrange(30)}",
        )
        for _ in range(count)
    ]


FILTERS = {
    "a type": Filter((query(types=["closed"]),)),
    "a rare type": Filter((query(types=["rare 3"]),)),
    "several types": Filter((query(types=["rare 1", "rare 2", "never"]),)),
    "a tag": Filter((query(tags=["a"]),)),
    "several tags": Filter((query(tags=["a", "b", "c"]),)),
    "a tag nobody used": Filter((query(tags=["a", "unused"]),)),
    "a category": Filter((query(category="permit"),)),
    "a category with one stream": Filter((query(category="order"),)),
    "a prefix": Filter((query(prefix="permit-1"),)),
    "a prefix without a hyphen": Filter((query(prefix="o"),)),
    "a prefix that no stream has": Filter((query(prefix="x"),)),
    "a correlation id": Filter((query(correlation="call-7"),)),
    "everything at once": Filter(
        (query(types=["opened"], tags=["a"], prefix="p", category="permit", correlation="call-1"),)
    ),
    "one or the other": Filter(
        (query(types=["rare 3"]), query(tags=["b", "a"]), query(prefix="$"), query(tags=["t5"]))
    ),
}


@pytest.fixture
async def filled(log: FilledLog) -> FilledLog:
    chance = random.Random(7)
    while len(log.labels) < 1_000:
        await log.append(*some_labels(chance, chance.choice((1, 3, 90))))
    return log


async def test_a_filter_finds_what_it_means(filled: FilledLog) -> None:
    for name, asked in FILTERS.items():
        meant = filled.meant(asked)

        assert await filled.positions_of(asked) == meant, name
        assert await filled.positions_of(asked, is_backwards=True) == meant[::-1], name
        assert await filled.positions_of(asked, start=500) == [
            one for one in meant if one >= 500
        ], name
        backwards = await filled.positions_of(asked, start=500, is_backwards=True)
        assert backwards == [one for one in meant[::-1] if one <= 500], name


async def test_a_prefix_of_many_streams_finds_what_it_means(log: FilledLog) -> None:
    streams = [StreamName(f"many-{number % 90:02}") for number in range(300)]
    streams += [StreamName(f"m{number}-1") for number in range(80)]
    await log.append(*[Labels(stream, "happened", (), "c") for stream in streams])

    for prefix in ("many-", "many-1", "many-11", "m", "m1", "", "m79-1"):
        asked = Filter((query(prefix=prefix, types=["happened"]),))
        assert await log.positions_of(asked) == log.meant(asked), prefix
        assert await log.positions_of(asked, is_backwards=True) == log.meant(asked)[::-1], prefix


async def test_a_long_stream_is_found_by_its_prefix(log: FilledLog) -> None:
    await log.append(*[Labels(StreamName("a-1"), "happened", (), "c")] * 450)
    await log.append(*[Labels(StreamName("b-1"), "happened", (), "c")] * 450)

    for prefix in ("a-1", "b"):
        asked = Filter((query(prefix=prefix),))
        assert await log.positions_of(asked, row_count=1_000) == log.meant(asked)
        assert (
            await log.positions_of(asked, row_count=1_000, is_backwards=True)
            == log.meant(asked)[::-1]
        )


async def test_what_matches_nothing_is_looked_through_in_bounded_pages(
    log: FilledLog, database_url: str
) -> None:
    asked = Filter((query(types=["odd"], tags=["even"]),))
    for _ in range(6):
        pair = (
            Labels(StreamName("s"), "odd", (), "c"),
            Labels(StreamName("s"), "other", ("even",), "c"),
        )
        await log.append(*(pair * 1_000))

    request = FilteredRequest(asked, False, Position(1), 100, 2**20)
    _, (rows, looked_at, is_end) = await log.store.filtered(ACME, request)

    assert (rows, is_end) == ([], False)
    assert 5_000 < looked_at < 10_001
    assert await log.positions_of(asked) == []


async def test_nothing_is_found_in_the_log_of_another_tenant(
    filled: FilledLog, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url, server_settings={"role": ROLE})
    find = """
        SELECT cardinality(found.positions)
        FROM set_config('girih.tenant', $1, false) AS setting (tenant)
        CROSS JOIN LATERAL events.find_of_query(
            1, ROW(ARRAY['closed'], '{}', '', '', ''), 1, 1000, false, $2, 100, now() + '1 min'
        ) AS found
        WHERE setting.tenant <> ''
    """

    assert await connection.fetchval(find, "acme", 0) == 100
    for unlabelled in (0, 1_000):
        assert await connection.fetchval(find, "globex", unlabelled) == 0
    await connection.close()


async def test_events_from_before_there_were_labels_are_found(
    filled: FilledLog, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "DELETE FROM events.labels WHERE block < 10;"
        "INSERT INTO events.unlabelled SELECT log, 640 FROM events.logs"
    )
    for name, asked in FILTERS.items():
        meant = filled.meant(asked)
        assert await filled.positions_of(asked) == meant, name
        assert await filled.positions_of(asked, is_backwards=True) == meant[::-1], name

    while await connection.fetchval("SELECT events.fill_labels('acme', 100)"):
        pass
    for name, asked in FILTERS.items():
        assert await filled.positions_of(asked) == filled.meant(asked), name
    await connection.close()
