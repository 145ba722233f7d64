"""The database that projections are kept in, and which of them it is ready for."""

from collections.abc import Collection, Mapping
from typing import ClassVar, Final

import asyncpg

from girih.projection import Projection
from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger
from services.plumbing.postgres.failures import UnsafeDatabase
from services.plumbing.postgres.migrations import (
    MigrationTimeout,
    applied_revision,
    migrate,
    newest_revision,
)
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.served import ServedDatabase
from services.projections.postgres.isolation import (
    ROLE,
    SCHEMA,
    IsolationFindings,
    find_isolation_findings,
)
from services.projections.settings import Settings

MIGRATIONS: Final = "services.projections.postgres.migrations"

_log = get_logger("database")


class Database(ServedDatabase):
    """The connections of this process, lent once the schema of the runner is there.

    A projection whose own schema is not as it must be is not run, and says why; it keeps none of
    the others from running.
    """

    application_name: ClassVar = "girih-projections"
    listener_name: ClassVar = "girih-projections-listener"
    role: ClassVar = ROLE
    channel: ClassVar = "girih_projections_changed"

    def __init__(self, settings: Settings, projections: Mapping[str, Projection]) -> None:
        super().__init__(settings)
        self._environment = settings.environment
        self._projections = projections
        self._problems: dict[str, str] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """Why projections cannot run, by name."""
        return self._problems

    @property
    def ready(self) -> Collection[str]:
        """The projections that can run."""
        return self._projections.keys() - self._problems.keys()

    async def migrate(self, url: str, timeout_s: float) -> None:
        await migrate(url, MIGRATIONS, schema=SCHEMA, timeout_s=timeout_s)
        for projection in self._projections.values():
            await self._migrate_one(projection, url, timeout_s)

    async def inspect(self, connection: RawConnection) -> None:
        """Raises `UnsafeDatabase` when tenants are not isolated from each other in the runner's
        own schema, or, in production, the login could get around the isolation."""
        await self._find_behind(connection)
        findings = await find_isolation_findings(
            connection,
            newest_revision(MIGRATIONS),
            [projection.schema for projection in self._projections.values()],
        )
        self._refuse_unsafe(findings)
        for projection in self._projections.values():
            if problems := findings.of_schemas.get(projection.schema):
                self._refuse(projection, "; ".join(problems))

    async def place(self, connection: RawConnection) -> str:
        return str(await connection.fetchval("SELECT pg_postmaster_start_time()::text"))

    async def _migrate_one(self, projection: Projection, url: str, timeout_s: float) -> None:
        """A migration that fails leaves the tables as they were; each start tries it again."""
        self._problems.pop(projection.name, None)
        try:
            await migrate(url, projection.migrations, schema=projection.schema, timeout_s=timeout_s)
        except MigrationTimeout:
            raise
        except (asyncpg.PostgresError, CannotRun, ModuleNotFoundError) as error:
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            self._refuse(projection, f"its migration failed: {error}{notes}")

    async def _find_behind(self, connection: RawConnection) -> None:
        """Who may not migrate sees whether somebody has."""
        for projection in self._projections.values():
            if projection.name in self._problems:
                continue
            applied = await applied_revision(connection, projection.schema)
            newest = newest_revision(projection.migrations)
            if applied < newest:
                self._refuse(
                    projection,
                    f"its schema is at revision {applied or 'none'}, and it needs {newest}:"
                    " run `girih migrate`",
                )

    def _refuse(self, projection: Projection, problem: str) -> None:
        self._problems[projection.name] = problem
        _log.error("a projection cannot run", projection=projection.name, problem=problem)

    def _refuse_unsafe(self, findings: IsolationFindings) -> None:
        if self._environment == "production":
            findings.of_isolation += findings.of_login
        else:
            for problem in findings.of_login:
                _log.warning("production would refuse this database", problem=problem)
        if findings.of_isolation:
            raise UnsafeDatabase("; ".join(findings.of_isolation))
