"""How everything of this room is computed: allowed, compiled, in a thread, and counted."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import BLOCKABLE_SITES_MAX, Computation, LatticeSpec, Method
from services.lattice.errors import WorkTooLarge
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.structure.graph.iterations import NotConverged
from services.lattice.kernels.structure.graph.rows import Rows, bytes_of_rows, rows_of
from services.lattice.kernels.warm import COUNTING, STRUCTURE
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import grid_with_costs
from services.lattice.operations.sites import Selection

T = TypeVar("T")

VALUES_PER_ANSWER = 16_384
STEPS_MAX = 20_000
"""An iteration that is not done after so many steps is given up."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What something takes at most."""

    looks: int
    size_bytes: int = 1 << 16
    kinds: Sequence[str] = (STRUCTURE, COUNTING)


class Part(Protocol):
    """A part of an answer."""

    @property
    def computation(self) -> Computation | None:
        """How all of it was computed, of the first part alone."""


P = TypeVar("P", bound=Part)


class Clock:
    """When a computation began."""

    def __init__(self) -> None:
        self._began_ns = time.perf_counter_ns()

    def computation(
        self, method: Method, *, expanded: int = 0, held: int = 0, exact: bool = True
    ) -> Computation:
        """How it was done, now that it is."""
        return Computation(
            method=method,
            elapsed_ns=time.perf_counter_ns() - self._began_ns,
            sites_expanded=expanded,
            memory_bytes=held,
            exact=exact,
        )


async def computed(context: OperationContext, work: Work, compute: Callable[[Stop], T]) -> T:
    """Run something in a thread, if it may take so much. Raises WorkTooLarge and ComputeBusy."""
    _check(context, work)
    await context.compilation.ready(work.kinds)
    estimate = Estimate(size_bytes=work.size_bytes, looks=work.looks)
    with _converging():
        return await context.compute.run(estimate, compute)


async def computed_beside(
    context: OperationContext, work: Work, computes: Sequence[Callable[[Stop], T]]
) -> list[T]:
    """Run parts of a call that is admitted already beside each other; `work` is what all take.

    Raises what the first raises that fails; the others are stopped then.
    """
    count = max(1, len(computes))
    estimate = Estimate(size_bytes=work.size_bytes // count, looks=work.looks // count)
    running = [
        asyncio.create_task(context.compute.run(estimate, compute, admitted=True), name="part")
        for compute in computes
    ]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def has_formula(lattice: HeldLattice) -> bool:
    """Whether it is a product of paths and rings: no site blocked, steps along one axis."""
    return lattice.grid is None and not lattice.spec.geometry.moore


def graph_work(lattice: HeldLattice, looks: int, *, bytes_per_site: int = 0) -> Work:
    """What it takes to lay out the graph and to do so much more."""
    geometry = lattice.spec.geometry
    if geometry.sites > BLOCKABLE_SITES_MAX:
        raise WorkTooLarge(
            "the lattice has more sites than a graph is laid out for",
            estimate=geometry.sites,
            limit=BLOCKABLE_SITES_MAX,
        )
    return Work(
        looks=lattice.looks_max + looks,
        size_bytes=bytes_of_rows(geometry.sites, geometry.edges) + bytes_per_site * geometry.sites,
    )


def graph_of(lattice: HeldLattice, stop: Stop) -> Rows:
    """Its graph. Raises `Cancelled`."""
    grid = grid_with_costs(lattice)
    return rows_of(grid, count_edges(grid, stop.flag), stop.flag)


def sites_of(spec: LatticeSpec, selected: Selection, part: slice) -> NDArray[np.int64]:
    """The coordinates of a part of some sites: of shape (n, axes)."""
    meshes = [
        np.stack(np.broadcast_arrays(*mesh)).reshape(len(spec.geometry.shape), -1).T
        for mesh in selected.meshes(part)
    ]
    return np.concatenate(meshes)


async def streamed(
    context: OperationContext, work: Work, size_bytes: int, compute: Callable[[Stop], list[P]]
) -> AsyncGenerator[P]:
    """Compute an answer in parts, one at least, which take so many bytes, and yield them.

    Raises as `computed`.
    """
    computing = partial(computed, context, work, compute)
    async with aclosing(streamed_parts(context, work, size_bytes, computing)) as parts:
        async for part in parts:
            yield part


async def streamed_parts(
    context: OperationContext,
    work: Work,
    size_bytes: int,
    computing: Callable[[], Awaitable[list[P]]],
) -> AsyncGenerator[P]:
    """The same of what is computed in several threads.

    All bytes are held of the send budget before there are any, and then those of what is not
    sent; what is sent is let go of.
    """
    _check(context, work)
    async with context.send_budget.reserved(size_bytes) as reservation:
        remaining = await computing()
        count, computation = len(remaining), remaining[0].computation
        assert computation is not None
        context.record(computation)
        # Emptied in place: the thread that made the list may hold it for a moment yet.
        remaining.reverse()
        while remaining:
            part = remaining.pop()
            reservation.keep(size_bytes * len(remaining) // count)
            async with context.consumed_in_time():
                yield part


def _check(context: OperationContext, work: Work) -> None:
    """Raise WorkTooLarge where it is more than a call may take."""
    context.work_limit.check_looks(work.looks)
    context.work_limit.check_bytes(work.size_bytes)


@contextmanager
def _converging() -> Iterator[None]:
    try:
        yield
    except NotConverged:
        raise WorkTooLarge(
            "an iteration did not end within the steps it may take",
            estimate=STEPS_MAX + 1,
            limit=STEPS_MAX,
        ) from None
