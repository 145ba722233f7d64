"""Lattices are found by what they are like, as the lattice service has written of them."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc.aio
import pytest

from girih.client import EventStoreClient, NewEvent
from girih.lattice.v1 import lattice_pb2
from girih.projections.v1 import lattices_pb2 as pb
from girih.projections.v1 import projections_pb2
from services.plumbing.grpc.channel import open_channel
from services.policy import EVENTS
from tests.authority import Authority

if TYPE_CHECKING:
    from girih.projections.v1.lattices_pb2_grpc import LatticeViewServiceAsyncStub
    from girih.projections.v1.projections_pb2_grpc import ProjectionServiceAsyncStub


@pytest.fixture
async def catalogue(events_address: str, authority: Authority) -> AsyncIterator[EventStoreClient]:
    """The log as the lattice service writes it."""
    async with open_channel(events_address, bearer=lambda: authority.service_token(EVENTS)) as own:
        yield EventStoreClient(own)


def created(shape: list[int], **fields: Any) -> tuple[str, NewEvent]:
    lattice_id = str(uuid4())
    payload = {
        "latticeId": lattice_id,
        "shape": shape,
        "boundaries": ["BOUNDARY_OPEN"] * len(shape),
        "neighbourhood": "NEIGHBOURHOOD_VON_NEUMANN",
        "vertices": "16",
        "edges": "24",
        **fields,
    }
    event = NewEvent(stream="$lattices", type="lattice.created", json=json.dumps(payload))
    return lattice_id, event


def deleted(lattice_id: str) -> NewEvent:
    payload = json.dumps({"latticeId": lattice_id})
    return NewEvent(stream="$lattices", type="lattice.deleted", json=payload)


def blocked_changed(lattice_id: str, vertices: int, edges: int) -> NewEvent:
    payload = {
        "latticeId": lattice_id,
        "vertices": str(vertices),
        "edges": str(edges),
        "blockedDigest": "AAAA",
    }
    return NewEvent(stream="$lattices", type="lattice.blocked-changed", json=json.dumps(payload))


async def search(
    lattices: "LatticeViewServiceAsyncStub", **fields: Any
) -> pb.SearchLatticesResponse:
    return await lattices.SearchLattices(pb.SearchLatticesRequest(**fields))


async def ids_of(lattices: "LatticeViewServiceAsyncStub", **fields: Any) -> list[str]:
    return [one.lattice_id for one in (await search(lattices, **fields)).lattices]


async def projected(projections: "ProjectionServiceAsyncStub", log: EventStoreClient) -> None:
    request = projections_pb2.WaitForProjectionRequest(
        projection="lattices", position=await log.head(), timeout_s=30
    )
    assert (await projections.WaitForProjection(request)).reached


async def test_lattices_are_found_by_shape_kind_and_age(
    projections: "ProjectionServiceAsyncStub",
    lattices: "LatticeViewServiceAsyncStub",
    catalogue: EventStoreClient,
) -> None:
    square, one = created([4, 4])
    cube, two = created([2, 2, 2], neighbourhood="NEIGHBOURHOOD_MOORE")
    maze, three = created([4, 4], blockedDigest="AAAA")
    await catalogue.append([one])
    first = await catalogue.last("$lattices")
    assert first is not None
    middle = first.recorded_at
    await catalogue.append([two, three])
    await projected(projections, catalogue)

    moore, von_neumann = lattice_pb2.NEIGHBOURHOOD_MOORE, lattice_pb2.NEIGHBOURHOOD_VON_NEUMANN
    assert await ids_of(lattices) == [maze, cube, square]
    assert await ids_of(lattices, shape=[4, 4]) == [maze, square]
    assert await ids_of(lattices, axis_count=3) == [cube]
    assert await ids_of(lattices, neighbourhood=moore) == [cube]
    assert await ids_of(lattices, neighbourhood=von_neumann, obstruction=1) == [square]
    assert await ids_of(lattices, obstruction=2) == [maze]
    assert await ids_of(lattices, site_count_min=9) == [maze, square]
    assert await ids_of(lattices, created_before=middle) == []
    assert square in await ids_of(lattices, created_from=middle)


async def test_changed_blocked_sites_are_told(
    projections: "ProjectionServiceAsyncStub",
    lattices: "LatticeViewServiceAsyncStub",
    catalogue: EventStoreClient,
) -> None:
    at_once, one = created([4, 4])
    later, two = created([4, 4])
    await catalogue.append([one, blocked_changed(at_once, 9, 7), two])
    await projected(projections, catalogue)
    await catalogue.append([blocked_changed(later, 8, 6)])
    await projected(projections, catalogue)

    views = (await search(lattices, obstruction=2)).lattices

    assert [(each.lattice_id, each.vertices, each.edges) for each in views] == [
        (later, 8, "6"),
        (at_once, 9, "7"),
    ]


async def test_a_deleted_lattice_is_gone(
    projections: "ProjectionServiceAsyncStub",
    lattices: "LatticeViewServiceAsyncStub",
    catalogue: EventStoreClient,
) -> None:
    brief, one = created([4])
    stays, two = created([5])
    gone, three = created([6])
    await catalogue.append([one, two])
    await catalogue.append([deleted(brief), three, deleted(gone)])
    await projected(projections, catalogue)

    assert await ids_of(lattices) == [stays]


async def test_pages_hold_each_lattice_once(
    projections: "ProjectionServiceAsyncStub",
    lattices: "LatticeViewServiceAsyncStub",
    catalogue: EventStoreClient,
) -> None:
    made = [created([size + 1]) for size in range(7)]
    await catalogue.append([event for _, event in made])
    await projected(projections, catalogue)

    seen: list[str] = []
    token = ""
    while True:
        page = await search(lattices, page_size=3, page_token=token)
        seen += [one.lattice_id for one in page.lattices]
        token = page.next_page_token
        if not token:
            break

    assert seen == [lattice_id for lattice_id, _ in reversed(made)]


async def test_any_number_of_sites_may_be_asked_for(
    lattices: "LatticeViewServiceAsyncStub",
) -> None:
    greatest = 2**63 - 1

    assert (await search(lattices, site_count_min=greatest, site_count_max=greatest)).lattices == []


async def test_a_filter_out_of_bounds_is_named(lattices: "LatticeViewServiceAsyncStub") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await search(lattices, axis_count=11)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "axis_count" in (refused.value.details() or "")
