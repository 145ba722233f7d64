"""Pictures have the colours of their numbers, site by site."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.lattice.arrays.chunking import Chunking
from services.lattice.computing.compute import Compute, Stop, Stopped
from services.lattice.computing.estimate import Estimate
from services.lattice.domain import LatticeSpec
from services.lattice.fields.reading import FieldReader
from services.lattice.geometry import Geometry, Run
from services.lattice.pictures.drawing import (
    COLOR_MAPS,
    Drawing,
    Segment,
    Style,
    _lines,
    check_style,
    color_tables,
    draw,
)
from services.lattice.pictures.projecting import Projection, Projector, blocked_numbers
from services.lattice.pictures.rendering import Picture, rendered
from services.lattice.pictures.view import Asked, DrawnPath, View, check_path, view_of
from services.plumbing.errors import InvalidInput
from tests.lattice.worlds import operations_on

BLOCKED, NAN = (38, 40, 44), (255, 0, 255)


def picture(
    numbers: np.ndarray | None,
    blocked: np.ndarray | None = None,
    path: DrawnPath | None = None,
    *,
    style: Style | None = None,
    pixels_max: int = 100,
    has_bar: bool = False,
) -> np.ndarray:
    some = numbers if numbers is not None else blocked
    assert some is not None
    view = view_of(some.shape, Asked(pixels_max=pixels_max, has_bar=has_bar))
    drawing = Drawing(view=view, numbers=numbers, blocked=blocked, path=path, shape=some.shape)
    image = Image.open(io.BytesIO(draw(drawing, style or Style(), lambda: None)))
    return np.asarray(image.convert("RGB"))


def test_each_site_is_a_square_of_the_colour_of_its_number() -> None:
    pixels = picture(np.array([[0.0, 1.0], [math.nan, 0.5]]))

    assert pixels.shape == (100, 100, 3)
    table = color_tables()[COLOR_MAPS.index("viridis")]
    assert tuple(pixels[0, 0]) == tuple(pixels[49, 49]) == tuple(table[0])
    assert tuple(pixels[0, 50]) == tuple(table[-1])
    assert tuple(pixels[50, 0]) == NAN
    assert np.abs(pixels[50, 50].astype(int) - table[128]).max() <= 3


def test_blocked_sites_are_black_whatever_their_number() -> None:
    pixels = picture(np.zeros((2, 2)), np.array([[True, False], [False, False]]))

    assert tuple(pixels[0, 0]) == BLOCKED
    assert tuple(pixels[99, 99]) != BLOCKED


def test_numbers_beyond_the_range_have_its_first_and_last_colour() -> None:
    numbers = np.array([[-9.0, 0.0, 1.0, 9.0, math.inf, -math.inf]])

    pixels = picture(numbers, style=Style(low=0.0, high=1.0), pixels_max=96)[0, ::16]

    first, last = tuple(pixels[1]), tuple(pixels[2])
    assert [tuple(pixel) for pixel in pixels] == [first, first, last, last, last, first]


@pytest.mark.parametrize("number", [0.0, -7.0, 1e300, 1.7e308])
def test_equal_numbers_have_one_colour(number: float) -> None:
    pixels = picture(np.full((3, 3), number))

    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 1


def test_a_path_goes_over_an_edge_and_its_ends_are_marked() -> None:
    free = np.zeros((10, 10), bool)
    path = DrawnPath(start=(5, 8), runs=[Run((0, 1), 4)])

    pixels = picture(None, free, path, pixels_max=200)

    assert tuple(pixels[110, 170]) == (22, 150, 70)
    assert tuple(pixels[110, 50]) == (30, 84, 214)
    assert tuple(pixels[110, 10]) == tuple(pixels[110, 190]) == (214, 30, 52)
    assert tuple(pixels[110, 100]) == (236, 236, 232)


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1), (-1, 1)], ids=str)
def test_a_path_that_goes_around_often_is_one_that_goes_around_twice(
    step: tuple[int, int],
) -> None:
    free, start = np.zeros((10, 10), bool), (3, 4)

    often = picture(None, free, DrawnPath(start=start, runs=[Run(step, 40_000)]))
    twice = picture(None, free, DrawnPath(start=start, runs=[Run(step, 20)]))

    np.testing.assert_array_equal(often, twice)


@pytest.mark.parametrize(
    ("segments", "lines"),
    [
        ([((0, 0), (0, 4)), ((0, 6), (0, 3))], [((0, 0), (0, 6))]),
        ([((0, 0), (0, 4)), ((0, 5), (0, 6))], [((0, 0), (0, 4)), ((0, 5), (0, 6))]),
        ([((0, 9), (9, 0)), ((9, 0), (5, 4))], [((0, 9), (9, 0))]),
        ([((0, 0), (9, 9)), ((1, 0), (9, 8))], [((0, 0), (9, 9)), ((1, 0), (9, 8))]),
        ([((1, 0), (9, 0)), ((2, 1), (9, 1))], [((1, 0), (9, 0)), ((2, 1), (9, 1))]),
        ([((1, 1), (1, 1)), ((1, 1), (1, 1)), ((5, 5), (5, 5))], [((1, 1),) * 2, ((5, 5),) * 2]),
    ],
)
def test_what_is_covered_more_than_once_is_drawn_once(
    segments: list[Segment], lines: list[Segment]
) -> None:
    assert _lines(segments, lambda: None) == lines


class Leaving(Compute):
    """Has its caller gone when work looks so often whether it is there."""

    def __init__(self, looks: int) -> None:
        super().__init__(threads=1, bytes_max=1, waiting_max=1)
        self.looks_left = looks

    async def run(
        self, estimate: Estimate, work: Callable[[Stop], Any], *, admitted: bool = False
    ) -> Any:
        self.estimate, stop = estimate, Stop()
        stop.check = self._look  # type: ignore[method-assign]  # counts
        return work(stop)

    def _look(self) -> None:
        self.looks_left -= 1
        if self.looks_left < 0:
            raise Stopped


@pytest.mark.parametrize("looks", [0, 1, 9, 20])
async def test_a_picture_is_given_up_wherever_its_path_is(looks: int) -> None:
    compute = Leaving(looks)
    shape = (100, 100)
    runs = [Run((0, 1), 1), Run((1, 0), 1)] * 100
    shown = Picture(
        spec=LatticeSpec(geometry=Geometry(shape, (True, True), moore=False, no_cutting=True)),
        source=None,
        view=view_of(shape, Asked()),
        style=Style(),
        path=DrawnPath(start=(0, 0), runs=runs),
    )

    with pytest.raises(Stopped):
        await rendered(operations_on(compute), cast("FieldReader", None), shown)

    assert compute.estimate.looks > 1_000 * len(runs)
    await compute.close()


@pytest.mark.parametrize("shape", [(5000, 4096), (1, 9000), (4096, 4096), (3, 2)], ids=str)
def test_a_picture_is_never_larger_than_asked(shape: tuple[int, int]) -> None:
    view = view_of(shape, Asked(pixels_max=4096, has_bar=True))
    numbers = np.zeros((view.rows, view.columns))
    drawing = Drawing(view=view, numbers=numbers, blocked=None, path=None, shape=shape)

    size = Image.open(io.BytesIO(draw(drawing, Style(), lambda: None))).size

    assert max(size) <= 4096


def test_the_bar_has_the_last_colour_on_top_and_the_first_at_the_bottom() -> None:
    pixels = picture(np.array([[0.0, 1.0]]), pixels_max=400, has_bar=True)

    width = pixels.shape[1] - 84
    column = pixels[:, width + 12]
    table = color_tables()[COLOR_MAPS.index("viridis")]
    colours = [tuple(pixel) for pixel in column]
    assert colours.index(tuple(table[-1])) < colours.index(tuple(table[0]))


def test_the_tables_of_colours_are_those_of_others() -> None:
    cmap = pytest.importorskip("cmap")
    names = ["bids:viridis", "bids:plasma", "bids:inferno", "bids:magma", "cividis:cividis"]
    for ours, name in zip(
        color_tables(), [*names, "matplotlib:grey", "matplotlib:coolwarm"], strict=True
    ):
        theirs = np.asarray(cmap.Colormap(name)(np.linspace(0, 1, 256), bytes=True))[:, :3]
        assert np.array_equal(ours, theirs)


@st.composite
def views(draw_: st.DrawFn) -> tuple[tuple[int, ...], Asked]:
    shape = tuple(draw_(st.lists(st.integers(1, 6), min_size=2, max_size=4)))
    axes = draw_(st.permutations(range(len(shape))))[:2]
    at = [draw_(st.integers(0, length - 1)) for length in shape]
    projection = draw_(st.sampled_from(Projection))
    pixels = draw_(st.integers(2, 8))
    return shape, Asked(
        row_axis=axes[0], column_axis=axes[1], at=at, projection=projection, pixels_max=pixels
    )


REDUCERS: dict[Projection, Any] = {
    Projection.MIN: np.min,
    Projection.MAX: np.max,
    Projection.MEAN: np.mean,
    Projection.SUM: np.sum,
}


def plainly(array: np.ndarray, asked: Asked, view: View) -> np.ndarray:
    assert asked.row_axis is not None
    assert asked.column_axis is not None
    shown = (asked.row_axis, asked.column_axis)
    others = [axis for axis in range(array.ndim) if axis not in shown]
    moved = np.transpose(array, [*others, *shown])
    if asked.projection is Projection.SLICE:
        plane = moved[tuple(asked.at[axis] for axis in others)]
    else:
        plane = REDUCERS[asked.projection](moved, axis=tuple(range(len(others))))
    return np.asarray(plane[:: view.step, :: view.step])


@given(views(), st.integers(1, 40))
def test_what_is_shown_is_what_numpy_makes_of_it(
    case: tuple[tuple[int, ...], Asked], chunk_bytes: int
) -> None:
    shape, asked = case
    array = np.random.default_rng(len(shape)).integers(0, 100, shape).astype(np.uint8)
    view = view_of(shape, asked)
    chunking = Chunking.of(shape, 1, chunk_bytes)
    assert view.row_axis is not None
    projector = Projector(view.region, view.row_axis, view.column_axis, view.projection)

    for part in chunking.parts(view.region):
        begin, inside = chunking.begin(part.ordinal), chunking.inside(part.ordinal)
        chunk = np.zeros(chunking.chunk_sites, np.uint8)
        chunk[:inside] = array.reshape(-1)[begin : begin + inside]
        projector.add(part, chunk.reshape(chunking.chunk_shape)[part.selection])

    np.testing.assert_allclose(projector.numbers(), plainly(array, asked, view))


@given(st.integers(1, 70), st.integers(0, 69), st.integers(1, 30))
def test_bits_are_read_from_any_place(count: int, begin: int, room: int) -> None:
    bits = np.random.default_rng(count).integers(0, 2, count).astype(np.uint8)
    bitmap = np.packbits(bits, bitorder="little").tobytes()
    begin %= count
    taken = min(room, count - begin)

    unpacked = blocked_numbers(bitmap, begin, taken, (room,))

    assert unpacked[:taken].tolist() == bits[begin : begin + taken].tolist()
    assert not unpacked[taken:].any()


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Asked(row_axis=3), "row_axis"),
        (Asked(row_axis=1, column_axis=1), "row_axis"),
        (Asked(at=(0, 0)), "at.coordinates"),
        (Asked(at=(0, 9, 0)), "at.coordinates[1]"),
        (Asked(origin=(5, 0)), "origin[0]"),
        (Asked(origin=(1, 0), shape=(5, 1)), "shape[0]"),
        (Asked(origin=(1,)), "origin"),
    ],
)
def test_what_is_outside_is_refused_by_its_field(asked: Asked, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        view_of((4, 5, 6), asked)

    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.parametrize(
    ("start", "step", "count", "field"),
    [
        ((0, 9), (0, 1), 1, "path.start.coordinates[1]"),
        ((0,), (0, 1), 1, "path.start.coordinates"),
        ((0, 0), (0, 2), 1, "path.runs[0].step"),
        ((0, 0), (0, 0), 1, "path.runs[0].step"),
        ((0, 0), (0, 1), 0, "path.runs[0].count"),
        ((0, 0), (0, 1), 10**18, "path.runs"),
        ((0, 1), (0, 1), 4, "path.runs[0]"),
        ((0, 1), (0, -1), 2, "path.runs[0]"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(
    start: Sequence[int], step: tuple[int, ...], count: int, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_path(
            Geometry((4, 5), (True, False), moore=False, no_cutting=True),
            DrawnPath(start=tuple(start), runs=[Run(step, count)]),
        )

    assert [violation.field for violation in refused.value.violations] == [field]


def test_a_path_may_go_around_a_ring() -> None:
    path = DrawnPath(start=(3, 0), runs=[Run((1, 0), 9), Run((-1, 1), 4)])

    check_path(Geometry((4, 5), (True, False), moore=False, no_cutting=True), path)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0)])
def test_a_range_without_width_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match="high: must be greater than low"):
        check_style(Style(low=bounds[0], high=bounds[1]))
