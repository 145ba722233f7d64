"""A chain as passes over an array that is not in memory: each reads boxes and writes boxes.

What a box becomes is computed by the same steps on the box and so much around it as they look at,
so every number comes out as if all of them had been there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Self

from services.lattice.arrays.number_type import NumberType
from services.lattice.arrays.region import Lengths
from services.lattice.distributed.boxes import Box, block_lengths
from services.lattice.errors import WorkTooLarge
from services.lattice.kernels.slices import Cancel
from services.lattice.kernels.transforms.scratch import Array, Scratch
from services.lattice.storage.arrays import ArrayLayout
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.neighbours import Convolve, Diffuse, Floating
from services.lattice.transforms.numbers import Convert, Normalise
from services.lattice.transforms.rearranging import is_rearranging, rearranged, source_of
from services.lattice.transforms.step import (
    OVERHEAD_BYTES,
    Fit,
    Reach,
    Step,
    Unfit,
    Value,
)

_LOOKS_MAX = 1 << 30
"""Of one box: whoever gives up waits for those that are begun."""
_GROWTH_MAX = 2.0
"""A box and what is around it are at most so many times the box, where steps can be done apart."""
_BESIDE_BYTES = 1 << 25
"""Of what reads and writes chunks."""


class PartUnfit(Exception):
    """A step does not fit the numbers of a box; its number in the chain, and why."""

    def __init__(self, step: int, problem: str) -> None:
        super().__init__(step, problem)
        self.step, self.problem = step, problem


@dataclass(frozen=True)
class Taken:
    """What a step took on one box, and how many of the box's numbers did not fit."""

    step: int
    auxiliary_bytes: int
    clamped_count: int


@dataclass(frozen=True)
class Part:
    """A step, or some of it, and the number in the chain of the step that it comes from."""

    number: int
    step: Step


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Steps that are done on one box after the other, and how large those are."""

    parts: tuple[Part, ...]
    fits: tuple[Fit, ...]
    """Of the whole array: before each step, and behind the last."""
    reach: Reach
    lengths: Lengths
    """Of boxes."""

    @property
    def before(self) -> Fit:
        return self.fits[0]

    @property
    def behind(self) -> Fit:
        return self.fits[-1]

    @property
    def needs_bounds(self) -> bool:
        """It needs to know the least and the greatest of all numbers before it."""
        step = self.parts[0].step
        return isinstance(step, Normalise) and step.bounds is None

    @property
    def box_count(self) -> int:
        """Of boxes that the array is cut into."""
        axes = zip(self.before.shape, self.lengths, strict=True)
        return prod(-(-length // own) for length, own in axes)

    @property
    def chunk_count(self) -> int:
        """Of chunks that it makes."""
        return ArrayLayout.of(self.behind.number_type, self.before.shape).chunking.count

    @property
    def looks(self) -> int:
        """The time of all of it, as looks, with what is done for two boxes."""
        fits = self._grown()
        boxes = self.before.sites / Box(self.lengths, self.lengths).sites
        return int(boxes * sum(_looks(self.parts, fits)))

    def auxiliary_bytes_max(self) -> Iterator[tuple[int, int]]:
        """What each step may take beside the numbers of a box, by its number in the chain."""
        for part, fit in zip(self.parts, self._grown(), strict=False):
            yield part.number, part.step.cost(fit).auxiliary_bytes

    def with_bounds(self, bounds: tuple[float, float]) -> Self:
        """Once they are known."""
        first = self.parts[0]
        assert isinstance(first.step, Normalise), "nothing else needs them"
        known = replace(first, step=replace(first.step, bounds=bounds))
        return replace(self, parts=(known, *self.parts[1:]))

    def window(self, box: Box) -> Box:
        """What is read to make a box. It may reach beyond the ends of an axis, and around them."""
        step = self.parts[0].step
        shape = self.before.shape
        if is_rearranging(step):
            return source_of(step, box, shape)
        return box.grown(self.reach.lengths, self.reach.rings, shape)

    def apply(self, array: Array, box: Box, cancel: Cancel) -> tuple[Array, Sequence[Taken]]:
        """What becomes of a box, of the numbers of its window, which are lost.

        Raises PartUnfit and Cancelled.
        """
        first = self.parts[0]
        if is_rearranging(first.step):
            scratch = Scratch(cancel)
            made = rearranged(first.step, array, box, self.before, scratch)
            return made, [Taken(first.number, OVERHEAD_BYTES + scratch.peak_bytes, 0)]
        window = self.window(box)
        axes = zip(self.before.periodic, window.shape, self.before.shape, strict=True)
        rings = [ring and length == total for ring, length, total in axes]
        value = Value(array=array, periodic=rings)
        del array
        taken = []
        for part in self.parts:
            scratch = Scratch(cancel)
            try:
                clamped = part.step.apply(value, scratch)
            except Unfit as unfit:
                raise PartUnfit(part.number, str(unfit)) from unfit
            taken.append(Taken(part.number, OVERHEAD_BYTES + scratch.peak_bytes, clamped))
        return value.array[box.inside(window)], taken

    def _grown(self) -> Sequence[Fit]:
        return _grown(self.fits, self.reach, self.lengths)


def passes_of(chain: Chain, box_bytes: int) -> Sequence[Pass]:
    """The passes of a chain, each box of which takes so much memory at most.

    Raises WorkTooLarge for a step that needs all numbers at once, or too many.
    """
    fit = chain.fits[0]
    if fit.is_complex:
        raise _not_by_boxes("complex", 0, chain, box_bytes)
    passes: list[Pass] = []
    draft: _Draft | None = None
    for part in _expanded(chain):
        left: Part | None = part
        while left is not None:
            begun = draft or _Draft(fit, box_bytes)
            more, left = begun.with_some(left)
            if more is not None:
                draft = more
                continue
            assert left is not None, "what is not taken is left"
            if not begun.parts:
                raise _not_by_boxes(left.step.name, left.number, chain, box_bytes)
            passes.append(begun.finished())
            fit, draft = begun.fits[-1], None
    assert draft is not None, "a chain has steps"
    return [*passes, draft.finished()]


@dataclass(frozen=True)
class _Draft:
    """A pass that more steps may go into."""

    fit: Fit
    box_bytes: int
    parts: tuple[Part, ...] = ()
    fits: tuple[Fit, ...] = ()
    reach: Reach | None = None

    def with_some(self, part: Part) -> "tuple[_Draft | None, Part | None]":
        """With a step, or as much of it as fits, and what is left of that; None where none does."""
        if self.parts and self._is_apart(part):
            return None, part
        more = self._with(part)
        if more is not None:
            return more, None
        step = part.step
        if not isinstance(step, Diffuse) or step.steps == 1:
            return None, part
        some = step.steps
        while some > 1:
            some = some // 2
            more = self._with(replace(part, step=replace(step, steps=some)))
            if more is not None:
                return more, replace(part, step=replace(step, steps=step.steps - some))
        return None, part

    def finished(self) -> Pass:
        lengths = self._lengths()
        assert self.reach is not None and lengths is not None, "it fits"  # noqa: PT018
        return Pass(parts=self.parts, fits=self.fits, reach=self.reach, lengths=lengths)

    def _is_apart(self, part: Part) -> bool:
        """The step may not follow those that there are in one pass."""
        fit, reach = self.fits[-1], part.step.reach(self.fits[-1])
        assert self.reach is not None, "there are steps"
        if reach is None or _begins_a_pass(part.step) or is_rearranging(self.parts[-1].step):
            return True
        looks_around, looked_around = any(reach.lengths), any(self.reach.lengths)
        if looks_around and looked_around and reach.rings != self.reach.rings:
            return True
        # Numbers that did not fit are counted in boxes that have no other number.
        if not looks_around:
            return looked_around and part.step.fitted_type(fit).is_whole
        return any(each.number_type.is_whole for each in self.fits[1:])

    def _with(self, part: Part) -> "_Draft | None":
        before = self.fits[-1] if self.fits else self.fit
        own = _reach_of(part.step, before)
        if own is None:
            return None
        behind = replace(before, number_type=part.step.fitted_type(before))
        reach = own if self.reach is None else _further(self.reach, own)
        more = replace(
            self,
            parts=(*self.parts, part),
            fits=(*(self.fits or (self.fit,)), behind),
            reach=reach,
        )
        return more if more._lengths() is not None else None

    def _lengths(self) -> Lengths | None:
        reach, parts = self.reach, self.parts
        assert reach is not None, "there are steps"
        layout = ArrayLayout.of(self.fits[-1].number_type, self.fit.shape)
        is_single = len(parts) == 1 and _is_undivided(parts[0].step)

        def fits(lengths: Lengths) -> bool:
            grown = _grown(self.fits, reach, lengths)
            growth = grown[0].sites / Box(lengths, lengths).sites
            return (
                (is_single or growth <= _GROWTH_MAX)
                and max(_bytes(parts, grown)) + _BESIDE_BYTES <= self.box_bytes
                and (is_single or sum(_looks(parts, grown)) <= _LOOKS_MAX)
            )

        return block_lengths(layout.chunking, fits)


def _expanded(chain: Chain) -> Iterator[Part]:
    """The steps of a chain, those with whole numbers that compute in doubles as three."""
    for number, (step, fit) in enumerate(zip(chain.steps, chain.fits, strict=False)):
        if fit.number_type.is_whole and isinstance(step, Floating | Convolve):
            yield Part(number, Convert(NumberType.FLOAT64))
            yield Part(number, step)
            yield Part(number, Convert(fit.number_type))
        else:
            yield Part(number, step)


def _begins_a_pass(step: Step) -> bool:
    """It must not see what earlier steps made beyond a box: it moves numbers, or checks them."""
    return is_rearranging(step) or isinstance(step, Normalise | Convolve)


def _is_undivided(step: Step) -> bool:
    """Nothing less of it can be done at once."""
    return not isinstance(step, Diffuse) or step.steps == 1


def _reach_of(step: Step, fit: Fit) -> Reach | None:
    return Reach.none(fit) if is_rearranging(step) else step.reach(fit)


def _further(reach: Reach, more: Reach) -> Reach:
    lengths = tuple(one + other for one, other in zip(reach.lengths, more.lengths, strict=True))
    return Reach(lengths, more.rings if any(more.lengths) else reach.rings)


def _grown(fits: Sequence[Fit], reach: Reach, lengths: Lengths) -> Sequence[Fit]:
    """What is computed with for a box that has others at both sides."""
    shape = tuple(
        total if length == total else length + 2 * own
        for length, total, own in zip(lengths, fits[0].shape, reach.lengths, strict=True)
    )
    return [replace(fit, shape=shape) for fit in fits]


def _bytes(parts: Sequence[Part], fits: Sequence[Fit]) -> Iterator[int]:
    for part, fit in zip(parts, fits, strict=False):
        yield fit.size_bytes + part.step.cost(fit).auxiliary_bytes


def _looks(parts: Sequence[Part], fits: Sequence[Fit]) -> Iterator[int]:
    for part, fit in zip(parts, fits, strict=False):
        yield part.step.cost(fit).looks


def _not_by_boxes(name: str, number: int, chain: Chain, box_bytes: int) -> WorkTooLarge:
    """A step that cannot be done without all numbers, or on the least box that there may be."""
    needed = chain.size_bytes + chain.auxiliary_bytes_max
    return WorkTooLarge(
        f"{name} cannot be done box by box, and takes more bytes of memory than there may be",
        step=number,
        transform=name,
        estimate=needed,
        limit=box_bytes,
    )
