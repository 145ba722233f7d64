"""What lattices are like as graphs, beside packages that give the same answers.

python -m bench.structure [--rounds 3] [--seed 1] [--small | --large]

Components with their sizes, betweenness of all sites, PageRank, the least eigenvalues of the
Laplacian, and the logarithm of the number of spanning trees. Every answer is compared with ours.
What a package needs before it can be asked (a graph, a matrix) is built beforehand and told apart.
On 200^3 sites (`--large`) no graph is built: it would take tens of GiB. Betweenness of 100^3 sites
is asked of nobody else: a search from each takes days.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import cc3d
import igraph
import networkit
import numpy as np
import rustworkx
import scipy.ndimage
import scipy.sparse.linalg
import skimage.measure
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csgraph, csr_matrix

from bench.lattices import Job
from bench.paths import SparseGraph
from services.lattice.geometry import Geometry
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.structure.free import axes as free_axes
from services.lattice.kernels.structure.free import centralities as free
from services.lattice.kernels.structure.graph import clusters, iterations, searches
from services.lattice.kernels.structure.graph.rows import Rows, rows_of

OURS = "girih"
GO = np.zeros(1, np.uint8)
_GRAPH_SITES_MAX = 1 << 21
_SEARCHED_MAX = 1 << 12
"""Vertices that others are asked for a search from each of."""
_THREADS = len(os.sched_getaffinity(0))
Answer: TypeAlias = "NDArray[np.floating] | NDArray[np.integer]"
Ask = Callable[[], Answer]


@dataclass
class Contender:
    """Someone who answers, and what came of it."""

    name: str
    ask: Ask
    built_s: float
    rounds_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Question:
    """What to ask of all, and how near two answers must be."""

    name: str
    contenders: Sequence[Contender]
    tolerance: float = 1e-6


def main(arguments: argparse.Namespace) -> int:
    holds = True
    rng = np.random.default_rng(arguments.seed)
    for question in questions(rng, small=arguments.small, large=arguments.large):
        contest(question, arguments.rounds)
        holds &= compare(question)
    return 0 if holds else 1


def questions(rng: np.random.Generator, *, small: bool, large: bool) -> Iterator[Question]:
    if large:
        for share in (0.0, 0.3):
            yield components(obstructed((200, 200, 200), rng, share))
        yield betweenness((100, 100, 100))
        return
    plane, cube = ((200, 200), (30, 30, 30)) if small else ((1000, 1000), (100, 100, 100))
    for shape in (plane, cube):
        for share in (0.0, 0.3):
            yield components(obstructed(shape, rng, share))
    yield betweenness((10, 10, 10))
    yield betweenness_with_obstacles(obstructed((10, 10, 10), rng))
    for shape in ((10, 10, 10), cube, plane):
        yield pagerank(shape)
    yield eigenvalues((10, 10, 10))
    yield spanning_trees((10, 10, 10))


def obstructed(shape: tuple[int, ...], rng: np.random.Generator, share: float = 0.3) -> Job:
    blocked = rng.random(shape) < share
    return Job(f"{shape[0]}^{len(shape)}, {share:.0%} blocked", blocked, moore=False, queries=[])


def free_job(shape: tuple[int, ...]) -> Job:
    return Job(f"{shape[0]}^{len(shape)}", np.zeros(shape, bool), moore=False, queries=[])


def geometry(shape: tuple[int, ...]) -> Geometry:
    return Geometry(shape, (False,) * len(shape), moore=False, no_cutting=True)


def built(name: str, build: Callable[[], Ask]) -> Contender:
    began_s = time.perf_counter()
    return Contender(name, build(), time.perf_counter() - began_s)


def components(job: Job) -> Question:
    """The sizes of all, rising."""
    is_small = job.blocked.size <= _GRAPH_SITES_MAX
    graph = SparseGraph(job) if is_small else None

    def ours() -> Ask:
        grid = job.grid()
        return lambda: np.sort(clusters.clusters_of(grid, GO, is_labelled=False).sizes)

    def with_ndimage() -> Ask:
        open_sites = ~job.blocked

        def ask() -> Answer:
            labels, _ = scipy.ndimage.label(open_sites)
            return np.sort(np.bincount(labels.reshape(-1))[1:])

        return ask

    def with_cc3d() -> Ask:
        open_sites = np.ascontiguousarray(~job.blocked)
        faces = 2 * open_sites.ndim

        def ask() -> Answer:
            labels = cc3d.connected_components(open_sites, connectivity=faces)
            return np.sort(np.bincount(labels.reshape(-1))[1:])

        return ask

    def with_skimage() -> Ask:
        open_sites = ~job.blocked

        def ask() -> Answer:
            labels = skimage.measure.label(open_sites, connectivity=1)
            return np.sort(np.bincount(labels.reshape(-1))[1:])

        return ask

    peers = {"scipy.ndimage": with_ndimage, "cc3d": with_cc3d, "scikit-image": with_skimage}
    if graph is not None:
        peers |= graph_components(graph)
    return asked(f"components, {job.name}", ours, peers)


def graph_components(graph: SparseGraph) -> dict[str, Callable[[], Ask]]:
    def with_csgraph() -> Ask:
        matrix = adjacency(graph)
        return lambda: np.sort(np.bincount(csgraph.connected_components(matrix, False)[1]))

    def with_igraph() -> Ask:
        net = igraph_of(graph)
        return lambda: np.sort(np.array(net.connected_components().sizes()))

    def with_networkit() -> Ask:
        net = networkit_of(graph)

        def ask() -> Answer:
            scores = networkit.components.ConnectedComponents(net).run()
            return np.sort(np.array(list(scores.getComponentSizes().values())))

        return ask

    def with_rustworkx() -> Ask:
        net = rustworkx_of(graph)
        return lambda: np.sort(np.array(list(map(len, rustworkx.connected_components(net)))))

    return {
        "scipy.csgraph": with_csgraph,
        "igraph": with_igraph,
        "networkit": with_networkit,
        "rustworkx": with_rustworkx,
    }


def betweenness(shape: tuple[int, ...]) -> Question:
    """Of all sites."""
    graph = SparseGraph(free_job(shape))

    def ours() -> Ask:
        sites = np.stack(np.unravel_index(np.arange(graph.vertices), shape), axis=1)
        frame = geometry(shape)

        def ask() -> Answer:
            sums = [one.at(sites) for one in free.betweenness(frame, lambda: None)]
            total: NDArray[np.float64] = np.sum(sums, axis=0)
            return (total - (2 * frame.sites - 1)) / 2

        return ask

    peers = betweenness_peers(graph) if graph.vertices <= _SEARCHED_MAX else {}
    return asked(f"betweenness, {free_job(shape).name}", ours, peers)


def betweenness_with_obstacles(job: Job) -> Question:
    pool = ThreadPoolExecutor(_THREADS)
    graph = SparseGraph(job)

    def ours() -> Ask:
        rows, count = rows_on(job), _THREADS
        shares = [np.arange(first, rows.count, count) for first in range(count)]

        def ask() -> Answer:
            """As the service does: on as many threads as there are cores."""
            added = pool.map(lambda share: searches.betweenness(rows, share, GO), shares)
            total: NDArray[np.float64] = np.sum(list(added), axis=0)
            return total

        return ask

    return asked(f"betweenness, {job.name}", ours, betweenness_peers(graph))


def betweenness_peers(graph: SparseGraph) -> dict[str, Callable[[], Ask]]:
    def with_igraph() -> Ask:
        net = igraph_of(graph)
        return lambda: np.array(net.betweenness())

    def with_networkit() -> Ask:
        """Over ordered pairs."""
        net = networkit_of(graph)
        return lambda: np.array(networkit.centrality.Betweenness(net).run().scores()) / 2

    def with_rustworkx() -> Ask:
        net = rustworkx_of(graph)

        def ask() -> Answer:
            scores = rustworkx.graph_betweenness_centrality(net, normalized=False)
            return np.array(list(scores.values()))

        return ask

    return {"igraph": with_igraph, "networkit": with_networkit, "rustworkx": with_rustworkx}


def pagerank(shape: tuple[int, ...]) -> Question:
    graph = SparseGraph(free_job(shape))

    def ours() -> Ask:
        frame = geometry(shape)
        sites = np.stack(np.unravel_index(np.arange(graph.vertices), shape), axis=1)

        def ask() -> Answer:
            out = np.zeros(frame.sites)
            free.pagerank(frame, 0.85).everywhere(lambda: None, out)
            return out * free.degree(frame, sites)

        return ask

    def with_igraph() -> Ask:
        net = igraph_of(graph)
        return lambda: np.array(net.pagerank(damping=0.85))

    def with_networkit() -> Ask:
        net = networkit_of(graph)

        def ask() -> Answer:
            ranks = np.array(networkit.centrality.PageRank(net, 0.85, 1e-10).run().scores())
            normal: NDArray[np.float64] = ranks / ranks.sum()
            return normal

        return ask

    def with_rustworkx() -> Ask:
        """It knows directed graphs alone: each edge both ways."""
        net = rustworkx_of(graph).to_directed()

        def ask() -> Answer:
            # It takes what it is told for each site, and is done when all differ by so much.
            tol = 1e-9 / graph.vertices
            scores = rustworkx.pagerank(net, alpha=0.85, tol=tol, max_iter=1_000)
            return np.array(list(scores.values()))

        return ask

    peers = {"igraph": with_igraph, "networkit": with_networkit, "rustworkx": with_rustworkx}
    return asked(f"PageRank, {free_job(shape).name}", ours, peers, tolerance=1e-4)


def eigenvalues(shape: tuple[int, ...], count: int = 6) -> Question:
    """The least of the Laplacian."""
    graph = SparseGraph(free_job(shape))

    def ours() -> Ask:
        frame = geometry(shape)
        return lambda: free_axes.least_eigenvalues(frame, count)[1:]

    def with_scipy() -> Ask:
        laplacian = csgraph.laplacian(adjacency(graph).astype(float)).tocsc()

        def ask() -> Answer:
            values = scipy.sparse.linalg.eigsh(
                laplacian, count, sigma=-0.01, return_eigenvectors=False
            )
            return np.sort(values)[1:]

        return ask

    def with_subspace() -> Ask:
        rows = rows_on(free_job(shape))
        return lambda: iterations.least_eigenvalues(rows, count, 20_000, GO)[0][1:]

    peers = {"scipy eigsh": with_scipy, "girih, on the graph": with_subspace}
    return asked(f"least eigenvalues, {free_job(shape).name}", ours, peers)


def spanning_trees(shape: tuple[int, ...]) -> Question:
    """The logarithm of their number."""
    graph = SparseGraph(free_job(shape))

    def ours() -> Ask:
        frame = geometry(shape)
        return lambda: np.array([free_axes.log_spanning_trees(frame, lambda: None)])

    def with_scipy() -> Ask:
        laplacian = csgraph.laplacian(adjacency(graph).astype(float)).tocsc()[1:, 1:]

        def ask() -> Answer:
            factors = scipy.sparse.linalg.splu(laplacian)
            return np.array([np.log(np.abs(factors.U.diagonal())).sum()])

        return ask

    return asked(f"spanning trees, {free_job(shape).name}", ours, {"scipy splu": with_scipy})


def asked(
    name: str,
    ours: Callable[[], Ask],
    peers: dict[str, Callable[[], Ask]],
    tolerance: float = 1e-6,
) -> Question:
    contenders = [built(OURS, ours), *(built(peer, build) for peer, build in peers.items())]
    return Question(name, contenders, tolerance)


def rows_on(job: Job) -> Rows:
    grid = job.grid()
    return rows_of(grid, count_edges(grid, GO), GO)


def adjacency(graph: SparseGraph) -> csr_matrix:
    tails = np.concatenate((graph.tails, graph.heads))
    heads = np.concatenate((graph.heads, graph.tails))
    ones = np.ones(len(tails), np.int8)
    return coo_matrix((ones, (tails, heads)), (graph.vertices,) * 2).tocsr()


def igraph_of(graph: SparseGraph) -> igraph.Graph:
    return igraph.Graph(n=graph.vertices, edges=np.stack((graph.tails, graph.heads), axis=1))


def networkit_of(graph: SparseGraph) -> networkit.Graph:
    return networkit.GraphFromCoo((graph.tails, graph.heads), n=graph.vertices)


def rustworkx_of(graph: SparseGraph) -> rustworkx.PyGraph:
    net = rustworkx.PyGraph(multigraph=False)
    net.add_nodes_from(range(graph.vertices))
    net.extend_from_edge_list(list(zip(graph.tails.tolist(), graph.heads.tolist(), strict=True)))
    return net


def contest(question: Question, rounds: int) -> None:
    """Let all answer, in turns, and compare the answers with the first's."""
    expected = answer(question.contenders[0])
    for number in range(rounds + 1):
        for contender in question.contenders:
            began_s = time.perf_counter()
            values = contender.ask()
            seconds = time.perf_counter() - began_s
            np.testing.assert_allclose(
                np.asarray(values, np.float64),
                expected,
                rtol=question.tolerance,
                atol=question.tolerance * float(np.abs(expected).max()),
                err_msg=f"{question.name}: {contender.name}",
            )
            if number:  # the first round warms up
                contender.rounds_s.append(seconds)


def answer(contender: Contender) -> NDArray[np.float64]:
    return np.asarray(contender.ask(), np.float64)


def compare(question: Question) -> bool:
    """Tell what all took beside ours; whether no package was faster."""
    print(question.name)
    ours, fastest = question.contenders[0], float("inf")
    for contender in question.contenders:
        pairs = zip(contender.rounds_s, ours.rounds_s, strict=True)
        ratio = statistics.median(theirs / own for theirs, own in pairs)
        if not contender.name.startswith(OURS):
            fastest = min(fastest, ratio)
        print(
            f"  {contender.name:20} {statistics.median(contender.rounds_s) * 1e3:11,.3f} ms,"
            f" {ratio:9.2f} x, built before in {contender.built_s * 1e3:8,.1f} ms"
        )
    verdict = "holds" if fastest >= 1 else "MISSED"
    print(f"  the fastest package: ratio {fastest:.2f} (at least 1): {verdict}", flush=True)
    return fastest >= 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="lattices of some 30,000 sites")
    parser.add_argument("--large", action="store_true", help="lattices of up to 8,000,000 sites")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
