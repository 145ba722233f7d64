"""How many neighbours sites have."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, Method
from services.lattice.kernels.structure.free.axes import degree_histogram
from services.lattice.operations.context import OperationContext
from services.lattice.structure.work import Clock, computed, graph_of, graph_work


@dataclass(frozen=True)
class Degrees:
    """Degrees, rising, and how many sites have each."""

    counts: Sequence[tuple[int, int]]
    computation: Computation


async def count_degrees(context: OperationContext, lattice: HeldLattice) -> Degrees:
    """Count them: in closed form on a free lattice. Raises WorkTooLarge."""
    if lattice.grid is None:
        clock = Clock()
        counts = list(degree_histogram(lattice.spec.geometry).items())
        degrees = Degrees(counts, clock.computation(Method.CLOSED_FORM))
    else:
        degrees = await computed(context, graph_work(lattice, 0), partial(_count, lattice))
    context.record(degrees.computation)
    return degrees


def _count(lattice: HeldLattice, stop: Stop) -> Degrees:
    clock = Clock()
    rows = graph_of(lattice, stop)
    counts = np.bincount(rows.degrees) if rows.count else np.zeros(0, np.int64)
    histogram = [(degree, int(count)) for degree, count in enumerate(counts) if count]
    return Degrees(
        histogram, clock.computation(Method.COUNTING, expanded=rows.count, held=rows.bytes_held)
    )
