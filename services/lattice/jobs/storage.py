"""What is kept of jobs beside their events: states, fields that they start from, and marks.

All of it may be lost. Without its state a job begins anew; without its mark it is found when its
tenant asks for its jobs next.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.jobs.domain import Checkpoint, JobId
from services.lattice.simulations.running import end_of_records
from services.lattice.simulations.simulation import Arrays
from services.lattice.storage.arrays import ArrayPlace, ArrayStore
from services.lattice.storage.bitmaps import KeptBitmaps
from services.lattice.storage.objects import ObjectExists, ObjectMissing

_STATES = "girih-jobs"
_MARKS = "girih-open-jobs"
"""Folders of all tenants. No tenant of a user is named so."""
_SUBJECT = "started-by"


class JobStorage:
    """Keeps the states of jobs, and what they start from, where arrays are kept."""

    def __init__(self, arrays: ArrayStore) -> None:
        self._arrays = arrays
        self._states = KeptBitmaps(arrays)
        self._reader = FieldReader(arrays)

    async def save(self, tenant: TenantId, job_id: JobId, state: bytes, steps: int) -> Checkpoint:
        """Keep a state, durably."""
        array_id, digest = await self._states.save(_folder(tenant), job_id, state)
        return Checkpoint(array_id=array_id, digest=digest, size_bytes=len(state), steps_done=steps)

    async def load(self, tenant: TenantId, job_id: JobId, kept: Checkpoint) -> bytes:
        """A state that was kept. Raises ChunkDamaged unless it is what was kept."""
        return await self._states.load(
            _folder(tenant), job_id, kept.array_id, kept.digest, kept.size_bytes
        )

    async def records(self, tenant: TenantId, job_id: JobId, kept: Checkpoint) -> bytes:
        """The beginning of a state, with all that was recorded: the rest of it is not read.

        Raises ChunkDamaged unless it is what was kept.
        """
        pieces = self._states.pieces(
            _folder(tenant), job_id, kept.array_id, kept.digest, kept.size_bytes
        )
        state = bytearray()
        async with aclosing(pieces) as coming:
            async for piece in coming:
                state += piece
                end = end_of_records(state)
                if end is not None and end <= len(state):
                    return bytes(state[:end])
        return bytes(state)

    async def copy(self, tenant: TenantId, job_id: JobId, source: FieldSource) -> FieldContent:
        """A field of a lattice as one of the job's, which no write to the lattice removes."""
        content, layout = source.content, source.layout
        if source.place is None:
            return content
        place = ArrayPlace.new(_folder(tenant), job_id)
        kept = [
            ordinal
            for ordinal, digest in enumerate(source.digests)
            if digest != layout.filled_digest(ordinal)
        ]
        await self._arrays.copy_chunks(source.place, place, layout, kept)
        await self._arrays.seal(place, layout, source.digests)
        return replace(content, array_id=place.array_id)

    async def inputs(
        self,
        tenant: TenantId,
        job_id: JobId,
        shape: tuple[int, ...],
        contents: Mapping[str, FieldContent],
    ) -> Arrays:
        """The numbers that a job starts from. Raises ChunkDamaged."""
        arrays = {}
        for purpose, content in contents.items():
            source = await self._reader.source(_folder(tenant), job_id, shape, content)
            arrays[purpose] = await self._reader.array(source)
        return arrays

    async def drop(self, tenant: TenantId, job_id: JobId, array_ids: Iterable[str]) -> None:
        """Keep these arrays of a job no longer."""
        for array_id in array_ids:
            await self._arrays.objects.remove(f"{_folder(tenant)}/{job_id}/{array_id}")

    async def drop_older(
        self, tenant: TenantId, job_id: JobId, checkpoint: Checkpoint, inputs: frozenset[str]
    ) -> None:
        """Keep no state of a job that was begun before this one. Later ones are another's, who
        has taken the job over."""
        folder = f"{_folder(tenant)}/{job_id}"
        async for array_id in self._arrays.objects.folders(folder):
            if array_id < checkpoint.array_id and array_id not in inputs:
                await self._arrays.objects.remove(f"{folder}/{array_id}")


class OpenJobs:
    """Marks of the jobs that wait or run, for every replica to find, whoever calls it."""

    def __init__(self, arrays: ArrayStore) -> None:
        self._objects = arrays.objects

    async def mark(self, tenant: TenantId, job_id: JobId, subject: str) -> None:
        """Say that a job waits or runs, and in whose name. Saying so again changes nothing."""
        try:
            await self._objects.put(f"{_MARKS}/{tenant}/{job_id}/{_SUBJECT}", [subject.encode()])
        except ObjectExists:
            return

    async def unmark(self, tenant: TenantId, job_id: JobId) -> None:
        await self._objects.remove(f"{_MARKS}/{tenant}/{job_id}")

    async def all(self) -> AsyncIterator[tuple[TenantId, JobId]]:
        """All that are marked."""
        async for tenant in self._objects.folders(_MARKS):
            async for job_id in self._objects.folders(f"{_MARKS}/{tenant}"):
                yield TenantId(tenant), JobId(job_id)

    async def subject(self, tenant: TenantId, job_id: JobId) -> str:
        """In whose name a job runs; empty where it is not marked."""
        try:
            data = await self._objects.get(f"{_MARKS}/{tenant}/{job_id}/{_SUBJECT}")
        except ObjectMissing:
            return ""
        return data.decode("ascii", "replace")


def arrays_of(inputs: Mapping[str, FieldContent]) -> frozenset[str]:
    """The arrays that hold what a job starts from."""
    return frozenset(content.array_id for content in inputs.values() if content.array_id)


def _folder(tenant: TenantId) -> str:
    return f"{_STATES}/{tenant}"
