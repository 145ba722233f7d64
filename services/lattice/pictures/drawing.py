"""Draws numbers as a PNG: colours, blocked sites, a path, and a bar that tells the numbers."""

import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from services.lattice.pictures.view import BAR_PIXELS, DrawnPath, View
from services.plumbing.errors import InvalidInput

T = TypeVar("T")

COLOR_MAPS = ("viridis", "plasma", "inferno", "magma", "cividis", "grey", "coolwarm")
"""In the order of `color_maps.npy`."""

_COLORS = 254
"""Of a map; two entries of a palette are for what has no number."""
_BLOCKED, _NOTHING = 254, 255
_FREE_COLOR = (236, 236, 232)
_BLOCKED_COLOR = (38, 40, 44)
_BLOCKED_ON_GREY = (122, 54, 44)
_NOTHING_COLOR = (255, 0, 255)

_BAR_WIDTH = 16
_BAR_HEIGHT_MIN = 48
_BAR_MARGIN = 8
_FONT_PIXELS = 12
_PNG_LEVEL = 1
"""What is quick: levels beyond make files a third smaller in ten times the time."""

_CASING, _LINE = (255, 255, 255), (214, 30, 52)
_START, _GOAL = (22, 150, 70), (30, 84, 214)

Check = Callable[[], None]
"""Called now and then; may raise."""

Place = tuple[int, int]
"""A row and a column of the lattice."""
Segment = tuple[Place, Place]

_SEGMENTS_AT_ONCE = 16
"""The widest take milliseconds each."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a picture looks."""

    color_map: str = "viridis"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What is drawn: arrays of rows, of the size of the view."""

    view: View
    numbers: NDArray[np.float64] | None
    """Unset where the lattice alone is shown."""
    blocked: NDArray[np.bool_] | None
    path: DrawnPath | None
    shape: Sequence[int]
    """Of the lattice."""


def check_style(style: Style) -> None:
    """Raise InvalidInput for bounds that are no range."""
    for name, bound in (("low", style.low), ("high", style.high)):
        if bound is not None and not math.isfinite(bound):
            raise InvalidInput.of(name, "must be a finite number")
    if style.low is not None and style.high is not None and style.low >= style.high:
        raise InvalidInput.of("high", "must be greater than low")


def draw(drawing: Drawing, style: Style, check: Check) -> bytes:
    """A PNG. Takes some 10 ns and 8 bytes a pixel, and microseconds a line of a path."""
    has_bar = drawing.view.has_bar and drawing.numbers is not None
    low, high = _range(drawing.numbers, style)
    palette = _palette(style, has_numbers=drawing.numbers is not None)
    sites = _indices(drawing, low, high)
    scale = _scale(drawing.view, has_bar=has_bar)
    if scale > 1:
        sites = sites.repeat(scale, axis=0).repeat(scale, axis=1)
    image = Image.fromarray(sites)
    image.putpalette(palette.tobytes())
    if drawing.path is not None or has_bar:
        image = image.convert("RGB")
    if drawing.path is not None:
        _draw_path(image, drawing, scale, check)
    if has_bar:
        image = _with_bar(image, palette, low, high)
    check()
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_PNG_LEVEL)
    return file.getvalue()


def _range(numbers: NDArray[np.float64] | None, style: Style) -> tuple[float, float]:
    """The numbers of the first and the last colour; never the same one."""
    finite = np.array([]) if numbers is None else numbers[np.isfinite(numbers)]
    low = style.low if style.low is not None else float(finite.min()) if finite.size else 0.0
    high = style.high if style.high is not None else float(finite.max()) if finite.size else 1.0
    if low < high:
        return low, high
    # Where all numbers are one, or a bound that was said lies beyond them.
    width = max(abs(low), 1.0) * 0.5
    return (low, low + width) if style.low is not None else (high - width, high)


def _indices(drawing: Drawing, low: float, high: float) -> NDArray[np.uint8]:
    """The entry of the palette of each site."""
    numbers = drawing.numbers
    if numbers is None:
        indices = np.zeros((drawing.view.rows, drawing.view.columns), np.uint8)
    else:
        # In halves, so that the greatest doubles have a difference, too.
        share = (numbers / 2 - low / 2) / (high / 2 - low / 2)
        np.clip(share, 0.0, 1.0, out=share)
        is_nan = np.isnan(share)
        share[is_nan] = 0.0
        indices = (share * (_COLORS - 1) + 0.5).astype(np.uint8)
        indices[is_nan] = _NOTHING
    if drawing.blocked is not None:
        indices[drawing.blocked] = _BLOCKED
    return indices


def _palette(style: Style, *, has_numbers: bool) -> NDArray[np.uint8]:
    palette = np.zeros((256, 3), np.uint8)
    palette[:_COLORS] = _table(style.color_map) if has_numbers else _FREE_COLOR
    is_grey = has_numbers and style.color_map == "grey"
    palette[_BLOCKED] = _BLOCKED_ON_GREY if is_grey else _BLOCKED_COLOR
    palette[_NOTHING] = _NOTHING_COLOR
    return palette


def _table(name: str) -> NDArray[np.uint8]:
    """As many colours of a map as we show."""
    table = color_tables()[COLOR_MAPS.index(name)]
    chosen: NDArray[np.uint8] = table[
        np.linspace(0, len(table) - 1, _COLORS).round().astype(np.intp)
    ]
    return chosen


@cache
def color_tables() -> NDArray[np.uint8]:
    """The colours of all maps: an array of maps, 256 entries, and red, green and blue."""
    tables: NDArray[np.uint8] = np.load(
        Path(__file__).parent / "color_maps.npy", allow_pickle=False
    )
    return tables


def _scale(view: View, *, has_bar: bool) -> int:
    """The pixels of a site: as many as fit."""
    wide = max(1, view.pixels_max - (BAR_PIXELS if has_bar else 0))
    return max(1, min(wide // view.columns, view.pixels_max // view.rows))


def _draw_path(image: Image.Image, drawing: Drawing, scale: int, check: Check) -> None:
    assert drawing.path is not None, "there is one"
    pen, width = ImageDraw.Draw(image), max(2, scale // 3)
    step = drawing.view.step
    lines = [
        [_pixel((row / step, column / step), scale) for row, column in ends]
        for ends in _lines(_segments(drawing.path, drawing.view, drawing.shape), check)
    ]
    for color, extra in ((_CASING, 2), (_LINE, 0)):
        for line in _checked(lines, check):
            pen.line(line, color, width + extra)
    radius = max(4, scale // 2)
    goal = _goal(drawing.path, drawing.shape)
    for site, color in ((drawing.path.start, _START), (goal, _GOAL)):
        if drawing.view.shows(site):
            x, y = _pixel(drawing.view.place(site), scale)
            corners = [x - radius, y - radius, x + radius, y + radius]
            pen.ellipse(corners, fill=color, outline=_CASING, width=max(1, radius // 4))


def _lines(segments: Iterable[Segment], check: Check) -> list[Segment]:
    """What segments cover, each part once: a path may go along the same line very often.

    The widest lines take milliseconds each, and of those only a few do not cover each other.
    """
    by_line: dict[tuple[int, ...], list[Segment]] = defaultdict(list)
    for ends in _checked(segments, check):
        begin, end = sorted(ends)
        by_line[_line_through(begin, end)].append((begin, end))
    return [line for along in _checked(by_line.values(), check) for line in _joined(along)]


def _line_through(begin: Place, end: Place) -> tuple[int, ...]:
    """Which line of all that are along a row, a column or a diagonal; of a single site itself."""
    if begin == end:
        return begin
    (row, column), (to_row, to_column) = begin, end
    down, right = _sign(to_row - row), _sign(to_column - column)
    return down, right, row * right - column * down


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _joined(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments of one line, those that meet as one."""
    first, *others = sorted(segments)
    begin, end = first
    for other_begin, other_end in others:
        if other_begin > end:
            yield begin, end
            begin, end = other_begin, other_end
        end = max(end, other_end)
    yield begin, end


def _checked(items: Iterable[T], check: Check) -> Iterator[T]:
    for number, item in enumerate(items):
        if number % _SEGMENTS_AT_ONCE == 0:
            check()
        yield item


def _segments(path: DrawnPath, view: View, shape: Sequence[int]) -> Iterator[Segment]:
    """The straight parts of a path that are shown: where it goes over an edge, it goes on at the
    other one."""
    at = path.start
    for run in path.runs:
        left = run.count
        while left:
            count = min(left, _until_edge(at, run.step, shape))
            end = tuple(here + count * by for here, by in zip(at, run.step, strict=True))
            if count and view.shows(at) and view.shows(end):
                yield view.row_and_column(at), view.row_and_column(end)
            left -= count
            at = end
            if left:
                at = _beyond(at, run.step, shape)
                left -= 1


def _until_edge(at: Sequence[int], step: Sequence[int], shape: Sequence[int]) -> int:
    """How many steps lead to the edge that comes first."""
    return min(
        (length - 1 - here if by > 0 else here)
        for here, by, length in zip(at, step, shape, strict=True)
        if by
    )


def _beyond(at: Sequence[int], step: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    return tuple((here + by) % length for here, by, length in zip(at, step, shape, strict=True))


def _goal(path: DrawnPath, shape: Sequence[int]) -> tuple[int, ...]:
    at = list(path.start)
    for run in path.runs:
        at = [
            (here + by * run.count) % length
            for here, by, length in zip(at, run.step, shape, strict=True)
        ]
    return tuple(at)


def _pixel(place: tuple[float, float], scale: int) -> tuple[float, float]:
    """The middle of a site, in pixels to the right and down."""
    row, column = place
    return (math.floor(column) + 0.5) * scale, (math.floor(row) + 0.5) * scale


def _with_bar(
    image: Image.Image, palette: NDArray[np.uint8], low: float, high: float
) -> Image.Image:
    """The picture with a bar of its colours at its right."""
    height = max(image.height, _BAR_HEIGHT_MIN + 2 * _BAR_MARGIN)
    whole = Image.new("RGB", (image.width + BAR_PIXELS, height), (255, 255, 255))
    whole.paste(image, (0, 0))
    bar_height = height - 2 * _BAR_MARGIN
    colors = np.linspace(_COLORS - 1, 0, bar_height).round().astype(np.intp)
    bar = np.repeat(palette[colors][:, None, :], _BAR_WIDTH, axis=1)
    left = image.width + _BAR_MARGIN
    whole.paste(Image.fromarray(bar), (left, _BAR_MARGIN))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(_FONT_PIXELS)
    for share in (0.0, 0.5, 1.0):
        text = f"{high / 2 * (2 * (1 - share)) + low * share:.4g}"
        y = _BAR_MARGIN + share * bar_height - _FONT_PIXELS / 2 - 1
        pen.text((left + _BAR_WIDTH + 5, y), text, (30, 30, 30), font)
    return whole
