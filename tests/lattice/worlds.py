"""Lattices to test with, and what answers questions about them."""

import datetime as dt
from collections.abc import Sequence

import numpy as np

from girih.ids import TenantId
from services.lattice.computing.compilation import Compilation
from services.lattice.computing.component_index import ComponentIndex
from services.lattice.computing.compute import Compute
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.computing.search_pool import SearchPool
from services.lattice.computing.send_budget import SendBudget
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.distributed.cluster import Cluster
from services.lattice.domain import Computation, LatticeId, LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.operations.context import OperationContext
from services.lattice.operations.creation import NewLattice
from services.lattice.state.journal import LatticeCreated, LatticeJournal
from services.lattice.state.lattices import Lattices
from services.policy import PlanLimits

TENANT = TenantId("tenant-a")
UNBOUNDED = PlanLimits("unbounded", 0, 0, 0, 0)
_MIB = 2**20


class NoRecorder:
    """Records nothing."""

    def record(self, computation: Computation) -> None: ...


def operations_on(
    compute: Compute,
    *,
    part_timeout_s: float = 30.0,
    send_bytes: int = 64 * _MIB,
    looks_max: int = 2**40,
    components_bytes: int = 64 * _MIB,
    cluster: Cluster | None = None,
) -> OperationContext:
    return OperationContext(
        compute,
        Compilation((), lambda _kind: None),
        SearchPool(64 * _MIB),
        ComponentIndex(components_bytes),
        SendBudget(send_bytes),
        WorkLimit(looks_max),
        NoRecorder(),
        part_timeout_s=part_timeout_s,
        cluster=cluster,
    )


def lattices_on(
    journal: LatticeJournal,
    operations: OperationContext,
    *,
    freshness_s: float = 0.0,
    cache_bytes: int = 64 * _MIB,
    catalogue_bytes: int = 8 * _MIB,
    followed_tenants_max: int = 0,
) -> Lattices:
    return Lattices(
        journal,
        operations,
        cache_bytes=cache_bytes,
        catalogue_bytes=catalogue_bytes,
        freshness_s=freshness_s,
        confirm_timeout_s=0.5,
        followed_tenants_max=followed_tenants_max,
    )


def geometry(*shape: int, periodic: bool = False, moore: bool = False) -> Geometry:
    return Geometry(shape, (periodic,) * len(shape), moore=moore, no_cutting=True)


def spec(*shape: int, periodic: bool = False, moore: bool = False) -> LatticeSpec:
    return LatticeSpec(geometry=geometry(*shape, periodic=periodic, moore=moore))


def blocked_spec(frame: Geometry, share: float, seed: int, free: Sequence[int] = ()) -> LatticeSpec:
    """A lattice with about that share of its sites blocked, but none of the indices `free`."""
    random = np.random.default_rng(seed)
    blocked = random.random(frame.sites) < share
    blocked[list(free)] = False
    bitmap = np.packbits(blocked, bitorder="little").tobytes()
    return LatticeSpec(geometry=frame, blocked=bitmap)


def held(requested: LatticeSpec) -> HeldLattice:
    """A lattice in memory that nobody created. Its edges are not counted."""
    blocked = int.from_bytes(requested.blocked, "little").bit_count()
    vertices = requested.geometry.sites - blocked
    created = LatticeCreated.of(LatticeId("x"), requested, vertices=vertices, edges=0)
    return HeldLattice.of(created.lattice(dt.datetime.now(dt.UTC)), requested)


def random_spec(
    seed: int, axis_count: int, sites_max: int = 200, share: float = 0.25
) -> LatticeSpec:
    """A lattice of any kind, of about so many sites; a quarter of them are blocked, or none."""
    rng = np.random.default_rng([seed, axis_count])
    longest = max(2, round(sites_max ** (1 / axis_count)))
    shape = tuple(int(length) for length in rng.integers(1, longest + 1, axis_count))
    frame = Geometry(
        shape,
        tuple(bool(ring) for ring in rng.random(axis_count) < 0.5),
        moore=bool(rng.random() < 0.5),
        no_cutting=bool(rng.random() < 0.5),
    )
    ends = (0, frame.sites - 1)
    return blocked_spec(frame, share if seed % 2 else 0.0, seed, free=ends)


def new(expected: LatticeSpec) -> NewLattice:
    return NewLattice(spec=expected)


def plan(*, lattices: int = 0, axes: int = 0, extent: int = 0, jobs: int = 0) -> PlanLimits:
    return PlanLimits("small", lattices, axes, extent, monthly_call_count_max=0, job_count_max=jobs)
