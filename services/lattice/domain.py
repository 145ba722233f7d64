"""Lattices, sites and queries as values that make sense. Knows no I/O, no wire, no array.

Every function that takes values from outside collects all that is wrong with them, by
the contract's field paths, before anything of the lattice's size is allocated.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from uuid import UUID

from services.lattice.errors import PlanLimit
from services.lattice.geometry import Coordinates, Geometry
from services.plumbing.errors import Violations
from services.policy import PlanLimits

AXES_MAX = 10
SITES_MAX = 2**63 - 1
BLOCKABLE_SITES_MAX = 33_554_432
REGION_SITES_MAX = 33_554_432
QUERIES_MAX = 10_000
SOURCES_MAX = 1_000
TARGETS_MAX = 10_000
LISTED_SITES_MAX = 100_000
LISTED_SITES_DEFAULT = 1_000
PAGE_SIZE_MAX = 1_000
PAGE_SIZE_DEFAULT = 100

Site = Coordinates

_CANONICAL_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Method(Enum):
    """How an answer was computed."""

    CLOSED_FORM = "closed_form"
    A_STAR = "a_star"
    BREADTH_FIRST = "breadth_first"
    DIJKSTRA = "dijkstra"
    JUMP_POINT = "jump_point"


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
        if _check_shape(self.geometry.shape, "shape", bad):
            _check_bitmap(self.blocked, self.geometry, bad)
        if len(self.geometry.periodic) != len(self.geometry.shape):
            bad.add("boundaries", "must be one per axis")
        bad.raise_if_any()
        if self.blocked.count(0) == len(self.blocked):
            object.__setattr__(self, "blocked", b"")

    @property
    def free(self) -> bool:
        """No site is blocked."""
        return not self.blocked

    def blocks(self, site: Site) -> bool:
        if self.free:
            return False
        index = self.geometry.index(site)
        return bool(self.blocked[index >> 3] >> (index & 7) & 1)


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """A lattice that was created, told without its bitmap."""

    lattice_id: str
    geometry: Geometry
    vertices: int
    edges: int
    created_at: datetime

    @property
    def blocked_sites(self) -> int:
        return self.geometry.sites - self.vertices

    @property
    def bytes_as_graph(self) -> int:
        return 24 * self.edges + 4 * (self.vertices + 1)

    @property
    def bytes_as_matrix(self) -> int:
        return 8 * self.vertices**2


@dataclass(frozen=True, kw_only=True)
class NewLattice:
    """What to create. The same `request_id` creates the same lattice once."""

    spec: LatticeSpec
    request_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class PathQuery:
    """From where to where: both free and inside the lattice."""

    start: Site
    goal: Site


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box of sites inside a lattice."""

    origin: Site
    shape: tuple[int, ...]

    @property
    def sites(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class DistanceQuery:
    """The distance of which sites from the nearest of which others.

    Either `targets` or `region` is set, never both.
    """

    sources: tuple[Site, ...]
    targets: tuple[Site, ...] | None = None
    region: Region | None = None

    @property
    def count(self) -> int:
        """The number of distances to tell."""
        if self.targets is not None:
            return len(self.targets)
        assert self.region is not None
        return self.region.sites


@dataclass(frozen=True, kw_only=True)
class Computation:
    """How an answer was computed, and what it took."""

    method: Method
    elapsed_ns: int
    sites_expanded: int
    memory_bytes: int
    exact: bool = True


def new_lattice(
    *,
    shape: Sequence[int],
    dimensions: int,
    size: int,
    periodic: Sequence[bool | None],
    moore: bool | None,
    no_cutting: bool | None,
    blocked: bytes,
    request_id: str,
) -> NewLattice:
    """Check a creation; None stands for a value that the contract does not know.

    Raises InvalidInput naming every bad field.
    """
    bad = Violations()
    axes = _shape_told(shape, dimensions, size, bad)
    rings = _periodic_told(periodic, len(axes), bad)
    if moore is None:
        bad.add("neighbourhood", "is not a neighbourhood")
    if no_cutting is None:
        bad.add("corner_rule", "is not a corner rule")
    geometry = Geometry(axes, rings, moore=bool(moore), no_cutting=bool(no_cutting))
    if axes:
        _check_bitmap(blocked, geometry, bad)
    request = _request_id_told(request_id, bad)
    bad.raise_if_any()
    return NewLattice(spec=LatticeSpec(geometry=geometry, blocked=blocked), request_id=request)


def check_shape_allowed(geometry: Geometry, plan: PlanLimits) -> None:
    """Raise PlanLimit when a plan does not allow a lattice of this shape."""
    _check_limit("axes", len(geometry.shape), plan.axis_count_max, plan)
    _check_limit("extent", max(geometry.shape), plan.extent_max, plan)


def check_count_allowed(count: int, plan: PlanLimits) -> None:
    """Raise PlanLimit when a plan does not allow so many lattices."""
    _check_limit("lattices", count, plan.lattice_count_max, plan)


def bitmap_bytes(geometry: Geometry) -> int:
    """The bytes of a bitmap of all sites."""
    return (geometry.sites + 7) // 8


def lattice_id(text: str) -> str:
    """Check an id and write it the canonical way."""
    bad = Violations()
    if not _CANONICAL_UUID.fullmatch(text):
        bad.add("lattice_id", "must be a UUID, as 36 hexadecimal digits and hyphens")
    bad.raise_if_any()
    return text.lower()


def page_size(asked: int) -> int:
    """The most to answer on a page: the default for 0, and never more than the maximum."""
    bad = Violations()
    if asked < 0:
        bad.add("page_size", "must be 0 or more")
    bad.raise_if_any()
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def path_query(
    spec: LatticeSpec, start: Sequence[int], goal: Sequence[int], listed_sites: int
) -> PathQuery:
    bad = Violations()
    _check_listed_sites(listed_sites, bad)
    _check_free_site(spec, start, "start", bad)
    _check_free_site(spec, goal, "goal", bad)
    bad.raise_if_any()
    return PathQuery(start=tuple(start), goal=tuple(goal))


def path_queries(
    spec: LatticeSpec, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], listed_sites: int
) -> list[PathQuery]:
    bad = Violations()
    _check_listed_sites(listed_sites, bad)
    if _check_count(len(pairs), "queries", 1, QUERIES_MAX, bad):
        for n, (start, goal) in enumerate(pairs):
            _check_free_site(spec, start, f"queries[{n}].start", bad)
            _check_free_site(spec, goal, f"queries[{n}].goal", bad)
    bad.raise_if_any()
    return [PathQuery(start=tuple(start), goal=tuple(goal)) for start, goal in pairs]


def distance_query(
    spec: LatticeSpec,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    region: tuple[Sequence[int], Sequence[int]] | None,
) -> DistanceQuery:
    """Check a question for distances; `region` is origin and shape.

    Without targets and region it asks for the whole lattice.
    """
    bad = Violations()
    geometry = spec.geometry
    if _check_count(len(sources), "sources", 1, SOURCES_MAX, bad):
        for n, source in enumerate(sources):
            _check_free_site(spec, source, f"sources[{n}]", bad)
    if _check_count(len(targets), "targets", 0, TARGETS_MAX, bad):
        for n, target in enumerate(targets):
            _check_site(geometry, target, f"targets[{n}]", bad)
    if targets and region is not None:
        bad.add("region", "must not be given beside targets")
    box = region if region is not None else ((0,) * len(geometry.shape), geometry.shape)
    if not targets:
        _check_region(geometry, *box, bad)
    bad.raise_if_any()
    checked_sources = tuple(tuple(source) for source in sources)
    if targets:
        return DistanceQuery(
            sources=checked_sources, targets=tuple(tuple(target) for target in targets)
        )
    return DistanceQuery(
        sources=checked_sources, region=Region(origin=tuple(box[0]), shape=tuple(box[1]))
    )


def _check_limit(limit: str, asked: int, maximum: int, plan: PlanLimits) -> None:
    if maximum and asked > maximum:
        raise PlanLimit(
            f"the plan {plan.name} allows {limit} up to {maximum}, not {asked}",
            limit=limit,
            maximum=maximum,
            asked=asked,
            plan=plan.name,
        )


def _shape_told(
    shape: Sequence[int], dimensions: int, size: int, bad: Violations
) -> tuple[int, ...]:
    """The shape, told axis by axis or as `dimensions` axes of `size`; empty when bad."""
    if not dimensions and not size:
        return tuple(shape) if _check_shape(shape, "shape", bad) else ()
    fits = True
    if shape:
        bad.add("shape", "must not be given beside dimensions and size")
        fits = False
    if not 1 <= dimensions <= AXES_MAX:
        bad.add("dimensions", f"must be 1 to {AXES_MAX}, and given with size")
        fits = False
    if size < 1:
        bad.add("size", "must be 1 or more, and given with dimensions")
        fits = False
    return (size,) * dimensions if fits and _check_sites(size**dimensions, "size", bad) else ()


def _check_shape(shape: Sequence[int], field: str, bad: Violations) -> bool:
    if not 1 <= len(shape) <= AXES_MAX:
        bad.add(field, f"must have 1 to {AXES_MAX} axes, not {len(shape)}")
        return False
    short = [axis for axis, length in enumerate(shape) if length < 1]
    for axis in short:
        bad.add(f"{field}[{axis}]", "must be 1 or more")
    return not short and _check_sites(math.prod(shape), field, bad)


def _check_sites(sites: int, field: str, bad: Violations) -> bool:
    if sites > SITES_MAX:
        bad.add(field, f"makes more than {SITES_MAX:,} sites")
    return sites <= SITES_MAX


def _periodic_told(periodic: Sequence[bool | None], axes: int, bad: Violations) -> tuple[bool, ...]:
    """Whether each axis is a ring, told for each, once for all, or not at all.

    Their number is not judged while the number of axes is unknown.
    """
    if len(periodic) > AXES_MAX or (axes and len(periodic) not in (0, 1, axes)):
        bad.add("boundaries", "must be none, one for all, or one per axis")
        return ()
    for n, ring in enumerate(periodic):
        if ring is None:
            bad.add(f"boundaries[{n}]", "is not a boundary")
    told = tuple(bool(ring) for ring in periodic)
    return told if len(told) > 1 else (told or (False,)) * axes


def _check_bitmap(blocked: bytes, geometry: Geometry, bad: Violations) -> None:
    if not blocked:
        return
    if geometry.sites > BLOCKABLE_SITES_MAX:
        bad.add("blocked", f"must be empty with more than {BLOCKABLE_SITES_MAX:,} sites")
    elif len(blocked) != bitmap_bytes(geometry):
        bad.add("blocked", f"must be {bitmap_bytes(geometry)} bytes long, not {len(blocked)}")
    elif geometry.sites % 8 and blocked[-1] >> geometry.sites % 8:
        bad.add("blocked", "must have no bit set beyond the last site")


def _request_id_told(text: str, bad: Violations) -> UUID | None:
    if not text:
        return None
    if not _CANONICAL_UUID.fullmatch(text):
        bad.add("request_id", "must be a UUID, as 36 hexadecimal digits and hyphens")
        return None
    return UUID(text)


def _check_count(count: int, field: str, least: int, most: int, bad: Violations) -> bool:
    fits = least <= count <= most
    if not fits:
        bad.add(field, f"must be {least:,} to {most:,}, not {count:,}")
    return fits


def _check_listed_sites(count: int, bad: Violations) -> None:
    if not 0 <= count <= LISTED_SITES_MAX:
        bad.add("sites_max", f"must be 0 to {LISTED_SITES_MAX:,}")


def _check_site(geometry: Geometry, site: Sequence[int], field: str, bad: Violations) -> bool:
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


def _check_free_site(spec: LatticeSpec, site: Sequence[int], field: str, bad: Violations) -> None:
    if _check_site(spec.geometry, site, field, bad) and spec.blocks(tuple(site)):
        bad.add(field, "is blocked")


def _check_region(
    geometry: Geometry, origin: Sequence[int], shape: Sequence[int], bad: Violations
) -> None:
    inside = _check_site(geometry, origin, "region.origin", bad)
    if len(shape) != len(geometry.shape):
        bad.add("region.shape", f"must have {len(geometry.shape)} values, not {len(shape)}")
        return
    if not inside:
        return
    for axis, (first, length) in enumerate(zip(origin, shape, strict=True)):
        if not 1 <= length <= geometry.shape[axis] - first:
            room = geometry.shape[axis] - first
            bad.add(f"region.shape[{axis}]", f"must be 1 to {room} from there")
    if math.prod(shape) > REGION_SITES_MAX:
        bad.add("region", f"must have at most {REGION_SITES_MAX:,} sites")
