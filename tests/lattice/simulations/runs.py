"""Simulations that run in the process of the tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.domain import LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.simulations.models import AnyModel
from services.lattice.simulations.running import Run, RunPlan, rows_of_state
from services.lattice.simulations.series import Summary, summarize
from services.lattice.simulations.threads import Threads


def box(
    *shape: int, ring: bool = False, moore: bool = False, blocked: NDArray[np.bool_] | None = None
) -> LatticeSpec:
    bitmap = b"" if blocked is None else np.packbits(blocked.ravel(), bitorder="little").tobytes()
    geometry = Geometry(shape, (ring,) * len(shape), moore=moore, no_cutting=True)
    return LatticeSpec(geometry=geometry, blocked=bitmap)


def run(
    spec: LatticeSpec,
    model: AnyModel,
    steps: int,
    *,
    seed: int = 7,
    every: int = 0,
    discard: int = 0,
    threads: int = 1,
    interrupted: bool = False,
    **inputs: NDArray[Any],
) -> "Done":
    """All steps of a simulation; an interrupted one is saved and begun anew all the time."""
    plan = RunPlan(
        spec=spec,
        model=model,
        seed=seed,
        steps=steps,
        record_every=every or steps,
        discard_steps=discard,
        inputs=inputs,
    )
    going = Run(plan, Threads(threads))
    while not going.is_done:
        going.go_on(0.001 if interrupted else 10.0)
        if interrupted:
            state = going.state()
            going = Run(plan, Threads(threads))
            going.restore(state)
    return Done(going)


class Done:
    """What is left of a simulation."""

    def __init__(self, going: Run) -> None:
        self._going = going
        self.columns, self.rows = rows_of_state(going.state())

    @property
    def result(self) -> NDArray[Any]:
        """Of the lattice's shape."""
        return self._going.result()

    @property
    def last(self) -> Mapping[str, float]:
        """The observables as they were recorded last."""
        return dict(zip(self.columns, self.rows[-1, 1:].tolist(), strict=True))

    def summary(self, name: str) -> Summary:
        summaries: Sequence[Summary] = summarize(self.columns, self.rows)
        return next(each for each in summaries if each.name == name)


def deviation(summary: Summary, exact: float) -> float:
    """By how many standard errors a mean is off."""
    return abs(summary.mean - exact) / summary.error
