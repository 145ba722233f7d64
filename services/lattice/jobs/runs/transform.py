"""A chain of transforms while this replica works on it: workers do it, box by box."""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import replace

from services.lattice.errors import ComputeBusy, StorageUnavailable, WorkersUnavailable
from services.lattice.fields.states import FieldState, LatticeFields
from services.lattice.jobs.domain import JobState, Progress
from services.lattice.jobs.messages import transform_of
from services.lattice.jobs.runs.run import JobRun
from services.lattice.state.journal import ChangeKind, FieldChange, FieldWritten
from services.lattice.transforms import convert
from services.lattice.transforms.applying import Operand, check_revision
from services.lattice.transforms.chain import Chain
from services.plumbing.errors import EventsUnavailable, ServiceError
from services.plumbing.logging import get_logger

_LOSSES_MAX = 3
"""Who has lost the workers so often will lose them again."""

_log = get_logger("jobs")


class TransformRun(JobRun):
    """A chain that this replica has claimed. It begins anew whenever it is claimed."""

    is_kept = False

    async def _run(self) -> None:
        made = await self._in_time(self._outcome(), 0.0)
        if made is None:
            await self._stop(None)
        elif isinstance(made, str):
            await self._end(JobState.FAILED, None, failure=made)
        else:
            await self._end(JobState.SUCCEEDED, None, written=made)

    def _check_write(self, known: LatticeFields, written: FieldWritten) -> None:
        self._field(known)
        self._parts.writer.check_young(self._tenant, written.lattice_id, written.content)

    def _field(self, known: LatticeFields) -> FieldState:
        """The field as it was when the job was started. Raises FieldNotFound and LatticeChanged."""
        spec = self.job.spec
        state = known.field(spec.result_field)
        check_revision(state, spec.field_revision, spec.lattice_id)
        return state

    async def _outcome(self) -> FieldWritten | str:
        """What is to be recorded, or why there is nothing."""
        try:
            return await self._written()
        except ServiceError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - whatever a worker raises, it would again
            _log.error("workers failed", job=self.job.job_id, exc_info=error)
            return "the workers failed; the log of the service has more"

    async def _written(self) -> FieldWritten:
        """What is to be recorded, once all that it takes is there."""
        losses = 0
        while True:
            try:
                return await self._made()
            except (ComputeBusy, EventsUnavailable, StorageUnavailable) as error:
                await asyncio.sleep(self._backoff.next_s(error.retry_after_s))
            except WorkersUnavailable as error:
                losses += 1
                if losses >= _LOSSES_MAX:
                    raise
                await asyncio.sleep(self._backoff.next_s(error.retry_after_s))

    async def _made(self) -> FieldWritten:
        """The chain applied to the field, from its beginning."""
        spec, parts = self.job.spec, self._parts
        asked = transform_of(spec)
        assert asked is not None, "it is a job that transforms"
        lattice = await parts.lattices.open(self._tenant, spec.lattice_id)
        state = self._field(await parts.fields.confirmed(self._tenant, spec.lattice_id))
        operand = Operand(tenant=self._tenant, lattice=lattice, name=spec.result_field)
        chain = Chain.of(convert.steps(asked.transforms), operand.fit(state.content))
        passes = parts.distributor.planned(chain)
        self._began_s = time.monotonic()
        content, reports = await parts.distributor.carried_out(
            self._tenant,
            spec.lattice_id,
            state.content,
            chain,
            passes,
            self._counting(sum(work.box_count for work in passes)),
        )
        change = FieldChange(
            kind=ChangeKind.TRANSFORMED,
            before_digest=state.content.digest,
            applied=convert.applied_chain(asked.transforms, reports),
        )
        return FieldWritten(
            lattice_id=spec.lattice_id, name=spec.result_field, content=content, change=change
        )

    def _counting(self, box_count: int) -> Callable[[], None]:
        """What makes the job's progress of boxes that are done, called by any thread."""
        loop, done = asyncio.get_running_loop(), itertools.count(1)

        def note(boxes_done: int) -> None:
            # Another replica may cut other boxes than who admitted the job.
            steps_done = self.job.spec.steps * boxes_done // box_count
            rate = steps_done / self.ran_s if self.ran_s > 0 else 0.0
            progress = Progress(
                steps_done=steps_done,
                elapsed_s=self._elapsed_before_s + self.ran_s,
                steps_per_s=rate,
                left_s=(self.job.spec.steps - steps_done) / rate if rate > 0 else 0.0,
            )
            self.job = replace(self.job, progress=progress)
            self._published(self.job)

        def box_done() -> None:
            loop.call_soon_threadsafe(note, next(done))

        return box_done
