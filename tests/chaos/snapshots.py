"""Appends to one log while somebody holds a snapshot, as a dump or a forgotten transaction does.

A held snapshot keeps the old versions of rows alive. Appends must leave none: else each walks
over those of all before it, and so does each read.

The machine has other things to do as well, so that times alone prove little. Each append that is
measured stands beside one to a log in another database, which nobody holds a snapshot of and
which stays small; what counts is how much more the one took in the end than in the beginning,
once the other has told what the machine did. What the database's processes computed tells more
than how long it took, and more still tell the pages that an append looks at.
"""

import json
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from cli.local.postgres import EmbeddedPostgres
from girih.ids import TenantId
from services.events import record
from services.events.appending.committer import Committer, CommitterLimits
from services.events.appending.remembered import RevisionCache
from services.events.postgres.database import APPLICATION_NAME, Database
from services.events.postgres.new_records import NewRecords
from services.plumbing.postgres.sql import load
from tests.authority import Authority
from tests.chaos import unprotected
from tests.events.counting import Counts
from tests.events.making import new_event, placed_event, proposal, record_batch
from tests.events.serving import development, opened, store_of
from tests.processes import authority_of, own_postgres

TENANT = TenantId("busy")
MEASURED = 1_000
"""Appends at the beginning, and at the end."""
_AT_A_TIME = 100
SLOWDOWN_MAX = 1.3


class Cost(NamedTuple):
    """What an append takes, as medians."""

    taken_ms: float
    computed_ms: float
    """By processes of the database."""


async def append_under_a_snapshot(append_count: int, *, is_protected: bool) -> dict[str, float]:
    """The slowdowns of so many appends under a held snapshot, and what they are worked out from.

    Without protection appends count in the log's row, as they once did.
    """
    with own_postgres() as (postgres, folder):
        # What is measured is the database's work, and not how long the disk takes.
        postgres.execute("ALTER ROLE ALL SET synchronous_commit = off")
        urls = postgres.url, _other_database(postgres)
        async with AsyncExitStack() as stack:
            writers = [
                await stack.enter_async_context(_writer(url, authority_of(folder))) for url in urls
            ]
            if not is_protected:
                for url in urls:
                    await unprotected.count_in_the_row(url)
            await stack.enter_async_context(held_snapshot(postgres.url))
            first = await _measure(writers)
            for _ in range(append_count - 2 * MEASURED):
                await writers[0].append()
            last = await _measure(writers)
    answer = {"appends": float(append_count)}
    for name, of in ("time", attrgetter("taken_ms")), ("CPU", attrgetter("computed_ms")):
        costs = {"first": of(first[0]), "last": of(last[0])}
        beside = {"first": of(first[1]), "last": of(last[1])}
        answer |= {f"{name}, {when}, ms": cost for when, cost in costs.items()}
        answer |= {f"{name} beside, {when}, ms": cost for when, cost in beside.items()}
        answer[f"slowdown in {name}"] = (costs["last"] / beside["last"]) / (
            costs["first"] / beside["first"]
        )
    return answer


@asynccontextmanager
async def held_snapshot(database_url: str) -> AsyncIterator[None]:
    """A snapshot of the database, held inside the block."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("SELECT FROM events.logs")
            yield
    finally:
        await connection.close()


async def pages_of_appends(append_count: int, *, is_protected: bool) -> tuple[int, int]:
    """How many pages the first append under a held snapshot looks at, and the last."""
    with own_postgres() as (postgres, folder):
        postgres.execute("ALTER ROLE ALL SET synchronous_commit = off")
        async with _writer(postgres.url, authority_of(folder)) as writer:
            if not is_protected:
                await unprotected.count_in_the_row(postgres.url)
            async with held_snapshot(postgres.url):
                await writer.append()
                first = await writer.pages_of_an_append(1)
                for _ in range(append_count):
                    await writer.append()
                return first, await writer.pages_of_an_append(append_count + 1)


def _other_database(postgres: EmbeddedPostgres) -> str:
    postgres.execute("CREATE DATABASE beside")
    return postgres.url.replace(urlsplit(postgres.url).path, "/beside")


@dataclass(frozen=True)
class _Writer:
    """Appends to a log, and knows the database's processes that do."""

    committer: Committer
    database: Database

    async def append(self) -> None:
        (outcome,) = await self.committer.settle([proposal(new_event("s"))], lambda: True)
        assert not isinstance(outcome, Exception)

    async def computed_ms(self) -> dict[int, float]:
        """What each process behind a connection computed so far."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name = $1"
                " AND datname = current_database()",
                APPLICATION_NAME,
            )
        return {row["pid"]: _computed_ms(row["pid"]) for row in rows}

    async def pages_of_an_append(self, head: int) -> int:
        """How many pages one behind `head` looks at. It is undone."""
        batch = record_batch([placed_event(new_event("measured"), head + 1, 0)], [b"record"])
        (placed,) = batch.placed
        new_records = NewRecords()
        await new_records.add(batch.placed, batch.headers)
        async with self.database.connection() as connection:
            undone = connection.transaction()
            await undone.start()
            plan = await connection.fetchval(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
                + load("services.events.postgres.sql", "append_records"),
                TENANT,
                head,
                batch.recorded_at,
                [placed.stream_number],
                [placed.event.stream],
                new_records,
            )
            await undone.rollback()
        (root,) = json.loads(plan)
        return int(root["Plan"]["Shared Hit Blocks"])


@asynccontextmanager
async def _writer(database_url: str, authority: Authority) -> AsyncIterator[_Writer]:
    async with opened(development(database_url, authority)) as database:
        log = store_of(database).log(TENANT)
        yield _Writer(
            Committer(log, record.encoder_at, Counts(), CommitterLimits(), RevisionCache()),
            database,
        )


def _computed_ms(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def _spent_ms(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    # Too little when the pool closed a connection that was used often: then once, of ten times.
    return sum([end_ms - before.get(pid, 0.0) for pid, end_ms in after.items()])


async def _measure(writers: list[_Writer]) -> list[Cost]:
    """What an append of each costs, taking turns."""
    taken_ms: list[list[float]] = [[] for _ in writers]
    computed_ms: list[list[float]] = [[] for _ in writers]
    for _ in range(MEASURED // _AT_A_TIME):
        before = [await writer.computed_ms() for writer in writers]
        for _ in range(_AT_A_TIME):
            for writer, taken in zip(writers, taken_ms, strict=True):
                began_s = time.perf_counter()
                await writer.append()
                taken.append(1e3 * (time.perf_counter() - began_s))
        for writer, start, computed in zip(writers, before, computed_ms, strict=True):
            computed.append(_spent_ms(start, await writer.computed_ms()) / _AT_A_TIME)
    return [
        Cost(statistics.median(taken), statistics.median(computed))
        for taken, computed in zip(taken_ms, computed_ms, strict=True)
    ]
