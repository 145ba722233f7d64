"""A chain while this replica works on it: workers do it, box by box, and what they have done is
kept now and then. Knows not what it is applied to.

A checkpoint says which array is being made and has the digests of its chunks: the numbers are
there already. Of two replicas that have one checkpoint each goes on in an array of its own.
"""

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import orjson

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.errors import ChunkDamaged, StorageUnavailable
from services.lattice.jobs.domain import Checkpoint, Job
from services.lattice.jobs.journal import Written
from services.lattice.jobs.runs.run import JobParts, JobTimes, Published
from services.lattice.jobs.runs.workers import WorkersRun
from services.lattice.state.journal import FieldWritten
from services.lattice.storage.arrays import ArrayPlace
from services.lattice.transforms.chain import Chain, Report
from services.lattice.transforms.distributing import ChainState
from services.lattice.transforms.passes import Taken
from services.plumbing.logging import get_logger

_log = get_logger("jobs")


class ChainRun(WorkersRun):
    """A chain that this replica has claimed."""

    def __init__(
        self, parts: JobParts, times: JobTimes, tenant: TenantId, job: Job, published: Published
    ) -> None:
        super().__init__(parts, times, tenant, job, published)
        self._state: ChainState | None = None
        """How far it is, as whoever waits for boxes has noted last."""
        self._kept: ChainState | None = None
        """The same as it was kept last."""
        self._checkpoint = job.checkpoint
        self._arrays: set[str] = set()
        """What is made on the way, for no event to speak of."""

    async def _applied(
        self, content: FieldContent, chain: Chain
    ) -> tuple[FieldContent, Sequence[Report]]:
        """What a chain makes of numbers, from where it was."""
        passes = self._parts.distributor.planned(chain)
        *before, box_count = accumulate((work.box_count for work in passes), initial=0)
        counted = self._counting(box_count)

        def note(state: ChainState) -> None:
            # In this order: who drops what is not needed looks at them the other way around.
            self._state = state
            self._arrays |= _made_on_the_way(state)
            counted(before[state.number] + state.boxes_done)

        begun = self._state or await self._last_state()
        if begun is not None:
            self._arrays |= _made_on_the_way(begun)
        return await self._parts.distributor.carried_out(
            self._tenant, self.job.spec.lattice_id, content, chain, passes, begun, note
        )

    async def _new_checkpoint(self) -> Checkpoint | None:
        state, now_s = self._state, time.monotonic()
        if state is self._kept or state is None or now_s - self._kept_s < self._times.checkpoint_s:
            return None
        steps = self.job.progress.steps_done
        try:
            self._checkpoint = await self._parts.storage.save(
                self._tenant, self.job.job_id, encoded(state), steps
            )
        except StorageUnavailable as error:
            _log.warning(
                "the state of a job is not kept", job=self.job.job_id, problem=error.message
            )
            return None
        self._kept, self._kept_s = state, now_s
        return self._checkpoint

    async def _last_state(self) -> ChainState | None:
        """What the job goes on from; None when it begins, or when nothing of it is left."""
        if self._checkpoint is None:
            return None
        try:
            return decoded(
                await self._parts.storage.load(self._tenant, self.job.job_id, self._checkpoint)
            )
        except (ChunkDamaged, ValueError, KeyError, TypeError):
            _log.warning("the state of a job is lost; it begins anew", job=self.job.job_id)
            return None

    async def _drop_others(self, checkpoint: Checkpoint) -> None:
        """Keep no state but the last, and of what was made what that and the passes need."""
        await super()._drop_others(checkpoint)
        made = set(self._arrays)
        needed = [_made_on_the_way(state) for state in (self._kept, self._state) if state]
        await self._drop(made.difference(*needed))

    async def _drop(self, array_ids: Collection[str]) -> None:
        with suppress(StorageUnavailable):
            for array_id in array_ids:
                place = ArrayPlace(self._tenant, self.job.spec.lattice_id, array_id)
                await self._parts.writer.arrays.remove(place)
                self._arrays.discard(array_id)

    async def _tidy(self, written: Written | None) -> None:
        with suppress(StorageUnavailable):
            state = self._state or await self._last_state()
            if state is not None:
                self._arrays |= _made_on_the_way(state)
            if isinstance(written, FieldWritten):
                self._arrays.discard(written.content.array_id)
            await self._drop(set(self._arrays))
            if self._checkpoint is not None:
                kept = [self._checkpoint.array_id]
                await self._parts.storage.drop(self._tenant, self.job.job_id, kept)


def _made_on_the_way(state: ChainState) -> set[str]:
    """The first pass reads what somebody else has made."""
    return {state.target, state.source.array_id} if state.number else {state.target}


def encoded(state: ChainState) -> bytes:
    """A state as it is kept."""
    source = state.source
    return orjson.dumps(
        {
            "plan": state.plan,
            "number": state.number,
            "source": [source.number_type.value, source.digest, source.fill.hex(), source.array_id],
            "target": state.target,
            "boxes_done": state.boxes_done,
            "digests": [[at, digest.hex()] for at, digest in state.digests.items()],
            "bounds": state.bounds,
            "taken": [[one.step, one.auxiliary_bytes, one.clamped_count] for one in state.taken],
        }
    )


def decoded(data: bytes) -> ChainState:
    """A state that was kept. Raises ValueError, KeyError and TypeError for what is none."""
    kept: dict[str, Any] = orjson.loads(data)
    number_type, digest, fill, array_id = kept["source"]
    return ChainState(
        plan=kept["plan"],
        number=kept["number"],
        source=FieldContent(
            number_type=NumberType(number_type),
            digest=digest,
            fill=bytes.fromhex(fill),
            array_id=array_id,
        ),
        target=kept["target"],
        boxes_done=kept["boxes_done"],
        digests={at: bytes.fromhex(text) for at, text in kept["digests"]},
        bounds=None if kept["bounds"] is None else tuple(kept["bounds"]),
        taken=tuple(Taken(*each) for each in kept["taken"]),
    )
