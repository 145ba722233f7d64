"""Undoes changes of fields, and does them again: each an event. Decides from events alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from services.lattice.arrays.content import FieldContent
from services.lattice.errors import LatticeChanged, NothingToRedo, NothingToUndo, RequestIdReused
from services.lattice.fields.states import FieldState, LatticeFields
from services.lattice.history.past import Ledger, Past, WrittenRecord
from services.lattice.history.replaying import ReadableContent, Replaying, zeros
from services.lattice.state.journal import ChangeKind, FieldChange
from services.lattice.transforms import convert
from services.lattice.transforms.applying import (
    LOST_RACE_DELAYS_S,
    ChainApplier,
    FieldMoved,
    Operand,
    Result,
    Transformer,
    changed_meanwhile,
    check_revision,
)
from services.lattice.transforms.chain import Chain

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Turned:
    """What became of a field whose change was undone, or done again."""

    states: Sequence[FieldState]
    change: FieldChange


@dataclass(frozen=True)
class Turns:
    """The changes of a field that can be undone, and those that can be done again: the next one
    of each is the last."""

    done: Sequence[WrittenRecord]
    undone: Sequence[WrittenRecord]

    @classmethod
    def of(cls, writes: Sequence[WrittenRecord]) -> "Turns":
        """As they stand behind all writes of a field. Its creation is not undone."""
        changes = writes[1:]
        kinds = [each.written.change.kind if each.written.change else None for each in changes]
        return cls(*turned(changes, kinds))


def turned(changes: Sequence[T], kinds: Sequence[ChangeKind | None]) -> tuple[list[T], list[T]]:
    """What of changes is done, and what is undone: the next one of each is the last."""
    done: list[T] = []
    undone: list[T] = []
    for change, kind in zip(changes, kinds, strict=True):
        if kind is ChangeKind.UNDONE and done:
            undone.append(done.pop())
        elif kind is ChangeKind.REDONE and undone:
            done.append(undone.pop())
        else:
            done.append(change)
            undone.clear()
    return done, undone


class Undoing:
    """Undoes changes, and does them again."""

    def __init__(
        self,
        past: Past,
        transformer: Transformer,
        applier: ChainApplier,
        replaying: Replaying,
    ) -> None:
        self._past = past
        self._transformer = transformer
        self._applier = applier
        self._replaying = replaying

    async def turn(
        self,
        operand: Operand,
        kind: ChangeKind,
        *,
        request_id: str = "",
        expected_revision: int | None = None,
    ) -> Turned:
        """Undo the last change of the operand's field, or do again what was undone last.

        Raises NothingToUndo, NothingToRedo, StateGone, FieldNotFound, LatticeChanged and
        RequestIdReused.
        """
        revisions = (-1, -1)
        for delay_s in (*LOST_RACE_DELAYS_S, None):
            known = await self._transformer.fields(operand)
            ledger = await self._past.ledger(operand.tenant, operand.lattice.lattice.lattice_id)
            if request_id in known.requests:
                return _done_before(operand, ledger, known.requests[request_id], kind)
            writes = ledger.writes(operand.name)
            state = known.field(operand.name)
            check_revision(state, expected_revision, operand.lattice_id)
            target = _target(writes, kind)
            whole = _operand_of(operand, target)
            await _check_together(ledger, whole, target, kind)
            result, change = await self._turned(whole, ledger, known, target, kind)
            change = _with_request(change, request_id)
            try:
                states = await self._transformer.commit(whole, known, result, change)
            except FieldMoved as moved:
                revisions = (state.revision, moved.revision)
                if delay_s is not None:
                    await asyncio.sleep(delay_s)
                continue
            return Turned(states=states, change=change)
        raise changed_meanwhile(operand.lattice_id, *revisions)

    async def _turned(
        self,
        operand: Operand,
        ledger: Ledger,
        known: LatticeFields,
        target: WrittenRecord,
        kind: ChangeKind,
    ) -> tuple[Result, FieldChange]:
        if kind is ChangeKind.UNDONE:
            undone = await self._inverted(operand, known, target)
            if undone is not None:
                return undone
        contents = [
            await self._brought_back(operand, ledger, target, kind, name) for name in operand.names
        ]
        before = known.field(operand.name).content.digest
        change = FieldChange(kind=kind, before_digest=before, of_revision=target.revision)
        return Result(contents=contents, reports=()), change

    async def _inverted(
        self, operand: Operand, known: LatticeFields, target: WrittenRecord
    ) -> tuple[Result, FieldChange] | None:
        """Undo a chain by its inverse, where that brings every bit back."""
        own = target.written.change
        if own is None or not own.applied or len(operand.names) > 1:
            return None
        content = known.field(operand.name).content
        applied = convert.applied_from(own.applied)
        if any(each.HasField("convert") for each in applied.transforms):
            # It fits numbers of the type that there were before, which the event does not tell.
            return None
        chain = Chain.of(convert.steps(applied.transforms), operand.fit(content))
        inverse = chain.inverse()
        if inverse is None:
            return None
        result = await self._applier.apply(operand, [content], inverse)
        if result.contents[0].digest != own.before_digest:
            # The digest proves it, or it is not done.
            return None
        change = FieldChange(
            kind=ChangeKind.UNDONE,
            before_digest=content.digest,
            of_revision=target.revision,
            applied=convert.applied_chain(convert.transforms(inverse.steps), result.reports),
        )
        return result, change

    async def _brought_back(
        self,
        operand: Operand,
        ledger: Ledger,
        target: WrittenRecord,
        kind: ChangeKind,
        name: str,
    ) -> FieldContent:
        """What a field was before a change, or behind it, spoken of by no event yet."""
        is_undone = kind is ChangeKind.UNDONE
        record = ledger.before(name, target.revision) if is_undone else target
        if record is None:
            return await asyncio.to_thread(zeros, operand, target, name)
        one = Operand(tenant=operand.tenant, lattice=operand.lattice, name=name)
        readable: ReadableContent = await self._replaying.content(one, ledger, record)
        return await self._replaying.owned(one, readable)


def _target(writes: Sequence[WrittenRecord], kind: ChangeKind) -> WrittenRecord:
    turns = Turns.of(writes)
    if kind is ChangeKind.UNDONE:
        if not turns.done:
            raise NothingToUndo(
                "nothing is left to undo since the field was created",
                created_revision=writes[0].revision,
            )
        return turns.done[-1]
    if not turns.undone:
        raise NothingToRedo(
            "nothing is undone that could be done again", revision=writes[-1].revision
        )
    return turns.undone[-1]


def _operand_of(operand: Operand, target: WrittenRecord) -> Operand:
    """All fields that a change wrote. They are undone by the name of the first."""
    own, *imaginary = target.names
    if own != operand.name:
        raise LatticeChanged(
            f"the field was written as the imaginary parts of {own}: undo it there",
            lattice_id=operand.lattice_id,
        )
    return Operand(
        tenant=operand.tenant,
        lattice=operand.lattice,
        name=own,
        imaginary=imaginary[0] if imaginary else "",
    )


async def _check_together(
    ledger: Ledger, operand: Operand, target: WrittenRecord, kind: ChangeKind
) -> None:
    """Raise LatticeChanged where the imaginary parts were changed by themselves since, and are not
    again what they were. Where there were none, none are as good as 0 everywhere."""
    if not operand.imaginary:
        return
    name = operand.imaginary
    before = target if kind is ChangeKind.UNDONE else ledger.before(name, target.revision)
    if before is None and not ledger.has(name):
        return
    last = ledger.writes(name)[-1]
    if last.written.name == operand.name:
        return
    if before is None:
        expected = await asyncio.to_thread(zeros, operand, target, name)
    else:
        expected = before.content(name)
    if last.content(name).digest != expected.digest:
        raise LatticeChanged(
            f"the imaginary parts {name} were changed by themselves since: undo that",
            lattice_id=operand.lattice_id,
            revision=last.revision,
        )


def _with_request(change: FieldChange, request_id: str) -> FieldChange:
    return replace(change, request_id=request_id)


def _done_before(operand: Operand, ledger: Ledger, revision: int, kind: ChangeKind) -> Turned:
    """What the same request did; raises RequestIdReused where that was something else."""
    record = ledger.records.get(revision)
    change = record.written.change if record else None
    if record is None or change is None or change.kind is not kind:
        raise _reused(operand)
    if record.written.name != operand.name:
        raise _reused(operand)
    states = [
        FieldState(
            name=each.name,
            content=each.content,
            revision=record.revision,
            written_at=record.recorded_at,
        )
        for each in record.written.contents
    ]
    return Turned(states=states, change=change)


def _reused(operand: Operand) -> RequestIdReused:
    return RequestIdReused(
        "the request id was used for another change", lattice_id=operand.lattice_id
    )
