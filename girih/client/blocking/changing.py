# Made of girih/client/lattices/changing.py by `python -m release.blocking_client`: change that.
"""Transforms, history and jobs of lattices, without asyncio. Knows the rpcs."""

from collections.abc import Generator, Mapping
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

from girih.client.blocking.asking import Asking
from girih.client.blocking.calls import parts
from girih.client.lattices import history, jobs, transforms
from girih.client.lattices.history import (
    Change,
    Difference,
    LatticeState,
    RestoredBlocked,
    RestoredField,
    Verification,
)
from girih.client.lattices.jobs import Job
from girih.client.lattices.questions import Streamed
from girih.client.lattices.transforms import Chain, Transformed, TransformedBlocked
from girih.client.lattices.values import Lattice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Transforms(Asking):
    """Chains of transforms, each an event that can be undone.

    Every method takes a chain as in the contract's JSON, `[{"reflect": {"axes": [0]}}, ...]`; it is
    applied wholly or not at all, and repeated by itself once. Raises ValueError for steps that are
    none of the contract's, InvalidRequest where they do not fit, WorkTooLarge, and Conflict where
    `expected_revision` is not that of the last change.
    """

    def field(
        self,
        lattice: Lattice | str,
        name: str,
        chain: Chain,
        *,
        imaginary: str = "",
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> Transformed:
        """Transform a field, with `imaginary`, another one, as complex numbers. What takes longer
        than a call may is a job: `girih.lattices.jobs.transform`."""
        question = transforms.field(
            lattice, name, chain, imaginary=imaginary, expected_revision=expected_revision
        )
        return self._asked(question, timeout)

    def blocked(
        self,
        lattice: Lattice | str,
        chain: Chain,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> TransformedBlocked:
        """Transform which sites are blocked."""
        question = transforms.blocked(lattice, chain, expected_revision=expected_revision)
        return self._asked(question, timeout)


class History(Asking):
    """What happened to lattices: listed, undone, done again, compared and verified.

    Every method raises LatticeNotFound, and where it needs a field that there was FieldNotFound.
    """

    def changes(
        self, lattice: Lattice | str, name: str = "", *, timeout: float | None = None
    ) -> Generator[Change]:
        """All that happened to a lattice, or to one of its fields, oldest first."""
        pages = history.Changes(lattice, name)
        while True:
            yield from self._asked(pages.page(), timeout)
            if pages.is_done:
                return

    def undo(
        self,
        lattice: Lattice | str,
        name: str,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> RestoredField:
        """Undo the last change of a field; repeated by itself it is done once. Raises Conflict
        where `expected_revision` is not the field's, and GirihError (`NOTHING_TO_UNDO`)."""
        return self._asked(history.undo(lattice, name, expected_revision), timeout)

    def redo(
        self,
        lattice: Lattice | str,
        name: str,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> RestoredField:
        """Do again what was undone last; as `undo` (`NOTHING_TO_REDO`)."""
        return self._asked(history.redo(lattice, name, expected_revision), timeout)

    def undo_blocked(
        self,
        lattice: Lattice | str,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> RestoredBlocked:
        """Undo the last change of which sites are blocked, as `undo`."""
        return self._asked(history.undo_blocked(lattice, expected_revision), timeout)

    def redo_blocked(
        self,
        lattice: Lattice | str,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> RestoredBlocked:
        """Do again what of the blocked sites was undone last, as `redo`."""
        return self._asked(history.redo_blocked(lattice, expected_revision), timeout)

    def state(
        self,
        lattice: Lattice | str,
        at: int | datetime | None = None,
        *,
        timeout: float | None = None,
    ) -> LatticeState:
        """A lattice behind the event of a revision, or behind the last one by a time; None is now.
        Raises ValueError for a time without a time zone."""
        return self._asked(history.state(lattice, at), timeout)

    def diff(
        self,
        lattice: Lattice | str,
        name: str,
        from_revision: int,
        to_revision: int | None = None,
        *,
        regions_max: int = 0,
        timeout: float | None = None,
    ) -> Difference:
        """How a field at one revision differs from it at another, or from it now. At most
        `regions_max` regions are listed, 0 for 64. Raises GirihError (`STATE_GONE`)."""
        question = history.diff(lattice, name, from_revision, to_revision, regions_max)
        return self._asked(question, timeout)

    def verify(self, lattice: Lattice | str, *, timeout: float | None = None) -> Verification:
        """Replay a lattice's events and compare every digest. Takes as much time as they did."""
        return self._streamed(Streamed("VerifyLattice", history.Verifying(lattice)), timeout)


class Jobs(Asking):
    """What takes longer than a call: simulations, and transforms by workers.

    A job is given as the value that these methods answer, or by its id. It goes on whether anybody
    watches or not. Every method that needs one raises NotFound.
    """

    def start(
        self,
        lattice: Lattice | str,
        simulation: Mapping[str, object],
        steps: int,
        *,
        seed: int | None = None,
        record_every: int = 0,
        discard_steps: int = 0,
        initial_field: str = "",
        result_field: str = "",
        timeout: float | None = None,
    ) -> Job:
        """Start a simulation, as in the contract's JSON: `{"ising": {"temperature": 2.3}}`.
        Repeated by itself it is started once.

        Observables are recorded every `record_every` steps behind `discard_steps`; 0 is so often
        that there are 1,000 records at most. What is left is written into `result_field`. Raises
        InvalidRequest, WorkTooLarge and PlanLimit, and ValueError for what is no simulation.
        """
        question = jobs.start(
            lattice,
            simulation,
            steps,
            seed=seed,
            record_every=record_every,
            discard_steps=discard_steps,
            initial_field=initial_field,
            result_field=result_field,
        )
        return self._asked(question, timeout)

    def transform(
        self,
        lattice: Lattice | str,
        name: str,
        chain: Chain,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Start a chain of transforms of a field that is larger than memory: workers apply it box
        by box to what the field is now. Repeated by itself it is started once. Raises as
        `start`, and Conflict where `expected_revision` is not the field's."""
        question = jobs.transform(lattice, name, chain, expected_revision=expected_revision)
        return self._asked(question, timeout)

    def transform_blocked(
        self,
        lattice: Lattice | str,
        chain: Chain,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> Job:
        """The same of which sites are blocked. What else changes those meanwhile fails the job."""
        question = jobs.transform_blocked(lattice, chain, expected_revision=expected_revision)
        return self._asked(question, timeout)

    def label_components(
        self, lattice: Lattice | str, result_field: str, *, timeout: float | None = None
    ) -> Job:
        """Start the labelling of a lattice's components, where it has too many sites for
        `structure.labels`: workers write them into a field. Raises as `start`."""
        return self._asked(jobs.label_components(lattice, result_field), timeout)

    def get(self, job: Job | str, *, timeout: float | None = None) -> Job:
        """A job as it is now."""
        return self._asked(jobs.get(job), timeout)

    def list(self, *, open_only: bool = False, timeout: float | None = None) -> Generator[Job]:
        """All of the tenant, or those that wait or run, the newest first."""
        pages = jobs.Jobs(open_only=open_only)
        while True:
            yield from self._asked(pages.page(), timeout)
            if pages.is_done:
                return

    def watch(self, job: Job | str, *, timeout: float | None = None) -> Generator[Job]:
        """A job as it is, and again whenever there is something new, up to its end, which comes
        last. Goes on by itself when its call breaks off; `timeout` is for one piece of news."""
        watching = parts(self._caller, self._stub.WatchJob, jobs.Watching(job), timeout)
        with closing(watching) as news:
            yield from news

    def cancel(self, job: Job | str, *, timeout: float | None = None) -> Job:
        """Have a job stop; what it has done is kept, but of a labelling. Repeated by itself it is
        done once. Raises GirihError (`JOB_ENDED`)."""
        return self._asked(jobs.cancel(job), timeout)

    def continue_(self, job: Job | str, *, timeout: float | None = None) -> Job:
        """Go on with a job that was cancelled: from where its state was kept last, a labelling from
        its beginning. Raises GirihError (`JOB_NOT_CANCELLED`)."""
        return self._asked(jobs.continue_(job), timeout)

    def series(self, job: Job | str, *, timeout: float | None = None) -> "NDArray[np.generic]":
        """What a simulation has recorded, up to its last checkpoint: a float64 array of shape
        (records, 1 + observables). The first column is the step, the others are `job.observables`
        in their order."""
        return self._streamed(Streamed("ReadSeries", jobs.Series(job)), timeout)
