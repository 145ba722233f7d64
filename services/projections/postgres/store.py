"""Projections in PostgreSQL. Knows their tables, and not what is done with them."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from asyncpg import Record

from girih.ids import Position, TenantId
from girih.projection import PoisonPolicy, Projection, ReplacedPolicy
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.failures import translate
from services.plumbing.postgres.leases import LeaseLost
from services.plumbing.postgres.sql import load
from services.projections.domain import (
    Checkpoint,
    Generation,
    ProjectionKey,
    ProjectionState,
    RebuildCause,
    SetAside,
    Stop,
    StopCause,
)

_FORGOTTEN_ROW_COUNT = 2_000
"""Deleted in one transaction."""
_PROBLEM_CHARS_MAX = 1_000


class Connections(Protocol):
    """Who lends connections."""

    def connection(self) -> AbstractAsyncContextManager[Connection]: ...


class PostgresProjectionStore:
    """A `ProjectionStore`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def begin(self, key: ProjectionKey, version: str, fence: int) -> ProjectionState:
        async with self.for_tenant(key.tenant) as connection:
            await connection.execute(_sql("insert_state"), key.tenant, key.projection, version)
            await connection.execute(_sql("take_over"), key.tenant, key.projection, fence)
            state = (await states(connection, key.tenant, [key.projection]))[0]
        if state.active.checkpoint.fence > fence:
            raise _lost(state.active.checkpoint)
        return state

    @asynccontextmanager
    async def transaction(self, checkpoint: Checkpoint) -> AsyncIterator["GenerationTransaction"]:
        try:
            async with self.for_tenant(checkpoint.key.tenant) as connection:
                await _lock(connection, checkpoint)
                try:
                    yield GenerationTransaction(connection, checkpoint)
                except OSError as error:
                    raise _OfBlock(error) from error
        except _OfBlock as carried:
            raise carried.error from None

    async def note_failure(
        self,
        checkpoint: Checkpoint,
        *,
        cause: StopCause | None,
        problem: str,
        position: Position | None,
        attempt_count: int,
    ) -> None:
        async with self.transaction(checkpoint) as transaction:
            await transaction.execute(
                _sql("note_failure"),
                *_of(checkpoint),
                checkpoint.fence,
                cause.value if cause else None,
                _kept(problem),
                position,
                attempt_count,
            )

    async def held_streams(self, checkpoint: Checkpoint) -> Collection[str]:
        async with self.for_tenant(checkpoint.key.tenant) as connection:
            rows = await connection.fetch(_sql("quarantine/select_held_streams"), *_of(checkpoint))
        return [row["stream"] for row in rows]

    async def discard_asked(self, checkpoint: Checkpoint) -> None:
        async with self.transaction(checkpoint) as transaction:
            await transaction.execute(_sql("quarantine/discard_asked"), *_of(checkpoint))

    async def streams_to_replay(self, checkpoint: Checkpoint) -> Collection[str]:
        async with self.for_tenant(checkpoint.key.tenant) as connection:
            rows = await connection.fetch(_sql("quarantine/select_asked_streams"), *_of(checkpoint))
        return [row["stream"] for row in rows]

    async def quarantined(
        self, checkpoint: Checkpoint, stream: str, count_max: int
    ) -> Sequence[Position]:
        async with self.for_tenant(checkpoint.key.tenant) as connection:
            rows = await connection.fetch(
                _sql("quarantine/select_of_stream"), *_of(checkpoint), stream, count_max
            )
        return [Position(row["position"]) for row in rows]

    async def keep_quarantined(
        self, checkpoint: Checkpoint, stream: str, position: Position, problem: str
    ) -> None:
        async with self.transaction(checkpoint) as transaction:
            await transaction.execute(
                _sql("quarantine/keep"),
                *_of(checkpoint),
                stream,
                position,
                _kept(problem),
            )

    async def begin_rebuild(
        self, key: ProjectionKey, version: str, cause: RebuildCause, fence: int
    ) -> None:
        async with self.for_tenant(key.tenant) as connection:
            await connection.execute(
                _sql("begin_rebuild"), key.tenant, key.projection, version, cause.value, fence
            )

    async def swap(self, checkpoint: Checkpoint, *, is_behind_allowed: bool) -> bool:
        async with self.for_tenant(checkpoint.key.tenant) as connection:
            await _lock(connection, checkpoint)
            swapped = await connection.fetchval(
                _sql("swap_generations"), *_of(checkpoint), is_behind_allowed
            )
        return swapped is not None

    async def forget_dropped(
        self, key: ProjectionKey, projection: Projection
    ) -> AsyncIterator[int]:
        async with self.for_tenant(key.tenant) as connection:
            rows = await connection.fetch(_sql("select_dropped"), key.tenant, key.projection)
        for row in rows:
            dropped = Checkpoint(key=key, generation=row["generation"], fence=0, version="")
            while count := await self._forget_some(dropped, projection):
                yield count

    async def _forget_some(self, dropped: Checkpoint, projection: Projection) -> int:
        async with self.for_tenant(dropped.key.tenant) as connection:
            transaction = GenerationTransaction(connection, dropped)
            count = await projection.forget(transaction, _FORGOTTEN_ROW_COUNT)
            if not count:
                await connection.execute(_sql("delete_generation"), *_of(dropped))
            return count

    @asynccontextmanager
    async def for_tenant(self, tenant: TenantId) -> AsyncIterator[Connection]:
        """A transaction that sees the rows of one tenant, committed at the end of the block."""
        async with self._connections.connection() as connection, connection.transaction():
            await connection.execute(_sql("tell_tenant"), tenant)
            yield connection

    async def for_each(
        self, tenants: Collection[TenantId]
    ) -> AsyncGenerator[tuple[TenantId, Connection]]:
        """A transaction that sees the rows of one tenant after the other, on one connection."""
        async with self._connections.connection() as connection, connection.transaction():
            for tenant in tenants:
                await connection.execute(_sql("tell_tenant"), tenant)
                yield tenant, connection

    @asynccontextmanager
    async def reading_for(self, tenant: TenantId) -> AsyncIterator[Connection]:
        """A transaction whose statements all see a tenant's rows as they stood at the first."""
        async with (
            self._connections.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(_sql("tell_tenant"), tenant)
            yield connection


class _OfBlock(Exception):
    """Carries an error of a projection past those who would take it for one of the database, whose
    own have names by then."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class GenerationTransaction:
    """A `CheckpointTransaction`."""

    def __init__(self, connection: Connection, checkpoint: Checkpoint) -> None:
        self._connection = connection
        self._checkpoint = checkpoint
        self.tenant = checkpoint.key.tenant
        self.generation = checkpoint.generation

    async def execute(self, statement: str, *arguments: object) -> None:
        with translate():
            await self._connection.execute(statement, *arguments)

    async def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        with translate():
            await self._connection.executemany(statement, rows)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Mapping[str, Any]]:
        with translate():
            return [dict(row) for row in await self._connection.fetch(statement, *arguments)]

    async def move(self, position: Position, incarnation: str, applied_count: int) -> None:
        await self._connection.execute(
            _sql("move_checkpoint"), *_of(self._checkpoint), position, incarnation, applied_count
        )

    async def release(self, positions: Sequence[Position], applied_count: int) -> None:
        names = _of(self._checkpoint)
        await self._connection.execute(_sql("quarantine/release"), *names, positions)
        await self._connection.execute(_sql("quarantine/count_applied"), *names, applied_count)

    async def set_aside(self, events: Sequence[SetAside]) -> None:
        await self._connection.executemany(
            _sql("quarantine/insert_quarantined"),
            [(*_of(self._checkpoint), *_quarantined(one)) for one in events],
        )


async def states(
    connection: Connection, tenant: TenantId, projections: Sequence[str]
) -> list[ProjectionState]:
    """Those that are known for the tenant, by name."""
    rows = await connection.fetch(_sql("select_states"), tenant, projections)
    of: dict[str, list[Record]] = {}
    for row in rows:
        of.setdefault(row["projection"], []).append(row)
    return [_state(ProjectionKey(tenant, name), rows) for name, rows in of.items()]


async def _lock(connection: Connection, checkpoint: Checkpoint) -> None:
    is_as_left = await connection.fetchval(
        _sql("lock_checkpoint"), *_of(checkpoint), checkpoint.fence, checkpoint.position
    )
    if not is_as_left:
        raise _lost(checkpoint)


def _lost(checkpoint: Checkpoint) -> LeaseLost:
    key, generation = checkpoint.key, checkpoint.generation
    message = f"generation {generation} of {key.projection} of {key.tenant} was moved by another"
    return LeaseLost(message, projection=key.projection, generation=generation)


def _of(checkpoint: Checkpoint) -> tuple[str, str, int]:
    return checkpoint.key.tenant, checkpoint.key.projection, checkpoint.generation


def _quarantined(one: SetAside) -> tuple[object, ...]:
    event = one.event
    problem = _kept(one.problem)
    place = (event.position, event.stream, event.type, event.id)
    return (*place, problem, one.is_held_back, one.attempt_count)


def _kept(problem: str) -> str:
    """What can be kept of a problem: it may be the words of any exception."""
    text = problem[:_PROBLEM_CHARS_MAX].encode("utf-8", "replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _state(key: ProjectionKey, rows: Sequence[Record]) -> ProjectionState:
    first = rows[0]
    generations = {row["generation"]: _generation(key, row) for row in rows}
    cause, poison, replaced = (
        first[name] for name in ("rebuild_cause", "poison_policy", "replaced_policy")
    )
    return ProjectionState(
        key=key,
        active=generations[first["active_generation"]],
        building=generations.get(first["building_generation"]),
        rebuild_cause=RebuildCause(cause) if cause else None,
        is_paused=first["is_paused"],
        poison_policy=PoisonPolicy(poison) if poison else None,
        replaced_policy=ReplacedPolicy(replaced) if replaced else None,
    )


def _generation(key: ProjectionKey, row: Record) -> Generation:
    stopped_at, failed = row["stopped_at"], row["failed_position"]
    return Generation(
        checkpoint=Checkpoint(
            key=key,
            generation=row["generation"],
            fence=row["fence"],
            version=row["version"],
            incarnation=row["incarnation"],
            position=Position(row["position"]),
        ),
        event_count=row["event_count"],
        moved_at=row["moved_at"],
        stop=stopped_at and Stop(cause=StopCause(row["stop_cause"]), at=stopped_at),
        problem=row["problem"] or "",
        failed_position=None if failed is None else Position(failed),
        attempt_count=row["attempt_count"],
        quarantined_count=row["quarantined_count"],
    )


def _sql(name: str) -> str:
    return load("services.projections.postgres.sql", name)
