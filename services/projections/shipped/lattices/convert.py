"""Searches for lattices between the wire and what they are."""

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from girih.lattice.v1 import lattice_pb2 as lattice_pb
from girih.projections.v1 import lattices_pb2 as pb
from girih.rules.requests import check_time
from services.plumbing import validation
from services.plumbing.errors import Violations
from services.projections.shipped.lattices.reading import LatticeFilter, LatticePage, Row

PAGE_SIZE: Final = 100
PAGE_SIZE_MAX: Final = 1_000

_BLOCKED = {pb.OBSTRUCTION_FREE: False, pb.OBSTRUCTION_BLOCKED: True}
_MOORE = {
    lattice_pb.NEIGHBOURHOOD_VON_NEUMANN: False,
    lattice_pb.NEIGHBOURHOOD_MOORE: True,
}


def asked(request: pb.SearchLatticesRequest) -> tuple[LatticeFilter, int | None, int]:
    """What is asked, before which position, and how many. Raises `InvalidInput`."""
    violations = Violations()
    validation.add_violations(request, violations)
    for name in ("created_from", "created_before"):
        if request.HasField(name):
            check_time(getattr(request, name), name, violations)
    violations.raise_if_any()
    wanted = LatticeFilter(
        shape=tuple(request.shape),
        axis_count=request.axis_count,
        is_moore=_MOORE.get(request.neighbourhood),
        is_blocked=_BLOCKED.get(request.obstruction),
        site_count_min=request.site_count_min,
        site_count_max=request.site_count_max,
        created_from=_time(request.created_from) if request.HasField("created_from") else None,
        created_before=(
            _time(request.created_before) if request.HasField("created_before") else None
        ),
    )
    before = int(request.page_token) if request.page_token else None
    return wanted, before, min(request.page_size or PAGE_SIZE, PAGE_SIZE_MAX)


def response(page: LatticePage, count_max: int) -> pb.SearchLatticesResponse:
    """The page, of one lattice more than `count_max` where there is another page."""
    rows = page.rows[:count_max]
    message = pb.SearchLatticesResponse(lattices=map(_view, rows), position=page.position)
    if len(page.rows) > count_max:
        message.next_page_token = str(rows[-1]["created_position"])
    return message


def _view(row: Row) -> pb.LatticeView:
    periodic, is_open = lattice_pb.BOUNDARY_PERIODIC, lattice_pb.BOUNDARY_OPEN
    message = pb.LatticeView(
        lattice_id=row["lattice_id"],
        shape=row["shape"],
        boundaries=[periodic if one else is_open for one in row["is_periodic"]],
        neighbourhood=(
            lattice_pb.NEIGHBOURHOOD_MOORE
            if row["is_moore"]
            else lattice_pb.NEIGHBOURHOOD_VON_NEUMANN
        ),
        site_count=int(row["site_count"]),
        vertices=int(row["vertices"]),
        edges=str(int(row["edges"])),
        created_position=row["created_position"],
        created_by=row["created_by"],
    )
    message.created_at.FromDatetime(row["created_at"])
    return message


def _time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
