"""The events service with its protection removed, to see the checker fail.

Taken away: the guard that lets a write happen only on the head that it was decided on, and
the unique constraints behind it. Everything else is the product. `python -m` runs it like
the service itself.
"""

import os

import asyncpg

from services.plumbing import sql

MODULE = "tests.chaos.unprotected"

_GUARD = " AND head = $2"
_DROPPED = """
    ALTER TABLE events.records
        DROP CONSTRAINT records_position,
        DROP CONSTRAINT records_revision,
        DROP CONSTRAINT records_event_id;
    CREATE INDEX ON events.records (log, position);
    CREATE INDEX ON events.records (log, stream, revision);
    CREATE INDEX ON events.records (log, event_id);
"""


async def drop_constraints(database_url: str) -> None:
    """Replace the unique indexes of a migrated database by plain ones."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_DROPPED)
    finally:
        await connection.close()


def _remove_guard() -> None:
    protected = sql.load

    def load(package: str, name: str) -> str:
        statement = protected(package, name)
        if name == "append_records":
            assert _GUARD in statement, "the guard is written otherwise now"
            statement = statement.replace(_GUARD, "")
        return statement

    # Before the store is imported, which takes the function by name.
    sql.load = load  # type: ignore[assignment]  # not cached


if __name__ == "__main__":
    _remove_guard()
    from services.events.app import run
    from services.events.settings import Settings
    from services.plumbing.process import run_process

    run_process(Settings, os.environ, run)
