"""Takes the steps of a simulation, records what is observed, and keeps all of it as bytes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from services.lattice.domain import LatticeSpec
from services.lattice.simulations.automata import GraphAutomaton, PlaneAutomaton
from services.lattice.simulations.diffusion import BoxDiffusion
from services.lattice.simulations.growth import ClusterGrowth
from services.lattice.simulations.ising import MultispinIsing
from services.lattice.simulations.models import (
    AnyModel,
    CellularAutomaton,
    Diffusion,
    Ising,
    PercolationGrowth,
    Potts,
    RandomWalks,
    Sandpile,
)
from services.lattice.simulations.sandpile import GraphSandpile
from services.lattice.simulations.simulation import Arrays, Setup, Simulation
from services.lattice.simulations.spins import GraphSpins
from services.lattice.simulations.threads import Threads
from services.lattice.simulations.walks import Walkers

RECORDS_MAX = 100_000
_STRETCH_S = 0.05
"""Steps are taken so long in one go before the clock is looked at again."""
_GROWTH = 4.0
"""How much longer than the last a stretch may be: rates are not known at first."""
_LENGTH_BYTES = 4


class UnreadableState(Exception):
    """What was kept is no state of this simulation."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What is simulated, how long, and what is recorded of it. May be sent to another process."""

    spec: LatticeSpec
    model: AnyModel
    seed: int
    steps: int
    record_every: int
    discard_steps: int
    inputs: Mapping[str, NDArray[np.generic]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """How far a run is, and what was recorded since it was asked last."""

    steps_done: int
    steps_per_s: float
    rows: NDArray[np.float64]
    """Of shape (records, 1 + observables)."""


class Run:
    """A simulation under way. Not for several threads at once."""

    def __init__(self, plan: RunPlan, threads: Threads) -> None:
        self.plan = plan
        self.steps_done = 0
        self._simulation = _begun(plan, threads)
        self._rows: list[tuple[float, ...]] = []
        self._reported_count = 0
        self._rate = 0.0
        self._stretch = 1.0

    @property
    def is_done(self) -> bool:
        return self.steps_done >= self.plan.steps

    def go_on(self, seconds: float) -> Stretch:
        """Take steps for about so long, or all there are."""
        began_s = time.perf_counter()
        began_at = self.steps_done
        while not self.is_done and time.perf_counter() - began_s < seconds:
            self._take_some()
        took_s = time.perf_counter() - began_s
        if took_s > 0:
            self._rate = (self.steps_done - began_at) / took_s
        rows, self._reported_count = self._rows[self._reported_count :], len(self._rows)
        return Stretch(
            steps_done=self.steps_done, steps_per_s=self._rate, rows=_as_array(rows, self._width)
        )

    def result(self) -> NDArray[np.generic]:
        """What is left, in the lattice's shape and of the model's type."""
        kind = self.plan.model.result_type
        return np.ascontiguousarray(self._simulation.result(), kind.dtype)

    def state(self) -> bytes:
        """All of it, to be gone on with by `restore`, whatever process does."""
        rows = _as_array(self._rows, self._width)
        return _written(self.steps_done, self.plan.model.columns, rows, self._simulation.arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a state, whose records are known to who has it. Raises UnreadableState."""
        head, rows, begin = _opened(state)
        try:
            arrays = {}
            for name, dtype, shape in head["arrays"]:
                count = int(np.prod(shape, dtype=np.int64))
                array = np.frombuffer(state, np.dtype(dtype), count, begin)
                arrays[name] = array.reshape(shape)
                begin += array.nbytes
            self._simulation.restore(arrays)
            self.steps_done = int(head["steps_done"])
        except (KeyError, ValueError, TypeError) as error:
            raise UnreadableState from error
        self._rows = [tuple(row) for row in rows.tolist()]
        self._reported_count = len(self._rows)

    @property
    def _width(self) -> int:
        return 1 + len(self.plan.model.columns)

    def _take_some(self) -> None:
        plan = self.plan
        to_record = plan.record_every - self.steps_done % plan.record_every
        left = min(plan.steps - self.steps_done, to_record)
        count = max(1, min(left, int(self._stretch)))
        began_s = time.perf_counter()
        taken = self._simulation.advance(self.steps_done, count)
        took_s = max(time.perf_counter() - began_s, 1e-9)
        self._stretch = max(1.0, min(_STRETCH_S / took_s * taken, _GROWTH * self._stretch))
        self.steps_done += taken
        is_record = self.steps_done % plan.record_every == 0 or self.is_done
        if is_record and self.steps_done > plan.discard_steps:
            self._rows.append((float(self.steps_done), *self._simulation.observe()))


def records_only(steps_done: int, columns: Sequence[str], rows: NDArray[np.float64]) -> bytes:
    """A state without what would be gone on with: what was recorded."""
    return _written(steps_done, columns, rows, {})


def rows_of_state(state: bytes) -> tuple[Sequence[str], NDArray[np.float64]]:
    """The names of the observables, and what was recorded of them: (records, 1 + observables).

    Raises UnreadableState.
    """
    head, rows, _ = _opened(state)
    return head["columns"], rows


def end_of_records(state: bytes | bytearray) -> int | None:
    """How many bytes the head and the records of a state take, told by its beginning.

    None where not all of its head is there yet. Raises UnreadableState.
    """
    opened = _head(state)
    if opened is None:
        return None
    _, records, width, begin = opened
    return begin + 8 * records * width


def _begun(plan: RunPlan, threads: Threads) -> Simulation:
    setup = Setup(plan.spec, plan.seed, threads, plan.inputs)
    match plan.model:
        case Ising() as model if model.is_multispin(plan.spec):
            return MultispinIsing(model, setup)
        case Ising() | Potts() as model:
            return GraphSpins(model, setup)
        case CellularAutomaton() as model if model.is_plane(plan.spec):
            return PlaneAutomaton(model, setup)
        case CellularAutomaton() as model:
            return GraphAutomaton(model, setup)
        case Diffusion() as model:
            return BoxDiffusion(model, setup)
        case RandomWalks() as model:
            return Walkers(model, setup)
        case Sandpile() as model:
            return GraphSandpile(model, setup)
        case PercolationGrowth() as model:
            return ClusterGrowth(model, setup)


def _written(
    steps_done: int, columns: Sequence[str], rows: NDArray[np.float64], arrays: Arrays
) -> bytes:
    head = orjson.dumps(
        {
            "steps_done": steps_done,
            "columns": list(columns),
            "records": len(rows),
            "arrays": [[name, array.dtype.str, array.shape] for name, array in arrays.items()],
        }
    )
    parts = [len(head).to_bytes(_LENGTH_BYTES), head, rows.tobytes()]
    return b"".join([*parts, *(array.tobytes() for array in arrays.values())])


def _opened(state: bytes) -> tuple[dict[str, Any], NDArray[np.float64], int]:
    """The head of a state, its rows, and where its arrays begin. Raises UnreadableState."""
    opened = _head(state)
    if opened is None:
        raise UnreadableState
    head, records, width, begin = opened
    try:
        rows = np.frombuffer(state, "<f8", records * width, begin).reshape(records, width)
    except ValueError as error:
        raise UnreadableState from error
    return head, rows, begin + rows.nbytes


def _head(state: bytes | bytearray) -> tuple[dict[str, Any], int, int, int] | None:
    """The head of a state, how many records it has, of how many numbers, and where they begin.

    None where not all of the head is there. Raises UnreadableState.
    """
    begin = _LENGTH_BYTES + int.from_bytes(state[:_LENGTH_BYTES])
    if len(state) < max(begin, _LENGTH_BYTES):
        return None
    try:
        head = orjson.loads(state[_LENGTH_BYTES:begin])
        return head, int(head["records"]), 1 + len(head["columns"]), begin
    except (KeyError, ValueError, TypeError) as error:
        raise UnreadableState from error


def _as_array(rows: list[tuple[float, ...]], width: int) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(len(rows), width)
