"""What a small workshop did in two days, and three floors to find ways on. Knows no call."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Happening:
    """An event, and which of those before it caused it."""

    stream: str
    type: str
    data: dict[str, Any]
    tags: tuple[str, ...]
    case: str
    """What it belongs to: the correlation id of all that follows from one order."""
    caused_by: int | None = None
    """Its index."""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """A lattice, and a way across."""

    title: str
    body: dict[str, Any]
    """As `POST /v1/lattices` takes it, without what is blocked."""
    blocked: tuple[str, ...] = ()
    """Rows of . and #."""
    start: tuple[int, ...]
    goal: tuple[int, ...]


_LAMP, _TABLE, _DOOR = "demo-order-1", "demo-order-2", "demo-order-3"

HAPPENINGS = (
    Happening(
        stream="order-1",
        type="placed",
        data={"customer": "Ada", "item": "star lamp", "pieces": 2, "price_eur": 480},
        tags=("customer:ada", "lamp"),
        case=_LAMP,
    ),
    Happening(
        stream="stock-brass",
        type="reserved",
        data={"order": "order-1", "kg": 3.5},
        tags=("material:brass", "lamp"),
        case=_LAMP,
        caused_by=0,
    ),
    Happening(
        stream="job-1",
        type="begun",
        data={"order": "order-1", "by": "Omar", "at": "lathe"},
        tags=("worker:omar", "lamp"),
        case=_LAMP,
        caused_by=1,
    ),
    Happening(
        stream="order-2",
        type="placed",
        data={"customer": "Grace", "item": "ten-fold table", "pieces": 1, "price_eur": 2_150},
        tags=("customer:grace", "table"),
        case=_TABLE,
    ),
    Happening(
        stream="stock-walnut",
        type="reserved",
        data={"order": "order-2", "kg": 41},
        tags=("material:walnut", "table"),
        case=_TABLE,
        caused_by=3,
    ),
    Happening(
        stream="job-1",
        type="finished",
        data={"order": "order-1", "hours": 5.5},
        tags=("worker:omar", "lamp"),
        case=_LAMP,
        caused_by=2,
    ),
    Happening(
        stream="order-1",
        type="shipped",
        data={"carrier": "by hand", "parcels": 1},
        tags=("customer:ada", "lamp"),
        case=_LAMP,
        caused_by=5,
    ),
    Happening(
        stream="order-3",
        type="placed",
        data={"customer": "Ada", "item": "gate of stars", "pieces": 1, "price_eur": 9_900},
        tags=("customer:ada", "gate"),
        case=_DOOR,
    ),
    Happening(
        stream="stock-walnut",
        type="fell-short",
        data={"order": "order-3", "kg_wanted": 230, "kg_left": 59},
        tags=("material:walnut", "gate"),
        case=_DOOR,
        caused_by=7,
    ),
    Happening(
        stream="order-3",
        type="refused",
        data={"reason": "no walnut before spring"},
        tags=("customer:ada", "gate"),
        case=_DOOR,
        caused_by=8,
    ),
    Happening(
        stream="job-2",
        type="begun",
        data={"order": "order-2", "by": "Eve", "at": "bench"},
        tags=("worker:eve", "table"),
        case=_TABLE,
        caused_by=4,
    ),
    Happening(
        stream="job-2",
        type="paused",
        data={"order": "order-2", "reason": "glue dries"},
        tags=("worker:eve", "table"),
        case=_TABLE,
        caused_by=10,
    ),
)

_MAZE = (
    ".#.............#.....",
    ".#####.#######.###.#.",
    "...#...#.....#.#...#.",
    "##.#.#######.#.#.###.",
    "...#.......#.#...#...",
    ".#########.#.#####.##",
    ".....#.....#...#...#.",
    "####.#.#####.###.###.",
    ".#...#...#...#...#...",
    ".#.#####.#.#.#.###.#.",
    ".........#.#.......#.",
)

FLOORS = (
    Floor(
        title="the shelves, a free grid of three axes",
        body={"shape": [20, 20, 20]},
        start=(0, 0, 0),
        goal=(19, 19, 19),
    ),
    Floor(
        title="the yard, a maze with diagonal steps",
        body={"neighbourhood": "NEIGHBOURHOOD_MOORE"},
        blocked=_MAZE,
        start=(0, 0),
        goal=(10, 20),
    ),
    Floor(
        title="the frieze, a torus without edges",
        body={"shape": [64, 64], "boundaries": ["BOUNDARY_PERIODIC"]},
        start=(1, 1),
        goal=(62, 62),
    ),
)
