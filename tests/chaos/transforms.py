"""Kills in the middle of transforms: every lattice ends as after one uninterrupted run.

Chains of transforms, undoing and doing again are sent through one of two replicas, each with a
request id. The replica is killed -9 at a moment that chance chooses; then the same request goes to
the other one, until it is answered. In the end each field has the numbers and the digest that the
same steps make here, one after the other and with nobody killed; the history has each step once;
and a replay from the events finds every digest.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import grpc.aio
import numpy as np
from google.api.httpbody_pb2 import HttpBody

from girih.lattice.v1 import chains_pb2, fields_pb2, history_pb2, lattice_pb2, transforms_pb2
from girih.lattice.v1.fields_pb2_grpc import FieldServiceStub
from girih.lattice.v1.history_pb2_grpc import HistoryServiceStub
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.lattice.v1.transforms_pb2_grpc import TransformServiceStub
from services.lattice.arrays.number_type import NumberType
from services.lattice.transforms import convert
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.step import Fit
from services.plumbing.grpc.channel import open_channel
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

_SHAPE = (40, 50, 40)
"""640 kB of doubles: kept in chunks, and computed in a moment."""
_NAMES = ("a", "b", "c")
_KILLED_WITHIN_S = 0.3
_TRIED_FOR_S = 120.0
_SETTINGS = {"LATTICE_FRESHNESS_S": "0.1", "LATTICE_HISTORY_S": "86400"}
_GO = np.zeros(1, np.uint8)


@dataclass
class TransformKills:
    """Figures, and every broken promise with how often it was."""

    figures: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)

    def count(self, figure: str, by: int = 1) -> None:
        self.figures[figure] = self.figures.get(figure, 0) + by

    def breaks(self, promise: str) -> None:
        self.broken[promise] = self.broken.get(promise, 0) + 1


class _Replica:
    """A process of the lattice service, and stubs of it."""

    def __init__(self, process: Process, channel: grpc.aio.Channel) -> None:
        self.process = process
        self.lattices = LatticeServiceStub(channel)
        self.fields = FieldServiceStub(channel)
        self.transforms = TransformServiceStub(channel)
        self.history = HistoryServiceStub(channel)


@dataclass
class _Field:
    """What a field must be: all states that it can be turned to."""

    done: list[np.ndarray]
    undone: list[np.ndarray] = field(default_factory=list)
    changes: int = 0


@dataclass
class _Run:
    caller: Caller
    lattice_id: str
    replicas: list[_Replica]
    dice: random.Random
    outcome: TransformKills
    fields: dict[str, _Field] = field(default_factory=dict)


async def kill_during_transforms(kills: int, seed: int) -> TransformKills:
    """Prove it with so many kills."""
    outcome = TransformKills()
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        made = [lattice_process(events_address, folder, **_SETTINGS) for _ in range(2)]
        processes = [events, *(process for process, _ in made)]
        with ending(*processes):
            for process in processes:
                process.start()
            for process in processes:
                await asyncio.to_thread(process.wait_ready)
            async with _connected(made) as replicas:
                run = await _begun(Caller(authority_of(folder)), replicas, seed, outcome)
                for _ in range(kills):
                    await _kill_once(run)
                await _check(run)
    return outcome


@asynccontextmanager
async def _connected(made: list[tuple[Process, str]]) -> AsyncIterator[list[_Replica]]:
    async with AsyncExitStack() as stack:
        yield [
            _Replica(process, await stack.enter_async_context(open_channel(address)))
            for process, address in made
        ]


async def _begun(
    caller: Caller, replicas: list[_Replica], seed: int, outcome: TransformKills
) -> _Run:
    asked = lattice_pb2.CreateLatticeRequest(shape=_SHAPE)
    answer = await replicas[0].lattices.CreateLattice(asked, metadata=caller.metadata)
    dice = random.Random(seed)
    run = _Run(caller, answer.lattice.lattice_id, replicas, dice, outcome)
    rng = np.random.default_rng(seed)
    for name in _NAMES:
        array = rng.normal(size=_SHAPE)
        await _write(run, name, array)
        run.fields[name] = _Field([array])
    return run


async def _write(run: _Run, name: str, array: np.ndarray) -> None:
    async def requests() -> AsyncIterator[fields_pb2.WriteFieldRequest]:
        head: dict[str, Any] = {
            "lattice_id": run.lattice_id,
            "name": name,
            "number_type": lattice_pb2.NUMBER_TYPE_FLOAT64,
        }
        data = array.tobytes()
        for at in range(0, len(data), 1 << 19):
            body = HttpBody(data=data[at : at + (1 << 19)])
            yield fields_pb2.WriteFieldRequest(body=body, **head)
            head = {}

    await run.replicas[0].fields.WriteField(requests(), metadata=run.caller.metadata)


async def _kill_once(run: _Run) -> None:
    killed, other = run.dice.sample(run.replicas, 2)
    name = run.dice.choice(_NAMES)
    request, rpc = _chosen(run, name)
    call = asyncio.create_task(_outcome(_stub(killed, rpc)(request, metadata=run.caller.metadata)))
    await asyncio.wait([call], timeout=run.dice.random() * _KILLED_WITHIN_S)
    killed.process.kill()
    run.outcome.count("kills")
    answered = await call
    run.outcome.count("answered before the kill" if answered else "cut off")
    async with asyncio.timeout(_TRIED_FOR_S):
        while not await _outcome(  # noqa: ASYNC110 - another process comes back
            _stub(other, rpc)(request, metadata=run.caller.metadata)
        ):
            await asyncio.sleep(0.05)
    killed.process.start()
    await asyncio.to_thread(killed.process.wait_ready)


def _chosen(run: _Run, name: str) -> tuple[Any, str]:
    """What is asked for next, and what the field must be behind that."""
    held = run.fields[name]
    request_id = str(UUID(int=run.dice.getrandbits(128), version=4))
    of: dict[str, Any] = {"lattice_id": run.lattice_id, "name": name, "request_id": request_id}
    held.changes += 1
    kind = run.dice.random()
    if kind < 0.2 and len(held.done) > 1:
        run.outcome.count("undone")
        held.undone.append(held.done.pop())
        return history_pb2.UndoChangeRequest(**of), "UndoChange"
    if kind < 0.35 and held.undone:
        run.outcome.count("done again")
        held.done.append(held.undone.pop())
        return history_pb2.RedoChangeRequest(**of), "RedoChange"
    chain = [_transform(run.dice) for _ in range(run.dice.randint(1, 3))]
    run.outcome.count("chains")
    held.done.append(_applied(chain, held.done[-1]))
    held.undone.clear()
    return transforms_pb2.TransformFieldRequest(transforms=chain, **of), "TransformField"


def _transform(dice: random.Random) -> chains_pb2.Transform:
    """One whose results stay finite, however often it is applied."""
    kinds: list[dict[str, Any]] = [
        {"reflect": {"axes": [dice.randrange(3)]}},
        {"translate": {"offset": [dice.randrange(-50, 50) for _ in range(3)]}},
        {"shear": {"axis": 0, "by_axis": 2, "factor": dice.randrange(-9, 9)}},
        {"quarter_turns": {"row_axis": 0, "column_axis": 2, "turns": dice.randrange(1, 4)}},
        {"diffuse": {"rate": 0.1, "steps": dice.randrange(1, 5)}},
        {"normalise": {"low": -1.0, "high": 1.0}},
        {"gradient_magnitude": {}},
        {"median": {"lengths": [1, 3, 3]}},
    ]
    return chains_pb2.Transform(**dice.choice(kinds))


def _applied(chain: list[chains_pb2.Transform], array: np.ndarray) -> np.ndarray:
    fit = Fit(shape=_SHAPE, periodic=(False,) * 3, number_type=NumberType.FLOAT64)
    made, _ = Chain.of(convert.steps(chain), fit).apply(array.copy(), _GO)
    return np.asarray(made)


def _stub(replica: _Replica, rpc: str) -> Any:
    return getattr(replica.transforms if rpc == "TransformField" else replica.history, rpc)


async def _outcome(call: Any) -> bool:
    """Whether a call was answered. What is refused for good is a broken promise."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        lasting = (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
        if error.code() in (*lasting, grpc.StatusCode.FAILED_PRECONDITION):
            raise
        return False
    return True


async def _check(run: _Run) -> None:
    replica, metadata = run.replicas[0], run.caller.metadata
    for name, held in run.fields.items():
        reading = fields_pb2.ReadFieldRequest(lattice_id=run.lattice_id, name=name)
        parts = [part.data async for part in replica.fields.ReadField(reading, metadata=metadata)]
        if b"".join(parts) != held.done[-1].tobytes():
            run.outcome.breaks(f"{name} is not what an uninterrupted run makes of it")
        made = await _changes(run, name)
        run.outcome.count("changes", made)
        if made != held.changes:
            run.outcome.breaks(f"{name} has {made} changes where {held.changes} were asked for")
    verifying = history_pb2.VerifyLatticeRequest(lattice_id=run.lattice_id)
    answers = [each async for each in replica.history.VerifyLattice(verifying, metadata=metadata)]
    run.outcome.count("digests replayed", answers[-1].sums.reproduced)
    if not answers[-1].sums.verified or answers[-1].sums.gone:
        run.outcome.breaks("a replay finds another digest, or none")


async def _changes(run: _Run, name: str) -> int:
    """How many changes of a field its history has."""
    made, token = 0, ""
    while True:
        asked = history_pb2.GetHistoryRequest(
            lattice_id=run.lattice_id, name=name, page_size=1000, page_token=token
        )
        page = await run.replicas[1].history.GetHistory(asked, metadata=run.caller.metadata)
        made += sum(bool(change.request_id) for change in page.changes)
        token = page.next_page_token
        if not token:
            return made
