"""What a projection is: events of a log, folded into tables that are always true of one position.

girih runs it: `services.projections` hands it events in order, in transactions that hold what it
writes and how far it has come, so that each event counts exactly once whatever dies meanwhile.
This says what to write, and imports no part of a server.

    class Cases(Projection):
        name = "cases"
        migrations = "my_package.sql.migrations"
        event_types = ("case.opened", "case.closed")

        async def apply(self, events, transaction):
            for event in events:
                await transaction.execute(
                    "INSERT INTO projection_cases.cases (tenant, generation, stream, type)"
                    " VALUES ($1, $2, $3, $4)",
                    transaction.tenant, transaction.generation, event.stream, event.type,
                )

        async def forget(self, transaction, row_count_max): ...

An entry point of the group `girih.projections` makes it known: `cases = "my_package:Cases"`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Final, Protocol

from girih.client import Query, RecordedEvent
from girih.ids import TenantId

ENTRY_POINTS: Final = "girih.projections"
"""The group of entry points that name projections."""


class PoisonPolicy(Enum):
    """What becomes of a projection when it cannot apply an event, however often that is tried."""

    STOP = "stop"
    """It stops before the event, and says so."""
    QUARANTINE = "quarantine"
    """The event is put aside, and with it all later ones of its stream, so that their order holds
    when they are replayed. The projection goes on with other streams."""


class ReplacedPolicy(Enum):
    """What becomes of a projection whose log was restored to an earlier state."""

    REBUILD = "rebuild"
    """It is built anew from the log as it is; what it holds is shown until then."""
    STOP = "stop"
    """It stops, and says so."""


class ProjectionTransaction(Protocol):
    """The transaction that a projection writes in, which also moves its checkpoint.

    Row-level security shows it the rows of its tenant alone; every table has a column `tenant`
    and a column `generation`, which are written as they stand here.
    """

    @property
    def tenant(self) -> TenantId: ...

    @property
    def generation(self) -> int:
        """Which build of the projection this is. Rows of others are not to be touched: a rebuild
        fills a new one while the one before is read."""

    async def execute(self, statement: str, *arguments: object) -> None:
        """Run one statement."""

    async def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each row of arguments, in one round trip."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Mapping[str, Any]]:
        """Run one statement and answer its rows."""


class Projection(ABC):
    """A read model, kept by folding the events of each tenant's log into tables.

    Its tables lie in a schema of its own, `projection_` and its name, which its migrations make:
    numbered SQL files as `0001_create_cases.sql`, never edited once applied. Every table has
    row-level security, enabled and forced, with one policy for the role `girih_projections` on
    its column `tenant`, and every view is a `security_invoker`: the process does not start on
    others. Readers come through a view that shows the active generation, see
    `projections.active_generation` in the first migrations of girih's own.
    """

    name: ClassVar[str]
    """1 to 40 of a-z 0-9 _, the first a letter."""
    migrations: ClassVar[str]
    """The package that holds its migrations, as a dotted name."""
    event_types: ClassVar[Collection[str]] = ()
    """The types of events that it wants; empty for all."""
    poison_policy: PoisonPolicy = PoisonPolicy.STOP
    replaced_policy: ReplacedPolicy = ReplacedPolicy.REBUILD

    @property
    def version(self) -> str:
        """What it makes of events. Where it changes, what was built before is built anew."""
        return "1"

    @property
    def queries(self) -> Sequence[Query]:
        """Which events it wants: those that one of the queries means; empty for all."""
        return (Query(types=tuple(self.event_types)),) if self.event_types else ()

    @property
    def schema(self) -> str:
        """Where its tables are."""
        return f"projection_{self.name}"

    @abstractmethod
    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        """Fold events into the tables, in their order; at least one.

        May be called again with fewer of them when it raised, and must make of two batches what
        it makes of both together. Raises what it likes: then nothing of the batch is kept.
        """

    @abstractmethod
    async def forget(self, transaction: ProjectionTransaction, row_count_max: int) -> int:
        """Delete up to so many rows of the generation, which nobody reads any more; answers how
        many, 0 when none is left."""
