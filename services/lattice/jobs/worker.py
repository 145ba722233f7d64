"""The process that a job is run in: `python -m services.lattice.jobs.worker DESCRIPTOR`.

Does what the replica asks, one thing after the other, and ends with it. Runs when nothing else
wants the core.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.plumbing.beside.work import Work, serve, stand_back

if TYPE_CHECKING:
    from services.lattice.simulations.running import Run, RunPlan, Stretch

_RUNNING = "services.lattice.simulations.running"

BEGIN, GO_ON, STATE, RESULT = "begin", "go on", "state", "result"
"""What may be asked."""


@dataclass(frozen=True)
class WorkerSetup:
    """What a process is begun with."""

    threads: int
    niceness: int


class _Worker:
    """One run."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._run: Run | None = None

    def work(self, what: str, *arguments: object) -> object:
        if what == BEGIN:
            return self._begin(*arguments)  # type: ignore[arg-type] # as asked
        assert self._run is not None, "a run is begun first"
        if what == GO_ON:
            return self._go_on(self._run, *arguments)  # type: ignore[arg-type] # as asked
        if what == STATE:
            return self._run.state()
        return self._run.result()

    def _begin(self, plan: "RunPlan", state: bytes) -> int:
        """Begin a run, or go on from a state that is not empty; the steps done."""
        # Imported here: the kernels must find the compiler's settings, and take some time.
        from services.lattice.simulations.running import Run
        from services.lattice.simulations.threads import Threads

        self._run = Run(plan, Threads(self._setup.threads))
        if state:
            self._run.restore(state)
        return self._run.steps_done

    @staticmethod
    def _go_on(run: "Run", seconds: float) -> "Stretch":
        return run.go_on(seconds)


def start(setup: WorkerSetup) -> tuple[Work, int]:
    """What the process does, and with how many threads."""
    # What is imported here is asked for by every run, and is no work yet.
    importlib.import_module(_RUNNING)
    stand_back(setup.niceness)
    return _Worker(setup).work, 1


if __name__ == "__main__":
    serve(start)
