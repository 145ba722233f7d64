"""Distances of all sites from one, beside the fastest Python packages that give the same answers.

python -m bench.fields [--rounds 5] [--seed 1] [--no-service]

Every answer is compared with ours. What a package needs before it can be asked (a graph, an array
of weights) is built beforehand and told apart. A call through gRPC ends when its client has
the array. dijkstra3d cuts corners, so it is asked where that is allowed, or no step is diagonal.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import dijkstra3d
import networkit
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph

from bench.arrays import asked
from bench.lattices import Job, LatticeProcess, created, lattice_service
from bench.paths import SparseGraph, networkit_graph, scipy_graph
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.warm import compile_all

OURS = "girih"
Ask = Callable[[], "NDArray[np.floating] | NDArray[np.integer]"]
"""Answers an array of the lattice's shape; what is not reached is negative or infinite."""


@dataclass
class Contender:
    """Someone who measures distances, and what came of it."""

    name: str
    ask: Ask
    built_s: float
    rounds_s: list[float] = field(default_factory=list)


def main(arguments: argparse.Namespace) -> int:
    compile_all()
    holds = True
    with nullcontext() if arguments.no_service else lattice_service() as lattice:
        for job in jobs(np.random.default_rng(arguments.seed)):
            contenders = list(contenders_of(job, lattice))
            contest(contenders, arguments.rounds)
            holds &= compare(job, contenders)
    return 0 if holds else 1


def jobs(rng: np.random.Generator) -> Iterator[Job]:
    plane, cube = rng.random((1000, 1000)) < 0.3, rng.random((100, 100, 100)) < 0.3
    plane[0, 0] = cube[0, 0, 0] = False
    yield Job("1000^2, 30 % blocked, 4 neighbours", plane, False, [])
    yield Job("1000^2, 30 % blocked, 8 neighbours without cutting corners", plane, True, [])
    yield Job("100^3, 30 % blocked, 6 neighbours", cube, False, [])
    yield Job("100^3, 30 % blocked, 26 neighbours without cutting corners", cube, True, [])
    yield Job("100^3, 30 % blocked, 26 neighbours", cube, True, [], cuts=True)


def contenders_of(job: Job, lattice: LatticeProcess | None) -> Iterator[Contender]:
    yield built(f"{OURS}, in process", lambda: with_kernel(job))
    if lattice is not None:
        yield built(f"{OURS}, the call through gRPC", lambda: through_grpc(lattice, job))
    if job.cuts or not job.moore:
        yield built("dijkstra3d", lambda: with_dijkstra3d(job))
    if not job.cuts:
        graph = SparseGraph(job)
        yield built("networkit", lambda: with_networkit(graph))
        yield built("scipy", lambda: with_scipy(graph))


def built(name: str, build: Callable[[], Ask]) -> Contender:
    began_s = time.perf_counter()
    return Contender(name, build(), time.perf_counter() - began_s)


def with_kernel(job: Job) -> Ask:
    grid, go = job.grid(), np.zeros(1, np.uint8)
    origin = (0,) * job.blocked.ndim
    return lambda: measure(grid, [origin], go).at(slice(None)).reshape(job.blocked.shape)


def through_grpc(lattice: LatticeProcess, job: Job) -> Ask:
    service, lattice_id = created(lattice, job)
    call = asked(lattice, service, lattice_id, job)
    return lambda: call().reshape(job.blocked.shape)


def with_dijkstra3d(job: Job) -> Ask:
    origin = (0,) * job.blocked.ndim
    if job.moore:
        free = np.asfortranarray(~job.blocked)
        return lambda: dijkstra3d.euclidean_distance_field(free, origin)
    weights = np.asfortranarray(np.where(job.blocked, np.inf, 1).astype(np.float32))
    faces = 2 * job.blocked.ndim
    return lambda: dijkstra3d.distance_field(weights, origin, connectivity=faces)


def with_networkit(graph: SparseGraph) -> Ask:
    net = networkit_graph(graph)
    kind = networkit.distance.Dijkstra if graph.job.moore else networkit.distance.BFS

    def ask() -> NDArray[np.float64]:
        search = kind(net, 0, False)
        search.run()
        return graph.spread(np.array(search.getDistances(asarray=True)))

    return ask


def with_scipy(graph: SparseGraph) -> Ask:
    pairs, weighted = scipy_graph(graph), graph.job.moore
    return lambda: graph.spread(csgraph.dijkstra(pairs, indices=0, unweighted=not weighted))


def contest(contenders: Sequence[Contender], rounds: int) -> None:
    """Let all answer, in turns, and compare the answers with the first's."""
    expected = as_floats(contenders[0].ask())
    for number in range(rounds + 1):
        for contender in contenders:
            began_s = time.perf_counter()
            answer = contender.ask()
            seconds = time.perf_counter() - began_s
            np.testing.assert_allclose(
                as_floats(answer), expected, rtol=1e-5, err_msg=contender.name
            )
            if number:  # the first round warms up
                contender.rounds_s.append(seconds)


def as_floats(distances: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
    """One way to say that nothing is reached: packages have several."""
    same: NDArray[np.float64] = distances.astype(np.float64)
    same[(same < 0) | (same > distances.size)] = np.inf
    return same


def compare(job: Job, contenders: Sequence[Contender]) -> bool:
    """Tell what all took beside ours; whether no package was faster than ours, call and all."""
    print(job.name)
    ours = [each for each in contenders if each.name.startswith(OURS)][-1]
    fastest = float("inf")
    for contender in contenders:
        pairs = zip(contender.rounds_s, ours.rounds_s, strict=True)
        ratio = statistics.median(theirs / own for theirs, own in pairs)
        if not contender.name.startswith(OURS):
            fastest = min(fastest, ratio)
        print(
            f"  {contender.name:28} {statistics.median(contender.rounds_s) * 1e3:9,.1f} ms,"
            f" {ratio:6.2f} x, built before in {contender.built_s * 1e3:8,.1f} ms"
        )
    verdict = "holds" if fastest >= 1 else "MISSED"
    print(f"  the fastest package: ratio {fastest:.2f} (at least 1): {verdict}", flush=True)
    return fastest >= 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-service", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
