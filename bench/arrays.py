"""Whole calls that answer with arrays, beside the kernel that computes what they answer.

python -m bench.arrays [--rounds 7] [--seed 1]

The kernel runs in the process of the bench, the call goes to the service in another process
and ends when its client has the array, in turns. What is left between the two is the service,
gRPC and the wire: beside it stands what gRPC alone takes to carry as many bytes in as many
messages, which no call can do without.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import numpy as np
from numpy.typing import NDArray

from bench.bare import asked as asked_of_bare
from bench.bare import bare_server
from bench.lattices import Job, LatticeProcess, created, lattice_service
from girih.lattice.v1 import lattice_pb2 as pb
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from services.lattice.geometry import Geometry
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.fields.free import free_distances
from services.lattice.kernels.searches import search_on
from services.lattice.kernels.warm import compile_all
from services.lattice.operations.distances import VALUES_PER_ANSWER

Down: TypeAlias = "grpc.UnaryStreamMultiCallable[bytes, bytes]"  # generic for types only

RATIO_MAX = 1.5
GO = np.zeros(1, np.uint8)
NUMBERS = {
    pb.NUMBER_TYPE_INT16: "<i2",
    pb.NUMBER_TYPE_INT32: "<i4",
    pb.NUMBER_TYPE_FLOAT64: "<f8",
}


@dataclass(frozen=True)
class Contest:
    """A kernel, and the call that answers the same as an array."""

    name: str
    kernel: Callable[[], object]
    call: Callable[[], NDArray[Any]]
    ratio_max: float | None = RATIO_MAX
    """None where the kernel takes less than the least that a call can."""


def main(arguments: argparse.Namespace) -> int:
    compile_all()
    rng = np.random.default_rng(arguments.seed)
    with lattice_service() as lattice, bare_server() as address:
        down: Down = grpc.insecure_channel(address).unary_stream("/bare/Down")
        held = [compare(contest, down, arguments.rounds) for contest in contests(lattice, rng)]
    return 0 if all(held) else 1


def contests(lattice: LatticeProcess, rng: np.random.Generator) -> Iterator[Contest]:
    plane, cube = rng.random((1000, 1000)) < 0.3, rng.random((100, 100, 100)) < 0.3
    plane[0, 0] = cube[0, 0, 0] = False
    yield field(lattice, Job("10^6 distances, 1000^2, 4 neighbours", plane, False, []))
    yield field(lattice, Job("10^6 distances, 1000^2, 8 neighbours", plane, True, []))
    yield field(lattice, Job("10^6 distances, 100^3, 6 neighbours", cube, False, []))
    for moore, name in ((False, "4"), (True, "8")):
        free = np.zeros((1000, 1000), bool)
        yield free_field(lattice, Job(f"10^6 distances, free, {name} neighbours", free, moore, []))
    yield path(lattice, Job("a path of 100,000 sites, 1000^2", windings(), False, []))


def field(lattice: LatticeProcess, job: Job) -> Contest:
    """Distances of all sites of a lattice from its first."""
    grid, origin = job.grid(), (0,) * job.blocked.ndim

    def kernel() -> object:
        return measure(grid, [origin], GO).at(slice(None))

    return Contest(job.name, kernel, _distances(lattice, job))


def free_field(lattice: LatticeProcess, job: Job) -> Contest:
    """The same where no site is blocked, in closed form."""
    shape, origin = job.blocked.shape, (0,) * job.blocked.ndim
    geometry = Geometry(shape, (False,) * len(shape), moore=job.moore, no_cutting=True)
    sites = np.ogrid[tuple(slice(length) for length in shape)]

    def kernel() -> object:
        return free_distances(geometry, [origin], sites, lambda: None)

    # Of steps along one axis a number takes less than a nanosecond.
    ratio_max = RATIO_MAX if job.moore else None
    return Contest(job.name, kernel, _distances(lattice, job), ratio_max)


def path(lattice: LatticeProcess, job: Job) -> Contest:
    """A path between the first and the last site, with 100,000 sites of it listed."""
    search, goal = search_on(job.grid()), tuple(length - 1 for length in job.blocked.shape)
    service, lattice_id = created(lattice, job)
    query = pb.FindPathRequest(
        lattice_id=lattice_id,
        start=pb.Site(coordinates=[0] * job.blocked.ndim),
        goal=pb.Site(coordinates=goal),
        sites_max=100_000,
    )

    def kernel() -> object:
        return search.find((0, 0), goal, GO)

    def call() -> NDArray[Any]:
        answer = service.FindPath(query, metadata=lattice.caller.metadata)
        return np.array(answer.path.sites).reshape(-1, answer.path.axis_count)

    return Contest(job.name, kernel, call, ratio_max=None)


def windings() -> NDArray[np.bool_]:
    """A plane of 10^6 sites that a path winds through in 101 lanes."""
    blocked = np.zeros((1001, 1001), bool)
    blocked[5::10, :-1] = True
    blocked[5::20, :-1], blocked[5::20, -1] = True, False
    blocked[15::20, 0], blocked[15::20, 1:] = False, True
    return blocked


def _distances(lattice: LatticeProcess, job: Job) -> Callable[[], NDArray[Any]]:
    return asked(lattice, *created(lattice, job), job)


def asked(
    lattice: LatticeProcess, service: LatticeServiceStub, lattice_id: str, job: Job
) -> Callable[[], NDArray[Any]]:
    """A call that answers the distance of all sites from the first."""
    source = pb.Site(coordinates=[0] * job.blocked.ndim)
    request = pb.DistancesRequest(lattice_id=lattice_id, sources=[source], as_bytes=True)

    def call() -> NDArray[Any]:
        field: NDArray[Any] | None = None
        for part in service.Distances(request, metadata=lattice.caller.metadata):
            values = np.frombuffer(part.values, NUMBERS[part.number_type])
            if field is None:
                field = np.empty(job.blocked.size, values.dtype)
            field[part.first_index : part.first_index + len(values)] = values
        assert field is not None
        return field

    return call


def compare(contest: Contest, down: Down, rounds: int) -> bool:
    """Run all in turns; whether the call takes no more than it may."""
    kernel_s: list[float] = []
    call_s: list[float] = []
    bare_s: list[float] = []
    array = contest.call()
    request = asked_of_bare(array.nbytes, VALUES_PER_ANSWER * array.itemsize)

    def bare() -> object:
        return [len(piece) for piece in down(request)]

    turns = ((contest.kernel, kernel_s), (contest.call, call_s), (bare, bare_s))
    for number in range(rounds + 1):
        for run, seconds in turns:
            began_s = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds.append(time.perf_counter() - began_s)
    ratio = _median_ratio(call_s, kernel_s)
    holds = contest.ratio_max is None or ratio <= contest.ratio_max
    demanded = f" (at most {contest.ratio_max}): {'holds' if holds else 'MISSED'}"
    print(
        f"{contest.name}: {len(array):,} answered in {statistics.median(call_s) * 1e3:,.1f} ms of"
        f" {statistics.median(kernel_s) * 1e3:,.1f} ms, ratio {ratio:.2f}, of the fastest"
        f" {min(call_s) / min(kernel_s):.2f}{demanded if contest.ratio_max else ''};"
        f" gRPC alone takes {statistics.median(bare_s) * 1e3:,.1f} ms for as many bytes",
        flush=True,
    )
    return holds


def _median_ratio(ours: Sequence[float], limit: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, limit, strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
