"""What every operation on lattices works with. Knows no operation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from services.lattice.computing.compilation import Compilation
from services.lattice.computing.component_index import ComponentIndex
from services.lattice.computing.compute import Compute
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.computing.search_pool import SearchPool
from services.lattice.computing.send_budget import SendBudget
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.distributed.cluster import Cluster
from services.lattice.domain import Computation
from services.lattice.errors import ConsumerTooSlow


class ComputationRecorder(Protocol):
    """Counts what is computed."""

    def record(self, computation: Computation) -> None:
        """An answer, or a part of one, was computed."""


class OperationContext:
    """Where operations compute, what they keep, and how long their readers may take.

    An operation raises ComputeBusy when as much waits as may wait, before it has begun. What
    it computes in is free again before the answer is sent; an answer in parts holds of the send
    budget what is not sent of it. An
    answer in parts is read by one task, which lets the generator be closed in it when it is
    cancelled: a part that it does not take in time ends its reading with ConsumerTooSlow.
    """

    def __init__(
        self,
        compute: Compute,
        compilation: Compilation,
        searches: SearchPool,
        components: ComponentIndex,
        send_budget: SendBudget,
        work_limit: WorkLimit,
        recorder: ComputationRecorder,
        *,
        part_timeout_s: float,
        cluster: Cluster | None = None,
    ) -> None:
        """`cluster` does what no call's memory holds; without it that is refused."""
        self.compute = compute
        self.compilation = compilation
        self.searches = searches
        self.components = components
        self.send_budget = send_budget
        self.work_limit = work_limit
        self.record = recorder.record
        self.cluster = cluster
        self._part_timeout_s = part_timeout_s

    def forget(self, lattice: HeldLattice) -> None:
        """Let go of what is kept for a lattice that will not be asked about again."""
        if lattice.grid is not None:
            self.searches.drop(lattice.grid)
            self.components.drop(lattice.grid)

    @asynccontextmanager
    async def consumed_in_time(self) -> AsyncIterator[None]:
        """Around a yield: end the reading of a caller that does not come back in time.

        The timeout cancels the caller's task wherever it lingers with the part. On its way
        out the caller closes the generator, so what comes here is GeneratorExit, and what
        leaves here is what ends the caller, in place of the cancellation.
        """
        try:
            async with asyncio.timeout(self._part_timeout_s) as timeout:
                yield
        except (GeneratorExit, TimeoutError):
            if timeout.expired():
                raise ConsumerTooSlow(
                    "a part of the answer was not taken in time",
                    timeout_s=self._part_timeout_s,
                ) from None
            raise
