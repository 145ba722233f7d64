"""`girih migrate`: the database moved forward to this version's schema, and nothing else."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from cli import exit_codes
from cli.failure import Failed
from cli.local import state
from cli.local.postgres import EmbeddedPostgres, PostgresError
from services.plumbing import logging
from services.plumbing.errors import ServiceError
from services.plumbing.postgres.migrations import (
    MigrationRefused,
    MigrationTimeout,
    WrongMigrations,
    migrate,
)
from services.plumbing.settings import ProcessSettings, named_urls, secret_of

PACKAGE = "services.events.postgres.sql.migrations"
SCHEMA = "events"


def run(data_dir: Path, environ: Mapping[str, str], *, timeout_s: float) -> None:
    """Apply what is missing, starting the embedded server for it if need be.

    Makes no database. Raises Failed, with no revision applied in part.
    """
    _quiet_logs()
    with ExitStack() as stack:
        try:
            url = _url(environ) or _embedded_url(data_dir, environ, stack)
            applied = asyncio.run(_migrate(url, environ, timeout_s))
        except (ServiceError, PostgresError) as error:
            raise Failed(str(error), exit_codes.UNAVAILABLE) from error
        except MigrationRefused as error:
            raise Failed(str(error), exit_codes.NOPERM) from error
        except (MigrationTimeout, WrongMigrations) as error:
            raise Failed(str(error), exit_codes.FAILED) from error
    print(f"applied {', '.join(applied)}" if applied else "nothing to apply")


async def _migrate(url: str, environ: Mapping[str, str], timeout_s: float) -> list[str]:
    """The schema of events, the same in further places, as `place revision`, and then those of
    projections, as `schema revision`.
    """
    applied = await migrate(url, PACKAGE, schema=SCHEMA, timeout_s=timeout_s)
    for place, place_url in _places(environ).items():
        revisions = await migrate(place_url, PACKAGE, schema=SCHEMA, timeout_s=timeout_s)
        applied += [f"{place} {revision}" for revision in revisions]
    # By name: the command imports none of the processes.
    projections = import_module("services.projections.migrating")
    own_url = secret_of(environ, "PROJECTIONS_MIGRATION_DATABASE_URL") or url
    return [*applied, *await projections.migrate_all(own_url, timeout_s)]


def _quiet_logs() -> None:
    """Warnings belong to stderr; the outcome alone to stdout."""
    settings = ProcessSettings.from_environ(
        {"GIRIH_LOG_LEVEL": "warning", "GIRIH_LOG_FORMAT": "console"}
    )
    logging.configure(settings, descriptor=sys.stderr.fileno())


def _url(environ: Mapping[str, str]) -> str | None:
    """Of a login that may change the schema, if the service's own may not."""
    try:
        return secret_of(environ, "EVENTS_MIGRATION_DATABASE_URL") or secret_of(
            environ, "DATABASE_URL"
        )
    except ValueError as error:
        raise Failed(str(error), exit_codes.CONFIG) from error


def _places(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Further databases for logs, each as a login that may change the schema, if the service's own
    may not."""
    try:
        known = secret_of(environ, "EVENTS_PLACES") or ""
        migrating = secret_of(environ, "EVENTS_MIGRATION_PLACES") or ""
    except ValueError as error:
        raise Failed(str(error), exit_codes.CONFIG) from error
    return dict(named_urls(known)) | dict(named_urls(migrating))


def _embedded_url(data_dir: Path, environ: Mapping[str, str], stack: ExitStack) -> str:
    running = state.read(data_dir)
    if running is not None and running.is_running():
        return running.environ["DATABASE_URL"]
    if not (data_dir / "postgres" / "PG_VERSION").exists():
        message = f"there is no database in {data_dir}: `girih up` makes one there"
        raise Failed(f"{message}, and DATABASE_URL names one elsewhere", exit_codes.NOINPUT)
    return stack.enter_context(EmbeddedPostgres(data_dir / "postgres", environ=environ)).url
