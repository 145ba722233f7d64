"""Keeps what lattices are like, from the catalogue that the lattice service writes."""

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, cast

from google.protobuf import json_format

from girih.client import Query, RecordedEvent
from girih.lattice.v1 import chains_pb2 as chains_pb
from girih.lattice.v1 import lattice_pb2 as pb
from girih.projection import Projection, ProjectionTransaction
from services.plumbing.postgres.sql import load

_PACKAGE = "services.projections.shipped.lattices.sql"
_CATALOGUE = "$lattices"
_CREATED = "lattice.created"
_DELETED = "lattice.deleted"
_BLOCKED_CHANGED = "lattice.blocked-changed"


class UnreadableLattice(Exception):
    """An event of the catalogue is not what its type says."""


class Lattices(Projection):
    """The lattices that there are. Nobody but the lattice service writes their catalogue."""

    name: ClassVar = "lattices"
    migrations: ClassVar = f"{_PACKAGE}.migrations"

    @property
    def queries(self) -> Sequence[Query]:
        return (Query(types=(_CREATED, _DELETED, _BLOCKED_CHANGED), stream_prefix=_CATALOGUE),)

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        of = (transaction.tenant, transaction.generation)
        created: dict[str, tuple[object, ...]] = {}
        for event in events:
            # The streams of single lattices begin alike.
            if event.stream != _CATALOGUE:
                continue
            if event.type == _CREATED:
                row = _row(event)
                created[str(row[0])] = (*of, *row)
            elif event.type == _BLOCKED_CHANGED:
                await self._change(event, created, transaction)
            elif created.pop(deleted := _deleted_id(event), None) is None:
                await transaction.execute(load(_PACKAGE, "delete_lattice"), *of, deleted)
        if created:
            await transaction.execute_many(load(_PACKAGE, "insert_lattice"), [*created.values()])

    async def _change(
        self,
        event: RecordedEvent,
        created: dict[str, tuple[object, ...]],
        transaction: ProjectionTransaction,
    ) -> None:
        """Take in that other sites are blocked: of a lattice that is not written yet, or of one."""
        changed = _parsed(event, chains_pb.BlockedChanged())
        counts = (bool(changed.blocked_digest), changed.vertices, int(changed.edges))
        if (row := created.get(changed.lattice_id)) is not None:
            *before, _, site_count, _, _ = row
            created[changed.lattice_id] = (*before, counts[0], site_count, *counts[1:])
            return
        of = (transaction.tenant, transaction.generation, changed.lattice_id)
        await transaction.execute(load(_PACKAGE, "change_lattice"), *of, *counts)

    async def forget(self, transaction: ProjectionTransaction, row_count_max: int) -> int:
        rows = await transaction.fetch(
            load(_PACKAGE, "forget"), transaction.tenant, transaction.generation, row_count_max
        )
        return cast("int", rows[0]["row_count"])


def _row(event: RecordedEvent) -> tuple[object, ...]:
    """In the order of `insert_lattice.sql`, behind the generation."""
    created = _parsed(event, pb.LatticeCreated())
    return (
        created.lattice_id,
        event.position,
        event.recorded_at,
        event.actor,
        list(created.shape),
        [one == pb.BOUNDARY_PERIODIC for one in created.boundaries],
        created.neighbourhood == pb.NEIGHBOURHOOD_MOORE,
        bool(created.blocked_digest),
        prod(created.shape),
        created.vertices,
        int(created.edges),
    )


def _deleted_id(event: RecordedEvent) -> str:
    return str(_parsed(event, pb.LatticeDeleted()).lattice_id)


def _parsed(event: RecordedEvent, empty: Any) -> Any:  # noqa: ANN401 - one of two messages
    try:
        return json_format.Parse(event.json or "", empty, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise UnreadableLattice(f"the payload is not that of {event.type}") from error
