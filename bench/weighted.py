"""Cheapest paths over sites with costs, beside packages that give the same answers.

python -m bench.weighted [--rounds 5] [--seed 1] [--small | --large] [--only WORDS]

One source to all sites, and one pair of corners; whole and real costs; free lattices and some with
30 % of their sites blocked. Every answer is compared with ours. What a package needs before it can
be asked (a graph, an array of weights) is built beforehand and told apart. Each answers in a
process of its own, since graphs of some packages leave a heap in which any later search takes up
to three times as long. tcod knows whole costs on planes alone. On 200^3 sites (`--large`) no graph
is built: it would take tens of GiB.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import dijkstra3d
import igraph
import networkit
import numpy as np
import rustworkx
import skimage.graph
import tcod.path
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csgraph

from bench.lattices import Job
from bench.paths import SparseGraph
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import find_cheapest, measure_costs

OURS = "girih"
GO = np.zeros(1, np.uint8)
_GRAPH_SITES_MAX = 1 << 21
Ask = Callable[[], "NDArray[Any] | float"]
Build = Callable[[], Ask]


@dataclass(frozen=True)
class Question:
    """What to find on a lattice: the costs to all sites from the first, or to the last."""

    job: Job
    costs: NDArray[Any]
    to_all: bool

    @property
    def name(self) -> str:
        asked = "to all sites" if self.to_all else "corner to corner"
        return f"{self.job.name}, {self.costs.dtype.name} costs, {asked}"


@dataclass
class Contender:
    """Someone who answers, in a process of its own, and what came of it."""

    name: str
    process: Connection
    built_s: float
    rounds_s: list[float] = field(default_factory=list)

    def ask(self) -> tuple[float, NDArray[np.float64]]:
        """How long an answer takes, in seconds, and the answer."""
        self.process.send(True)
        answer: tuple[float, NDArray[np.float64]] = self.process.recv()
        return answer


def main(arguments: argparse.Namespace) -> int:
    holds = True
    for question in questions(arguments):
        if arguments.only not in question.name:
            continue
        with ExitStack() as stack:
            contenders = [
                stack.enter_context(answering(name, build))
                for name, build in contenders_of(question)
            ]
            contest(contenders, arguments.rounds)
        holds &= compare(question, contenders)
    return 0 if holds else 1


def questions(arguments: argparse.Namespace) -> Iterator[Question]:
    rng = np.random.default_rng(arguments.seed)
    shapes: tuple[tuple[int, ...], ...] = ((1000, 1000), (100, 100, 100))
    if arguments.small:
        shapes = ((200, 200), (30, 30, 30))
    elif arguments.large:
        shapes = ((200, 200, 200),)
    for shape in shapes:
        for share in (0.0, 0.3):
            blocked = rng.random(shape) < share
            blocked.flat[0] = blocked.flat[-1] = False
            size = f"{shape[0]}^{len(shape)}"
            job = Job(f"{size}, {share:.0%} blocked", blocked, moore=False, queries=[])
            whole = rng.integers(1, 256, shape).astype(np.uint8)
            real = (0.1 + rng.random(shape)).astype(np.float32)
            for costs in (whole, real):
                for to_all in (True, False):
                    yield Question(job, costs, to_all)


def contenders_of(question: Question) -> Iterator[tuple[str, Build]]:
    yield OURS, lambda: with_kernel(question)
    yield "dijkstra3d", lambda: with_dijkstra3d(question)
    yield "scikit-image", lambda: with_skimage(question)
    is_plane = question.costs.ndim == 2
    if is_plane and question.costs.dtype.kind == "u":
        yield "tcod", lambda: with_tcod(question)
    if question.costs.size > _GRAPH_SITES_MAX:
        return
    graph = SparseGraph(question.job)
    yield "rustworkx", lambda: with_rustworkx(question, graph)
    yield "networkit", lambda: with_networkit(question, graph)
    yield "scipy", lambda: with_scipy(question, graph)
    yield "igraph", lambda: with_igraph(question, graph)


@contextmanager
def answering(name: str, build: Build) -> Iterator[Contender]:
    """Someone who answers until the block ends."""
    # Forked, so that the question need not be sent. Nothing has been asked here that began threads.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(build, theirs), daemon=True)
    process.start()
    theirs.close()
    yield Contender(name, ours, ours.recv())
    ours.send(False)
    process.join()


def _answer(build: Build, asking: Connection) -> None:
    """Each answers twice, and the second answer counts: what another's answer leaves in the caches
    of the processor is no part of it."""
    began_s = time.perf_counter()
    ask = build()
    asking.send(time.perf_counter() - began_s)
    while asking.recv():
        ask()
        began_s = time.perf_counter()
        answer = ask()
        seconds = time.perf_counter() - began_s
        asking.send((seconds, as_floats(answer)))


def with_kernel(question: Question) -> Ask:
    grid, shape = question.job.grid(), question.costs.shape
    start, goal = (0,) * len(shape), tuple(length - 1 for length in shape)

    def ask() -> NDArray[Any] | float:
        costs = SiteCosts(question.costs.reshape(-1), mean=False)
        if question.to_all:
            return measure_costs(grid, costs, [start], GO).at(slice(None)).reshape(shape)
        path = find_cheapest(grid, costs, start, goal, GO)
        return path.length if path.found else np.inf

    return ask


def with_dijkstra3d(question: Question) -> Ask:
    """It pays for the first site as well, and for the last."""
    shape = question.costs.shape
    weights = np.where(question.job.blocked, np.inf, question.costs).astype(np.float32)
    weights = np.asfortranarray(weights)
    start, goal = (0,) * len(shape), tuple(length - 1 for length in shape)
    faces = 2 * len(shape)

    def ask() -> NDArray[Any] | float:
        if question.to_all:
            lengths: NDArray[Any] = dijkstra3d.distance_field(weights, start, connectivity=faces)
            return lengths
        path = dijkstra3d.dijkstra(weights, start, goal, connectivity=faces)
        if not len(path):
            return np.inf
        return float(question.costs[tuple(path[1:].T)].astype(np.float64).sum())

    return ask


def with_skimage(question: Question) -> Ask:
    """It costs the mean of both ends: half of the first less, and half of the last."""
    shape = question.costs.shape
    costs = question.costs.astype(np.float64)
    weights = np.where(question.job.blocked, -1.0, costs)
    start, goal = (0,) * len(shape), tuple(length - 1 for length in shape)

    def ask() -> NDArray[Any] | float:
        search = skimage.graph.MCP_Geometric(weights, fully_connected=False)
        lengths, _ = search.find_costs([start], None if question.to_all else [goal])
        entering = lengths + (costs - costs[start]) / 2
        return entering if question.to_all else float(entering[goal])

    return ask


def with_tcod(question: Question) -> Ask:
    """It floods the whole plane, whatever is asked."""
    weights = np.where(question.job.blocked, 0, question.costs).astype(np.int32)
    none = np.iinfo(np.int32).max

    def ask() -> NDArray[Any] | float:
        distance = np.full(weights.shape, none, np.int32)
        distance[0, 0] = 0
        tcod.path.dijkstra2d(distance, weights, 1, 0, out=distance)
        lengths = np.where(distance == none, np.inf, distance)
        return lengths if question.to_all else float(lengths[-1, -1])

    return ask


def with_rustworkx(question: Question, graph: SparseGraph) -> Ask:
    tails, heads, weights = directed(question, graph)
    net = rustworkx.PyDiGraph()
    net.add_nodes_from(range(graph.vertices))
    net.extend_from_weighted_edge_list(
        list(zip(tails.tolist(), heads.tolist(), weights.tolist(), strict=True))
    )
    goal = None if question.to_all else graph.vertices - 1

    def ask() -> NDArray[Any] | float:
        distances = rustworkx.digraph_dijkstra_shortest_path_lengths(net, 0, float, goal)
        if goal is not None:
            return float(distances[goal]) if goal in distances else np.inf
        lengths = np.full(graph.vertices, np.inf)
        lengths[list(distances.keys())] = list(distances.values())
        lengths[0] = 0.0
        return graph.spread(lengths)

    return ask


def directed(question: Question, graph: SparseGraph) -> tuple[Any, Any, Any]:
    """Both directions of each edge, at the cost of where it leads to."""
    costs = question.costs[~question.job.blocked].astype(np.float64)
    tails = np.concatenate((graph.tails, graph.heads))
    heads = np.concatenate((graph.heads, graph.tails))
    return tails, heads, costs[heads]


def with_scipy(question: Question, graph: SparseGraph) -> Ask:
    tails, heads, weights = directed(question, graph)
    matrix = coo_matrix((weights, (tails, heads)), (graph.vertices,) * 2).tocsr()

    def ask() -> NDArray[Any] | float:
        lengths = csgraph.dijkstra(matrix, indices=0)
        return graph.spread(lengths) if question.to_all else float(lengths[-1])

    return ask


def with_networkit(question: Question, graph: SparseGraph) -> Ask:
    tails, heads, weights = directed(question, graph)
    net = networkit.GraphFromCoo(
        (weights, (tails, heads)), n=graph.vertices, weighted=True, directed=True
    )

    def ask() -> NDArray[Any] | float:
        if question.to_all:
            search = networkit.distance.Dijkstra(net, 0, False)
            search.run()
            return graph.spread(np.array(search.getDistances(asarray=True)))
        goal = graph.vertices - 1
        pair = networkit.distance.Dijkstra(net, 0, False, False, goal)
        pair.run()
        return float(pair.distance(goal))

    return ask


def with_igraph(question: Question, graph: SparseGraph) -> Ask:
    tails, heads, weights = directed(question, graph)
    pairs = np.stack((tails, heads), axis=1)
    net = igraph.Graph(n=graph.vertices, edges=pairs, directed=True)
    last = None if question.to_all else [graph.vertices - 1]

    def ask() -> NDArray[Any] | float:
        (lengths,) = net.distances(0, last, weights=weights)
        return graph.spread(np.array(lengths)) if question.to_all else float(lengths[0])

    return ask


def contest(contenders: Sequence[Contender], rounds: int) -> None:
    """Let all answer, in turns, and compare the answers with the first's."""
    _, expected = contenders[0].ask()
    for number in range(rounds + 1):
        for contender in contenders:
            seconds, answer = contender.ask()
            np.testing.assert_allclose(answer, expected, rtol=1e-5, err_msg=contender.name)
            if number:  # the first round warms up
                contender.rounds_s.append(seconds)


def as_floats(lengths: NDArray[Any] | float) -> NDArray[np.float64]:
    """One way to say that nothing is reached: packages have several."""
    same = np.atleast_1d(np.asarray(lengths, np.float64)).copy()
    same[(same < 0) | (same > 1e30)] = np.inf
    return same


def compare(question: Question, contenders: Sequence[Contender]) -> bool:
    """Tell what all took beside ours; whether no package was faster."""
    print(question.name)
    ours, fastest = contenders[0], float("inf")
    for contender in contenders:
        pairs = zip(contender.rounds_s, ours.rounds_s, strict=True)
        ratio = statistics.median(theirs / own for theirs, own in pairs)
        if contender is not ours:
            fastest = min(fastest, ratio)
        print(
            f"  {contender.name:12} {statistics.median(contender.rounds_s) * 1e3:9,.1f} ms,"
            f" {ratio:6.2f} x, built before in {contender.built_s * 1e3:8,.1f} ms"
        )
    verdict = "holds" if fastest >= 1 else "MISSED"
    print(f"  the fastest package: ratio {fastest:.2f} (at least 1): {verdict}", flush=True)
    return fastest >= 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="lattices of some 30,000 sites")
    parser.add_argument("--large", action="store_true", help="a lattice of 8,000,000 sites")
    parser.add_argument("--only", default="", help="questions with these words in their names")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
