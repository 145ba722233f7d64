"""What goes wrong with PostgreSQL, by name. Knows no connection and no table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from services.plumbing.errors import CannotRun, DatabaseUnavailable, ResourceExhausted
from services.plumbing.logging import get_logger
from services.plumbing.settings import EX_CONFIG

RETRY_AFTER_S: Final = 1.0

_log = get_logger("database")


class DatabaseBusy(ResourceExhausted):
    """No connection came free in time, or a statement or lock took too long."""

    reason = "DATABASE_BUSY"


class UnsafeDatabase(CannotRun):
    """The database would lose what it acknowledged, or show it to whom it does not belong."""

    exit_code = EX_CONFIG


@contextmanager
def translate() -> Iterator[None]:
    """Turn what asyncpg and the network raise inside the block into named errors.

    What the caller's SQL did wrong (constraints, syntax) passes: the store knows what it means.
    """
    try:
        yield
    except _BUSY as error:
        raise DatabaseBusy(
            "the database is too busy to answer in time", retry_after_s=RETRY_AFTER_S
        ) from error
    except _GONE as error:
        raise unavailable(error) from error
    except asyncpg.InterfaceError as error:
        # Raised for misuse as well, which is a bug and stays one.
        if _is_closed(error):
            raise unavailable(error) from error
        raise


@contextmanager
def refusals_translated() -> Iterator[None]:
    """The same around what no caller's SQL has a part in: connecting, listening, asking how
    the database is. Whatever the server refuses there, and why, it is away.
    """
    try:
        with translate():
            yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unavailable(error) from error


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """What callers are told; the log is told why."""
    _log.warning("the database cannot be reached", problem=f"{type(error).__name__}: {error}")
    return DatabaseUnavailable("the database cannot be reached", retry_after_s=RETRY_AFTER_S)


_GONE = (
    OSError,  # ConnectionError and name resolution among them, and TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, cannot connect now
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,  # the database itself is missing
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or writes are forbidden for now
    asyncpg.InsufficientResourcesError,  # no disk, no memory
    asyncpg.PostgresSystemError,  # its files cannot be read or written
    # What it finds damaged, or calls a bug of its own: nobody's fault who calls.
    asyncpg.InternalServerError,
    asyncpg.InternalClientError,
)
# Looked at first: some of these are kinds of the above.
_BUSY = (
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
)


def is_of_data(error: BaseException) -> bool:
    """Whether what a statement was given does not fit, and will not the next time either: data
    exceptions and violated constraints, SQLSTATE classes 22 and 23.
    """
    return isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError)


def _is_closed(error: asyncpg.InterfaceError) -> bool:
    return "closed" in str(error) or "closing" in str(error)
