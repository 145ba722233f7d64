"""Reads the files of the public grid pathfinding benchmarks: maps, voxel maps, scenarios."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FREE = frozenset(b".G")


@dataclass(frozen=True)
class Query:
    """From where to where, in the axes of the map's array, and the published optimum."""

    start: tuple[int, ...]
    goal: tuple[int, ...]
    length: float


@dataclass(frozen=True)
class BenchmarkMap:
    """A map and its queries. `blocked` is a boolean array, one element a site, C order."""

    name: str
    blocked: NDArray[np.bool_]
    queries: Sequence[Query]

    @property
    def bitmap(self) -> bytes:
        """One bit a site in C order, the least significant bit of each byte first."""
        return np.packbits(self.blocked, axis=None, bitorder="little").tobytes()


def load_all(folder: Path) -> list[BenchmarkMap]:
    """Every map of the folder that has its scenario file beside it, by name."""
    flat = [
        BenchmarkMap(path.name, _grid(path), _grid_queries(path.with_name(f"{path.name}.scen")))
        for path in sorted(folder.glob("*.map"))
    ]
    voxels = [
        BenchmarkMap(
            path.name, _voxels(path), _voxel_queries(path.with_name(f"{path.name}.3dscen"))
        )
        for path in sorted(folder.glob("*.3dmap"))
    ]
    return flat + voxels


def _grid(path: Path) -> NDArray[np.bool_]:
    """Rows of the map: axis 0 is y, axis 1 is x."""
    rows = path.read_bytes().splitlines()[4:]
    return np.array([[cell not in _FREE for cell in row] for row in rows if row])


def _grid_queries(path: Path) -> list[Query]:
    queries = []
    for line in path.read_text().splitlines()[1:]:
        # The map's name, near the front, may hold blanks; the numbers at the end do not.
        if words := line.split()[-5:]:
            x0, y0, x1, y1 = map(int, words[:4])
            queries.append(Query((y0, x0), (y1, x1), float(words[4])))
    return queries


def _voxels(path: Path) -> NDArray[np.bool_]:
    """Axes x, y, z, in the order of the file."""
    header, *lines = path.read_text().splitlines()
    blocked = np.zeros([int(word) for word in header.split()[1:]], dtype=bool)
    for line in lines:
        x, y, z = (int(word) for word in line.split())
        blocked[x, y, z] = True
    return blocked


def _voxel_queries(path: Path) -> list[Query]:
    queries = []
    for line in path.read_text().splitlines()[2:]:
        if words := line.split():
            start, goal = tuple(map(int, words[:3])), tuple(map(int, words[3:6]))
            queries.append(Query(start, goal, float(words[6])))
    return queries


def walked_length(
    blocked: NDArray[np.bool_], query: Query, runs: Sequence[tuple[Sequence[int], int]]
) -> float:
    """Walk the runs from the start, and answer the length of the way.

    Raises AssertionError when a step leaves the map, cuts a corner, or does not end at the goal.
    """
    site = np.array(query.start)
    total = 0.0
    for step, count in runs:
        for _ in range(count):
            target = site + step
            assert (target >= 0).all(), f"left the map at {target}"
            box = tuple(slice(min(a, b), max(a, b) + 1) for a, b in zip(site, target, strict=True))
            assert not blocked[box].any(), f"passed a blocked site between {site} and {target}"
            site = target
            total += math.sqrt(np.count_nonzero(step))
    assert tuple(site) == query.goal, f"ended at {site}"
    return total
