"""Counts events by their type: the smallest projection there is, to be copied."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, cast

from girih.client import RecordedEvent
from girih.projection import Projection, ProjectionTransaction
from services.plumbing.postgres.sql import load

_PACKAGE = "services.projections.shipped.event_types.sql"


class EventTypes(Projection):
    """How many events of each type a log has had, gone ones left out of what is built anew."""

    name: ClassVar = "event_types"
    migrations: ClassVar = f"{_PACKAGE}.migrations"

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        counts = Counter(event.type for event in events)
        last = {event.type: event.position for event in events}
        types = sorted(counts)
        await transaction.execute(
            load(_PACKAGE, "count"),
            transaction.tenant,
            transaction.generation,
            types,
            [counts[one] for one in types],
            [last[one] for one in types],
        )

    async def forget(self, transaction: ProjectionTransaction, row_count_max: int) -> int:
        rows = await transaction.fetch(
            load(_PACKAGE, "forget"), transaction.tenant, transaction.generation, row_count_max
        )
        return cast("int", rows[0]["row_count"])
