"""Draws docs/pictures/*.svg: `python -m docs.pictures`."""

import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path

from docs.drawing import Drawing, Point

FOLDER = Path(__file__).with_name("pictures")
_STEP = 40
"""Between neighbouring sites, in pixels."""


def system() -> Drawing:
    drawing = Drawing(
        "Browsers and REST clients call the gateway, programs call the services by gRPC; lattice"
        " keeps its state as events, and events stores them in PostgreSQL.",
        720,
        230,
    )
    drawing.line([(150, 55), (225, 55)], has_arrow=True)
    drawing.line([(335, 55), (395, 55)], has_arrow=True)
    drawing.line([(335, 65), (365, 65), (365, 165), (395, 165)], has_arrow=True)
    drawing.line([(150, 165), (395, 165)], has_arrow=True)
    drawing.line([(225, 165), (225, 112), (455, 112), (455, 82)], has_arrow=True)
    drawing.line([(485, 138), (485, 82)], has_arrow=True)
    drawing.line([(545, 55), (595, 55)], has_arrow=True)
    drawing.box((10, 30), (140, 50), "browsers, REST")
    drawing.box((10, 140), (140, 50), "programs, gRPC")
    drawing.box((225, 30), (110, 50), "gateway", "one")
    drawing.box((395, 30), (150, 50), "events", "one")
    drawing.box((395, 140), (150, 50), "lattice", "one")
    drawing.box((595, 30), (115, 50), "PostgreSQL")
    drawing.text((280, 98), "REST, streams, accounts", "small")
    drawing.text((495, 116), "its state is events", "small", "start")
    drawing.text((470, 208), "paths and distances", "small")
    drawing.text((470, 20), "one log for each tenant", "small")
    return drawing


def log() -> Drawing:
    drawing = Drawing(
        "The log of a tenant: six events at positions 1 to 6. Those of the stream permit-1 have"
        " the revisions 0, 1 and 2, those of the stream door-7 the revisions 0, 1 and 2 as well.",
        720,
        190,
    )
    events = [
        ("permit-1", "submitted", 0, "one"),
        ("door-7", "opened", 0, "two"),
        ("permit-1", "paid", 1, "one"),
        ("door-7", "closed", 1, "two"),
        ("door-7", "opened", 2, "two"),
        ("permit-1", "approved", 2, "one"),
    ]
    drawing.text((20, 30), "position", "small", "start")
    drawing.text((20, 85), "event", "small", "start")
    drawing.text((20, 160), "stream", "small", "start")
    drawing.text((20, 180), "and revision", "small", "start")
    for at, (stream, type_, revision, style) in enumerate(events):
        x = 110 + at * 98
        drawing.text((x + 45, 30), str(at + 1))
        drawing.box((x, 55), (90, 46), type_, style)
        drawing.text((x + 45, 160), stream, "small")
        drawing.text((x + 45, 180), str(revision), "small")
    drawing.line([(110, 116), (700, 116)], has_arrow=True)
    drawing.text((700, 135), "in the order of the commits", "small", "end")
    return drawing


def idempotency() -> Drawing:
    drawing = Drawing(
        "A caller appends an event with an id; the answer is lost; the same event again gets the"
        " same position, and the log has it once.",
        720,
        200,
    )
    drawing.line([(130, 20), (130, 190)], "faint").line([(520, 20), (520, 190)], "faint")
    drawing.text((120, 30), "caller", anchor="end").text((530, 30), "events", anchor="start")
    drawing.line([(130, 60), (515, 60)], has_arrow=True)
    drawing.text((325, 52), "append: paid, id 7f3a")
    drawing.box((540, 46), (150, 28), "7f3a at 41", "one")
    drawing.line([(520, 95), (340, 95)], "bad")
    drawing.text((325, 87), "the answer is lost", "small")
    drawing.line([(130, 135), (515, 135)], has_arrow=True)
    drawing.text((325, 127), "append: paid, id 7f3a")
    drawing.text((540, 140), "is there already", "small", "start")
    drawing.line([(520, 175), (135, 175)], has_arrow=True)
    drawing.text((325, 167), "position 41")
    return drawing


def precondition() -> Drawing:
    drawing = Drawing(
        "Two callers read a stream at revision 3 and append on the condition that it is still"
        " there. One of them wins; the other is refused, told revision 4, and reads again.",
        720,
        250,
    )
    for x, name in ((110, "Ada"), (360, "permit-1"), (610, "Omar")):
        drawing.line([(x, 35), (x, 240)], "faint").text((x, 25), name)
    drawing.line([(355, 60), (115, 60)], has_arrow=True).line(
        [(365, 60), (605, 60)], has_arrow=True
    )
    drawing.text((235, 52), "revision 3").text((485, 52), "revision 3")
    drawing.line([(110, 110), (355, 110)], has_arrow=True)
    drawing.text((235, 102), "approve, if at 3")
    drawing.box((310, 118), (100, 30), "4: approved", "two")
    drawing.line([(610, 165), (365, 165)], has_arrow=True)
    drawing.text((485, 157), "reject, if at 3")
    drawing.line([(365, 205), (605, 205)], "bad")
    drawing.text((485, 197), "refused: it is at 4")
    drawing.text((485, 228), "nothing of it was stored", "small")
    return drawing


def shape() -> Drawing:
    drawing = Drawing(
        "A lattice of shape 5, 9: five rows of nine sites. Three sites of column 4 are blocked,"
        " and the shortest path from (3, 1) to (1, 7) goes around them.",
        460,
        260,
    )
    blocked = {(1, 4), (2, 4), (3, 4)}
    path = [(3, 1), (4, 1), *((4, column) for column in range(2, 8)), (3, 7), (2, 7), (1, 7)]
    _edges(drawing, (5, 9), blocked)
    drawing.line([_at(site) for site in path], "way")
    for site in product(range(5), range(9)):
        _site(drawing, site, "blocked" if site in blocked else "free")
    _site(drawing, path[0], "near")
    _site(drawing, path[-1], "here")
    words = f"a path of {len(path) - 1} steps, from {path[0]} to {path[-1]}"
    drawing.text((30, 238), words, "small", "start")
    for column in range(9):
        drawing.text((_at((0, column))[0], 22), str(column), "small")
    for row in range(5):
        drawing.text((22, _at((row, 0))[1] + 4), str(row), "small")
    return drawing


def boundary() -> Drawing:
    drawing = Drawing(
        "An open axis of six sites ends at its last one. On a periodic axis the first site"
        " follows the last one, so from site 0 to site 5 it is one step.",
        640,
        150,
    )
    for left, name in ((60, "open"), (370, "periodic")):
        sites = [(left + _STEP * at, 75.0) for at in range(6)]
        drawing.line(sites, "line")
        if name == "periodic":
            drawing.curve(sites[0], (left + 2.5 * _STEP, -15), sites[-1], "way")
        else:
            drawing.line(sites, "way")
        for at, site in enumerate(sites):
            drawing.site(site, "near" if at == 0 else "here" if at == 5 else "free")
            drawing.text((site[0], 105), str(at), "small")
        steps = "0 to 5: one step" if name == "periodic" else "0 to 5: five steps"
        drawing.text((left + 2.5 * _STEP, 135), f"{name}. {steps}")
    return drawing


def neighbourhood() -> Drawing:
    drawing = Drawing(
        "On two axes a site has four neighbours in the von Neumann neighbourhood, and eight in"
        " the Moore neighbourhood, of which those on the diagonals cost the square root of 2.",
        640,
        245,
    )
    for left, name, words in (
        (90, "von_neumann", "von Neumann: 4, each costs 1"),
        (410, "moore", "Moore: 8, on a diagonal √2"),
    ):
        centre = (2, 2)
        for site in product(range(5), range(5)):
            far = [abs(a - b) for a, b in zip(site, centre, strict=True)]
            is_near = max(far) == 1 and (name == "moore" or sum(far) == 1)
            at = _at(site, left - 60)
            if is_near:
                drawing.line([_at(centre, left - 60), at], "way")
            drawing.site(at, "near" if is_near else "free")
        drawing.site(_at(centre, left - 60), "here")
        drawing.text((left + 70, 235), words)
    return drawing


def corner_rule() -> Drawing:
    drawing = Drawing(
        "A diagonal step past one blocked site: without cutting it is not allowed and the path"
        " goes around in two steps, with cutting it is one step of the square root of 2.",
        640,
        170,
    )
    for left, rule, words in (
        (150, "no_cutting", "no_cutting: around it, 2"),
        (430, "cutting", "cutting: past it, √2"),
    ):
        start, goal, free, blocked = (
            (left, 105.0),
            (left + 60.0, 45.0),
            (left + 60.0, 105.0),
            (left, 45.0),
        )
        way = [start, goal] if rule == "cutting" else [start, free, goal]
        if rule == "no_cutting":
            drawing.line([start, goal], "bad")
        drawing.line(way, "way")
        for site, style in ((start, "near"), (goal, "here"), (free, "free"), (blocked, "blocked")):
            drawing.site(site, style)
        drawing.text((left + 30, 150), words)
    return drawing


def _at(site: tuple[int, int], left: float = 0) -> Point:
    row, column = site
    return (50 + left + column * _STEP, 40 + row * _STEP)


def _site(drawing: Drawing, site: tuple[int, int], style: str) -> None:
    drawing.site(_at(site), style)


def _edges(drawing: Drawing, shape: tuple[int, int], blocked: set[tuple[int, int]]) -> None:
    for start, goal in _steps(shape):
        if not blocked & {start, goal}:
            drawing.line([_at(start), _at(goal)], "faint")


def _steps(shape: tuple[int, int]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for row, column in product(*map(range, shape)):
        if row + 1 < shape[0]:
            yield (row, column), (row + 1, column)
        if column + 1 < shape[1]:
            yield (row, column), (row, column + 1)


PICTURES: Mapping[str, Callable[[], Drawing]] = {
    "system": system,
    "log": log,
    "idempotency": idempotency,
    "precondition": precondition,
    "shape": shape,
    "boundary": boundary,
    "neighbourhood": neighbourhood,
    "corner-rule": corner_rule,
}


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
