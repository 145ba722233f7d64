"""What requests of lattices may hold: the contract says so, and names what is wrong."""

import pytest
from google.protobuf.message import Message

from girih.lattice.v1 import lattice_pb2 as pb
from services.plumbing import validation
from services.plumbing.errors import InvalidInput

ID = "00000000-0000-7000-8000-00000000000F"
SITE = pb.Site(coordinates=[0])


def bad_fields(request: Message) -> set[str]:
    with pytest.raises(InvalidInput) as wrong:
        validation.check(request)
    return {violation.field for violation in wrong.value.violations}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateLatticeRequest(dimensions=11, size=2), "dimensions"),
        (pb.CreateLatticeRequest(dimensions=-1, size=2), "dimensions"),
        (pb.CreateLatticeRequest(dimensions=2, size=-2), "size"),
        (pb.CreateLatticeRequest(shape=[3, 0]), "shape[1]"),
        (pb.CreateLatticeRequest(shape=[1] * 11), "shape"),
        (pb.CreateLatticeRequest(shape=[3], boundaries=[0, 9]), "boundaries[1]"),  # type: ignore[list-item]
        (pb.CreateLatticeRequest(shape=[3], neighbourhood=9), "neighbourhood"),  # type: ignore[arg-type]
        (pb.CreateLatticeRequest(shape=[3], corner_rule=9), "corner_rule"),  # type: ignore[arg-type]
        (pb.CreateLatticeRequest(shape=[3], request_id="1"), "request_id"),
        (pb.CreateLatticeRequest(shape=[3], request_id=f"{{{ID}}}"), "request_id"),
        (pb.CreateLatticeRequest(), "shape"),
        (pb.CreateLatticeRequest(shape=[3], dimensions=2, size=3), "shape"),
        (pb.CreateLatticeRequest(dimensions=2), "size"),
        (pb.CreateLatticeRequest(shape=[3], blocked=b"\1"), "bit_order"),
        (pb.ListLatticesRequest(page_size=-1), "page_size"),
        (pb.GetLatticeRequest(lattice_id=f"{ID} "), "lattice_id"),
        (pb.FindPathRequest(lattice_id=ID, start=SITE, goal=SITE, sites_max=-1), "sites_max"),
        (pb.FindPathRequest(lattice_id=ID, start=SITE, goal=SITE, sites_max=100_001), "sites_max"),
        (pb.FindPathRequest(lattice_id=ID, start=SITE), "goal"),
        (pb.FindPathRequest(lattice_id=ID, start=pb.Site(), goal=SITE), "start.coordinates"),
        (pb.FindPathsRequest(lattice_id=ID), "queries"),
        (
            pb.FindPathsRequest(lattice_id=ID, queries=[{"start": SITE, "goal": SITE}] * 10_001),
            "queries",
        ),
        (pb.DistancesRequest(lattice_id=ID), "sources"),
        (pb.DistancesRequest(lattice_id=ID, sources=[SITE] * 1_001), "sources"),
        (pb.DistancesRequest(lattice_id=ID, sources=[SITE], targets=[SITE] * 10_001), "targets"),
        (
            pb.DistancesRequest(lattice_id=ID, sources=[SITE], region={"shape": [1]}),
            "region.origin",
        ),
        (
            pb.DistancesRequest(
                lattice_id=ID,
                sources=[SITE],
                targets=[SITE],
                region={"origin": SITE, "shape": [1]},
            ),
            "region",
        ),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_by_its_field(request_: Message, field: str) -> None:
    assert bad_fields(request_) == {field}


def test_everything_out_of_its_bounds_is_told_at_once() -> None:
    request = pb.CreateLatticeRequest(
        shape=[0, 3],
        boundaries=[9],  # type: ignore[list-item]
        neighbourhood=9,  # type: ignore[arg-type]
        corner_rule=9,  # type: ignore[arg-type]
        request_id="x",
    )

    expected = {"shape[0]", "boundaries[0]", "neighbourhood", "corner_rule", "request_id"}
    assert bad_fields(request) == expected


def test_an_id_is_taken_in_either_case() -> None:
    validation.check(pb.GetLatticeRequest(lattice_id=ID))
    validation.check(pb.CreateLatticeRequest(shape=[3], request_id=ID.lower()))
