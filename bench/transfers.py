"""Fields up and down, through gRPC and REST, beside what the loopback itself carries.

python -m bench.transfers [--rounds 5] [--mib 64]

The limits are a socket between two processes that only carries the bytes, and gRPC between them
with a servicer that throws the pieces away or sends the same one, in turns with ours. An upload
ends when every chunk is durable and the event is recorded: what the disk takes by itself is
printed, too. Whatever was sent, the services must hold no more memory than after the first round.
"""

import argparse
import asyncio
import http.client
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc.aio
import httpx
import numpy as np
from google.api.httpbody_pb2 import HttpBody

from bench.bare import BareGrpc, bare_server
from bench.serving import report, run
from girih.lattice.v1 import fields_pb2 as pb
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1.fields_pb2_grpc import FieldServiceStub
from tests.processes import WITHOUT_LIMITS, Caller, System, own_postgres, running_system

UP_MIN, DOWN_MIN = 300.0, 150.0
"""MB a second, demanded of fields of 64 MB."""
GROWTH_MAX = 64 * 2**20
"""What a service may hold more after the last round than after the first, in bytes."""

_PIECE_BYTES = 1 << 18
_MB = 1e6
_CHUNK_BYTES = 1 << 22


async def main(rounds: int, mib: int) -> int:
    data = np.random.default_rng(1).integers(0, 256, mib << 20).astype(np.uint8).tobytes()
    figures: dict[str, list[float]] = {}
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **WITHOUT_LIMITS) as system,
        bare_server() as bare_address,
    ):
        caller = Caller(system.authority)
        lattice_id = await asyncio.to_thread(_lattice, system, caller, [mib, 1024, 1024])
        async with (
            grpc.aio.insecure_channel(system.lattice_address) as channel,
            grpc.aio.insecure_channel(bare_address) as bare_channel,
        ):
            bare = BareGrpc(bare_channel, _PIECE_BYTES)
            through_grpc = _Grpc(channel, caller, lattice_id)
            through_rest = _Rest(system, caller, lattice_id)
            held: list[int] = []
            for _ in range(rounds + 1):
                for name, seconds in (
                    ("loopback", _loopback(data)),
                    ("disk", _disk(data)),
                    ("bare gRPC up", await bare.up(data)),
                    ("bare gRPC down", await bare.down(len(data))),
                    ("gRPC up", await through_grpc.up(data)),
                    ("gRPC down", await through_grpc.down(data)),
                    ("REST up", through_rest.up(data)),
                    ("REST down", through_rest.down(data)),
                ):
                    figures.setdefault(name, []).append(len(data) / _MB / seconds)
                held.append(max(_peak_bytes(p.pid) for p in (system.lattice, system.gateway)))
    figures = {name: values[1:] for name, values in figures.items()}
    print(f"MB/s of {len(data) / _MB:.0f} MB; the first round is left out")
    for name, values in figures.items():
        print(f"  {name:14} {sorted(values)[len(values) // 2]:8,.0f}")
    growth = held[-1] - held[1]
    print(
        f"the largest of the services held {held[-1] / 2**20:,.0f} MiB, {growth / 2**20:+,.0f} MiB"
    )
    holds = growth <= GROWTH_MAX
    for name, least in (("up", UP_MIN), ("down", DOWN_MIN)):
        for way in ("gRPC", "REST"):
            ours = figures[f"{way} {name}"]
            holds &= report(
                f"{way} {name}, of {least:.0f} MB/s", ours, [least] * rounds, at_least=1
            )
            for limit in ("loopback", f"bare gRPC {name}"):
                report(f"{way} {name}, of {limit}", ours, figures[limit], at_least=0)
    return 0 if holds else 1


def _lattice(system: System, caller: Caller, shape: list[int]) -> str:
    url = f"{system.url}/v1/lattices"
    made = httpx.post(url, json={"shape": shape}, headers=caller.headers)
    lattice_id: str = made.json()["latticeId"]
    return lattice_id


class _Grpc:
    """A field through the lattice service's own port."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, lattice_id: str) -> None:
        self._stub = FieldServiceStub(channel)
        self._caller = caller
        self._lattice_id = lattice_id

    async def up(self, data: bytes) -> float:
        async def requests() -> AsyncIterator[pb.WriteFieldRequest]:
            head = pb.WriteFieldRequest(
                lattice_id=self._lattice_id,
                name="grpc",
                number_type=lattice_pb2.NUMBER_TYPE_UINT8,
            )
            yield head
            for at in range(0, len(data), _PIECE_BYTES):
                yield pb.WriteFieldRequest(body=HttpBody(data=data[at : at + _PIECE_BYTES]))

        began_s = time.perf_counter()
        await self._stub.WriteField(requests(), metadata=self._caller.metadata)
        return time.perf_counter() - began_s

    async def down(self, data: bytes) -> float:
        request = pb.ReadFieldRequest(lattice_id=self._lattice_id, name="grpc")
        began_s, count = time.perf_counter(), 0
        async for part in self._stub.ReadField(request, metadata=self._caller.metadata):
            count += len(part.data)
        assert count == len(data)
        return time.perf_counter() - began_s


class _Rest:
    """The same through the gateway, by a client that does nothing but carry bytes."""

    def __init__(self, system: System, caller: Caller, lattice_id: str) -> None:
        where = urlsplit(system.url)
        assert where.hostname is not None
        self._address = (where.hostname, where.port)
        self._caller = caller
        self._path = f"/v1/lattices/{lattice_id}/fields/rest/values"

    def up(self, data: bytes) -> float:
        began_s = time.perf_counter()
        path = f"{self._path}?numberType=NUMBER_TYPE_UINT8"
        self._asked("PUT", path, data)
        return time.perf_counter() - began_s

    def down(self, data: bytes) -> float:
        began_s = time.perf_counter()
        assert self._asked("GET", self._path, None) == len(data)
        return time.perf_counter() - began_s

    def _asked(self, method: str, path: str, body: bytes | None) -> int:
        connection = http.client.HTTPConnection(*self._address, timeout=120)
        try:
            connection.request(method, path, body, self._caller.headers)
            answer, count = connection.getresponse(), 0
            assert answer.status == http.HTTPStatus.OK, answer.read()
            while piece := answer.read(1 << 20):
                count += len(piece)
            return count
        finally:
            connection.close()


def _loopback(data: bytes) -> float:
    """Seconds for the same bytes through a socket to a process that throws them away."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        receiver = multiprocessing.get_context("spawn").Process(
            target=_receive, args=(server.getsockname()[1], len(data))
        )
        receiver.start()
        connection, _ = server.accept()
        with connection:
            began_s = time.perf_counter()
            connection.sendall(data)
            assert connection.recv(1) == b"."
            seconds = time.perf_counter() - began_s
        receiver.join()
    return seconds


def _receive(port: int, count: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        room = bytearray(1 << 18)
        while count > 0:
            count -= connection.recv_into(room)
        connection.sendall(b".")


def _disk(data: bytes) -> float:
    """Seconds to write the same bytes in files as chunks are, and to have them durable."""
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        began_s = time.perf_counter()
        for at in range(0, len(data), _CHUNK_BYTES):
            with (Path(name) / str(at)).open("wb", buffering=0) as file:
                file.write(data[at : at + _CHUNK_BYTES])
                os.fsync(file.fileno())
        return time.perf_counter() - began_s


def _peak_bytes(pid: int) -> int:
    """The most memory that a process ever held."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=64)
    arguments = parser.parse_args()
    sys.exit(run(main(arguments.rounds, arguments.mib)))
