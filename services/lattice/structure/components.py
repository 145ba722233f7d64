"""Connected components: how many, how large, and which lead across or around."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.content import FieldContent
from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.computing.work_limit import BYTES_MAX
from services.lattice.distributed.cluster import EXTRA
from services.lattice.domain import Computation, Method
from services.lattice.errors import WorkTooLarge
from services.lattice.fields.boxed import WorkerArrays
from services.lattice.fields.writing import FieldWriter
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.graph.clusters import bytes_to_cluster, clusters_of
from services.lattice.operations.context import OperationContext
from services.lattice.operations.sites import Selection
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace
from services.lattice.structure.clustering import (
    LABEL_TYPE,
    LabelTask,
    SlabComponents,
    as_flags,
    cluster_slab,
    is_spanning,
    label_slab,
)
from services.lattice.structure.joining import JOINED_BYTES_MAX, Joining, Whole
from services.lattice.structure.slabs import Slabs, slabs_of
from services.lattice.structure.work import (
    VALUES_PER_ANSWER,
    Clock,
    Work,
    computed,
    streamed,
)

COMPONENTS_DEFAULT = 100


@dataclass(frozen=True)
class Component:
    """One of them, by its number."""

    label: int
    size: int
    first: tuple[int, ...]
    spanning: Sequence[bool]
    wrapping: Sequence[bool]


@dataclass(frozen=True)
class AxisComponents:
    """How many lead across an axis and around it, and the size of the largest across."""

    spanning: int
    wrapping: int
    largest_spanning: int


@dataclass(frozen=True)
class Components:
    """All of them, the largest in detail."""

    count: int
    largest: Sequence[Component]
    axes: Sequence[AxisComponents]
    computation: Computation


@dataclass(frozen=True, eq=False)
class LabelsPart:
    """The components of some sites."""

    first_index: int
    labels: NDArray[np.int32]
    computation: Computation | None


async def find_components(
    context: OperationContext, lattice: HeldLattice, components_max: int
) -> Components:
    """Find them. A free lattice has one. Raises WorkTooLarge, and WorkersUnavailable where they
    are found by workers."""
    components_max = components_max or COMPONENTS_DEFAULT
    if lattice.grid is None:
        components = _whole(lattice.spec.geometry)
    elif (slabs := _slabs(context, lattice)) is not None:
        components = await _find_by_workers(context, lattice, slabs, components_max)
    else:
        components = await computed(
            context, _work(lattice), partial(_find, lattice, components_max)
        )
    context.record(components.computation)
    return components


async def label_components(
    context: OperationContext, lattice: HeldLattice, selected: Selection
) -> AsyncGenerator[LabelsPart]:
    """Yield the labels of sites. Raises WorkTooLarge."""
    if lattice.grid is None:
        work = Work(looks=selected.count, size_bytes=4 * selected.count)
        label = partial(_all_alike, selected)
    else:
        work, label = _work(lattice), partial(_label, lattice, selected)
    async with aclosing(streamed(context, work, 4 * selected.count, label)) as parts:
        async for part in parts:
            yield part


class ComponentLabeller:
    """Has workers put the number of each site's component into an array, however long it takes."""

    def __init__(self, context: OperationContext, writer: FieldWriter) -> None:
        self._context = context
        self._writer = writer

    def planned(self, lattice: HeldLattice) -> Slabs:
        """How a lattice is cut. Raises WorkTooLarge where workers cannot do it, or nobody is
        there who would."""
        cluster, grid = self._context.cluster, lattice.grid
        estimate = 0 if grid is None else _work(lattice).size_bytes
        if cluster is None or not cluster.is_installed:
            raise WorkTooLarge(
                f"labels are a job where {EXTRA} is installed", estimate=estimate, limit=BYTES_MAX
            )
        limit = cluster.setup.task_bytes
        slabs = None
        if grid is not None and len(grid.kept) > 1:
            chunk = Chunking.of(grid.shape, LABEL_TYPE.size_bytes).chunk_shape
            slabs = slabs_of(grid, limit, chunk[grid.kept[0]])
        if slabs is None:
            raise WorkTooLarge(
                "the lattice cannot be cut into slabs for workers: it has no blocked sites, one "
                "axis, steps that cut corners, or planes that are too large",
                estimate=estimate,
                limit=limit,
            )
        return slabs

    async def carried_out(
        self,
        tenant: str,
        lattice: HeldLattice,
        slabs: Slabs,
        slab_done: Callable[[], None] = lambda: None,
    ) -> FieldContent:
        """The labels of all sites, kept: what ComponentLabels answers.

        `slab_done` is called in a thread, twice for each slab. Raises WorkTooLarge, ComputeBusy,
        StorageUnavailable and WorkersUnavailable.
        """
        cluster, lattice_id = self._context.cluster, lattice.lattice.lattice_id
        assert cluster is not None, "slabs are cut for one"
        await self._context.compilation.ready(_work(lattice).kinds)
        joining, blocked = Joining(slabs, 1), lattice.spec.blocked

        def join(slab: SlabComponents) -> None:
            joining.add(slab)
            slab_done()

        layout = ArrayLayout.of(LABEL_TYPE, slabs.shape)
        storage = WorkerArrays(storage=cluster.setup.storage)
        digests: dict[int, bytes] = {}

        def take(part: Mapping[int, bytes]) -> None:
            digests.update(part)
            slab_done()

        async with self._context.send_budget.reserved(JOINED_BYTES_MAX):
            await cluster.fold(cluster_slab, slabs.tasks(blocked, 1), join)
            await asyncio.to_thread(joining.finished)
            numbers = await asyncio.to_thread(joining.numbers)
            place = ArrayPlace.new(tenant, lattice_id)
            tasks = (
                LabelTask(slab=slab, numbers=own, storage=storage, place=place)
                for slab, own in zip(slabs.tasks(blocked, 1), numbers, strict=True)
            )
            with self._writer.removed_on_failure(place):
                await cluster.fold(label_slab, tasks, take)
                ordered = [digests[ordinal] for ordinal in range(layout.chunking.count)]
                digest = await self._writer.arrays.seal(place, layout, ordered)
        return FieldContent(
            number_type=LABEL_TYPE, digest=digest, fill=layout.fill, array_id=place.array_id
        )


def _work(lattice: HeldLattice) -> Work:
    assert lattice.grid is not None
    rings = sum(lattice.spec.geometry.periodic)
    return Work(looks=(1 + rings) * lattice.looks_max, size_bytes=bytes_to_cluster(lattice.grid))


def _slabs(context: OperationContext, lattice: HeldLattice) -> Slabs | None:
    """How a lattice is cut for workers; None where it takes no more than a call may, or where it
    cannot be cut, or nobody does it."""
    assert lattice.grid is not None
    work, limit, cluster = _work(lattice), context.work_limit, context.cluster
    is_small = work.size_bytes <= BYTES_MAX and limit.allows(work.looks)
    if is_small or cluster is None or not cluster.is_installed:
        return None
    return slabs_of(lattice.grid, cluster.setup.task_bytes)


async def _find_by_workers(
    context: OperationContext, lattice: HeldLattice, slabs: Slabs, components_max: int
) -> Components:
    cluster, clock = context.cluster, Clock()
    assert cluster is not None, "slabs are cut for one"
    context.work_limit.check_looks(slabs.looks, cluster.thread_count)
    await context.compilation.ready(_work(lattice).kinds)
    joining = Joining(slabs, components_max)
    async with context.send_budget.reserved(JOINED_BYTES_MAX):
        tasks = slabs.tasks(lattice.spec.blocked, components_max)
        await cluster.fold(cluster_slab, tasks, joining.add)
        whole = await asyncio.to_thread(joining.finished)
    return components_of_whole(whole, lattice.spec.geometry.shape, clock)


def components_of_whole(whole: Whole, shape: tuple[int, ...], clock: Clock) -> Components:
    """What is told of components that were joined."""
    largest = whole.largest
    wrapping = as_flags(largest.wraps, len(shape)).astype(np.bool_)
    spanning = np.stack([is_spanning(largest, axis) for axis in range(len(shape))], axis=1)
    components = [
        Component(
            int(whole.labels[n]),
            int(largest.sizes[n]),
            tuple(int(at) for at in np.unravel_index(largest.firsts[n], shape)),
            spanning[n].tolist(),
            wrapping[n].tolist(),
        )
        for n in range(len(largest.sizes))
    ]
    counts = zip(whole.axes.spanning, whole.axes.wrapping, whole.axes.largest_spanning, strict=True)
    axes = [AxisComponents(int(one), int(other), int(most)) for one, other, most in counts]
    computation = clock.computation(Method.LABELLING, expanded=whole.sites, held=whole.size_bytes)
    return Components(whole.count, components, axes, computation)


def _whole(geometry: Geometry) -> Components:
    clock = Clock()
    axes = len(geometry.shape)
    wraps = [
        ring and length > 2 for ring, length in zip(geometry.periodic, geometry.shape, strict=True)
    ]
    only = Component(0, geometry.sites, (0,) * axes, [True] * axes, wraps)
    each = [AxisComponents(1, int(wrap), geometry.sites) for wrap in wraps]
    return Components(1, [only], each, clock.computation(Method.CLOSED_FORM))


def _find(lattice: HeldLattice, components_max: int, stop: Stop) -> Components:
    clock = Clock()
    assert lattice.grid is not None
    clusters = clusters_of(lattice.grid, stop.flag, is_labelled=False)
    largest = np.argsort(-clusters.sizes, kind="stable")[:components_max]
    shape = lattice.spec.geometry.shape
    listed = [
        Component(
            int(label),
            int(clusters.sizes[label]),
            tuple(int(at) for at in np.unravel_index(clusters.firsts[label], shape)),
            clusters.spanning[label].tolist(),
            clusters.wrapping[label].tolist(),
        )
        for label in largest
    ]
    axes = [
        AxisComponents(
            int(clusters.spanning[:, axis].sum()),
            int(clusters.wrapping[:, axis].sum()),
            int(clusters.sizes[clusters.spanning[:, axis]].max(initial=0)),
        )
        for axis in range(len(shape))
    ]
    expanded = int(clusters.sizes.sum())
    computation = clock.computation(Method.LABELLING, expanded=expanded, held=clusters.bytes_held)
    return Components(clusters.count, listed, axes, computation)


def _label(lattice: HeldLattice, selected: Selection, stop: Stop) -> list[LabelsPart]:
    clock = Clock()
    assert lattice.grid is not None
    clusters = clusters_of(lattice.grid, stop.flag)
    computation: Computation | None = clock.computation(
        Method.LABELLING, expanded=int(clusters.sizes.sum()), held=clusters.bytes_held
    )
    parts = []
    for part in selected.parts(VALUES_PER_ANSWER):
        labels = clusters.labels[selected.indices(lattice.spec.geometry, part)].copy()
        parts.append(LabelsPart(part.start, labels, computation))
        computation = None
    return parts


def _all_alike(selected: Selection, stop: Stop) -> list[LabelsPart]:
    clock = Clock()
    computation: Computation | None = clock.computation(Method.CLOSED_FORM)
    parts = []
    for part in selected.parts(VALUES_PER_ANSWER):
        stop.check()
        labels = np.zeros(part.stop - part.start, np.int32)
        parts.append(LabelsPart(part.start, labels, computation))
        computation = None
    return parts
