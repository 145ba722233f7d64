"""Schemas move while processes die, start together, and are of two versions."""

import asyncio
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cli.local.postgres import DATABASE, EmbeddedPostgres
from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.plumbing.postgres.migrations import migrate, newest_revision
from tests.chaos.keeping.load import Load, broken, log_of
from tests.processes import (
    ROOT,
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
)

_DYING = "tests.chaos.keeping.dying_migration"
_SCHEMA_FILES = "services/events/postgres/sql/migrations"
_KILLED = -9
_TOGETHER = 8
_EVENTS = 200
"""Appended between two steps of an upgrade."""


@dataclass
class Outcome:
    """What happened, and which promises were broken."""

    figures: dict[str, int | float | str] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)


async def prove_migrations(*, rounds: int) -> Outcome:
    """Kill at each statement of each revision, have processes start together so often, and
    replace the version before by this one under load."""
    outcome = Outcome()
    with own_postgres() as (postgres, folder):
        await kill_at_each_statement(postgres, 1, outcome)
        for _ in range(rounds):
            await start_together(postgres, folder, outcome)
        outcome.figures[f"starts of {_TOGETHER} processes together"] = rounds
        await replace_under_load(postgres, folder, outcome)
    outcome.broken = +outcome.broken
    return outcome


async def kill_at_each_statement(
    postgres: EmbeddedPostgres, first_revision: int, outcome: Outcome, *, sparsely: bool = False
) -> None:
    """Or behind the first, the second, the fourth, the eighth. Each kill leaves what was before,
    and the next start goes on; in the end the schema is that of a database that nobody disturbed.
    """
    url, kills = _new_database(postgres, "killed"), 0
    for revision in range(first_revision, int(newest_revision(MIGRATIONS)) + 1):
        for number in itertools.count():
            statement = 2**number if sparsely else number + 1
            code, complaint = await asyncio.to_thread(_die, url, revision, statement)
            if code != _KILLED:
                outcome.broken[f"a start after a kill failed: {complaint}"] += code != 0
                break
            kills += 1
            applied = _revision(postgres, "killed")
            outcome.broken["a revision is there in part"] += applied >= f"{revision:04}"
    undisturbed = _new_database(postgres, "undisturbed")
    await migrate(undisturbed, MIGRATIONS, schema=SCHEMA)
    dumps = {_dump(postgres, name) for name in ("killed", "undisturbed")}
    outcome.broken["the schema is another than without kills"] += len(dumps) > 1
    outcome.figures["kills of migrations"] = kills


def _die(url: str, revision: int, statement: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", _DYING, url, str(revision), str(statement)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr[-300:]


async def start_together(postgres: EmbeddedPostgres, folder: Path, outcome: Outcome) -> None:
    """Processes on an empty database: all come to serve, and one revision is recorded."""
    url = _new_database(postgres, "together")
    processes = [events_process(url, folder)[0] for _ in range(_TOGETHER)]
    with ending(*processes):
        for process in processes:
            process.start()
        for process in processes:
            try:
                await asyncio.to_thread(process.wait_ready)
            except RuntimeError as error:
                outcome.broken[f"a process did not serve: {str(error)[-300:]}"] += 1
    recorded = postgres.execute(f"SELECT * FROM {SCHEMA}.schema_revision", database="together")
    outcome.broken["another revision is recorded"] += recorded != newest_revision(MIGRATIONS)


async def replace_under_load(postgres: EmbeddedPostgres, folder: Path, outcome: Outcome) -> None:
    """Two replicas of the version before the schema moved become two of this one, one after the
    other, while somebody appends through both: it sees no error, and nothing is lost."""
    with _version_before(folder) as before:
        if before is None:
            outcome.figures["upgrades"] = "none: needs a git checkout with its history"
            return
        url = _new_database(postgres, "rolling")
        replicas = [_replica(url, folder, before) for _ in range(2)]
        with ending(*(process for process, _ in replicas)):
            for process, _ in replicas:
                process.start()
                await asyncio.to_thread(process.wait_ready)
            outcome.figures["upgraded from the schema"] = _revision(postgres, "rolling")
            await _upgrade(url, folder, replicas, outcome)
    outcome.figures["upgraded to the schema"] = _revision(postgres, "rolling")


async def _upgrade(
    url: str, folder: Path, replicas: Sequence[tuple[Process, str]], outcome: Outcome
) -> None:
    caller, is_over = Caller(authority_of(folder)), asyncio.Event()
    loads = [Load(writer_count=4) for _ in replicas]
    async with log_of(replicas[0][1], caller) as first, log_of(replicas[1][1], caller) as second:
        logs = (first, second)
        writing = [
            asyncio.create_task(load.run(log, is_over))
            for load, log in zip(loads, logs, strict=True)
        ]
        await _appended(loads)
        # As a deployment does: the schema first, while the version before serves.
        await migrate(url, MIGRATIONS, schema=SCHEMA)
        await _appended(loads)
        for process, _ in replicas:
            code = await asyncio.to_thread(process.stop)
            outcome.broken[f"a process of the version before ended with {code}"] += code != 0
            process.directory = ROOT
            process.start()
            await asyncio.to_thread(process.wait_ready)
            await _appended(loads)
        is_over.set()
        await asyncio.gather(*writing)
        together = Load(acknowledged=loads[0].acknowledged | loads[1].acknowledged)
        outcome.broken.update(await broken(first, together))
    outcome.figures["events appended during an upgrade"] = len(together.acknowledged)
    outcome.figures["of them lost"] = outcome.broken["acknowledged events lost"]


async def _appended(loads: Sequence[Load]) -> None:
    for load in loads:
        await load.until(_EVENTS)


def _replica(url: str, folder: Path, before: Path) -> tuple[Process, str]:
    process, address = events_process(url, folder)
    process.directory = before
    return process, address


@contextmanager
def _version_before(folder: Path) -> Iterator[Path | None]:
    """The code as of the commit before the last one that changed the schema; None where there is
    no history to take it from."""
    changed = _git("log", "-1", "--format=%H", "--", _SCHEMA_FILES)
    if not changed or not _git("rev-parse", "--verify", "--quiet", f"{changed}^"):
        yield None
        return
    tree = folder / "before"
    _git("worktree", "add", "--detach", str(tree), f"{changed}^")
    try:
        # Its own stubs, of its own contract.
        subprocess.run([sys.executable, "-m", "girih"], cwd=tree, check=True, timeout=120)
        yield tree
    finally:
        _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _new_database(postgres: EmbeddedPostgres, name: str) -> str:
    postgres.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    postgres.execute(f"CREATE DATABASE {name}")
    return postgres.url.replace(f"/{DATABASE}?", f"/{name}?")


def _revision(postgres: EmbeddedPostgres, name: str) -> str:
    """The last one that was applied; empty before the first."""
    table = f"{SCHEMA}.schema_revision"
    is_there = f"SELECT to_regclass('{table}') IS NOT NULL"
    if postgres.execute(is_there, database=name) != "t":
        return ""
    return postgres.execute(f"SELECT max(version_num) FROM {table}", database=name)


def _dump(postgres: EmbeddedPostgres, name: str) -> str:
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    command = [postgres.binaries.path("pg_dump"), "--schema-only", "--restrict-key=same", "-d", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout
