"""Brings back what a field was: as it is kept, or computed anew from what is.

What is computed anew has the digest that its event tells, or it is nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.content import FieldContent
from services.lattice.errors import StateGone
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.fields.writing import FieldWriter
from services.lattice.history.past import Ledger, WrittenRecord
from services.lattice.state.journal import ChangeKind, FieldChange
from services.lattice.storage.arrays import METADATA, ArrayPlace
from services.lattice.transforms import convert
from services.lattice.transforms.applying import ChainApplier, Operand
from services.lattice.transforms.chain import Chain

_Key = tuple[str, int]
"""A field, and the revision of a write of it."""


@dataclass(frozen=True)
class ReadableContent:
    """A content that can be read, and whether it was made just now: then no event speaks of it."""

    content: FieldContent
    is_new: bool


class Replaying:
    """Finds the numbers of earlier states."""

    def __init__(self, reader: FieldReader, writer: FieldWriter, applier: ChainApplier) -> None:
        self._reader = reader
        self._writer = writer
        self._applier = applier

    async def is_kept(self, operand: Operand, content: FieldContent) -> bool:
        """Whether the numbers of a content are where it says. Raises StorageUnavailable."""
        if not content.array_id:
            return True
        place = ArrayPlace(operand.tenant, operand.lattice_id, content.array_id)
        return METADATA in await self._writer.arrays.objects.names(place.folder)

    async def source(self, operand: Operand, content: FieldContent) -> FieldSource:
        """What reads a content that is kept."""
        shape = operand.lattice.spec.geometry.shape
        return await self._reader.source(operand.tenant, operand.lattice_id, shape, content)

    async def array(self, operand: Operand, content: FieldContent) -> NDArray[np.generic]:
        """The numbers of a content that is kept. Raises ChunkDamaged."""
        return await self._reader.array(await self.source(operand, content))

    async def content(
        self, operand: Operand, ledger: Ledger, record: WrittenRecord
    ) -> ReadableContent:
        """What a write left in the operand's field, where it can be read.

        Where it is kept no more it is computed anew from what is, as many steps as lie between.
        Raises StateGone where that is nothing, and what ChainApplier raises.
        """
        wanted = (operand.name, record.revision)
        contents_by_key, missing = await self._kept_before(operand, ledger, wanted)
        for revision in sorted(missing):
            again = ledger.records[revision]
            contents = await self._again(operand, ledger, again, contents_by_key)
            for name, content in zip(again.names, contents, strict=True):
                if content.digest != again.content(name).digest:
                    raise _gone(revision)
                contents_by_key.setdefault((name, revision), ReadableContent(content, is_new=True))
        for key, each in contents_by_key.items():
            if each.is_new and key != wanted:
                await self._let_go(operand, each.content)
        return contents_by_key[wanted]

    async def made_again(
        self, operand: Operand, ledger: Ledger, record: WrittenRecord
    ) -> ReadableContent:
        """What a write that has a change leaves in the operand's field when it is made anew.

        Whether that is what its event tells is the caller's to look at. Raises StateGone.
        """
        inputs: dict[_Key, ReadableContent] = {}
        for name, revision in _comes_from(ledger, record):
            one = replace(operand, name=name)
            inputs[name, revision] = await self.content(one, ledger, ledger.records[revision])
        contents = await self._again(operand, ledger, record, inputs)
        is_computed = bool(record.written.change and record.written.change.applied)
        made = dict(zip(record.names, contents, strict=True))
        for key, each in inputs.items():
            if each.content not in made.values():
                await self.let_go(replace(operand, name=key[0]), each)
        for name, content in made.items():
            if is_computed and name != operand.name:
                await self._let_go(operand, content)
        return ReadableContent(made[operand.name], is_new=is_computed)

    async def recomputed(
        self, operand: Operand, change: FieldChange, before: Sequence[FieldContent | None]
    ) -> Sequence[FieldContent]:
        """Apply the chain of a change to what was before, and keep what comes out of it."""
        own = before[0]
        assert own is not None, "there are real parts"
        applied = convert.applied_from(change.applied)
        chain = Chain.of(convert.steps(applied.transforms), operand.fit(own))
        return (await self._applier.apply(operand, before, chain)).contents

    async def owned(self, operand: Operand, readable: ReadableContent) -> FieldContent:
        """The same content, of which no event speaks yet: one at most speaks of an array."""
        content = readable.content
        if readable.is_new or not content.array_id:
            return content
        source, arrays = await self.source(operand, content), self._writer.arrays
        place = ArrayPlace.new(operand.tenant, operand.lattice_id)
        assert source.place is not None, "it has an array"
        with self._writer.removed_on_failure(place):
            layout, digests = source.layout, source.digests
            kept = [n for n, digest in enumerate(digests) if digest != layout.filled_digest(n)]
            await arrays.copy_chunks(source.place, place, layout, kept)
            digest = await arrays.seal(place, layout, digests)
        return FieldContent(
            number_type=content.number_type,
            digest=digest,
            fill=content.fill,
            array_id=place.array_id,
        )

    async def let_go(self, operand: Operand, readable: ReadableContent) -> None:
        """Keep nothing of what was made for this call alone."""
        if readable.is_new:
            await self._let_go(operand, readable.content)

    async def _kept_before(
        self, operand: Operand, ledger: Ledger, wanted: _Key
    ) -> tuple[dict[_Key, ReadableContent], set[int]]:
        """What is kept of what a write comes from, and which writes have to be computed anew."""
        kept: dict[_Key, ReadableContent] = {}
        missing: set[int] = set()
        looked_for = [wanted]
        while looked_for:
            name, revision = looked_for.pop()
            if (name, revision) in kept or revision in missing:
                continue
            record = ledger.records[revision]
            content = record.content(name)
            if await self.is_kept(operand, content):
                kept[name, revision] = ReadableContent(content, is_new=False)
                continue
            missing.add(revision)
            looked_for += _comes_from(ledger, record)
        return kept, missing

    async def _again(
        self,
        operand: Operand,
        ledger: Ledger,
        record: WrittenRecord,
        inputs: dict[_Key, ReadableContent],
    ) -> Sequence[FieldContent]:
        change = record.written.change
        assert change is not None, "what has none comes from nothing"
        sources = dict(_comes_from(ledger, record))
        # Imaginary parts that there were none of began as 0.
        before = [
            inputs[name, sources[name]].content if name in sources else None
            for name in record.names
        ]
        if not change.applied:
            return [
                content or zeros(operand, record, name)
                for content, name in zip(before, record.names, strict=True)
            ]
        if before[0] is None:
            raise _gone(record.revision)  # with its field
        own = Operand(
            tenant=operand.tenant,
            lattice=operand.lattice,
            name=record.written.name,
            imaginary=record.names[1] if len(record.names) > 1 else "",
        )
        return await self.recomputed(own, change, before)

    async def _let_go(self, operand: Operand, content: FieldContent) -> None:
        if content.array_id:
            place = ArrayPlace(operand.tenant, operand.lattice_id, content.array_id)
            await self._writer.arrays.remove(place)


def zeros(operand: Operand, record: WrittenRecord, name: str) -> FieldContent:
    """Imaginary parts that there are none of."""
    kind = record.content(name).number_type
    shape = operand.lattice.spec.geometry.shape
    return FieldContent.constant(kind, shape, bytes(kind.size_bytes))


def _comes_from(ledger: Ledger, record: WrittenRecord) -> Iterator[_Key]:
    """The writes that a write came from; raises StateGone where a caller sent it."""
    change = record.written.change
    if change is None:
        raise _gone(record.revision)
    is_restored = not change.applied
    for name in record.names:
        if not is_restored:
            before = ledger.before(name, record.revision)
        elif change.kind is ChangeKind.UNDONE:
            before = ledger.before(name, change.of_revision)
        else:
            before = ledger.behind(name, change.of_revision)
        if before is not None:
            yield name, before.revision


def _gone(revision: int) -> StateGone:
    return StateGone("what the field was then is not kept any more", earliest_revision=revision + 1)
