"""With every check of tenancy taken out of the statements, a foreign tenant still reads nothing.

Each statement of the store is made to err in each way it can, and run as the service runs
it, with the right tenant told. The same mistake without the wall must reach the other
tenant's log: else it would prove nothing that the wall holds.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from girih.events.v1 import events_pb2 as pb
from services.events.domain import RECORD_TAG
from services.events.postgres import store as postgres_store
from services.events.postgres.isolation import ROLE
from services.events.settings import Settings
from services.plumbing.postgres.sql import load
from tests.authority import Authority
from tests.events.making import NOW, append_of, event_id, records_in

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

OURS, THEIRS, NOBODY = "acme", "globex", "initech"
OUR_HEAD, THEIR_HEAD = 7, 5

ROOMS = ("filters", "groups", "groups.administration", "keeping", "snapshots", "taking")
"""Of statements. Those of `isolation` ask what holds for everybody, and migrations make it hold."""

READS: dict[str, list[Any]] = {
    "select_causes": [[event_id(number) for number in range(1, 9)]],
    "select_events_by_id": [[event_id(number) for number in range(1, 9)]],
    "select_home": [],
    "select_log_backwards": [2**62, 100, 512, 2**19, b"\n"],
    "select_log_forwards": [0, 100, 512, 2**19, b"\n"],
    "select_log_state": [["theirs"]],
    "select_log_tail": [0, 100, 512, True],
    "select_position": ["theirs", 0],
    "select_position_at": [NOW + timedelta(days=1)],
    "select_recent": [0, 100],
    "select_revision_at": ["theirs", 2**62],
    "select_shared_position": ["incarnation-1"],
    "select_stream_backwards": [2**62, 100, 512, 2**19, b"\n", "theirs"],
    "select_stream_ends": ["theirs"],
    "select_stream_forwards": [0, 100, 512, 2**19, b"\n", "theirs", 0],
    "select_streams": ["", "", 100, "~"],
    "groups.select_cuts": ["g"],
    "groups.select_group": ["g"],
    "groups.select_held": ["g", [0], 1],
    "groups.administration.select_consumers": ["g"],
    "groups.administration.select_groups": ["", 100],
    "groups.administration.select_lanes": ["g", 1],
    "groups.administration.select_parked": ["g", 0, 100],
    "keeping.select_event": [3],
    "keeping.select_log_backwards": [2**62, 100, 512, 2**19],
    "keeping.select_log_forwards": [0, 100, 512, 2**19],
    "keeping.select_stream_backwards": [2**62, 100, 512, 2**19, "theirs", False],
    "keeping.select_stream_forwards": [0, 100, 512, 2**19, "theirs", 0, False],
    "keeping.select_tallies": ["type", "", 100],
    "keeping.select_gone": [[1, 2, 3, 4]],
    "keeping.select_stream_rules": ["theirs"],
    "snapshots.select_newest": ["theirs", 2**62],
}
"""What would find the other tenant's stream, whose name and ids are no secret here."""
PAGES = [name for name in READS if name.endswith(("_backwards", "_forwards", "_tail"))]
WRITES = {
    "append_records",
    "insert_log",
    "lock_log",
    "keeping.change_stream",
    "keeping.tally",
}
FUNCTIONS = {
    "confirm_log",
    "filters.fill_labels",
    "filters.select_filtered",
    "filters.select_first_matches",
    "filters.select_trace",
    *(
        f"groups.{name}"
        for name in (
            "beat",
            "claim",
            "release",
            "settle",
            "administration.create_group",
            "administration.delete_group",
            "administration.reset_group",
            "administration.select_now",
            "administration.unpark",
            "administration.update_group",
        )
    ),
    "select_moved_logs",
    "select_place",
    "snapshots.save_snapshot",
}
"""Statements that call a function and do nothing else."""
OF_RULES = {"keeping.select_is_kept"}
"""What says that a log has rules, which would have other statements read it otherwise."""
OF_THE_KEEPER = {
    f"taking.{name}"
    for name in (
        "lock_stream_rule",
        "move_taken_below",
        "select_kept_logs",
        "select_records_due",
        "select_redactions_due",
        "select_stays",
        "select_streams_due",
        "settle_redactions",
        "take_log",
        "take_payloads",
    )
}
"""Statements in another role, which sees a tenant's records only once that was told."""
OF_NOBODY = {"select_record_types"}
"""Statements that touch no table."""

MISTAKES = {
    "every tenant's": (
        "tenant = setting.tenant\n    LIMIT 1",
        "setting.tenant IS NOT NULL\n    LIMIT 9",
    ),
    "another tenant's": (
        "tenant = setting.tenant",
        f"tenant = '{THEIRS}' || left(setting.tenant, 0)",
    ),
    "another log's": ("own_log.log", "(own_log.log * 0 + {their_log})"),
}


def sql(name: str) -> str:
    """The statement of that name, which may be `room.name`."""
    room, _, own_name = name.rpartition(".")
    return load(".".join(filter(None, ("services.events.postgres.sql", room))), own_name)


APPEND = sql("append_records")


def new_records(head: int, first: int, count: int, stream: str) -> list[Any]:
    """What `events.append` takes behind tenant and head, of a stream that begins there."""
    rows = [
        (
            head + 1,
            revision,
            UUID(int=first + revision),
            "happened",
            "c-1",
            bytes(32),
            None,
            f"{stream} {first + revision}".encode(),
            b"",
        )
        for revision in range(count)
    ]
    return [NOW, [head + 1], [stream], rows]


@pytest.fixture(scope="module")
def filled_url(shared_url: str) -> str:
    """A database with a log of each tenant."""
    asyncio.run(_fill(shared_url))
    return shared_url


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    for tenant in (OURS, THEIRS):
        await connection.execute(sql("insert_log"), tenant)
    await connection.fetch(APPEND, OURS, 0, *new_records(0, 50, OUR_HEAD, "ours"))
    await connection.fetch(APPEND, THEIRS, 0, *new_records(0, 1, THEIR_HEAD, "theirs"))
    await connection.execute(_MOVED)
    await connection.execute(_PARTED)
    await connection.execute(_RULED)
    await connection.execute(_GROUPED)
    await connection.close()


_MOVED = f"UPDATE events.logs SET move = 1 WHERE tenant = '{THEIRS}'"

_PARTED = f"""
    INSERT INTO events.incarnations (log, number, incarnation, place, begins_behind)
    SELECT log, number, 'incarnation-' || number, '', number
    FROM events.logs, generate_series(1, 2) AS number
    WHERE tenant = '{THEIRS}'
"""

_RULED = f"""
    INSERT INTO events.stream_rules (log, stream, metadata)
    SELECT log, 1, 'theirs' FROM events.logs WHERE tenant = '{THEIRS}';
    SELECT events.tally('{THEIRS}', 100);
    INSERT INTO events.snapshots (
        log, stream, revision, position, schema_version, is_json,
        incarnation, content_type, seal, content
    )
    SELECT log, 1, 1, 2, 1, true, '', '', decode(repeat('00', 32), 'hex'), ''
    FROM events.logs WHERE tenant = '{THEIRS}';
"""


_GROUPED = f"""
    SELECT events.group_create('{THEIRS}', 'g', 1, '', NULL, 0, false, 10, 10, 0, '', 10);
    INSERT INTO events.group_cuts (log, name, through, checkpoints, acked, incarnation)
    SELECT log, 'g', 3, '{{1}}', '{{3}}', '' FROM events.logs WHERE tenant = '{THEIRS}';
    INSERT INTO events.group_held (
        log, name, position, key, key_hash, state, attempt_count, due_at, reason
    )
    SELECT log, 'g', 2, 'theirs', 0, 'parked', 1, now(), 'theirs'
    FROM events.logs WHERE tenant = '{THEIRS}';
    INSERT INTO events.group_consumers (log, name, consumer, called, actor, expires_at)
    SELECT log, 'g', 'c', 'theirs', '', 'infinity' FROM events.logs WHERE tenant = '{THEIRS}';
"""


@pytest.fixture
async def owner(filled_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser, before whom no wall stands. What it does is undone."""
    connection = await asyncpg.connect(filled_url)
    undone = connection.transaction()
    await undone.start()
    yield connection
    await undone.rollback()
    await connection.close()


@pytest.fixture
async def service(filled_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the service has it."""
    connection = await asyncpg.connect(filled_url, server_settings={"role": ROLE})
    yield connection
    await connection.close()


@pytest.fixture
async def their_log(owner: asyncpg.Connection) -> int:
    log: int = await owner.fetchval("SELECT log FROM events.logs WHERE tenant = $1", THEIRS)
    return log


def mistaken() -> Iterator[tuple[str, str]]:
    """Every statement with every mistake that can be made in it."""
    for name in READS:
        for mistake, (right, _) in MISTAKES.items():
            if right in sql(name):
                yield name, mistake


async def rows(connection: asyncpg.Connection, statement: str, *arguments: object) -> list[Any]:
    """What a statement answers. Locks that it takes are given back."""
    undone = connection.transaction()
    await undone.start()
    result = await connection.fetch(statement, *arguments)
    await undone.rollback()
    return [tuple(row) for row in result]


def test_every_statement_is_tried() -> None:
    names = {
        f"{room}{file.name.removesuffix('.sql')}"
        for room in ("", *(f"{room}." for room in ROOMS))
        for file in files("services.events.postgres.sql")
        .joinpath(*filter(None, room.split(".")))
        .iterdir()
        if file.name.endswith(".sql")
    }

    assert names == READS.keys() | WRITES | FUNCTIONS | OF_RULES | OF_THE_KEEPER | OF_NOBODY
    assert [name for name in OF_NOBODY if "events." in sql(name)] == []
    assert {name for name, _ in mistaken()} == READS.keys()


@pytest.mark.parametrize("name", [*READS, "insert_log"])
def test_every_statement_tells_its_tenant_for_one_transaction(name: str) -> None:
    assert sql(name).count("set_config(") == 1
    assert "FROM set_config('girih.tenant', $1, true) AS setting (tenant)" in sql(name)


@pytest.mark.parametrize(("name", "mistake"), list(mistaken()))
async def test_a_mistaken_statement_reads_nothing_of_another_tenant(
    service: asyncpg.Connection,
    owner: asyncpg.Connection,
    their_log: int,
    name: str,
    mistake: str,
) -> None:
    right, wrong = MISTAKES[mistake]
    statement = sql(name).replace(right, wrong.format(their_log=their_log))
    permitted = [await rows(owner, sql(name), tenant, *READS[name]) for tenant in (OURS, NOBODY)]

    isolated = await rows(service, statement, OURS, *READS[name])
    unprotected = await rows(owner, statement, OURS, *READS[name])

    assert isolated in permitted
    assert unprotected not in permitted


@pytest.mark.parametrize("name", READS)
async def test_nothing_is_read_before_a_tenant_is_told(
    service: asyncpg.Connection, owner: asyncpg.Connection, their_log: int, name: str
) -> None:
    untold = re.sub(
        r"set_config\('girih.tenant', \$1, true\)", "(SELECT $1::text)", sql(name)
    ).replace("tenant = setting.tenant", f"tenant = '{THEIRS}' AND setting.tenant IS NOT NULL")

    isolated = await rows(service, untold, OURS, *READS[name])

    assert isolated == await rows(owner, sql(name), NOBODY, *READS[name])
    assert isolated != await rows(owner, untold, OURS, *READS[name])


@pytest.mark.parametrize("name", READS)
async def test_what_one_statement_told_is_forgotten_by_the_next(
    service: asyncpg.Connection, name: str
) -> None:
    await service.fetch(sql(name), OURS, *READS[name])

    assert await service.fetch("SELECT tenant FROM events.logs") == []
    assert await service.fetch("SELECT name FROM events.streams") == []
    assert await service.fetch("SELECT position FROM events.records") == []


HOSTILE = [
    f"SET {option} = {value}"
    for option, value in [
        ("enable_nestloop", "off"),
        ("enable_indexscan", "off"),
        ("enable_seqscan", "off"),
        ("enable_material", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("plan_cache_mode", "force_custom_plan"),
        ("join_collapse_limit", "1"),
    ]
]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_no_plan_reads_before_the_tenant_is_told(
    service: asyncpg.Connection, owner: asyncpg.Connection, hostile: str
) -> None:
    await service.execute(hostile)

    for name, arguments in READS.items():
        expected = await rows(owner, sql(name), THEIRS, *arguments)
        assert await rows(service, sql(name), THEIRS, *arguments) == expected, name


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("hostile", HOSTILE)
async def test_no_plan_gives_a_page_in_another_order(
    service: asyncpg.Connection, hostile: str, name: str
) -> None:
    await service.execute(hostile)

    rows = await service.fetch(sql(name), THEIRS, *READS[name])
    records = (
        [row["record"] for row in rows]
        if name.endswith("_tail") or name.startswith("keeping.")
        else records_in((RECORD_TAG, rows[0]["records"]))
    )

    assert records == sorted(records, reverse="backwards" in name)
    assert len(records) == THEIR_HEAD


WRONG_APPENDS = {
    "another tenant's": ("take_turn", "tenant = of_tenant", f"tenant = '{THEIRS}'"),
    "another log's": ("append", "SELECT this,", "SELECT {their_log},"),
}


@pytest.mark.parametrize("mistake", WRONG_APPENDS)
async def test_a_mistaken_append_writes_nothing_into_another_log(
    owner: asyncpg.Connection, their_log: int, mistake: str
) -> None:
    name, right, wrong = WRONG_APPENDS[mistake]
    await _change_function(owner, name, right, wrong.format(their_log=their_log))
    behind = THEIR_HEAD if mistake == "another tenant's" else OUR_HEAD
    arguments = [OURS, behind, *new_records(behind, 60, 1, "s")]
    count = "SELECT count(*) FROM events.records WHERE log = $1"

    assert not await _succeeds_under_row_level_security(owner, APPEND, *arguments)
    assert await _heads(owner) == {OURS: OUR_HEAD, THEIRS: THEIR_HEAD}

    await owner.fetch(APPEND, *arguments)
    assert await owner.fetchval(count, their_log) == THEIR_HEAD + 1


async def test_a_mistaken_statement_makes_no_log_of_another_tenant(
    owner: asyncpg.Connection,
) -> None:
    statement = sql("insert_log").replace("SELECT setting.tenant", f"SELECT '{NOBODY}'")

    assert not await _succeeds_under_row_level_security(owner, statement, OURS)
    assert NOBODY not in await _heads(owner)

    await owner.execute(statement, OURS)
    assert NOBODY in await _heads(owner)


async def test_a_mistaken_lock_keeps_no_other_tenant_waiting(owner: asyncpg.Connection) -> None:
    name, right, wrong = WRONG_APPENDS["another tenant's"]
    await _change_function(owner, name, right, wrong)
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"

    await owner.execute(f"SET LOCAL ROLE {ROLE}")
    await owner.execute(sql("lock_log"), OURS)
    assert await owner.fetchval(locks) == 0

    await owner.execute("RESET ROLE")
    await owner.execute(sql("lock_log"), OURS)
    assert await owner.fetchval(locks) == 1


@pytest.mark.parametrize(
    ("statement", "right", "arguments"),
    [
        ("confirm_log", "tenant = of_tenant", [OURS, "", 0]),
        ("select_moved_logs", "logs.tenant = asked.tenant", [[OURS], [""], [0]]),
    ],
)
async def test_a_mistaken_function_tells_nothing_of_another_log(
    owner: asyncpg.Connection, statement: str, right: str, arguments: list[Any]
) -> None:
    name = {"confirm_log": "confirm", "select_moved_logs": "moved"}[statement]
    wrong = right.partition(" = ")[0] + f" = '{THEIRS}'"
    await _change_function(owner, name, right, wrong)

    await owner.execute(f"SET LOCAL ROLE {ROLE}")
    isolated = await owner.fetch(sql(statement), *arguments)
    await owner.execute("RESET ROLE")

    assert isolated == []
    assert len(await owner.fetch(sql(statement), *arguments)) == 1


async def _change_function(owner: asyncpg.Connection, name: str, right: str, wrong: str) -> None:
    function = await owner.fetchval(f"SELECT pg_get_functiondef('events.{name}'::regproc)")
    assert right in function
    await owner.execute(function.replace(right, wrong))


async def _succeeds_under_row_level_security(
    owner: asyncpg.Connection, statement: str, *arguments: object
) -> bool:
    """Whether a write is made, and not refused or left undone, by who works as the service."""
    try:
        async with owner.transaction():
            await owner.execute(f"SET LOCAL ROLE {ROLE}")
            done = await owner.fetchval(statement, *arguments)
            await owner.execute("RESET ROLE")
            return done is not False
    except asyncpg.InsufficientPrivilegeError:
        return False


async def _heads(owner: asyncpg.Connection) -> dict[str, int]:
    result = await owner.fetch(
        "SELECT tenant, coalesce(max(position), 0) AS head"
        " FROM events.logs LEFT JOIN events.records USING (log) GROUP BY tenant"
    )
    return {row["tenant"]: row["head"] for row in result}


@pytest.fixture
def _careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of the store whose reading statements look through the logs of all tenants."""
    right, wrong = MISTAKES["every tenant's"]

    def careless(package: str, name: str) -> str:
        return load(package, name).replace(right, wrong)

    monkeypatch.setattr(postgres_store, "load", careless)


@pytest.mark.usefixtures("_careless")
async def test_a_service_without_checks_of_tenancy_shows_nobody_what_is_not_theirs(
    events: "EventStoreServiceAsyncStub", settings: Settings, authority: Authority
) -> None:
    ours, theirs = authority.metadata(OURS), authority.metadata(THEIRS)
    await events.Append(append_of("ours"), metadata=ours)
    await events.Append(append_of("theirs", "theirs"), metadata=theirs)

    async def seen() -> set[str]:
        read = events.Read(pb.ReadRequest(), metadata=ours)
        return {recorded.event.stream async for page in read for recorded in page.events}

    async def their_stream() -> int:
        read = events.Read(pb.ReadRequest(stream="theirs"), metadata=ours)
        return sum([len(page.events) async for page in read])

    assert (await seen(), await their_stream()) == ({"ours"}, 0)

    owner = await asyncpg.connect(settings.database_url.get_secret_value())
    for table in ("logs", "streams", "records"):
        await owner.execute(f"ALTER TABLE events.{table} DISABLE ROW LEVEL SECURITY")
    await owner.close()

    assert (await seen(), await their_stream()) == ({"ours", "theirs"}, 2)
