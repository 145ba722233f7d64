"""Applies chains to fields that no call's memory holds: box by box, by workers.

Workers read chunks where they are kept and put away what they make; what passes between them and
this process are digests. What they leave of a chain that is given up belongs to nobody, and the
collector removes it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain as chained
from itertools import islice, takewhile

from services.lattice.arrays.content import FieldContent
from services.lattice.computing.compilation import Compilation
from services.lattice.computing.work_limit import BYTES_MAX, WorkLimit
from services.lattice.distributed.boxes import Box, cut
from services.lattice.distributed.cluster import EXTRA, Cluster
from services.lattice.distributed.worker import cancel_flag
from services.lattice.errors import ChunkDamaged, TransformUnfit, WorkTooLarge
from services.lattice.fields.boxed import KeptArray, read_box, write_box
from services.lattice.fields.writing import FieldWriter
from services.lattice.kernels.transforms.arithmetic import finite_bounds
from services.lattice.kernels.transforms.scratch import Scratch
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace
from services.lattice.transforms.chain import COMPUTED_WITH, Chain, Report
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


@dataclass(frozen=True, kw_only=True)
class ChainState:
    """How far a chain is, of what is kept: whoever has it may go on from there."""

    plan: str
    """Of what is done, and to which numbers, as a digest: with another plan this is of no use."""
    number: int
    """Of the pass that is under way."""
    source: FieldContent
    """What it reads."""
    target: str
    """The array that it makes."""
    boxes_done: int = 0
    """The first ones of the pass."""
    digests: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    """Of the chunks of these, by their ordinals."""
    bounds: tuple[float, float] | None = None
    """Of all numbers that the pass reads, where it needs them."""
    taken: Sequence[Taken] = ()
    """What each step took so far, on whichever box that was most."""

    def behind(self, box: BoxDone) -> "ChainState":
        """With one box more."""
        return replace(
            self,
            boxes_done=self.boxes_done + 1,
            digests={**self.digests, **box.digests},
            taken=_together([*self.taken, *box.taken]),
        )


Note = Callable[[ChainState], None]
"""Takes how far a chain is, in any thread."""


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
        begun: ChainState | None = None,
        note: Note | None = None,
    ) -> tuple[FieldContent, Sequence[Report]]:
        """The same with the passes that were planned, however long they take.

        `note` is called at the beginning and behind each box. Who gives one goes on from what was
        noted, which is `begun` then, and removes the arrays that it names: nothing is removed here.
        """
        await self._compilation.ready(chain.kinds)
        plan = _plan_of(content, passes)
        state = None
        if begun is not None and begun.plan == plan:
            state = await self._taken_over(tenant, lattice_id, content, passes, begun)
        state = state or _begin(plan, 0, content, tenant, lattice_id)
        async with AsyncExitStack() as between:
            while True:
                source = KeptArray(
                    storage=self._cluster.setup.storage,
                    tenant=tenant,
                    lattice_id=lattice_id,
                    shape=chain.fits[0].shape,
                    content=state.source,
                )
                state, made = await self._passed(chain, source, passes[state.number], state, note)
                if made is None:
                    state = await self._renewed(tenant, lattice_id, passes, state)
                    continue
                if state.number + 1 == len(passes):
                    return made, _reports(chain, passes, state.taken)
                if note is None:
                    place = ArrayPlace(tenant, lattice_id, made.array_id)
                    between.push_async_callback(self._writer.arrays.remove, place)
                behind = _begin(plan, state.number + 1, made, tenant, lattice_id)
                state = replace(behind, taken=state.taken)

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
        state: ChainState,
        note: Note | None,
    ) -> tuple[ChainState, FieldContent | None]:
        """How far a chain is behind a pass, and what that makes, kept.

        None for a pass that is to go on in another array, since this one is not young any more:
        at least one box is done then.
        """
        boxes = list(cut(source.shape, work.lengths))
        if work.needs_bounds:
            bounds = state.bounds or await self._bounds(source, boxes)
            state, work = replace(state, bounds=bounds), work.with_bounds(bounds)
        layout = _layout_behind(work)
        place = ArrayPlace(source.tenant, source.lattice_id, state.target)
        left = islice(boxes, state.boxes_done, None)
        tasks: Iterator[BoxTask] = (
            BoxTask(source=source, work=work, box=box, target=place) for box in left
        )
        if note is not None:
            tasks = chained(
                islice(tasks, 1), takewhile(lambda _: self._writer.is_young(place), tasks)
            )
        noted = note or (lambda _state: None)

        def take(box: BoxDone) -> None:
            nonlocal state
            state = state.behind(box)
            noted(state)

        noted(state)
        with nullcontext() if note else self._writer.removed_on_failure(place):
            try:
                await self._cluster.fold(make_box, tasks, take)
            except PartUnfit as unfit:
                name = chain.steps[unfit.step].name
                raise TransformUnfit(unfit.problem, step=unfit.step, transform=name) from unfit
            if state.boxes_done < len(boxes):
                return state, None
            ordered = [state.digests[ordinal] for ordinal in range(layout.chunking.count)]
            digest = await self._writer.arrays.seal(place, layout, ordered)
        made = FieldContent(
            number_type=layout.number_type, digest=digest, fill=layout.fill, array_id=place.array_id
        )
        return state, made

    async def _taken_over(
        self,
        tenant: str,
        lattice_id: str,
        content: FieldContent,
        passes: Sequence[Pass],
        begun: ChainState,
    ) -> ChainState | None:
        """A state to go on from in arrays of its own: they are as young as this, and nobody else
        writes into them. None where what was kept is gone."""
        try:
            taken = await self._renewed(tenant, lattice_id, passes, begun)
        except ChunkDamaged:
            return None
        return taken if begun.number else replace(taken, source=content)

    async def _renewed(
        self, tenant: str, lattice_id: str, passes: Sequence[Pass], state: ChainState
    ) -> ChainState:
        """The same in arrays that begin now, with the chunks that are there.

        What the first pass reads is somebody else's, and stays. Raises ChunkDamaged.
        """
        source, arrays = state.source, self._writer.arrays
        if state.number:
            read = ArrayLayout.of(source.number_type, passes[0].before.shape, source.fill)
            before = ArrayPlace(tenant, lattice_id, source.array_id)
            digests = await arrays.chunk_digests(before, read, source.digest)
            if not self._writer.is_young(before):
                place = await self._copied(before, read, dict(enumerate(digests)))
                await arrays.seal(place, read, digests)
                source = replace(source, array_id=place.array_id)
        begun = ArrayPlace(tenant, lattice_id, state.target)
        target = await self._copied(begun, _layout_behind(passes[state.number]), state.digests)
        return replace(state, source=source, target=target.array_id)

    async def _copied(
        self, before: ArrayPlace, layout: ArrayLayout, digests: Mapping[int, bytes]
    ) -> ArrayPlace:
        """A new array with those chunks of another one."""
        place = ArrayPlace.new(before.tenant, before.lattice_id)
        kept = [
            ordinal
            for ordinal, digest in digests.items()
            if digest != layout.filled_digest(ordinal)
        ]
        await self._writer.arrays.copy_chunks(before, place, layout, kept)
        return place

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


def _plan_of(content: FieldContent, passes: Sequence[Pass]) -> str:
    """Boxes of another service, or version of it, may be others."""
    return hashlib.sha256(repr((COMPUTED_WITH, content.digest, passes)).encode()).hexdigest()


def _begin(
    plan: str, number: int, source: FieldContent, tenant: str, lattice_id: str
) -> ChainState:
    target = ArrayPlace.new(tenant, lattice_id).array_id
    return ChainState(plan=plan, number=number, source=source, target=target)


def _layout_behind(work: Pass) -> ArrayLayout:
    return ArrayLayout.of(work.behind.number_type, work.before.shape)


def _together(taken: Sequence[Taken]) -> Sequence[Taken]:
    """One for each step."""
    most: dict[int, Taken] = {}
    for each in taken:
        before = most.get(each.step, Taken(each.step, 0, 0))
        most[each.step] = Taken(
            each.step,
            max(before.auxiliary_bytes, each.auxiliary_bytes),
            before.clamped_count + each.clamped_count,
        )
    return tuple(most.values())


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
