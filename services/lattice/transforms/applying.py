"""Applies chains to fields: reads the numbers, computes, keeps the result, and records one event.

Nothing is changed before everything is durable. Who loses a race computes anew with what won.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import LatticeChanged, TransformUnfit
from services.lattice.fields.keeping import keep
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.states import FieldState, FieldStates, LatticeFields
from services.lattice.fields.writing import FieldWriter
from services.lattice.operations.context import OperationContext
from services.lattice.state.journal import (
    FieldChange,
    FieldEvent,
    FieldWritten,
    NamedContent,
    command_of,
)
from services.lattice.transforms.chain import Chain, Report
from services.lattice.transforms.distributing import ChainDistributor
from services.lattice.transforms.step import Fit, Step

Numbers = NDArray[Any]

LOST_RACE_DELAYS_S = (0.05, 0.1, 0.2)


@dataclass(frozen=True, kw_only=True)
class Operand:
    """The numbers that a chain is applied to: of one field, or of two that are complex."""

    tenant: TenantId
    lattice: HeldLattice
    name: str
    imaginary: str = ""

    @property
    def lattice_id(self) -> str:
        return self.lattice.lattice.lattice_id

    @property
    def names(self) -> Sequence[str]:
        return [self.name, self.imaginary] if self.imaginary else [self.name]

    def states(self, known: LatticeFields) -> "Sequence[FieldState | None]":
        """The fields as they are; raises FieldNotFound. Imaginary parts there may be none of."""
        return [known.field(self.name), *(known.fields.get(name) for name in self.names[1:])]

    def fit(self, content: FieldContent) -> Fit:
        geometry = self.lattice.spec.geometry
        return Fit(
            shape=geometry.shape,
            periodic=geometry.periodic,
            number_type=content.number_type,
            is_complex=bool(self.imaginary),
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a chain made, kept, and spoken of by no event yet."""

    contents: Sequence[FieldContent]
    """Of the operand's names."""
    reports: Sequence[Report]


Describe = Callable[[str, Sequence[Report]], FieldChange]
"""Makes the change that is recorded of the digest before it and of what was reported."""


class FieldMoved(Exception):
    """The field is not any more what the result was computed from, but at another revision."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the field is at revision {revision}")
        self.revision = revision


class ChainApplier:
    """Applies chains, and keeps what they make."""

    def __init__(
        self,
        reader: FieldReader,
        writer: FieldWriter,
        operations: OperationContext,
        distributor: ChainDistributor,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._operations = operations
        self._distributor = distributor

    async def apply(
        self, operand: Operand, contents: Sequence[FieldContent | None], chain: Chain
    ) -> Result:
        """Apply a chain to the numbers of such contents, and keep what it makes.

        Here, or by workers where it takes more memory than a call may. Raises WorkTooLarge before
        anything is read, TransformUnfit, ChunkDamaged, StorageUnavailable, ComputeBusy and
        WorkersUnavailable.
        """
        if _bytes_needed(chain) > self._distributor.bytes_max:
            own = contents[0]
            assert own is not None, "there are real parts"
            made, reports = await self._distributor.apply(
                operand.tenant, operand.lattice_id, own, chain
            )
            return Result(contents=[made], reports=reports)
        async with self._operations.send_budget.reserved(held_bytes(chain)):
            array, reports = await self.computed(operand, contents, chain)
            kept = [
                await keep(self._writer, operand.tenant, operand.lattice_id, part)
                for part in _parts(array)
            ]
        return Result(contents=kept, reports=reports)

    async def computed(
        self, operand: Operand, contents: Sequence[FieldContent | None], chain: Chain
    ) -> tuple[Numbers, Sequence[Report]]:
        """What a chain makes of numbers. The caller holds the bytes of the numbers."""
        limit = self._operations.work_limit
        limit.check_looks(chain.looks)
        limit.check_bytes(_bytes_needed(chain))
        estimate = Estimate(size_bytes=chain.auxiliary_bytes_max, looks=chain.looks)
        await self._operations.compilation.ready(chain.kinds)
        numbers = [await self._read(operand, content) for content in contents]

        def work(stop: Stop) -> tuple[Numbers, Sequence[Report]]:
            return chain.apply(_joined(numbers), stop.flag)

        return await self._operations.compute.run(estimate, work)

    async def _read(self, operand: Operand, content: FieldContent | None) -> Numbers | None:
        if content is None:
            return None
        shape = operand.lattice.spec.geometry.shape
        source = await self._reader.source(operand.tenant, operand.lattice_id, shape, content)
        return await self._reader.array(source)


class Transformer:
    """Transforms fields, each change an event."""

    def __init__(self, states: FieldStates, writer: FieldWriter, applier: ChainApplier) -> None:
        self._states = states
        self._writer = writer
        self._applier = applier

    async def fields(self, operand: Operand) -> LatticeFields:
        """The fields as the journal has them now; raises EventsUnavailable while it is away."""
        return await self._states.confirmed(operand.tenant, operand.lattice.lattice.lattice_id)

    async def transform(
        self,
        operand: Operand,
        steps: Sequence[Step],
        describe: Describe,
        *,
        request_id: str = "",
        expected_revision: int | None = None,
    ) -> "Transformed | int":
        """Apply a chain; or the revision of the change that the same request had made before.

        Raises FieldNotFound, TransformUnfit, UnstableStep, InvalidInput, WorkTooLarge and
        LatticeChanged.
        """
        began_ns = time.monotonic_ns()
        revisions = (-1, -1)
        for delay_s in (*LOST_RACE_DELAYS_S, None):
            known = await self.fields(operand)
            if request_id in known.requests:
                return known.requests[request_id]
            base, *others = operand.states(known)
            assert base is not None, "its absence is raised"
            check_revision(base, expected_revision, operand.lattice_id)
            chain = Chain.of(steps, operand.fit(base.content))
            contents = [base.content, *(each.content if each else None for each in others)]
            self._check_fields(operand, known, chain)
            _check_alike(contents)
            result = await self._applier.apply(operand, contents, chain)
            change = describe(base.content.digest, result.reports)
            try:
                state = await self.commit(operand, known, result, change)
            except FieldMoved as moved:
                revisions = (base.revision, moved.revision)
                if delay_s is not None:
                    await asyncio.sleep(delay_s)
                continue
            return Transformed(
                states=state,
                change=change,
                elapsed_ns=time.monotonic_ns() - began_ns,
            )
        raise changed_meanwhile(operand.lattice_id, *revisions)

    async def commit(
        self, operand: Operand, based_on: LatticeFields, result: Result, change: FieldChange
    ) -> Sequence[FieldState]:
        """Record a result; raises FieldMoved unless the fields are what it was made of."""
        own, *imaginary = result.contents
        event = FieldWritten(
            lattice_id=operand.lattice.lattice.lattice_id,
            name=operand.name,
            content=own,
            change=change,
            imaginary=NamedContent(name=operand.imaginary, content=imaginary[0])
            if imaginary
            else None,
        )

        def decide(known: LatticeFields) -> FieldEvent:
            self._check_unmoved(operand, based_on, known)
            for each in event.contents:
                self._writer.check_young(operand.tenant, event.lattice_id, each.content)
            return event

        lattice_id = event.lattice_id
        command_id = command_of(lattice_id, change.request_id)
        state = await self._states.change(operand.tenant, lattice_id, decide, command_id)
        assert state is not None, "a write leaves a field"
        written = [state.content, *(each.content for each in event.contents[1:])]
        return [
            FieldState(
                name=name, content=content, revision=state.revision, written_at=state.written_at
            )
            for name, content in zip(operand.names, written, strict=True)
        ]

    def _check_unmoved(
        self, operand: Operand, based_on: LatticeFields, known: LatticeFields
    ) -> None:
        for name in operand.names:
            before, now = based_on.fields.get(name), known.fields.get(name)
            if (before and before.revision) != (now and now.revision):
                known.field(operand.name)
                raise FieldMoved(now.revision if now else -1)

    def _check_fields(self, operand: Operand, known: LatticeFields, chain: Chain) -> None:
        sites = chain.fits[-1].sites
        for name in operand.names:
            self._writer.limits.check_size(chain.fits[-1].number_type, sites)
            self._writer.limits.check_count(known.fields, name)


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What became of a field."""

    states: Sequence[FieldState]
    """Of the operand's names."""
    change: FieldChange
    elapsed_ns: int


def _check_alike(contents: Sequence[FieldContent | None]) -> None:
    kinds = {content.number_type for content in contents if content}
    if len(kinds) > 1:
        named = " and ".join(sorted(kind.value for kind in kinds))
        raise TransformUnfit(f"real and imaginary parts must be of one type, not {named}", step=0)


def check_revision(state: FieldState, expected: int | None, lattice_id: str) -> None:
    """Raise LatticeChanged when a field is not where its caller thinks."""
    if expected is not None and state.revision != expected:
        raise changed_meanwhile(lattice_id, expected, state.revision)


def changed_meanwhile(lattice_id: str, expected: int, revision: int) -> LatticeChanged:
    return LatticeChanged(
        f"the field was at revision {expected} and is at {revision} now",
        lattice_id=lattice_id,
        expected_revision=expected,
        revision=revision,
    )


def held_bytes(chain: Chain) -> int:
    """The numbers while they are read and kept: complex ones twice, as they are and apart."""
    return chain.size_bytes * (2 if chain.fits[0].is_complex else 1)


def _bytes_needed(chain: Chain) -> int:
    """All that a chain takes at once."""
    return held_bytes(chain) + chain.auxiliary_bytes_max


def _joined(numbers: list[Numbers | None]) -> Numbers:
    """One array of what was read, which is let go."""
    real, *imaginary = numbers
    numbers.clear()
    assert real is not None, "there are real parts"
    if not imaginary:
        return real
    joined = np.zeros(real.shape, np.result_type(real.dtype, np.complex64))
    joined.real = real
    if imaginary[0] is not None:
        joined.imag = imaginary[0]
    return joined


def _parts(array: Numbers) -> Sequence[Numbers]:
    if array.dtype.kind != "c":
        return [array]
    return [np.ascontiguousarray(array.real), np.ascontiguousarray(array.imag)]
