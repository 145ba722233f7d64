"""What values are refused, and by which names. Nothing here allocates by the lattice's size."""

from typing import Any

import pytest

from services.lattice import domain
from services.lattice.domain import BitOrder, LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.operations import creation, distances, paths
from services.lattice.operations.creation import NewLattice
from services.plumbing.errors import InvalidInput

HUGE = (10**9, 10**9)


def create(**changed: Any) -> NewLattice:
    """A creation of a 4 by 6 lattice, with some of its values changed."""
    requested: dict[str, Any] = {
        "shape": (4, 6),
        "dimensions": 0,
        "size": 0,
        "periodic": (),
        "moore": False,
        "no_cutting": True,
        "blocked": b"",
        "bit_order": BitOrder.LITTLE,
        "request_id": "",
    }
    return creation.new_lattice(**{**requested, **changed})


def spec(*shape: int, blocked: bytes = b"") -> LatticeSpec:
    geometry = Geometry(shape, (False,) * len(shape), moore=False, no_cutting=True)
    return LatticeSpec(geometry=geometry, blocked=blocked)


def fields(wrong: pytest.ExceptionInfo[InvalidInput]) -> set[str]:
    return {violation.field for violation in wrong.value.violations}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"shape": ()}, "shape"),
        ({"shape": (1,) * 11}, "shape"),
        ({"shape": (3, 0)}, "shape[1]"),
        ({"shape": (3, -1)}, "shape[1]"),
        ({"shape": (2**32, 2**31)}, "shape"),
        ({"shape": (2**62, 2**62, 2**62)}, "shape"),
        ({"shape": (), "dimensions": 10, "size": 100}, "size"),
        ({"periodic": (True,) * 3}, "boundaries"),
        ({"blocked": b"\1\1"}, "blocked"),
        ({"blocked": b"\1\1\1\1"}, "blocked"),
        ({"shape": (9,), "blocked": b"\0\2"}, "blocked"),
        ({"shape": (9,), "blocked": b"\0\1", "bit_order": BitOrder.BIG}, "blocked"),
        ({"shape": (33_554_433,), "blocked": b"\1"}, "blocked"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_its_field(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        create(**changed)

    assert fields(wrong) == {field}


def test_as_many_sites_as_int64_counts_are_allowed_and_one_more_is_not() -> None:
    assert create(shape=(2**63 - 1,)).spec.geometry.sites == 2**63 - 1

    with pytest.raises(InvalidInput):
        create(shape=(2**63,))


def test_dimensions_and_size_are_short_for_a_shape() -> None:
    assert create(shape=(), dimensions=3, size=5).spec.geometry.shape == (5, 5, 5)


def test_axes_are_open_unless_said_otherwise() -> None:
    assert create().spec.geometry.periodic == (False, False)


def test_one_boundary_is_that_of_every_axis() -> None:
    assert create(periodic=(True,)).spec.geometry.periodic == (True, True)


def test_a_bitmap_without_a_set_bit_makes_a_free_lattice() -> None:
    assert create(blocked=bytes(3)).spec.free


@pytest.mark.parametrize("place", [0, 1 << 19, 1 << 20])
def test_a_bit_is_seen_wherever_it_is_in_a_large_bitmap(place: int) -> None:
    bitmap = bytearray((1 << 20) + 1)
    assert spec(8 * len(bitmap), blocked=bytes(bitmap)).free

    bitmap[place] = 16

    assert not spec(8 * len(bitmap), blocked=bytes(bitmap)).free


def test_a_bit_blocks_its_site_in_c_order_from_the_least_significant() -> None:
    lattice = spec(3, 5, blocked=bytes([0b1000_0000, 0b0000_0010]))

    blocked = [(r, c) for r in range(3) for c in range(5) if lattice.blocks((r, c))]

    assert blocked == [(1, 2), (1, 4)]


@pytest.mark.parametrize(
    ("start", "goal", "sites_max", "field"),
    [
        ((0,), (1, 1), 0, "start.coordinates"),
        ((0, 0, 0), (1, 1), 0, "start.coordinates"),
        ((), (1, 1), 0, "start.coordinates"),
        ((1, 1), (-1, 0), 0, "goal.coordinates[0]"),
        ((1, 1), (0, 5), 0, "goal.coordinates[1]"),
        ((0, 0), (1, 1), 0, "start"),
        ((1, 1), (0, 0), 0, "goal"),
    ],
)
def test_a_bad_path_query_is_refused_by_its_field(
    start: tuple[int, ...], goal: tuple[int, ...], sites_max: int, field: str
) -> None:
    with pytest.raises(InvalidInput) as wrong:
        paths.path_query(spec(3, 5, blocked=b"\1\0"), start, goal, sites_max)

    assert fields(wrong) == {field}


def test_a_bad_query_of_a_batch_is_refused_by_its_index() -> None:
    good = ((1, 1), (2, 2))

    with pytest.raises(InvalidInput) as wrong:
        paths.paths_query(spec(3, 5, blocked=b"\1\0"), [good] * 7 + [((1, 1), (0, 0))], 0)

    assert fields(wrong) == {"queries[7].goal"}


@pytest.mark.parametrize(
    ("sources", "targets", "region", "field"),
    [
        ([(0, 0)], [], None, "sources[0]"),
        ([(1, 1), (9, 9)], [], None, "sources[1].coordinates[0]"),
        ([(1, 1)], [(3, 0)], None, "targets[0].coordinates[0]"),
        ([(1, 1)], [], ((0,), (1, 1)), "region.origin.coordinates"),
        ([(1, 1)], [], ((0, 0), (1,)), "region.shape"),
        ([(1, 1)], [], ((0, 0), ()), "region.shape"),
        ([(1, 1)], [], ((2, 0), (2, 1)), "region.shape[0]"),
        ([(1, 1)], [], ((0, 0), (1, 0)), "region.shape[1]"),
    ],
)
def test_a_bad_question_for_distances_is_refused_by_its_field(
    sources: list[tuple[int, ...]],
    targets: list[tuple[int, ...]],
    region: tuple[tuple[int, ...], tuple[int, ...]] | None,
    field: str,
) -> None:
    with pytest.raises(InvalidInput) as wrong:
        distances.distance_query(spec(3, 5, blocked=b"\1\0"), sources, targets, region)

    assert field in fields(wrong)


def test_the_distances_of_a_whole_huge_lattice_are_refused() -> None:
    with pytest.raises(InvalidInput) as wrong:
        distances.distance_query(spec(*HUGE), [(0, 0)], [], None)

    assert fields(wrong) == {"region"}


def test_a_blocked_target_may_be_asked_for() -> None:
    query = distances.distance_query(spec(3, 5, blocked=b"\1\0"), [(1, 1)], [(0, 0)], None)

    assert query.targets == ((0, 0),)


def test_without_targets_and_region_the_whole_lattice_is_meant() -> None:
    assert distances.distance_query(spec(3, 5), [(1, 1)], [], None).count == 15


@pytest.mark.parametrize(("requested", "size"), [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000)])
def test_a_page_size_has_a_default_and_a_most(requested: int, size: int) -> None:
    assert domain.page_size(requested) == size


@pytest.mark.parametrize("text", ["", "nope", "0" * 36, "../etc/passwd", "a" * 1_000_000])
def test_a_lattice_id_is_a_uuid(text: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        domain.lattice_id(text)

    assert fields(wrong) == {"lattice_id"}
