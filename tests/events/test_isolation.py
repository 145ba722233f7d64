"""The walls between tenants are looked at before the process works, and every gap is told."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from cli.local.postgres import DATABASE, USER, EmbeddedPostgres
from girih.ids import Position, StreamName, TenantId
from services.events import record
from services.events.postgres.database import MIGRATIONS, SCHEMA, Database
from services.events.postgres.isolation import ROLE, IsolationFindings, find_isolation_findings
from services.events.postgres.store import PostgresEventStore
from services.events.postgres.taking import ROLE as KEEPER
from services.events.settings import Settings
from services.events.store import RecordBatch, WriteResult
from services.plumbing.postgres.database import open_pool
from services.plumbing.postgres.failures import UnsafeDatabase
from services.plumbing.postgres.migrations import MigrationRefused, migrate, newest_revision
from services.plumbing.postgres.served import check_role
from tests.authority import Authority
from tests.events.making import NOW, new_event, placed_event
from tests.events.serving import development, opened, production, store_of
from tests.processes import with_data
from tests.roles import login, url_as

FORGETFUL = (
    "the database loses acknowledged events: fsync, full_page_writes, synchronous_commit is off"
)
"""What is wrong in production with the server that the tests use, and nothing else."""


@pytest.fixture(scope="module")
def shared_login(postgres: EmbeddedPostgres, shared_url: str) -> Iterator[str]:
    """A login that may do nothing but work as the service."""
    with login(postgres, ROLE) as name:
        yield name


@pytest.fixture
async def breaching(shared_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the superuser, all of whose deeds are undone."""
    connection = await asyncpg.connect(shared_url)
    undone = connection.transaction()
    await undone.start()
    yield connection
    await undone.rollback()
    await connection.close()


async def gaps_behind(breaching: asyncpg.Connection, name: str) -> IsolationFindings:
    """What the login `name` would find of what was done in this transaction."""
    await breaching.execute(f"SET LOCAL SESSION AUTHORIZATION {name}")
    return await find_isolation_findings(breaching, newest_revision(MIGRATIONS))


@pytest.fixture
async def owner(migrated_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the superuser who owns everything."""
    connection = await asyncpg.connect(migrated_url)
    yield connection
    await connection.close()


@pytest.fixture
def app_url(shared_url: str, shared_login: str) -> str:
    """The shared database as that login."""
    return url_as(shared_url, shared_login)


async def gaps_of(url: str) -> IsolationFindings:
    connection = await asyncpg.connect(url)
    try:
        return await find_isolation_findings(connection, newest_revision(MIGRATIONS))
    finally:
        await connection.close()


async def refusal(settings: Settings) -> str:
    """Why a process will not work on its database."""
    with pytest.raises(UnsafeDatabase) as caught:
        await Database(settings).keep_open()
    return str(caught.value)


async def test_a_migrated_database_has_no_gaps(app_url: str) -> None:
    assert await gaps_of(app_url) == IsolationFindings()


BREACHES = {
    "ALTER TABLE events.records NO FORCE ROW LEVEL SECURITY": "not forced on events.records",
    "ALTER TABLE events.logs DISABLE ROW LEVEL SECURITY": "not enabled on events.logs",
    "CREATE TABLE events.notes ()": "not enabled on events.notes",
    "CREATE MATERIALIZED VIEW events.heads AS SELECT * FROM events.logs": "events.heads is a table",
    "CREATE VIEW events.heads AS SELECT * FROM events.logs": "events.heads is not a security_inv",
    "CREATE VIEW events.heads WITH (security_invoker = off) AS SELECT * FROM events.logs": (
        "events.heads is not a security_invoker"
    ),
    f"CREATE VIEW heads AS SELECT * FROM events.logs; GRANT SELECT ON heads TO {ROLE}": (
        "the view heads is not a security_invoker"
    ),
    "CREATE FUNCTION events.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'": (
        "events.f() is SECURITY DEFINER"
    ),
    f"CREATE POLICY more ON events.records TO {ROLE} USING (true)": "more on events.records",
    "ALTER POLICY logs_of_tenant ON events.logs USING (true)": "logs_of_tenant on events.logs is",
    "ALTER POLICY records_of_tenant ON events.records TO PUBLIC": "records_of_tenant",
    "ALTER POLICY records_of_tenant ON events.records WITH CHECK (true)": "records_of_tenant",
    "DROP POLICY logs_of_tenant ON events.logs": "logs_of_tenant on events.logs is missing",
    f"GRANT UPDATE ON events.records TO {ROLE}": "has UPDATE on events.records",
    f"GRANT UPDATE (payload) ON events.records TO {ROLE}": "has UPDATE on events.records (payload)",
    f"GRANT DELETE ON events.records TO {ROLE}": "has DELETE on events.records",
    f"GRANT TRUNCATE ON events.records TO {ROLE}": "has TRUNCATE on events.records",
    f"GRANT TRIGGER ON events.records TO {ROLE}": "has TRIGGER on events.records",
    "GRANT DELETE ON events.records TO PUBLIC": "has DELETE on events.records",
    f"GRANT SELECT ON events.logs TO {ROLE} WITH GRANT OPTION": "SELECT WITH GRANT OPTION",
    f"GRANT UPDATE ON events.logs TO {ROLE}": "has UPDATE on events.logs",
    f"GRANT UPDATE (tenant) ON events.logs TO {ROLE}": "has UPDATE on events.logs (tenant)",
    f"GRANT INSERT ON events.logs TO {ROLE}": "has INSERT on events.logs",
    f"GRANT USAGE ON SEQUENCE events.logs_log_seq TO {ROLE}": "has USAGE on events.logs_log_seq",
    f"GRANT INSERT ON events.schema_revision TO {ROLE}": "has INSERT on events.schema_revision",
    f"GRANT CREATE ON SCHEMA events TO {ROLE}": "has CREATE on schema events",
    f"GRANT EXECUTE ON FUNCTION events.refuse_change TO {ROLE}": "EXECUTE on events.refuse_change",
    "ALTER TABLE events.streams NO FORCE ROW LEVEL SECURITY": "not forced on events.streams",
    "ALTER TABLE events.streams DISABLE ROW LEVEL SECURITY": "not enabled on events.streams",
    "ALTER POLICY streams_of_tenant ON events.streams USING (true)": "streams_of_tenant",
    "DROP POLICY streams_of_tenant ON events.streams": "streams_of_tenant on events.streams is mi",
    f"CREATE POLICY more ON events.streams TO {ROLE} USING (true)": "more on events.streams",
    f"GRANT UPDATE ON events.streams TO {ROLE}": "has UPDATE on events.streams",
    f"GRANT DELETE ON events.streams TO {ROLE}": "has DELETE on events.streams",
    f"REVOKE INSERT ON events.streams FROM {ROLE}": "lacks INSERT on events.streams",
    f"REVOKE INSERT ON events.records FROM {ROLE}": "lacks INSERT on events.records",
    f"REVOKE EXECUTE ON FUNCTION events.append FROM {ROLE}": "lacks EXECUTE on events.append",
    f"REVOKE EXECUTE ON FUNCTION events.take_turn FROM {ROLE}": "lacks EXECUTE on events.take_turn",
    f"ALTER SCHEMA events OWNER TO {ROLE}": "owns the schema events",
    f"ALTER FUNCTION events.append OWNER TO {ROLE}": f"{ROLE} owns events.append(",
}


@pytest.mark.parametrize("breach", BREACHES)
async def test_a_breach_of_the_walls_is_told(
    breaching: asyncpg.Connection, shared_login: str, breach: str
) -> None:
    await breaching.execute(breach)

    answer = (await gaps_behind(breaching, shared_login)).of_isolation

    assert [problem for problem in answer if BREACHES[breach] in problem], answer


TRAITS = {
    "SUPERUSER": "is a superuser",
    "BYPASSRLS": "bypasses row-level security",
    "CREATEROLE": "may create roles",
    "CREATEDB": "may create databases",
    "REPLICATION": "may copy the whole server",
    "LOGIN": "may log in",
}


@pytest.mark.parametrize("trait", TRAITS)
async def test_a_role_that_may_more_than_it_should_is_told(
    breaching: asyncpg.Connection, shared_login: str, trait: str
) -> None:
    await breaching.execute(f"ALTER ROLE {ROLE} {trait}")

    answer = (await gaps_behind(breaching, shared_login)).of_isolation

    assert f"{ROLE} {TRAITS[trait]}" in "; ".join(answer)


async def test_a_role_that_is_a_member_of_another_is_told(
    breaching: asyncpg.Connection, shared_login: str
) -> None:
    await breaching.execute(f"GRANT pg_read_all_data TO {ROLE}")

    answer = (await gaps_behind(breaching, shared_login)).of_isolation

    assert answer == [f"{ROLE} is a member of pg_read_all_data"]


async def test_a_tenant_that_nobody_told_is_told(
    migrated_url: str, owner: asyncpg.Connection
) -> None:
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"ALTER DATABASE {name} SET girih.tenant = 'acme'")

    assert (await gaps_of(migrated_url)).of_isolation == [
        "girih.tenant has a value that nobody told"
    ]


async def test_a_view_with_the_rights_of_who_asks_is_no_gap(
    breaching: asyncpg.Connection, shared_login: str
) -> None:
    await breaching.execute(
        "CREATE VIEW heads WITH (security_invoker) AS SELECT log FROM events.logs;"
        f"GRANT SELECT ON heads TO {ROLE}"
    )

    assert await gaps_behind(breaching, shared_login) == IsolationFindings()


async def test_what_a_newer_version_added_is_no_gap_and_must_be_isolated_as_well(
    breaching: asyncpg.Connection, shared_login: str
) -> None:
    await breaching.execute(
        "UPDATE events.schema_revision SET version_num = '9999';"
        "CREATE TABLE events.notes (note text);"
        f"GRANT SELECT ON events.notes TO {ROLE};"
        f"GRANT DELETE ON events.records TO {ROLE}"
    )

    assert (await gaps_behind(breaching, shared_login)).of_isolation == [
        "row-level security is not enabled on events.notes",
        "row-level security is not forced on events.notes",
        f"{ROLE} has DELETE on events.records",
    ]


NEWER = """
    CREATE TABLE events.notes (log bigint NOT NULL, note text);
    ALTER TABLE events.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY notes_of_tenant ON events.notes TO {role} USING (
        log = (SELECT log FROM events.logs WHERE tenant = current_setting('girih.tenant', true))
    );
    GRANT SELECT, INSERT ON events.notes TO {role};
    CREATE FUNCTION events.note(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT $1';
    ALTER TABLE events.records ADD COLUMN noted boolean NOT NULL DEFAULT false;
    GRANT INSERT (noted) ON events.records TO {role};
    CREATE POLICY records_of_notary ON events.records FOR SELECT TO {notary} USING (true);
    GRANT SELECT ON events.records TO {notary};
    CREATE POLICY labels_of_keeper ON events.labels FOR SELECT TO {keeper} USING (true);
    GRANT SELECT ON events.labels TO {keeper};
"""
"""What a later version may do to tables that this one knows: new ones, columns, functions, and
policies for roles that this version does not have, or does not use there."""


async def test_a_process_starts_and_works_on_the_schema_of_a_later_version(
    migrated_url: str, tmp_path: Path, postgres: EmbeddedPostgres, authority: Authority
) -> None:
    with login(postgres) as notary:
        newer = NEWER.format(role=ROLE, keeper=KEEPER, notary=notary)
        await migrate_with(migrated_url, tmp_path, newer)
        settings = development(migrated_url, authority)
        async with opened(settings) as database:
            store = store_of(database)
            await appended(store)
            tail = await store.tail(TenantId("acme"), Position(1), 10, 10_000)

        postgres.execute(f"DROP OWNED BY {notary}", database=urlsplit(migrated_url).path[1:])

    assert len(tail.rows) == 1


@pytest.mark.parametrize("role", [ROLE, "PUBLIC"])
async def test_what_a_later_version_lets_this_role_see_of_known_tables_is_a_gap(
    migrated_url: str, tmp_path: Path, authority: Authority, role: str
) -> None:
    more = f"CREATE POLICY more ON events.records TO {role} USING (true)"
    await migrate_with(migrated_url, tmp_path, more)

    answer = await refusal(development(migrated_url, authority))

    assert answer == "the policy more on events.records does not belong there"


async def migrate_with(url: str, folder: Path, newer: str) -> None:
    """Migrate as a later version would that does `newer` beside what this one does."""
    package = folder / f"later_{secrets.token_hex(4)}"
    package.mkdir()
    earlier = list(statements_in(files(MIGRATIONS)))
    for file in earlier:
        (package / file.name).write_text(file.read_text())
    (package / f"{len(earlier) + 1:04}_add_notes.sql").write_text(newer)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        await migrate(url, package.name, schema=SCHEMA)


def statements_in(folder: Traversable) -> Iterator[Traversable]:
    """All files of migrations, those in folders of it too."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from statements_in(entry)
        elif entry.name.endswith(".sql"):
            yield entry


async def appended(store: PostgresEventStore) -> None:
    log = store.log(TenantId("acme"))
    head = (await log.state([StreamName("s")])).head
    event = placed_event(new_event(), head + 1, 0)
    header = record.encoder_at(NOW)(event)
    result = await log.write(head, RecordBatch(NOW, [event], [header]))
    assert result is WriteResult.WRITTEN


@pytest.mark.parametrize(
    ("options", "grants", "problem"),
    [
        ("SUPERUSER", [], "{} is a superuser"),
        ("BYPASSRLS", [], "{} bypasses row-level security"),
        ("CREATEROLE", [], "{} may make itself a member of other roles"),
        ("REPLICATION", [], "{} may copy the whole server by replication"),
        ("NOINHERIT", [USER], "{} may become girih, which is a superuser"),
        ("", ["pg_write_all_data"], "{} may become pg_write_all_data, which may write"),
        ("", ["pg_write_server_files"], "{} may become pg_write_server_files, which reaches"),
    ],
)
async def test_what_a_login_may_beside_its_role_is_told(
    shared_url: str, postgres: EmbeddedPostgres, options: str, grants: list[str], problem: str
) -> None:
    with login(postgres, ROLE, *grants, options=options) as name:
        findings = await gaps_of(url_as(shared_url, name))

    (answer,) = findings.of_login
    assert answer.startswith(f"the login {problem.format(name)}")
    assert findings.of_isolation == []


async def test_a_login_that_owns_the_tables_is_told(
    breaching: asyncpg.Connection, shared_login: str
) -> None:
    await breaching.execute(f"ALTER TABLE events.records OWNER TO {shared_login}")

    findings = await gaps_behind(breaching, shared_login)

    assert findings.of_login == [
        f"the login {shared_login} owns the schema events or something in it"
    ]


async def test_a_login_that_is_no_member_of_the_role_is_told_how_to_become_one(
    shared_url: str, postgres: EmbeddedPostgres
) -> None:
    with login(postgres) as name:
        (answer,) = (await gaps_of(url_as(shared_url, name))).of_isolation

    assert "permission denied" in answer
    assert f"GRANT {ROLE}" in answer


async def test_production_refuses_a_superuser_and_tells_all_that_is_wrong(
    migrated_url: str, owner: asyncpg.Connection, authority: Authority
) -> None:
    await owner.execute("ALTER TABLE events.records DISABLE ROW LEVEL SECURITY")

    answer = await refusal(production(migrated_url, authority))

    assert answer.split("; ") == [
        "row-level security is not enabled on events.records",
        f"the login {USER} is a superuser",
        FORGETFUL,
    ]


async def test_development_refuses_a_gap_in_the_walls_and_warns_of_the_rest(
    migrated_url: str, owner: asyncpg.Connection, authority: Authority
) -> None:
    async with opened(development(migrated_url, authority)):
        await owner.execute("ALTER TABLE events.records DISABLE ROW LEVEL SECURITY")

    answer = await refusal(development(migrated_url, authority))

    assert answer == "row-level security is not enabled on events.records"


async def test_production_finds_nothing_wrong_with_a_login_that_may_not_migrate(
    app_url: str, authority: Authority
) -> None:
    assert await refusal(production(app_url, authority)) == FORGETFUL


async def test_production_asks_for_a_migration_and_makes_none(
    empty_url: str, postgres: EmbeddedPostgres, authority: Authority
) -> None:
    _make_role(postgres)
    with login(postgres, ROLE, options="CREATEROLE") as name:
        answer = await refusal(production(url_as(empty_url, name), authority))

    assert "run `girih migrate`" in answer
    assert (
        postgres.execute("SELECT to_regnamespace('events')", database=urlsplit(empty_url).path[1:])
        == ""
    )


async def test_a_schema_that_is_behind_is_told_with_both_revisions(
    breaching: asyncpg.Connection, shared_login: str
) -> None:
    await breaching.execute("UPDATE events.schema_revision SET version_num = '0001'")

    (answer,) = (await gaps_behind(breaching, shared_login)).of_isolation
    needed = newest_revision(MIGRATIONS)
    assert answer.startswith(
        f"the schema events is at revision 0001, and this version needs {needed}"
    )
    assert "girih migrate" in answer


async def test_production_migrates_as_the_login_that_is_meant_for_it(
    empty_url: str, postgres: EmbeddedPostgres, authority: Authority
) -> None:
    _make_role(postgres)
    with login(postgres, ROLE) as name:
        settings = production(
            url_as(empty_url, name), authority, EVENTS_MIGRATION_DATABASE_URL=empty_url
        )
        answer = await refusal(settings)

    assert answer == FORGETFUL


async def test_connections_that_do_not_work_as_the_role_are_refused(
    migrated_url: str, authority: Authority
) -> None:
    settings = development(migrated_url, authority)

    async with open_pool(settings, "girih-tests", role=ROLE) as pool:
        await check_role(pool, ROLE)
    async with open_pool(settings, "girih-tests") as pool:
        with pytest.raises(UnsafeDatabase, match=f"work as {USER} and not as {ROLE}"):
            await check_role(pool, ROLE)


async def test_whoever_owns_the_tables_is_behind_the_walls_too(
    empty_url: str, postgres: EmbeddedPostgres
) -> None:
    name = urlsplit(empty_url).path[1:]
    _make_role(postgres)
    with login(postgres, ROLE) as owner:
        postgres.execute(f"GRANT CREATE ON DATABASE {name} TO {owner}")
        await migrate(url_as(empty_url, owner), MIGRATIONS, schema=SCHEMA)
        postgres.execute("INSERT INTO events.logs (tenant) VALUES ('acme')", database=name)
        connection = await asyncpg.connect(url_as(empty_url, owner))
        seen = await connection.fetch("SELECT tenant FROM events.logs")
        await connection.close()
        postgres.execute(f"DROP OWNED BY {owner} CASCADE", database=name)

    assert seen == []


REFUSED = [
    "UPDATE events.records SET payload = NULL",
    "DELETE FROM events.records",
    "TRUNCATE events.records",
    "UPDATE events.streams SET name = 'mine'",
    "DELETE FROM events.streams",
    "TRUNCATE events.streams",
    "UPDATE events.logs SET tenant = 'globex'",
    "DELETE FROM events.logs",
    "TRUNCATE events.logs",
    "INSERT INTO events.logs (log, tenant) OVERRIDING SYSTEM VALUE VALUES (7, 'acme')",
    "SELECT log FROM events.logs FOR UPDATE",
    "UPDATE events.schema_revision SET version_num = '0001'",
    "CREATE TABLE events.notes ()",
    "CREATE SCHEMA notes",
    "ALTER TABLE events.records DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE events.records DISABLE TRIGGER ALL",
    "DROP POLICY records_of_tenant ON events.records",
    "DROP TABLE events.records",
    f"ALTER ROLE {ROLE} BYPASSRLS",
    "SELECT pg_read_file('PG_VERSION')",
]


@pytest.mark.parametrize("statement", REFUSED)
async def test_the_service_may_not(app_url: str, statement: str) -> None:
    connection = await asyncpg.connect(app_url, server_settings={"role": ROLE})
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as caught:
            await connection.execute(statement)
    finally:
        await connection.close()

    assert caught.value.sqlstate == "42501"


async def test_a_login_that_may_not_make_the_role_is_told_so(
    tmp_path: Path,
) -> None:
    with EmbeddedPostgres(with_data(tmp_path / "data")) as fresh, login(fresh) as name:
        fresh.execute(f"GRANT CREATE ON DATABASE {DATABASE} TO {name}")

        with pytest.raises(MigrationRefused, match=r"may not migrate events: .*create role"):
            await migrate(url_as(fresh.url, name), MIGRATIONS, schema=SCHEMA)

        fresh.execute(f"DROP OWNED BY {name}")


async def test_a_database_with_events_of_the_unreleased_layout_is_refused_and_left_as_it_is(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres
) -> None:
    package = tmp_path / "earlier_revisions"
    package.mkdir()
    for file in sorted(files(MIGRATIONS).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql") and file.name < "0003":
            (package / file.name).write_text(file.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    _make_role(postgres)
    name = urlsplit(empty_url).path[1:]
    with login(postgres, ROLE) as owner:
        # No superuser, so that the wall stands before it as well.
        postgres.execute(f"GRANT CREATE ON DATABASE {name} TO {owner}")
        await migrate(url_as(empty_url, owner), package.name, schema=SCHEMA)
        connection = await asyncpg.connect(empty_url)
        await connection.execute("INSERT INTO events.logs (tenant) VALUES ('acme')")
        await connection.execute(
            "INSERT INTO events.records (log, position, revision, event_id, stream, digest, record)"
            " SELECT log, 1, 0, gen_random_uuid(), 's', $1, 'kept'::bytea FROM events.logs",
            bytes(32),
        )

        with pytest.raises(MigrationRefused, match=r"Nothing was changed"):
            await migrate(url_as(empty_url, owner), MIGRATIONS, schema=SCHEMA)

        assert await connection.fetchval("SELECT record FROM events.records") == b"kept"
        assert (
            (await gaps_of(empty_url))
            .of_isolation[0]
            .startswith("the schema events is at revision 0002")
        )
        await connection.close()
        postgres.execute(f"DROP OWNED BY {owner} CASCADE", database=name)


async def test_databases_of_one_server_are_migrated_at_once_by_who_is_no_superuser(
    tmp_path: Path,
) -> None:
    names = [f"many_{secrets.token_hex(4)}" for _ in range(6)]
    with (
        EmbeddedPostgres(with_data(tmp_path / "data")) as fresh,
        login(fresh, options="CREATEROLE") as name,
    ):
        for database in names:
            fresh.execute(f"CREATE DATABASE {database} OWNER {name}")
        urls = [
            url_as(fresh.url, name).replace(f"/{DATABASE}?", f"/{database}?") for database in names
        ]

        await asyncio.gather(*[migrate(url, MIGRATIONS, schema=SCHEMA) for url in urls])

        result = [await gaps_of(url) for url in urls]
        for database in names:
            fresh.execute(f"DROP DATABASE {database}")
        fresh.execute(f"DROP ROLE {ROLE}, {KEEPER}")

    assert [findings.of_isolation for findings in result] == [[]] * len(names)


def _make_role(postgres: EmbeddedPostgres) -> None:
    """The roles, as another database of the same server would have left them behind."""
    for role in (ROLE, KEEPER):
        if not postgres.execute(f"SELECT to_regrole('{role}')"):
            postgres.execute(f"CREATE ROLE {role} NOLOGIN")
