"""A field larger than any call's memory is diffused by workers, in little memory each.

    python -m tests.acceptance.grids.distributed_diffusion [--side 1000] [--steps 4] [--kill]

Starts a lattice service of its own, with two workers of 2 GiB. A field of 1,000^3 float32 comes in
a stream, and a chain diffuses it; meanwhile a worker is killed where `--kill` is said. Then the
planes at both sides of each border between boxes, where a worker has computed with what another
one has the result of, are computed anew in memory, and must be the same to the bit. Needs
`distributed`, and some 10 GB of disk.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import numpy as np
from google.api.httpbody_pb2 import HttpBody

from girih.lattice.v1 import fields_pb2, lattice_pb2, transforms_pb2
from girih.lattice.v1.fields_pb2_grpc import FieldServiceStub
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.lattice.v1.transforms_pb2_grpc import TransformServiceStub
from services.lattice.distributed.boxes import Box
from services.lattice.distributed.cluster import ClusterSetup
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.neighbours import Diffuse
from services.lattice.transforms.passes import passes_of
from services.plumbing.grpc.channel import open_channel
from tests.acceptance.grids.measuring import peak_bytes
from tests.lattice.transforms.arrays import fit_of
from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

_MIB = 2**20
_WORKER_BYTES = 2**31
_RATE = 0.125
_CALL_S = 3_000.0
_BESIDE_BORDER = 2
"""So many planes at either side of a border are compared."""
_LOOK_S = 0.2
_COMPUTES_BYTES = 300 * _MIB
"""Who holds more has begun with a box."""
_GO = np.zeros(1, np.uint8)


@dataclass(frozen=True)
class Proof:
    """A field, how it is diffused, and who is asked for that."""

    side: int
    steps: int
    channel: grpc.aio.Channel
    caller: Caller

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.side, self.side, self.side

    @property
    def chain(self) -> Chain:
        """On a ring of planes."""
        like = np.broadcast_to(np.float32(0), self.shape)
        return Chain.of([Diffuse(_RATE, self.steps)], fit_of(like, (True, False, False)))

    def plane(self, at: int) -> np.ndarray:
        """What the field begins with."""
        rng = np.random.default_rng([self.side, at % self.side])
        return rng.random((self.side, self.side), np.float32)

    async def upload(self) -> str:
        """A lattice with the field; its id."""
        lattices = LatticeServiceStub(self.channel)
        created = await lattices.CreateLattice(
            lattice_pb2.CreateLatticeRequest(
                shape=self.shape,
                boundaries=[
                    lattice_pb2.BOUNDARY_PERIODIC,
                    lattice_pb2.BOUNDARY_OPEN,
                    lattice_pb2.BOUNDARY_OPEN,
                ],
            ),
            metadata=self.caller.metadata,
        )
        lattice_id: str = created.lattice.lattice_id

        async def requests() -> AsyncIterator[fields_pb2.WriteFieldRequest]:
            head = {
                "lattice_id": lattice_id,
                "name": "heat",
                "number_type": lattice_pb2.NUMBER_TYPE_FLOAT32,
            }
            for at in range(self.side):
                for piece in _pieces(await asyncio.to_thread(self.plane, at)):
                    body = HttpBody(data=piece)
                    yield fields_pb2.WriteFieldRequest(body=body, **head)  # type: ignore[arg-type]
                    head = {}

        await FieldServiceStub(self.channel).WriteField(
            requests(), metadata=self.caller.metadata, timeout=_CALL_S
        )
        return lattice_id

    async def diffuse(self, lattice_id: str) -> transforms_pb2.TransformFieldResponse:
        request = transforms_pb2.TransformFieldRequest(
            lattice_id=lattice_id,
            name="heat",
            transforms=[{"diffuse": {"rate": _RATE, "steps": self.steps}}],
        )
        stub = TransformServiceStub(self.channel)
        answer: transforms_pb2.TransformFieldResponse = await stub.TransformField(
            request, metadata=self.caller.metadata, timeout=_CALL_S
        )
        return answer

    async def differing(self, lattice_id: str) -> list[int]:
        """The borders at which a number is another one than in memory."""
        (work, *_) = passes_of(self.chain, ClusterSetup(worker_bytes=_WORKER_BYTES).task_bytes)
        borders = range(0, self.side, work.lengths[0])
        return [at for at in borders if not await self._is_same(lattice_id, at)]

    async def _is_same(self, lattice_id: str, border: int) -> bool:
        box = Box((border - _BESIDE_BORDER, 0, 0), (2 * _BESIDE_BORDER, self.side, self.side))
        rings = (True, False, False)
        window = box.grown((self.steps,) * 3, rings, self.shape)
        planes = range(window.begin[0], window.begin[0] + window.shape[0])
        before = await asyncio.to_thread(lambda: np.stack([self.plane(at) for at in planes]))
        chain = Chain.of(self.chain.steps, fit_of(before, (False, False, False)))
        behind, _ = await asyncio.to_thread(chain.apply, before, _GO)
        expected = behind[box.inside(window)]
        actual = [await self._read(lattice_id, at % self.side) for at in planes[self.steps :][:4]]
        return np.stack(actual).tobytes() == expected.tobytes()

    async def _read(self, lattice_id: str, plane: int) -> np.ndarray:
        request = fields_pb2.ReadFieldRequest(
            lattice_id=lattice_id,
            name="heat",
            origin=[plane, 0, 0],
            shape=[1, self.side, self.side],
        )
        parts = FieldServiceStub(self.channel).ReadField(
            request, metadata=self.caller.metadata, timeout=_CALL_S
        )
        data = b"".join([part.data async for part in parts])
        return np.frombuffer(data, np.float32).reshape(self.side, self.side)


class Workers:
    """The processes that compute for a service, and the most memory that each has held."""

    def __init__(self, service_pid: int, *, kill: bool) -> None:
        self.service_pid = service_pid
        self.peaks: dict[int, int] = {}
        self._kill = kill

    async def watch(self) -> None:
        """Look at them for ever."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        for pid in _children(self.service_pid):
            with contextlib.suppress(FileNotFoundError, StopIteration):
                self.peaks[pid] = peak_bytes(pid)
                if self._kill and self.peaks[pid] > _COMPUTES_BYTES:
                    os.kill(pid, signal.SIGKILL)
                    self._kill = False
                    print(f"worker {pid} was killed", flush=True)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    pids = []
    for task in tasks.iterdir():
        with contextlib.suppress(FileNotFoundError):
            pids += [int(each) for each in (task / "children").read_text().split()]
    return pids


def _pieces(array: np.ndarray) -> Iterator[bytes]:
    data = array.reshape(-1).view(np.uint8)
    for begin in range(0, len(data), _MIB):
        yield data[begin : begin + _MIB].tobytes()


async def prove(proof: Proof, workers: Workers) -> bool:
    began_s = time.perf_counter()
    lattice_id = await proof.upload()
    uploaded_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    watching = asyncio.create_task(workers.watch(), name="watch workers")
    try:
        answer = await proof.diffuse(lattice_id)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    took_s = time.perf_counter() - began_s
    differing = await proof.differing(lattice_id)
    peak = max(workers.peaks.values())
    holds = not differing and peak <= _WORKER_BYTES
    box_mib = answer.reports[0].auxiliary_bytes / _MIB
    print(
        f"{proof.side}^3 sites, {proof.side**3 * 4 / 1e9:.1f} GB up in {uploaded_s:.0f} s,"
        f" {proof.steps} steps in {took_s:.0f} s; workers held {peak / _MIB:,.0f} MiB (at most"
        f" {_WORKER_BYTES / _MIB:,.0f}), a box {box_mib:,.0f} MiB beside its numbers, the service"
        f" {peak_bytes(workers.service_pid) / _MIB:,.0f} MiB; borders that differ from memory:"
        f" {differing or 'none'}: {'holds' if holds else 'MISSED'}",
        flush=True,
    )
    return holds


async def main(arguments: argparse.Namespace) -> int:
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        lattice, address = lattice_process(
            events_address,
            folder,
            LATTICE_CALL_TIMEOUT_S=str(_CALL_S),
            LATTICE_LOOKS_MAX=str(10**12),
            LATTICE_DASK_WORKERS="2",
            LATTICE_DASK_WORKER_BYTES=str(_WORKER_BYTES),
        )
        with ending(events, lattice):
            for process in (events, lattice):
                process.start()
                await asyncio.to_thread(process.wait_ready)
            async with open_channel(address) as channel:
                caller = Caller(authority_of(folder))
                proof = Proof(arguments.side, arguments.steps, channel, caller)
                holds = await prove(proof, Workers(lattice.pid, kill=arguments.kill))
    return 0 if holds else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1_000, help="of the cube: 700 at least")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--kill", action="store_true", help="kill a worker meanwhile")
    sys.exit(asyncio.run(main(parser.parse_args())))
