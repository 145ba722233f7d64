"""Paths on obstructed lattices, beside the fastest Python packages that give the same answers.

python -m bench.paths [--rounds 3] [--queries 12] [--maps DIR] [--seed 1] [--no-service]

DIR has `orz900d.map` and its scenario file, of the public grid pathfinding benchmarks. Without
it a map of rooms of the same size is made. Every answer is compared with ours. What a package
needs before it can be asked (a graph, an array of weights) is built beforehand and told apart.
pyastar2d and dijkstra3d have no rule against cutting corners, so they are asked only where
there are no diagonals.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import dijkstra3d
import igraph
import networkit
import numpy as np
import pyastar2d
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse import csgraph

from bench.lattices import Job, LatticeProcess, Site, created, lattice_service
from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice.kernels.searches import search_on
from services.lattice.kernels.warm import compile_all
from tests.acceptance.benchmark_maps import load_all

OURS = "girih"
Ask = Callable[[Site, Site], float]
"""Find a path between two sites and answer its length."""


@dataclass
class Contender:
    """Someone who finds paths, and what came of it."""

    name: str
    ask: Ask
    built_s: float
    rounds_s: list[float]


def main(arguments: argparse.Namespace) -> int:
    compile_all()
    holds = True
    with nullcontext() if arguments.no_service else lattice_service() as lattice:
        for job in jobs(arguments):
            contenders = [*ours(job), *peers(job)]
            if lattice:
                contenders.insert(1, through_grpc(lattice, job))
            contest(job, contenders, arguments.rounds)
            holds &= compare(contenders)
    return 0 if holds else 1


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    rng = np.random.default_rng(arguments.seed)
    name, plane, queries = plane_queries(arguments, rng)
    yield Job(f"{name}, 4 neighbours", plane, False, queries)
    yield Job(f"{name}, 8 neighbours without cutting corners", plane, True, queries)
    cube = rng.random((100, 100, 100)) < 0.3
    cube[0, 0, 0] = cube[99, 99, 99] = False
    corners = [((0, 0, 0), (99, 99, 99)), ((99, 99, 99), (0, 0, 0))]
    yield Job("100^3, 30 % blocked, corner to corner, 6 neighbours", cube, False, 5 * corners)


def plane_queries(
    arguments: argparse.Namespace, rng: np.random.Generator
) -> tuple[str, NDArray[np.bool_], list[tuple[Site, Site]]]:
    """A map of 656 x 1,491 sites, and queries spread over all lengths there are."""
    if arguments.maps:
        published = next(each for each in load_all(arguments.maps) if each.name == "orz900d.map")
        chosen = published.queries[:: max(1, len(published.queries) // arguments.queries)]
        return published.name, published.blocked, [(query.start, query.goal) for query in chosen]
    blocked = map_of_rooms((656, 1491), 24, rng)
    search, go = search_on(Job("", blocked, False, []).grid()), np.zeros(1, np.uint8)
    free = [tuple(map(int, site)) for site in np.argwhere(~blocked)]
    queries: list[tuple[Site, Site]] = []
    while len(queries) < arguments.queries:
        start, goal = (free[place] for place in rng.integers(len(free), size=2))
        if search.find(start, goal, go).found:
            queries.append((start, goal))
    return "rooms", blocked, queries


def map_of_rooms(shape: tuple[int, int], size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Square rooms; two walls of three have a gap of three sites. Some sites are pillars."""
    blocked = rng.random(shape) < 0.02
    blocked[::size] = True
    blocked[:, ::size] = True
    for corner in product(range(0, shape[0], size), range(0, shape[1], size)):
        gap_start = 1 + int(rng.integers(size - 4))
        for axis in np.flatnonzero(rng.random(2) < 2 / 3):
            opening = [slice(at, at + 1) for at in corner]
            opening[axis] = slice(corner[axis] + gap_start, corner[axis] + gap_start + 3)
            blocked[tuple(opening)] = False
    return blocked


def contest(job: Job, contenders: Sequence[Contender], rounds: int) -> None:
    """Let all answer all queries, in turns, and compare the answers with the first's."""
    expected = [contenders[0].ask(*query) for query in job.queries]
    for number in range(rounds + 1):
        for contender in contenders:
            began_s = time.perf_counter()
            answers = [contender.ask(*query) for query in job.queries]
            seconds = time.perf_counter() - began_s
            np.testing.assert_allclose(answers, expected, rtol=1e-6, err_msg=contender.name)
            if number:  # the first round warms up
                contender.rounds_s.append(seconds / len(job.queries))
    print(f"{job.name}: {len(job.queries)} queries, mean length {np.mean(expected):,.0f}")


def compare(contenders: Sequence[Contender]) -> bool:
    """Tell what all took beside the first; whether no package was faster than that."""
    first, fastest = contenders[0], float("inf")
    for contender in contenders:
        pairs = zip(contender.rounds_s, first.rounds_s, strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        if not contender.name.startswith(OURS):
            fastest = min(fastest, ratio)
        took_us = statistics.median(contender.rounds_s) * 1e6
        print(
            f"  {contender.name:28} {took_us:11,.0f} us a query, {ratio:8.1f} x,"
            f" built before in {contender.built_s * 1e3:8,.1f} ms"
        )
    verdict = "holds" if fastest >= 1 else "MISSED"
    print(f"  the fastest package: ratio {fastest:.1f} (at least 1): {verdict}", flush=True)
    return fastest >= 1


def built(name: str, build: Callable[[], Ask]) -> Contender:
    began_s = time.perf_counter()
    ask = build()
    return Contender(name, ask, time.perf_counter() - began_s, [])


def ours(job: Job) -> Iterator[Contender]:
    def build() -> Ask:
        search, go = search_on(job.grid()), np.zeros(1, np.uint8)
        return lambda start, goal: search.find(start, goal, go).length

    yield built(f"{OURS}, the kernel", build)


def peers(job: Job) -> Iterator[Contender]:
    """Every package that gives the same answers, in the ways that may be its fastest."""
    if not job.moore:
        if job.blocked.ndim == 2:
            yield built("pyastar2d", lambda: with_pyastar2d(job.blocked))
        for way in ({"compass": True}, {"bidirectional": True}):
            name = f"dijkstra3d {' '.join(way)}"
            yield built(name, lambda way=way: with_dijkstra3d(job.blocked, way))  # type: ignore[misc]
    began_s = time.perf_counter()
    graph = SparseGraph(job)
    shared_s = time.perf_counter() - began_s
    ways: list[tuple[str, Callable[[SparseGraph], Ask]]] = [
        ("networkit bidirectional", with_networkit_both_ways),
        ("networkit A*", with_networkit_a_star),
        ("igraph", with_igraph),
        ("scipy", with_scipy),
    ]
    for name, build in ways:
        contender = built(name, lambda build=build: build(graph))  # type: ignore[misc]
        contender.built_s += shared_s
        yield contender


def with_pyastar2d(blocked: NDArray[np.bool_]) -> Ask:
    weights = np.where(blocked, np.inf, 1).astype(np.float32)

    def ask(start: Site, goal: Site) -> float:
        return len(pyastar2d.astar_path(weights, start, goal, allow_diagonal=False)) - 1

    return ask


def with_dijkstra3d(blocked: NDArray[np.bool_], way: dict[str, bool]) -> Ask:
    weights = np.asfortranarray(np.where(blocked, np.inf, 1).astype(np.float32))
    faces = 2 * blocked.ndim

    def ask(start: Site, goal: Site) -> float:
        return len(dijkstra3d.dijkstra(weights, start, goal, connectivity=faces, **way)) - 1

    return ask


class SparseGraph:
    """A job's lattice as free sites and the pairs of them that a step joins."""

    def __init__(self, job: Job) -> None:
        self.job = job
        free = ~job.blocked
        self.vertices = int(free.sum())
        self.sites = np.argwhere(free)
        self.number = np.where(free, np.cumsum(free).reshape(free.shape) - 1, -1)
        parts = [self._joined(step) for step in self._steps()]
        self.tails, self.heads, self.costs = (
            np.concatenate(part) for part in zip(*parts, strict=True)
        )

    def _steps(self) -> Iterator[Site]:
        """Each kind of step, and not its opposite."""
        for step in product((-1, 0, 1), repeat=self.job.blocked.ndim):
            if step > (0,) * len(step) and (self.job.moore or np.abs(step).sum() == 1):
                yield step

    def _joined(
        self, step: Site
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        box = [self._moved(part) for part in product(*({0, by} for by in step))]
        free = np.logical_and.reduce([sites >= 0 for sites in box])
        costs = np.full(int(free.sum()), float(np.linalg.norm(step)))
        return self._moved((0,) * len(step))[free], self._moved(step)[free], costs

    def _moved(self, step: Site) -> NDArray[np.int64]:
        """Where a step leads from each site: a vertex, or -1."""
        padded = np.pad(self.number, 1, constant_values=-1)
        shape = self.number.shape
        places = [slice(1 + by, 1 + by + length) for by, length in zip(step, shape, strict=True)]
        return padded[tuple(places)]

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is told of the vertices, where they lie; infinite where sites are blocked."""
        lattice = np.full(self.job.blocked.shape, np.inf)
        lattice[~self.job.blocked] = values
        return lattice


def with_networkit_both_ways(graph: SparseGraph) -> Ask:
    built = networkit_graph(graph)
    kind = networkit.distance.BidirectionalDijkstra
    if not graph.job.moore:
        kind = networkit.distance.BidirectionalBFS

    def ask(start: Site, goal: Site) -> float:
        search = kind(built, graph.number[start], graph.number[goal], True)
        return float(search.run().getDistance())

    return ask


def with_networkit_a_star(graph: SparseGraph) -> Ask:
    built = networkit_graph(graph)

    def ask(start: Site, goal: Site) -> float:
        apart = -np.sort(-np.abs(graph.sites - goal), axis=1)
        bounds = apart.sum(axis=1)
        if graph.job.moore:
            bounds = apart[:, 0] + (np.sqrt(2) - 1) * apart[:, 1]
        source, target = graph.number[start], graph.number[goal]
        search = networkit.distance.AStar(built, bounds.tolist(), source, target, True)
        return float(search.run().getDistance())

    return ask


def networkit_graph(graph: SparseGraph) -> networkit.Graph:
    edges = (graph.costs, (graph.tails, graph.heads)) if graph.job.moore else None
    return networkit.GraphFromCoo(
        edges or (graph.tails, graph.heads), n=graph.vertices, weighted=graph.job.moore
    )


def with_igraph(graph: SparseGraph) -> Ask:
    built = igraph.Graph(n=graph.vertices, edges=np.stack((graph.tails, graph.heads), axis=1))
    costs = graph.costs.tolist() if graph.job.moore else None

    def ask(start: Site, goal: Site) -> float:
        source, target = graph.number[start], graph.number[goal]
        path = built.get_shortest_path(source, target, weights=costs, output="epath")
        return float(graph.costs[path].sum())

    return ask


def scipy_graph(graph: SparseGraph) -> scipy.sparse.csr_array:
    shape = (graph.vertices, graph.vertices)
    pairs = scipy.sparse.coo_array((graph.costs, (graph.tails, graph.heads)), shape)
    return (pairs + pairs.T).tocsr()


def with_scipy(graph: SparseGraph) -> Ask:
    built = scipy_graph(graph)

    def ask(start: Site, goal: Site) -> float:
        source, target = graph.number[start], graph.number[goal]
        if graph.job.moore:
            return float(csgraph.dijkstra(built, indices=source)[target])
        _, before = csgraph.breadth_first_order(built, source)
        length = 0
        while target != source:
            target, length = before[target], length + 1
        return length

    return ask


def through_grpc(lattice: LatticeProcess, job: Job) -> Contender:
    """The whole way: a request to the service in another process, and its answer."""

    def build() -> Ask:
        service, lattice_id = created(lattice, job)

        def ask(start: Site, goal: Site) -> float:
            query = pb.FindPathRequest(
                lattice_id=lattice_id,
                start=pb.Site(coordinates=start),
                goal=pb.Site(coordinates=goal),
                sites_max=0,
            )
            answer = service.FindPath(query, metadata=lattice.caller.metadata)
            return float(answer.path.length)

        return ask

    return built(f"{OURS}, the call through gRPC", build)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=12)
    parser.add_argument("--maps", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-service", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
