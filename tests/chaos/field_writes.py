"""Kills in the middle of field writes: each field is as before or as after, by digest.

Fields of some MiB are written whole, by regions, and by uploads in parts, through one of two
replicas, which is killed -9 at a moment that chance chooses. Then the other one, and the killed
one once it is back, must read each field wholly as it was before the write or as it is after it.
In the end nothing is kept but what fields hold: what was cut off is gone, and no chunk is lost.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
from google.api.httpbody_pb2 import HttpBody

from girih.lattice.v1 import fields_pb2 as pb
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1.fields_pb2_grpc import FieldServiceStub
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
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

if TYPE_CHECKING:
    from girih.lattice.v1.fields_pb2_grpc import FieldServiceAsyncStub

_SHAPE = (60, 250, 100)
"""12 MiB of doubles, in several chunks, unless told otherwise."""
_PIECE_BYTES = 1 << 18
_KILLED_WITHIN_S = 0.1
"""How long after a piece was sent, which chance chooses, the kill comes at most."""
_READ_S = 60.0
_FIELDS = 3
_CLEANED_WITHIN_S = 60.0
_SETTINGS = {
    "LATTICE_UPLOAD_S": "3",
    "LATTICE_REPLACED_S": "1",
    "LATTICE_HISTORY_S": "0",
    "LATTICE_COLLECT_INTERVAL_S": "0.5",
    "LATTICE_FRESHNESS_S": "0.1",
}


@dataclass
class FieldWrites:
    """Figures, and every broken promise with how often it was."""

    figures: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)

    def count(self, figure: str) -> None:
        self.figures[figure] = self.figures.get(figure, 0) + 1

    def breaks(self, promise: str) -> None:
        self.broken[promise] = self.broken.get(promise, 0) + 1


@dataclass(frozen=True)
class _Replica:
    process: Process
    stub: "FieldServiceAsyncStub"


@dataclass
class _Run:
    caller: Caller
    lattice_id: str
    replicas: list[_Replica]
    dice: random.Random
    outcome: FieldWrites
    shape: tuple[int, ...]
    held: dict[str, np.ndarray] = field(default_factory=dict)
    """What each field is known to hold."""
    pieces_left: int = 0
    """How many more pieces are sent before the kill."""
    is_due: asyncio.Event = field(default_factory=asyncio.Event)
    """So many were sent."""

    def sent(self) -> None:
        self.pieces_left -= 1
        if self.pieces_left <= 0:
            self.is_due.set()

    @property
    def metadata(self) -> Any:
        return self.caller.metadata


async def kill_during_writes(
    rounds: int, seed: int, *, shape: tuple[int, ...] = _SHAPE
) -> FieldWrites:
    """Prove it with so many kills, on fields of a shape of three axes."""
    outcome = FieldWrites()
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        made = [lattice_process(events_address, folder, **_SETTINGS) for _ in range(2)]
        processes = [events, *(process for process, _ in made)]
        with ending(*processes):
            for process in processes:
                process.start()
            for process in processes:
                await asyncio.to_thread(process.wait_ready)
            caller = Caller(authority_of(folder))
            async with _connected(made) as (replicas, lattices):
                asked = lattice_pb2.CreateLatticeRequest(shape=shape)
                made_lattice = await lattices.CreateLattice(asked, metadata=caller.metadata)
                lattice_id = made_lattice.lattice.lattice_id
                run = _Run(caller, lattice_id, replicas, random.Random(seed), outcome, shape)
                await _begin(run)
                for number in range(rounds):
                    await _kill_once(run, number)
                await _check_kept(run, folder / "keys" / "arrays")
    return outcome


@asynccontextmanager
async def _connected(
    made: list[tuple[Process, str]],
) -> AsyncIterator[tuple[list[_Replica], Any]]:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(a)) for _, a in made]
        replicas = [
            _Replica(process, FieldServiceStub(channel))
            for (process, _), channel in zip(made, channels, strict=True)
        ]
        yield replicas, LatticeServiceStub(channels[0])


async def _kill_once(run: _Run, number: int) -> None:
    killed, other = run.dice.sample(run.replicas, 2)
    kinds: list[Callable[..., Awaitable[None]]] = [_whole, _region, _upload]
    name = f"field-{run.dice.randrange(_FIELDS)}"
    before = run.held[name]
    kind = kinds[number % 3]
    after = _next(run, kind, before)
    run.is_due.clear()
    run.pieces_left = run.dice.randrange(_pieces_of(after, kind) + 1)
    write = asyncio.create_task(_outcome(kind(run, killed, name, after)))
    due = asyncio.create_task(run.is_due.wait())
    await asyncio.wait([write, due], return_when=asyncio.FIRST_COMPLETED)
    due.cancel()
    await asyncio.wait([write], timeout=run.dice.random() * _KILLED_WITHIN_S)
    was_done = write.done()
    await asyncio.to_thread(killed.process.kill)
    is_answered = await write
    run.outcome.count("killed after the answer" if was_done else "killed in the middle")
    back = asyncio.create_task(_back(killed))
    await _check(run, other, name, before, after, is_answered=is_answered)
    await back
    await _check(run, killed, name, before, after, is_answered=is_answered)


async def _back(killed: _Replica) -> None:
    """Start it again; the other one is asked meanwhile."""
    await asyncio.to_thread(killed.process.start)
    await asyncio.to_thread(killed.process.wait_ready)


async def _begin(run: _Run) -> None:
    """Fields that there are before anybody is killed."""
    for number in range(_FIELDS):
        array = np.random.default_rng(number).normal(size=run.shape)
        await _whole(run, run.replicas[number % 2], f"field-{number}", array)
        run.held[f"field-{number}"] = array


def _pieces_of(after: np.ndarray, kind: Any) -> int:
    """How many pieces a write has."""
    return -(-(_part(after) if kind is _region else after).nbytes // _PIECE_BYTES)


def _part(array: np.ndarray) -> np.ndarray:
    """The region that is written."""
    return array[10:50:3, 20:200]


def _next(run: _Run, kind: Any, before: np.ndarray) -> np.ndarray:
    """What the field holds when the write is done."""
    made = np.random.default_rng(run.dice.randrange(2**32))
    if kind is not _region:
        return made.normal(size=run.shape)
    after = before.copy()
    part = _part(after)
    part[...] = made.normal(size=part.shape)
    return after


async def _outcome(write: Awaitable[None]) -> bool:
    """Whether it was answered that all is written."""
    try:
        await write
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


async def _whole(run: _Run, replica: _Replica, name: str, after: np.ndarray) -> None:
    await _send(run, replica, name, after.tobytes(), number_type=_FLOAT64)


async def _region(run: _Run, replica: _Replica, name: str, after: np.ndarray) -> None:
    part = _part(after)
    region = {"origin": [10, 20, 0], "shape": part.shape, "steps": [3, 1, 1]}
    await _send(run, replica, name, part.tobytes(), **region)


async def _upload(run: _Run, replica: _Replica, name: str, after: np.ndarray) -> None:
    """In parts, through the replica that is killed; what is left is never gone on with."""
    asked = pb.BeginUploadRequest(lattice_id=run.lattice_id, name=name, number_type=_FLOAT64)
    upload = (await replica.stub.BeginUpload(asked, metadata=run.metadata)).upload
    data, upload_id = after.tobytes(), upload.upload_id
    first = await _send(run, replica, name, data[: len(data) // 2], upload_id=upload_id)
    offset = first.upload.offset
    await _send(run, replica, name, data[offset:], upload_id=upload_id, offset=offset)


_FLOAT64 = lattice_pb2.NUMBER_TYPE_FLOAT64


async def _send(
    run: _Run, replica: _Replica, name: str, data: bytes, **options: Any
) -> pb.WriteFieldResponse:
    async def requests() -> AsyncIterator[pb.WriteFieldRequest]:
        head = {"lattice_id": run.lattice_id, "name": name, **options}
        for at in range(0, len(data), _PIECE_BYTES):
            yield pb.WriteFieldRequest(body=HttpBody(data=data[at : at + _PIECE_BYTES]), **head)
            head = {}
            run.sent()

    answer: pb.WriteFieldResponse = await replica.stub.WriteField(requests(), metadata=run.metadata)
    return answer


async def _check(
    run: _Run,
    replica: _Replica,
    name: str,
    before: np.ndarray,
    after: np.ndarray,
    *,
    is_answered: bool,
) -> None:
    """The field must be one of both, and that after where the write was answered."""
    data = await _read(run, replica, name)
    if data == after.tobytes():
        run.held[name] = after
        run.outcome.count("as after")
    elif is_answered:
        run.outcome.breaks("an answered write is not there")
    elif data != before.tobytes():
        run.outcome.breaks("neither as before nor as after")
    else:
        run.outcome.count("as before")


async def _read(run: _Run, replica: _Replica, name: str) -> bytes:
    """What the field holds."""
    request = pb.ReadFieldRequest(lattice_id=run.lattice_id, name=name)
    try:
        # Its channel may not have noticed yet that the process is back.
        parts = replica.stub.ReadField(
            request, metadata=run.metadata, timeout=_READ_S, wait_for_ready=True
        )
        return b"".join([part.data async for part in parts])
    except grpc.aio.AioRpcError as error:
        run.outcome.breaks(f"a field cannot be read: {error.details()}")
        return b""


def _kept(storage: Path, lattice_id: str) -> set[str]:
    """The arrays that are kept of a lattice, by their ids."""
    return {path.name for path in storage.glob(f"*/{lattice_id}/*")}


async def _check_kept(run: _Run, storage: Path) -> None:
    """What is cut off is removed in time, and what fields hold is whole."""
    request = pb.ListFieldsRequest(lattice_id=run.lattice_id)
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLEANED_WITHIN_S):
            while True:
                for replica in run.replicas:
                    listed = await replica.stub.ListFields(
                        request, metadata=run.metadata, timeout=_READ_S, wait_for_ready=True
                    )
                in_use = {Path(each.array).name for each in listed.fields}
                kept = await asyncio.to_thread(_kept, storage, run.lattice_id)
                if kept == in_use:
                    break
                await asyncio.sleep(0.2)
    run.outcome.figures["arrays in use"] = len(in_use)
    for _ in kept - in_use:
        run.outcome.breaks("an array of nobody is kept")
    for _ in in_use - kept:
        run.outcome.breaks("an array in use is lost")
    for name, array in run.held.items():
        if await _read(run, run.replicas[0], name) != array.tobytes():
            run.outcome.breaks("a field is not what it was")
