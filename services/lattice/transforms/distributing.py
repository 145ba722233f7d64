"""Applies chains to fields that no call's memory holds: box by box, by workers.

Workers read chunks where they are kept and put away what they make; what passes between them and
this process are digests. What they leave of a chain that is given up belongs to nobody, and the
collector removes it.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from services.lattice.arrays.content import FieldContent
from services.lattice.computing.compilation import Compilation
from services.lattice.computing.work_limit import BYTES_MAX, WorkLimit
from services.lattice.distributed.boxes import Box, cut
from services.lattice.distributed.cluster import EXTRA, Cluster
from services.lattice.distributed.worker import cancel_flag
from services.lattice.errors import TransformUnfit, WorkTooLarge
from services.lattice.fields.boxed import KeptArray, read_box, write_box
from services.lattice.fields.writing import FieldWriter
from services.lattice.kernels.transforms.arithmetic import finite_bounds
from services.lattice.kernels.transforms.scratch import Scratch
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace
from services.lattice.transforms.chain import Chain, Report
from services.lattice.transforms.passes import PartUnfit, Pass, Taken, passes_of


@dataclass(frozen=True, kw_only=True)
class BoxTask:
    """A box to make, of which numbers, and where to put it."""

    source: KeptArray
    work: Pass
    box: Box
    target: ArrayPlace

    @property
    def window(self) -> Box:
        return self.work.window(self.box)


@dataclass(frozen=True)
class BoxDone:
    """The digests of the chunks of a box by their ordinals, and what its steps took."""

    digests: dict[int, bytes]
    taken: Sequence[Taken]


class ChainDistributor:
    """Applies chains by workers, pass by pass."""

    def __init__(
        self,
        cluster: Cluster,
        writer: FieldWriter,
        compilation: Compilation,
        work_limit: WorkLimit,
        *,
        bytes_max: int = BYTES_MAX,
        box_bytes: int = 0,
    ) -> None:
        """Chains that take more than `bytes_max` are for the workers, in boxes of at most
        `box_bytes`, or of as many as they have room for."""
        self.bytes_max = bytes_max
        self._box_bytes = box_bytes or cluster.setup.task_bytes
        self._cluster = cluster
        self._writer = writer
        self._compilation = compilation
        self._work_limit = work_limit

    async def apply(
        self, tenant: str, lattice_id: str, content: FieldContent, chain: Chain
    ) -> tuple[FieldContent, Sequence[Report]]:
        """Apply a chain to the numbers of a content, and keep what it makes.

        Raises WorkTooLarge before anything is read, TransformUnfit, ChunkDamaged,
        StorageUnavailable, ComputeBusy and WorkersUnavailable.
        """
        passes = self.planned(chain)
        looks = sum(work.looks for work in passes)
        self._work_limit.check_looks(looks, self._cluster.thread_count)
        return await self.carried_out(tenant, lattice_id, content, chain, passes)

    async def carried_out(
        self,
        tenant: str,
        lattice_id: str,
        content: FieldContent,
        chain: Chain,
        passes: Sequence[Pass],
        box_done: Callable[[], None] = lambda: None,
    ) -> tuple[FieldContent, Sequence[Report]]:
        """The same with the passes that were planned, however long they take.

        `box_done` is called in a thread behind each of their boxes.
        """
        await self._compilation.ready(chain.kinds)
        source = KeptArray(
            storage=self._cluster.setup.storage,
            tenant=tenant,
            lattice_id=lattice_id,
            shape=chain.fits[0].shape,
            content=content,
        )
        taken: list[Taken] = []
        async with AsyncExitStack() as between:
            for number, work in enumerate(passes):
                made = await self._passed(chain, source, work, taken, box_done)
                if number + 1 < len(passes):
                    place = ArrayPlace(tenant, lattice_id, made.array_id)
                    between.push_async_callback(self._writer.arrays.remove, place)
                source = replace(source, content=made)
        return source.content, _reports(chain, passes, taken)

    def planned(self, chain: Chain) -> Sequence[Pass]:
        """The passes of a chain. Raises WorkTooLarge where nobody does them, or where a step needs
        all numbers at once."""
        needed = chain.size_bytes + chain.auxiliary_bytes_max
        if not self._cluster.is_installed:
            raise WorkTooLarge(
                f"this takes more bytes of memory than a call may; with {EXTRA} installed it is "
                "done by workers",
                estimate=needed,
                limit=self.bytes_max,
            )
        return passes_of(chain, self._box_bytes)

    async def _passed(
        self,
        chain: Chain,
        source: KeptArray,
        work: Pass,
        taken: list[Taken],
        box_done: Callable[[], None],
    ) -> FieldContent:
        """What a pass makes, kept. Adds what its steps took."""
        boxes = list(cut(source.shape, work.lengths))
        if work.needs_bounds:
            work = work.with_bounds(await self._bounds(source, boxes))
        arrays = self._writer.arrays
        layout = ArrayLayout.of(work.behind.number_type, source.shape)
        place = ArrayPlace.new(source.tenant, source.lattice_id)
        tasks = (BoxTask(source=source, work=work, box=box, target=place) for box in boxes)
        done: list[BoxDone] = []

        def take(box: BoxDone) -> None:
            done.append(box)
            box_done()

        with self._writer.removed_on_failure(place):
            try:
                await self._cluster.fold(make_box, tasks, take)
            except PartUnfit as unfit:
                name = chain.steps[unfit.step].name
                raise TransformUnfit(unfit.problem, step=unfit.step, transform=name) from unfit
            taken += [each for one in done for each in one.taken]
            digests = {ordinal: digest for one in done for ordinal, digest in one.digests.items()}
            ordered = [digests[ordinal] for ordinal in range(layout.chunking.count)]
            digest = await arrays.seal(place, layout, ordered)
        return FieldContent(
            number_type=layout.number_type, digest=digest, fill=layout.fill, array_id=place.array_id
        )

    async def _bounds(self, source: KeptArray, boxes: Iterable[Box]) -> tuple[float, float]:
        """The least and the greatest finite number."""
        bounds = await self._cluster.map(bounds_of_box, ((source, box) for box in boxes))
        known = [each for each in bounds if each is not None]
        if not known:
            return 0.0, 0.0
        return min(low for low, _ in known), max(high for _, high in known)


def make_box(task: BoxTask) -> BoxDone:
    """Make a box and put it away, in a worker. Raises PartUnfit, Cancelled and what reading
    raises."""
    cancel = cancel_flag()
    made, taken = task.work.apply(
        task.source.read(lambda reader, source: read_box(reader, source, task.window)),
        task.box,
        cancel,
    )
    Scratch(cancel).check()
    layout = ArrayLayout.of(task.work.behind.number_type, task.source.shape)
    digests = task.source.use(lambda arrays: write_box(arrays, task.target, layout, task.box, made))
    return BoxDone(dict(digests), taken)


def bounds_of_box(task: tuple[KeptArray, Box]) -> tuple[float, float] | None:
    """The least and the greatest finite number of a box, in a worker; None where there is none."""
    kept, box = task
    array = kept.read(lambda reader, source: read_box(reader, source, box))
    return finite_bounds(array, Scratch(cancel_flag()))


def _reports(chain: Chain, passes: Sequence[Pass], taken: Sequence[Taken]) -> Sequence[Report]:
    """What each step of a chain took, on whichever box that was most."""
    bounds = [bound for work in passes for bound in work.auxiliary_bytes_max()]
    reports = []
    for number, (step, fit) in enumerate(zip(chain.steps, chain.fits, strict=False)):
        own = [each for each in taken if each.step == number]
        invertibility, error_bound = step.invertibility(fit)
        reports.append(
            Report(
                transform=step.name,
                invertibility=invertibility,
                error_bound=error_bound,
                in_place=False,
                auxiliary_bytes=max(each.auxiliary_bytes for each in own),
                auxiliary_bytes_max=max(bound for of, bound in bounds if of == number),
                clamped_count=sum(each.clamped_count for each in own),
            )
        )
    return reports
