"""What a picture shows, as a region of its lattice. Checks, and computes nothing large."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.lattice.arrays.region import Region
from services.lattice.geometry import Geometry, Run
from services.lattice.pictures.projecting import Projection
from services.plumbing.errors import Violations

PIXELS_DEFAULT = 1_024

BAR_PIXELS = 84
"""The width of that bar, with its numbers."""

_CROSSINGS_MAX = 100_000
"""Each may make a line of its own."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a caller says of a picture; what is not said is None or empty."""

    row_axis: int | None = None
    column_axis: int | None = None
    at: Sequence[int] = ()
    projection: Projection = Projection.SLICE
    origin: Sequence[int] = ()
    shape: Sequence[int] = ()
    pixels_max: int = PIXELS_DEFAULT
    has_bar: bool = False
    """Room is left for the bar that tells the numbers of colours."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Two axes of a lattice, or one, and every how many sites of them a picture shows."""

    row_axis: int | None
    """None on a lattice of one axis: it is a row."""
    column_axis: int
    at: tuple[int, ...]
    projection: Projection
    region: Region
    """The sites that are looked at."""
    step: int
    """Every so many sites are shown along both axes."""
    pixels_max: int
    has_bar: bool

    @property
    def rows(self) -> int:
        return 1 if self.row_axis is None else self.region.shape[self.row_axis]

    @property
    def columns(self) -> int:
        return self.region.shape[self.column_axis]

    def place(self, site: Sequence[int]) -> tuple[float, float]:
        """Row and column of a site, in sites shown; outside where it is not shown."""
        row, column = self.row_and_column(site)
        return row / self.step, column / self.step

    def row_and_column(self, site: Sequence[int]) -> tuple[int, int]:
        """As `place`, in sites of the lattice."""
        origin = self.region.origin
        row = 0 if self.row_axis is None else site[self.row_axis] - origin[self.row_axis]
        return row, site[self.column_axis] - origin[self.column_axis]

    def shows(self, site: Sequence[int]) -> bool:
        """Whether a site lies in what is shown of the other axes."""
        if self.projection is not Projection.SLICE:
            return True
        shown = (self.row_axis, self.column_axis)
        return all(site[axis] == at for axis, at in enumerate(self.at) if axis not in shown)


@dataclass(frozen=True, kw_only=True)
class DrawnPath:
    """A path over a picture: where it begins, and its straight runs."""

    start: tuple[int, ...]
    runs: Sequence[Run]


def view_of(lattice: Sequence[int], asked: Asked) -> View:
    """The view of a lattice of that shape; raises InvalidInput naming every bad field."""
    bad = Violations()
    row_axis, column_axis = _axes(len(lattice), asked, bad)
    at = tuple(asked.at) or (0,) * len(lattice)
    _check_place(lattice, at, bad)
    bad.raise_if_any()
    shown = [axis for axis in (row_axis, column_axis) if axis is not None]
    begins, lengths = _window(lattice, row_axis, column_axis, asked, bad)
    bad.raise_if_any()
    step = max(
        -(
            -length
            // (asked.pixels_max - (BAR_PIXELS if asked.has_bar and axis == column_axis else 0))
        )
        for axis, length in lengths.items()
    )
    origin, shape, steps = list(at), [1] * len(lattice), [1] * len(lattice)
    if asked.projection is not Projection.SLICE:
        origin, shape = [0] * len(lattice), list(lattice)
    for axis in shown:
        origin[axis], shape[axis], steps[axis] = begins[axis], -(-lengths[axis] // step), step
    return View(
        row_axis=row_axis,
        column_axis=column_axis,
        at=at,
        projection=asked.projection,
        region=Region(tuple(origin), tuple(shape), tuple(steps)),
        step=step,
        pixels_max=asked.pixels_max,
        has_bar=asked.has_bar,
    )


def check_path(geometry: Geometry, path: DrawnPath) -> None:
    """Raise InvalidInput unless a path has the axes of a lattice, and stays inside it."""
    bad = Violations()
    lattice = geometry.shape
    axes = len(lattice)
    if len(path.start) != axes:
        bad.add("path.start.coordinates", f"must have {axes} values, not {len(path.start)}")
    else:
        for axis, (at, length) in enumerate(zip(path.start, lattice, strict=True)):
            if not 0 <= at < length:
                bad.add(f"path.start.coordinates[{axis}]", f"must be 0 to {length - 1}")
    for index, run in enumerate(path.runs):
        if len(run.step) != axes or not set(run.step) <= {-1, 0, 1} or not any(run.step):
            bad.add(f"path.runs[{index}].step", f"must have {axes} values of -1, 0 or 1, not all 0")
        if run.count < 1:
            bad.add(f"path.runs[{index}].count", "must be 1 or more")
    bad.raise_if_any()
    if edges_crossed(path, lattice) > _CROSSINGS_MAX:
        bad.add("path.runs", f"must go over an edge at most {_CROSSINGS_MAX:,} times")
    bad.raise_if_any()
    _check_inside(geometry, path, bad)


def _check_inside(geometry: Geometry, path: DrawnPath, bad: Violations) -> None:
    at = list(path.start)
    for index, run in enumerate(path.runs):
        for axis, (by, length) in enumerate(zip(run.step, geometry.shape, strict=True)):
            at[axis] += by * run.count
            if not geometry.periodic[axis] and not 0 <= at[axis] < length:
                bad.add(f"path.runs[{index}]", f"must not lead beyond the open axis {axis}")
        bad.raise_if_any()


def edges_crossed(path: DrawnPath, lattice: Sequence[int]) -> int:
    """How often a path goes over an edge, at most; and no less than it has runs."""
    return sum(
        run.count // length + 1
        for run in path.runs
        for by, length in zip(run.step, lattice, strict=True)
        if by
    )


def _axes(axes: int, asked: Asked, bad: Violations) -> tuple[int | None, int]:
    column_axis = axes - 1 if asked.column_axis is None else asked.column_axis
    row_axis = asked.row_axis
    if row_axis is None and axes > 1:
        row_axis = axes - 2 if column_axis != axes - 2 else axes - 1
    for name, axis in (("row_axis", row_axis), ("column_axis", column_axis)):
        if axis is not None and not 0 <= axis < axes:
            bad.add(name, f"must be 0 to {axes - 1}")
    if row_axis == column_axis:
        bad.add("row_axis", "must be another one than column_axis")
    return row_axis, column_axis


def _check_place(lattice: Sequence[int], at: Sequence[int], bad: Violations) -> None:
    if len(at) != len(lattice):
        bad.add("at.coordinates", f"must have {len(lattice)} values, not {len(at)}")
        return
    for axis, (place, length) in enumerate(zip(at, lattice, strict=True)):
        if not 0 <= place < length:
            bad.add(f"at.coordinates[{axis}]", f"must be 0 to {length - 1}")


def _window(
    lattice: Sequence[int],
    row_axis: int | None,
    column_axis: int,
    asked: Asked,
    bad: Violations,
) -> tuple[dict[int, int], dict[int, int]]:
    """Where what is shown begins along each axis, and how many sites of it there are."""
    for name, values in (("origin", asked.origin), ("shape", asked.shape)):
        if len(values) not in (0, 2):
            bad.add(name, "must have two values, of rows and columns, or none")
            return {}, {}
    begins, lengths = {}, {}
    for index, axis in enumerate((row_axis, column_axis)):
        if axis is None:
            continue
        begin = asked.origin[index] if asked.origin else 0
        if begin >= lattice[axis]:
            bad.add(f"origin[{index}]", f"must be 0 to {lattice[axis] - 1}")
            continue
        most = lattice[axis] - begin
        length = asked.shape[index] if asked.shape else most
        if length > most:
            bad.add(f"shape[{index}]", f"must be at most {most}, to lie inside the lattice")
        begins[axis], lengths[axis] = begin, min(length, most)
    return begins, lengths
