"""The events service with its protection removed, to see the checker fail.

Taken away: the guard that lets a write happen only on the head that it was decided on, and
the unique constraints behind it, both of which are in the database. Everything else is the
product.
"""

import asyncpg

_GUARD = " AND head = behind"
_APPEND = "SELECT pg_get_functiondef('events.append'::regproc)"
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


async def remove_protection(database_url: str) -> None:
    """Take the guard out of a migrated database, and its unique indexes for plain ones."""
    connection = await asyncpg.connect(database_url)
    try:
        append = await connection.fetchval(_APPEND)
        assert _GUARD in append, "the guard is written otherwise now"
        await connection.execute(append.replace(_GUARD, ""))
        await connection.execute(_DROPPED)
    finally:
        await connection.close()
