"""What sites cost, as a call says it: by numbers that it brings, or by a field of the lattice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from girih.lattice.v1 import costs_pb2
from services.lattice.calls import Calls, tenant
from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.computing.send_budget import SendBudget
from services.lattice.domain import LatticeSpec
from services.lattice.enums import MEAN
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import FieldStates
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.operations.costs import (
    CostType,
    check_cost_count,
    check_numbers,
    site_costs,
)

_INLINE_BYTES = 1 << 12
_LOOKS_PER_SITE = 2
_CHECK_BYTES = 1 << 25
"""What looking at numbers takes, however many they are."""

_COST_TYPES = {
    costs_pb2.COST_TYPE_UINT8: CostType.UINT8,
    costs_pb2.COST_TYPE_UINT16: CostType.UINT16,
    costs_pb2.COST_TYPE_FLOAT32: CostType.FLOAT32,
    costs_pb2.COST_TYPE_FLOAT64: CostType.FLOAT64,
}


class WithCosts(Protocol):
    """A request that may say what sites cost."""

    @property
    def costs(self) -> costs_pb2.SiteCosts: ...

    def HasField(self, field_name: Literal["costs"], /) -> bool: ...  # noqa: N802 - protobuf


class Costs:
    """Makes the costs of sites that requests say."""

    def __init__(
        self, calls: Calls, states: FieldStates, reader: FieldReader, transfers: SendBudget
    ) -> None:
        """`transfers` bounds the bytes of fields in memory."""
        self._calls = calls
        self._states = states
        self._reader = reader
        self._transfers = transfers

    @asynccontextmanager
    async def of(self, request: WithCosts, lattice: HeldLattice) -> AsyncIterator[SiteCosts | None]:
        """What sites cost, for use inside the block; None where the request says nothing of it.

        Raises InvalidInput naming the bad field, FieldNotFound, ChunkDamaged, StorageUnavailable,
        and ComputeBusy where there is no room for a field.
        """
        costs = request.costs
        if not request.HasField("costs"):
            yield None
        elif costs.field:
            async with self._of_field(costs, lattice) as site_costs:
                yield site_costs
        else:
            looks = Estimate(size_bytes=_CHECK_BYTES, looks=_LOOKS_PER_SITE * len(costs.values))
            brought = partial(_brought, costs, lattice.spec)
            is_small = len(costs.values) <= _INLINE_BYTES
            yield await self._calls.made(brought, looks, inline=is_small)

    @asynccontextmanager
    async def _of_field(
        self, costs: costs_pb2.SiteCosts, lattice: HeldLattice
    ) -> AsyncIterator[SiteCosts]:
        spec, lattice_id = lattice.spec, lattice.lattice.lattice_id
        check_cost_count(spec)
        known = await self._states.of(tenant(), lattice_id)
        content = known.field(costs.field).content
        source = await self._reader.source(tenant(), lattice_id, spec.geometry.shape, content)
        async with self._transfers.reserved(source.layout.size_bytes):
            numbers = (await self._reader.array(source)).reshape(-1)
            looks = _LOOKS_PER_SITE * spec.geometry.sites
            check = partial(_checked, spec, numbers)
            await self._calls.operations.compute.run(
                Estimate(size_bytes=_CHECK_BYTES, looks=looks), check
            )
            yield SiteCosts(numbers, MEAN[costs.rule], content.digest)


def _brought(costs: costs_pb2.SiteCosts, spec: LatticeSpec) -> SiteCosts:
    return site_costs(spec, costs.values, _COST_TYPES[costs.type], mean=MEAN[costs.rule])


def _checked(spec: LatticeSpec, numbers: NDArray[np.generic], stop: Stop) -> None:
    check_numbers(spec, numbers, "costs.field", stop.check)
