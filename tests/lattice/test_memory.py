"""What is told of memory is what is taken."""

import datetime as dt
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable

import pytest

from services.lattice.computing.compute import Compute
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeId, LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.state.catalogue import _CatalogueIndex
from services.lattice.state.journal import LatticeCreated, LatticeRecord
from services.lattice.state.lattices import Lattices
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.worlds import TENANT, lattices_on, operations_on

COUNT = 500


@pytest.fixture
async def lattices() -> AsyncIterator[Lattices]:
    compute = Compute(threads=1, bytes_max=1, waiting_max=1)
    yield lattices_on(MemoryJournal(), operations_on(compute))
    await compute.close()


def bytes_taken(make: Callable[[int], object]) -> float:
    """The bytes that each of many things takes, by Python's allocator."""
    make(0)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(1, COUNT + 1):
            make(n)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / COUNT


def created(n: int, axes: int, blocked: bytes = b"") -> LatticeCreated:
    """A creation whose every part is its own, as when it was read."""
    shape = (1_000 + n, *([3] * (axes - 1)))
    frame = Geometry(shape, tuple([False] * axes), moore=False, no_cutting=True)
    expected = LatticeSpec(geometry=frame, blocked=blocked)
    return LatticeCreated.of(LatticeId(f"{n:036}"), expected, vertices=10**10 + n, edges=10**20 + n)


def held(n: int, axes: int, *, free: bool) -> HeldLattice:
    frame = created(n, axes).geometry
    blocked = b"" if free else bytes(frame.sites // 8) + b"\1"
    made = created(n, axes, blocked[: (frame.sites + 7) // 8])
    expected = LatticeSpec(geometry=made.geometry, blocked=made.blocked)
    return HeldLattice.of(made.lattice(dt.datetime.now(dt.UTC)), expected)


@pytest.mark.parametrize("axes", [1, 3, 6])
@pytest.mark.parametrize("free", [True, False])
async def test_a_lattice_takes_the_bytes_that_are_told(
    lattices: Lattices, axes: int, free: bool
) -> None:
    taken = bytes_taken(
        lambda n: lattices._keep((TENANT, LatticeId(f"{n:036}")), held(n, axes, free=free), 0)
    )

    answer = lattices.cache.bytes_held / (COUNT + 1)
    assert answer == pytest.approx(taken, rel=0.25)


@pytest.mark.parametrize("axes", [1, 3, 10])
def test_a_line_of_a_catalogue_takes_the_bytes_that_are_told(axes: int) -> None:
    index = _CatalogueIndex()

    def put(n: int) -> None:
        now = dt.datetime.now(dt.UTC)
        index.add([LatticeRecord(revision=n, recorded_at=now, event=created(n, axes))])

    taken = bytes_taken(put)

    assert index.size_bytes / (COUNT + 1) == pytest.approx(taken, rel=0.25)
