"""Lattices and sites as values that make sense. Knows no I/O, no wire, no array, no operation.

The checks collect all that is wrong with values from outside, by the contract's field paths,
before anything of the lattice's size is allocated.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NewType

from services.lattice.errors import PlanLimit, WorkTooLarge
from services.lattice.geometry import Coordinates, Geometry
from services.plumbing.errors import InvalidInput, Violations
from services.policy import PlanLimits

AXES_MAX = 10
SITES_MAX = 2**63 - 1
BLOCKABLE_SITES_MAX = 2**25
"""Of a lattice that has blocked ones and diagonal steps, whose lengths are compared exactly up to
so many; and what most calls that look at each site look at."""
UPLOADED_SITES_MAX = 2**30
"""Of one that has blocked ones, and steps along one axis."""
PAGE_SIZE_MAX = 1_000
PAGE_SIZE_DEFAULT = 100

_BITS_TURNED_ROUND = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ZEROS = bytes(1 << 20)

Site = Coordinates

LatticeId = NewType("LatticeId", str)
"""A UUID as text, in lower case: `lattice_id` makes it of what others send."""

_CANONICAL_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Method(Enum):
    """How an answer was computed."""

    CLOSED_FORM = "closed_form"
    A_STAR = "a_star"
    BREADTH_FIRST = "breadth_first"
    DIJKSTRA = "dijkstra"
    JUMP_POINT = "jump_point"
    DEPTH_FIRST = "depth_first"
    PATH_COUNTING = "path_counting"
    COUNTING = "counting"
    LABELLING = "labelling"
    BRANDES = "brandes"
    POWER_ITERATION = "power_iteration"
    CONJUGATE_GRADIENT = "conjugate_gradient"
    CHEBYSHEV = "chebyshev"
    SUBSPACE_ITERATION = "subspace_iteration"
    DENSE_EIGENVALUES = "dense_eigenvalues"
    CHOLESKY = "cholesky"
    KRUSKAL = "kruskal"
    GREEDY = "greedy"
    LOUVAIN = "louvain"
    NEWMAN_ZIFF = "newman_ziff"


class BitOrder(Enum):
    """Which bit of a byte belongs to the first of its eight sites."""

    LITTLE = "little"
    """The least significant: so bitmaps are kept here."""
    BIG = "big"


@dataclass(frozen=True, kw_only=True)
class LatticeSpec:
    """A lattice as someone wants it.

    `blocked` has one bit per site in C order, the least significant bit of each byte
    first. Empty means that no site is blocked; a bitmap without a set bit becomes empty.
    """

    geometry: Geometry
    blocked: bytes = b""

    def __post_init__(self) -> None:
        bad = Violations()
        if check_shape(self.geometry.shape, "shape", bad):
            check_bitmap(self.blocked, self.geometry, bad)
        if len(self.geometry.periodic) != len(self.geometry.shape):
            bad.add("boundaries", "must be one per axis")
        bad.raise_if_any()
        if not _has_set_bit(self.blocked):
            object.__setattr__(self, "blocked", b"")

    @property
    def free(self) -> bool:
        """No site is blocked."""
        return not self.blocked

    def blocks(self, site: Site) -> bool:
        """Whether a site, which must lie inside, is blocked."""
        if self.free:
            return False
        index = self.geometry.index(site)
        return bool(self.blocked[index >> 3] >> (index & 7) & 1)


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """A lattice that was created, without its bitmap."""

    lattice_id: LatticeId
    geometry: Geometry
    vertices: int
    edges: int
    created_at: datetime

    @property
    def blocked_sites(self) -> int:
        return self.geometry.sites - self.vertices

    @property
    def bytes_as_graph(self) -> int:
        """In compressed sparse rows: 8 bytes of cost and 4 of index per direction of an edge,
        and 4 of offset per vertex and one more."""
        return 24 * self.edges + 4 * (self.vertices + 1)

    @property
    def bytes_as_matrix(self) -> int:
        """With 8 bytes for each ordered pair of vertices."""
        return 8 * self.vertices**2


@dataclass(frozen=True, kw_only=True)
class Computation:
    """How an answer was computed, and what it took."""

    method: Method
    elapsed_ns: int
    sites_expanded: int
    memory_bytes: int
    exact: bool = True
    costs_digest: str = ""
    """Of the field that the costs of sites come from, if they do."""


def check_shape_allowed(geometry: Geometry, plan: PlanLimits) -> None:
    """Raise PlanLimit when a plan does not allow a lattice of this shape."""
    _check_limit("axes", len(geometry.shape), plan.axis_count_max, plan)
    _check_limit("extent", max(geometry.shape), plan.extent_max, plan)


def check_count_allowed(count: int, plan: PlanLimits) -> None:
    """Raise PlanLimit when a plan does not allow so many lattices."""
    _check_limit("lattices", count, plan.lattice_count_max, plan)


def reordered(bitmap: bytes, bit_order: BitOrder) -> bytes:
    """A bitmap of the order that is kept here in another order, or the other way round."""
    return bitmap if bit_order is BitOrder.LITTLE else bitmap.translate(_BITS_TURNED_ROUND)


def _has_set_bit(bitmap: bytes) -> bool:
    """Piece by piece, so that others run meanwhile; and no further than to the first."""
    pieces = range(0, len(bitmap), len(_ZEROS))
    return any(not _ZEROS.startswith(bitmap[at : at + len(_ZEROS)]) for at in pieces)


def bitmap_bytes(geometry: Geometry) -> int:
    """The bytes of a bitmap of all sites."""
    return (geometry.sites + 7) // 8


def lattice_id(text: str) -> LatticeId:
    """The canonical form of an id, in lower case; raises InvalidInput unless it is a UUID."""
    if not _CANONICAL_UUID.fullmatch(text):
        raise InvalidInput.of("lattice_id", "must be a UUID, as 36 hexadecimal digits and hyphens")
    return LatticeId(text.lower())


def page_size(requested: int) -> int:
    """The most lattices on a page: 100 for 0, and 1,000 at most."""
    return min(requested or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def check_shape(shape: Sequence[int], field: str, bad: Violations) -> bool:
    """Whether a shape has 1 to 10 axes of 1 or more, and at most 2^63 - 1 sites."""
    if not 1 <= len(shape) <= AXES_MAX:
        bad.add(field, f"must have 1 to {AXES_MAX} axes, not {len(shape)}")
        return False
    short = [axis for axis, length in enumerate(shape) if length < 1]
    for axis in short:
        bad.add(f"{field}[{axis}]", "must be 1 or more")
    return not short and check_site_count(math.prod(shape), field, bad)


def check_site_count(sites: int, field: str, bad: Violations) -> bool:
    """Whether a lattice may have so many sites, blocked or not."""
    if sites > SITES_MAX:
        bad.add(field, f"must make at most {SITES_MAX:,} sites")
    return sites <= SITES_MAX


def blockable_sites_max(*, moore: bool) -> int:
    """The sites of a lattice of which any may be blocked, at most."""
    return BLOCKABLE_SITES_MAX if moore else UPLOADED_SITES_MAX


def check_blockable(sites: int, *, moore: bool, sites_max: int) -> None:
    """Raise WorkTooLarge where a lattice has more sites than may be blocked, `sites_max` being what
    the operator allows."""
    limit = min(sites_max, blockable_sites_max(moore=moore))
    if sites > limit:
        raise WorkTooLarge("there are more sites than may be blocked", estimate=sites, limit=limit)


def check_bitmap(blocked: bytes, geometry: Geometry, bad: Violations) -> None:
    """Check a bitmap as in `LatticeSpec.blocked`; empty is always right."""
    if not blocked:
        return
    sites_max = blockable_sites_max(moore=geometry.moore)
    if geometry.sites > sites_max:
        bad.add("blocked", f"must be empty with more than {sites_max:,} sites")
    elif len(blocked) != bitmap_bytes(geometry):
        bad.add("blocked", f"must be {bitmap_bytes(geometry)} bytes long, not {len(blocked)}")
    elif geometry.sites % 8 and blocked[-1] >> geometry.sites % 8:
        bad.add("blocked", "must have no bit set beyond the last site, as bit_order has it")


def check_site(geometry: Geometry, site: Sequence[int], field: str, bad: Violations) -> bool:
    """Whether a site has a coordinate per axis and lies inside the lattice."""
    axes = len(geometry.shape)
    if len(site) != axes:
        bad.add(f"{field}.coordinates", f"must have {axes} values, not {len(site)}")
        return False
    inside = True
    for axis, (coordinate, length) in enumerate(zip(site, geometry.shape, strict=True)):
        if not 0 <= coordinate < length:
            bad.add(f"{field}.coordinates[{axis}]", f"must be 0 to {length - 1}")
            inside = False
    return inside


def check_free_site(spec: LatticeSpec, site: Sequence[int], field: str, bad: Violations) -> None:
    """Check that a site lies inside the lattice and is not blocked."""
    if check_site(spec.geometry, site, field, bad) and spec.blocks(tuple(site)):
        bad.add(field, "must not be blocked")


def _check_limit(limit: str, asked: int, maximum: int, plan: PlanLimits) -> None:
    if maximum and asked > maximum:
        raise PlanLimit(
            f"the plan {plan.name} allows {limit} up to {maximum}, not {asked}; "
            "GET /v1/usage tells what it allows, and an operator may set another",
            limit=limit,
            maximum=maximum,
            asked=asked,
            plan=plan.name,
        )
