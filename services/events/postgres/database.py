"""The database behind the event store: its connections, and whether its schema is there yet."""

from collections.abc import Mapping
from typing import ClassVar

from services.events.postgres import isolation
from services.events.postgres.new_records import take_encoded
from services.events.settings import Settings
from services.events.store import DatabaseStatus
from services.plumbing.logging import get_logger
from services.plumbing.postgres import database
from services.plumbing.postgres.failures import UnsafeDatabase
from services.plumbing.postgres.migrations import migrate, newest_revision
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.served import ServedDatabase
from services.plumbing.postgres.sql import load

APPLICATION_NAME = "girih-events"
LISTENER_NAME = "girih-events-listener"
"""What the connection is called that listens for the notifications of other processes."""
SCHEMA = "events"
MIGRATIONS = "services.events.postgres.sql.migrations"

_log = get_logger("database")


class Database(ServedDatabase):
    """The connections of this process, lent once the schema is there."""

    application_name: ClassVar = APPLICATION_NAME
    listener_name: ClassVar = LISTENER_NAME
    role: ClassVar = isolation.ROLE
    channel: ClassVar = "girih_events_moved"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings
        self.others: Mapping[str, Database] = {}
        """All places of the process by their names: no two may lead to one database."""

    async def status(self) -> DatabaseStatus:
        """How the database is. Answers also when it is down, within two seconds."""
        latency_ms, server_version = await self.measure()
        return DatabaseStatus(
            latency_ms=latency_ms,
            server_version=server_version,
            pool_size=self.pool_size,
            pool_idle=self.pool_idle,
            pool_waiting=self.pool_waiting,
            pool_size_min=self._settings.pool_size_min,
            pool_size_max=self._settings.pool_size_max,
        )

    async def migrate(self, url: str, timeout_s: float) -> None:
        await migrate(url, MIGRATIONS, schema=SCHEMA, timeout_s=timeout_s)

    async def inspect(self, connection: RawConnection) -> None:
        """See that the database is fit to work on, or say everything that is wrong with it.

        Raises `UnsafeDatabase` when tenants are not isolated from each other, and in production
        also when the database would lose what it acknowledged or the login could get around
        the isolation; and when another place of the process leads there: a log would be moved
        onto itself, and a notification be heard twice.
        """
        findings = await isolation.find_isolation_findings(connection, newest_revision(MIGRATIONS))
        lost = await database.lost_guarantees(connection)
        if lost:
            findings.of_login.append(
                f"the database loses acknowledged events: {', '.join(lost)} is off"
            )
        if self._settings.environment == "production":
            findings.of_isolation += findings.of_login
        else:
            for problem in findings.of_login:
                _log.warning("production would refuse this database", problem=problem)
        if findings.of_isolation:
            raise UnsafeDatabase("; ".join(findings.of_isolation))
        await self._refuse_shared(connection)

    async def _refuse_shared(self, connection: RawConnection) -> None:
        # Noted before it is compared: of two that look at once the second sees the first.
        await self._is_elsewhere(connection)
        here = self.seen_place
        sharing = [name for name, one in self.others.items() if one.seen_place == here]
        if len(sharing) > 1:
            raise UnsafeDatabase(f"the places {' and '.join(sharing)} lead to the same database")

    async def _connection_opened(self, connection: RawConnection) -> None:
        await super()._connection_opened(connection)
        await take_encoded(connection)

    async def place(self, connection: RawConnection) -> str:
        return str(await connection.fetchval(_sql("select_place")))


def _sql(name: str) -> str:
    return load("services.events.postgres.sql", name)
