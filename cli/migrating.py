"""`girih migrate`: the database moved forward to this version's schema, and nothing else."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from cli import state
from cli.postgres import EmbeddedPostgres, PostgresError
from services.plumbing.errors import ServiceError
from services.plumbing.migrations import MigrationTimeout, WrongMigrations, migrate

PACKAGE = "services.events.sql.migrations"
SCHEMA = "events"

EX_FAILED = 1
EX_UNAVAILABLE = 69


class Failed(Exception):
    """The database is as it was. The message says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(data_dir: Path, environ: Mapping[str, str]) -> None:
    """Apply what is missing, starting the embedded server for it if need be."""
    with ExitStack() as stack:
        try:
            url = environ.get("DATABASE_URL") or _embedded_url(data_dir, environ, stack)
            applied = asyncio.run(migrate(url, PACKAGE, schema=SCHEMA))
        except (ServiceError, PostgresError) as error:
            raise Failed(str(error), EX_UNAVAILABLE) from error
        except (MigrationTimeout, WrongMigrations) as error:
            raise Failed(str(error), EX_FAILED) from error
    print(f"applied {', '.join(applied)}" if applied else "nothing to apply")


def _embedded_url(data_dir: Path, environ: Mapping[str, str], stack: ExitStack) -> str:
    running = state.read(data_dir)
    if running is not None and running.is_running():
        return running.environ["DATABASE_URL"]
    return stack.enter_context(EmbeddedPostgres(data_dir / "postgres", environ=environ)).url
