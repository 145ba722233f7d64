"""What is seen of a database from the outside: how long its statements take, and its pool.

Statements go by the names of their files, of which there are so many. Nothing of their values is
looked at.
"""

import time
from typing import Final, Protocol

import asyncpg
from asyncpg.connection import LoggedQuery
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from services.plumbing.errors import DatabaseUnavailable, ServiceError
from services.plumbing.postgres.failures import DatabaseBusy
from services.plumbing.postgres.sql import name_of
from services.plumbing.telemetry import lines, tracing

_WORTH_A_SPAN_S: Final = 0.005

_WAIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class PoolState(Protocol):
    """How the connections of a process are used."""

    @property
    def pool_size(self) -> int: ...

    @property
    def pool_idle(self) -> int: ...

    @property
    def pool_waiting(self) -> int: ...

    @property
    def pool_size_max(self) -> int: ...


class DatabaseMetrics:
    """The numbers of the database of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._statements = Summary(
            "database_statement_seconds",
            "How long statements took until their answer was there, by the name of the statement.",
            ["statement"],
            registry=registry,
        )
        self._failed = Counter(
            "database_statements_failed",
            "Statements that ended with an error, or that nobody waited for any longer.",
            ["statement"],
            registry=registry,
        )
        self._waited = Histogram(
            "database_acquire_seconds",
            "How long calls waited for a connection.",
            buckets=_WAIT_BUCKETS_S,
            registry=registry,
        )
        refused = Counter(
            "database_refusals",
            "Uses of a connection that ended since the database was away or too busy, by the reason"
            " that a caller is told.",
            ["reason"],
            registry=registry,
        )
        self._refused: dict[type[ServiceError], Counter] = {
            kind: refused.labels(kind.reason) for kind in (DatabaseBusy, DatabaseUnavailable)
        }

    def waited(self, duration_s: float) -> None:
        self._waited.observe(duration_s)

    def answered(self, statement: str, duration_s: float) -> None:
        self._statements.labels(statement).observe(duration_s)

    def failed(self, statement: str) -> None:
        self._failed.labels(statement).inc()

    def refused(self, error: ServiceError) -> None:
        """A use of a connection ended with an error, be it the database's doing or not."""
        if (counter := self._refused.get(type(error))) is not None:
            counter.inc()


class StatementObserver:
    """Sees each statement once it has ended: asyncpg calls it, in the context of who asked."""

    def __init__(self, metrics: DatabaseMetrics | None) -> None:
        self._metrics = metrics

    def __call__(self, logged: LoggedQuery) -> None:
        statement = name_of(logged.query)
        if self._metrics is not None:
            self._metrics.answered(statement, logged.elapsed)
            if logged.exception is not None:
                self._metrics.failed(statement)
        if tracing.is_on():
            _trace(statement, logged)
        if lines.is_slow(logged.elapsed):
            lines.slow_statement(statement, logged.elapsed, _problem(logged.exception))


def waited_for_connection(duration_s: float) -> None:
    """Have the trace of the current call show that it waited long for a connection."""
    if duration_s < _WORTH_A_SPAN_S or not tracing.is_on():
        return
    began_ns = time.time_ns() - round(duration_s * 1e9)
    span = tracing.child("wait for a connection", "internal", {}, began_ns)
    if span is not None:
        span.end()


def _trace(statement: str, logged: LoggedQuery) -> None:
    ended_ns = time.time_ns()
    attributes = {"db.system.name": "postgresql", "db.query.summary": statement}
    began_ns = ended_ns - round(logged.elapsed * 1e9)
    span = tracing.child(f"postgresql {statement}", "client", attributes, began_ns)
    if span is not None:
        span.end(_problem(logged.exception), ended_ns)


def count_pool(pool: PoolState, registry: CollectorRegistry, process: str) -> None:
    """Tell how the pool of connections is used whenever somebody asks."""
    gauges = {
        "connections": ("Connections open.", lambda: pool.pool_size),
        "idle_connections": ("Connections doing nothing.", lambda: pool.pool_idle),
        "connections_max": ("Connections opened at most.", lambda: pool.pool_size_max),
        "waiting_calls": ("Calls that wait for a connection.", lambda: pool.pool_waiting),
    }
    for name, (words, read) in gauges.items():
        Gauge(f"{process}_pool_{name}", words, registry=registry).set_function(read)


def _problem(error: BaseException | None) -> str:
    """Its class: a message of PostgreSQL's may repeat what was sent."""
    if isinstance(error, asyncpg.PostgresError):
        return f"{type(error).__name__} {error.sqlstate}"
    return "" if error is None else type(error).__name__
