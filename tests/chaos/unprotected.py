"""The events service with its protection removed, to see the proofs fail.

Taken away by `remove_protection`: the turns of appends and the guard that lets a write happen
only on the head that it was decided on, and the unique constraints behind both, all of which are
in the database. Everything else is the product.
"""

from collections.abc import Sequence

import asyncpg

_TURN = ("take_turn", "PERFORM pg_advisory_xact_lock(", "PERFORM concat(")
_GUARD = ("append", "coalesce(head, 0) <> behind", "false")
_FENCING = (
    "led.token = new.token AND led.consumer <> '' AND led.expires_at > clock_timestamp()",
    "true",
)
_COUNTED = """
    ALTER TABLE events.logs ADD COLUMN head bigint NOT NULL DEFAULT 0;
    ALTER TABLE events.logs SET (fillfactor = 10);
    GRANT UPDATE (head) ON events.logs TO girih_events;
"""
_COUNTING = (
    "RETURN true",
    "UPDATE events.logs SET head = behind + 1 WHERE tenant = of_tenant; RETURN true",
)
_DROPPED = """
    ALTER TABLE events.records
        DROP CONSTRAINT records_position,
        DROP CONSTRAINT records_revision,
        DROP CONSTRAINT records_event_id;
    ALTER TABLE events.streams
        DROP CONSTRAINT streams_stream,
        DROP CONSTRAINT streams_name;
    CREATE INDEX ON events.records (log, position);
    CREATE INDEX ON events.records (log, stream, revision);
    CREATE INDEX ON events.records (log, event_id);
    CREATE INDEX ON events.streams (log, stream);
    CREATE INDEX ON events.streams (log, name);
"""
_UNFENCED = """
    CREATE OR REPLACE VIEW events.logs_here WITH (security_invoker = true) AS
    SELECT log, tenant FROM events.logs
"""


async def remove_protection(database_url: str) -> None:
    """Take the guard out of a migrated database, and its unique indexes for plain ones."""
    connection = await asyncpg.connect(database_url)
    try:
        for name, written, instead in (_TURN, _GUARD):
            await change_function(connection, name, written, instead)
        await connection.execute(_DROPPED)
    finally:
        await connection.close()


async def count_in_the_row(database_url: str) -> None:
    """Have appends take turns by updating the row of their log, which leaves its old version."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_COUNTED)
        await change_function(connection, "append", *_COUNTING)
    finally:
        await connection.close()


async def settle_under_any_token(database_url: str) -> None:
    """Have what consumers say of events be settled whoever leads their lane by now."""
    connection = await asyncpg.connect(database_url)
    try:
        await change_function(connection, "group_settle", *_FENCING)
    finally:
        await connection.close()


async def take_fences_away(database_urls: Sequence[str]) -> None:
    """Have statements work on a log wherever they are sent, also where it is not any more."""
    for url in database_urls:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(_UNFENCED)
        finally:
            await connection.close()


async def change_function(
    connection: asyncpg.Connection, name: str, written: str, instead: str
) -> None:
    """Write a function of the schema otherwise."""
    function = await connection.fetchval(
        "SELECT pg_get_functiondef(to_regproc($1))", f"events.{name}"
    )
    assert written in function, f"events.{name} is written otherwise now"
    await connection.execute(function.replace(written, instead))
