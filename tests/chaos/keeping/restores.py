"""A disk is lost under load, and the database comes back from a base backup and the log behind it.

Twice: as of a moment, when all must be what it was then (events by the root of their digests,
snapshots, what projections hold), and as late as what was kept goes, when the log must be the lost
one's up to there. Whoever read on behind is told. What was lost, and how long it took, is measured.
"""

import asyncio
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import asyncpg

from cli.archiving.restoring import root_of
from cli.backups import taking
from cli.backups.recovering import Recovered, recover
from cli.backups.repository import Repository
from cli.backups.tools import Tools
from cli.local.postgres import EmbeddedPostgres
from girih.client import BeyondEnd, EventStoreClient, LogReplaced
from girih.client.blocking.client import Client
from girih.client.blocking.transfer import Transfer
from tests.chaos.keeping.load import Load, log_of
from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    own_postgres,
    projections_process,
)

_PROJECTED = "event_types"


class Seen(NamedTuple):
    """What a girih holds, as it tells it."""

    head: int
    root: str
    snapshots: tuple[tuple[str, int, bytes], ...]
    projected: str
    """A hash of what a projection holds, and of its checkpoint."""
    incarnation: str


@dataclass
class Outcome:
    """What happened, and which promises were broken."""

    figures: dict[str, int | float] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)


async def lose_and_restore(event_count: int) -> Outcome:
    """Append so many events before the backup, as many behind it, and as many behind the moment."""
    outcome, load = Outcome(), Load(pause_s=0.0)
    tools = Tools(os.environ)
    with own_postgres() as (postgres, folder):
        repository = Repository(folder / "backups")
        repository.prepare()
        with _archiving(tools, postgres.url, repository):
            async with _girih(postgres.url, folder) as girih:
                await _write(girih, load, event_count)
                backup = await asyncio.to_thread(taking.take_base, tools, postgres.url, repository)
                await _write(girih, load, event_count)
                then, moment = await girih.seen(), await _now(postgres)
                await _write(girih, load, event_count)
                await asyncio.to_thread(postgres.kill)
                lost_s = time.monotonic()
        newest = await asyncio.to_thread(recover, tools, repository, folder / "newest" / "pg")
        await _measure(newest, folder, load, outcome, lost_s=lost_s)
        at_moment = await asyncio.to_thread(
            recover, tools, repository, folder / "then" / "pg", at=moment
        )
        await _compare(at_moment, folder, then, outcome)
    outcome.figures |= {
        "base backup, seconds": backup.duration_s,
        "restored as of a moment, seconds": at_moment.duration_s,
        "restored as late as can be, seconds": newest.duration_s,
    }
    outcome.broken = +outcome.broken
    return outcome


async def _compare(recovered: Recovered, folder: Path, then: Seen, outcome: Outcome) -> None:
    """See that all is as it was at the moment, and that who saw more is told."""
    with EmbeddedPostgres(recovered.data) as postgres:
        async with _girih(postgres.url, folder) as girih:
            now = await girih.seen()
            for name in ("head", "root", "snapshots", "projected"):
                same = getattr(now, name) == getattr(then, name)
                outcome.broken[f"as of the moment there is another {name}"] += not same
            outcome.broken["the incarnation is the old one"] += now.incarnation == then.incarnation
            outcome.broken["who read on was not told"] += not await _is_refused(girih.log, then)


async def _is_refused(log: EventStoreClient, then: Seen) -> bool:
    """Whether a reader is told whose checkpoint lies behind what was restored."""
    behind = then.head + 5
    try:
        async for _ in log.read(from_position=behind, incarnation=then.incarnation):
            return False
    except (LogReplaced, BeyondEnd):
        return True
    return False


async def _measure(
    recovered: Recovered, folder: Path, load: Load, outcome: Outcome, *, lost_s: float
) -> None:
    """How much is lost, and how long it takes until the first append is answered."""
    with EmbeddedPostgres(recovered.data) as postgres:
        async with _girih(postgres.url, folder) as girih:
            head = (await girih.log.log()).head
            await _write(girih, Load(writer_count=1), 1)
            outcome.figures["RTO, seconds until an append is answered"] = round(
                time.monotonic() - lost_s, 1
            )
            positions = {event.id: event.position async for event in girih.log.read()}
    lost = [place for event, place in load.acknowledged.items() if event not in positions]
    moved = [
        place for event, place in load.acknowledged.items() if positions.get(event, place) != place
    ]
    outcome.broken["acknowledged events elsewhere"] += len(moved)
    # Nothing in the middle: what is lost is the end.
    outcome.broken["events lost in the middle"] += bool(lost) and min(lost) <= head
    last = load.acknowledged_at_s[-1]
    kept = sum(1 for place in load.acknowledged.values() if place <= head)
    outcome.figures |= {
        "events acknowledged": len(load.acknowledged),
        "RPO, events": len(lost),
        "RPO, seconds": round(last - load.acknowledged_at_s[kept - 1], 3) if kept else -1.0,
    }


@dataclass
class _Girih:
    """Services on a database, as one tenant calls them."""

    log: EventStoreClient
    address: str
    caller: Caller
    database_url: str

    async def seen(self) -> Seen:
        log = await self.log.log()
        projected = await self._projected(log.head)
        root, snapshots = await asyncio.to_thread(self._carried, log.head)
        return Seen(log.head, root, snapshots, projected, log.incarnation)

    def _carried(self, head: int) -> tuple[str, tuple[tuple[str, int, bytes], ...]]:
        with Client(events=self.address, token=self.caller.token) as girih:
            transfer = Transfer.of(girih)
            snapshots = tuple(
                (one.stream, one.snapshot.revision, one.snapshot.binary)
                for one in transfer.snapshots()
            )
            return root_of(transfer, head).root().hex(), snapshots

    async def _projected(self, head: int) -> str:
        """Once the projection is at the end of the log."""
        connection = await asyncpg.connect(self.database_url)
        try:
            async with asyncio.timeout(120):
                while await connection.fetchval(_CHECKPOINT, _PROJECTED) != head:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            rows = await connection.fetch(
                "SELECT * FROM projection_event_types.counts ORDER BY tenant, type"
            )
        finally:
            await connection.close()
        return hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()


_CHECKPOINT = """
    SELECT max(position)
    FROM projections.checkpoints
    WHERE projection = $1 AND tenant = 'default'
"""


@asynccontextmanager
async def _girih(url: str, folder: Path) -> AsyncIterator[_Girih]:
    caller = Caller(authority_of(folder))
    events, address = events_process(url, folder)
    projections, _ = projections_process(url, address, folder)
    with ending(events, projections):
        events.start()
        projections.start()
        await asyncio.to_thread(events.wait_ready)
        await asyncio.to_thread(projections.wait_ready)
        async with log_of(address, caller) as log:
            yield _Girih(log, address, caller, url)


async def _write(girih: _Girih, load: Load, count: int) -> None:
    """So many more events at least, and a snapshot."""
    is_over = asyncio.Event()
    writing = asyncio.create_task(load.run(girih.log, is_over))
    await load.until(count)
    is_over.set()
    await writing
    state = f"as of {len(load.acknowledged)}".encode()
    await girih.log.save_snapshot("writer-0", 0, state)


@contextmanager
def _archiving(tools: Tools, url: str, repository: Repository) -> Iterator[None]:
    is_over = threading.Event()
    thread = threading.Thread(
        target=taking.archive,
        args=(tools, url, repository),
        kwargs={"is_over": is_over.is_set, "on_trouble": lambda _problem: None},
    )
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


async def _now(postgres: EmbeddedPostgres) -> datetime:
    seconds = await asyncio.to_thread(
        postgres.execute, "SELECT extract(epoch FROM clock_timestamp())"
    )
    return datetime.fromtimestamp(float(seconds), UTC)
