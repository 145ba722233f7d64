"""Large lattices from arrays: a path is found on them and drawn, and memory stays flat.

    python -m tests.acceptance.grids.large_arrays --pictures FOLDER

Starts a lattice service of its own. A plane of 2,000 x 2,000 and a cube of 500^3 sites, 30 % of
them blocked, come as `.npy` files in streams; a path from corner to corner is found on each, looked
at step by step, and drawn into FOLDER; the picture has a line there and nowhere else. Then 10^9
sites come as bits, in pieces of 1 MiB: while they come the service holds no more than their bitmap,
twice, and a fixed rest.
"""

import argparse
import asyncio
import io
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import numpy as np
from google.api.httpbody_pb2 import HttpBody
from numpy.typing import NDArray
from PIL import Image

from girih.lattice.v1 import lattice_pb2, pictures_pb2, uploads_pb2
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.lattice.v1.pictures_pb2_grpc import PictureServiceStub
from girih.lattice.v1.uploads_pb2_grpc import LatticeUploadServiceStub
from services.plumbing.grpc.channel import open_channel
from tests.acceptance.grids.measuring import held_bytes, peak_bytes
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

_MIB = 2**20
_REST_BYTES = 256 * _MIB
"""What the service may hold beside bitmaps: transfers on their way, and what counting takes."""
_CALL_S = 600.0


@dataclass(frozen=True)
class Service:
    """The running service, as one caller sees it."""

    channel: grpc.aio.Channel
    caller: Caller
    process: Process

    async def upload(
        self, pieces: Iterator[bytes], content_type: str = "", **head: object
    ) -> lattice_pb2.Lattice:
        async def requests() -> AsyncIterator[uploads_pb2.UploadLatticeRequest]:
            first = head
            for piece in pieces:
                body = HttpBody(content_type=content_type, data=piece)
                yield uploads_pb2.UploadLatticeRequest(body=body, **first)  # type: ignore[arg-type]
                first = {}

        stub = LatticeUploadServiceStub(self.channel)
        answer = await stub.UploadLattice(
            requests(), metadata=self.caller.metadata, timeout=_CALL_S
        )
        lattice: lattice_pb2.Lattice = answer.lattice
        return lattice

    async def path(self, lattice_id: str, shape: tuple[int, ...]) -> lattice_pb2.Path:
        """From corner to corner."""
        request = lattice_pb2.FindPathRequest(
            lattice_id=lattice_id,
            start=lattice_pb2.Site(coordinates=[0] * len(shape)),
            goal=lattice_pb2.Site(coordinates=[length - 1 for length in shape]),
            sites_max=100_000,
        )
        stub = LatticeServiceStub(self.channel)
        answer = await stub.FindPath(request, metadata=self.caller.metadata, timeout=_CALL_S)
        path: lattice_pb2.Path = answer.path
        return path

    async def picture(self, lattice_id: str, path: lattice_pb2.Path, axes: int) -> bytes:
        """The first two axes with the path; what is blocked along the others is where all is."""
        request = pictures_pb2.RenderRequest(
            lattice_id=lattice_id,
            row_axis=0,
            column_axis=1,
            projection="PROJECTION_MIN" if axes > 2 else "PROJECTION_SLICE",
            path=pictures_pb2.DrawnPath(
                start=lattice_pb2.Site(coordinates=[0] * axes), runs=path.runs
            ),
            pixels_max=1_024,
        )
        stub = PictureServiceStub(self.channel)
        parts = stub.Render(request, metadata=self.caller.metadata, timeout=_CALL_S)
        return b"".join([part.data async for part in parts])


async def prove_path(service: Service, shape: tuple[int, ...], folder: Path, seed: int) -> bool:
    """Upload a lattice, find a path on it, look at each of its steps, and draw it."""
    blocked = np.random.default_rng(seed).random(shape, np.float32) < 0.3
    # A corner that is walled in is no corner to go to.
    for corner in (slice(0, 3), slice(-3, None)):
        blocked[(corner,) * len(shape)] = False
    began_s = time.perf_counter()
    lattice = await service.upload(_npy_pieces(blocked), "application/x-npy")
    uploaded_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    path = await service.path(lattice.lattice_id, shape)
    search_s = time.perf_counter() - began_s
    png = await service.picture(lattice.lattice_id, path, len(shape))
    name = "x".join(map(str, shape))
    await asyncio.to_thread((folder / f"{name}.png").write_bytes, png)
    is_well = _is_a_path(blocked, path) and _shows(png, path, shape)
    print(
        f"{name}: {blocked.nbytes / _MIB:,.0f} MiB up in {uploaded_s:.1f} s, a path of"
        f" {path.steps:,} steps in {search_s * 1e3:,.0f} ms, a picture of {len(png):,} bytes,"
        f" {peak_bytes(service.process.pid) / _MIB:,.0f} MiB at most:"
        f" {'holds' if is_well else 'MISSED'}",
        flush=True,
    )
    return is_well


async def prove_bits(service: Service, side: int) -> bool:
    """Upload a cube of `side`^3 sites as bits; memory stays flat while they come."""
    size_bytes = -(-(side**3) // 8)
    held_before = held_bytes(service.process.pid)
    peaks: list[int] = []

    def pieces() -> Iterator[bytes]:
        rng = np.random.default_rng(1)
        for begin in range(0, size_bytes, _MIB):
            count = min(_MIB, size_bytes - begin)
            # One of eight sites, so that free ones hang together.
            bits = rng.integers(0, 256, (3, count), np.uint8)
            piece = bits[0] & bits[1] & bits[2]
            if begin + count == size_bytes and side**3 % 8:
                piece[-1] &= (1 << side**3 % 8) - 1
            peaks.append(held_bytes(service.process.pid))
            yield piece.tobytes()

    began_s = time.perf_counter()
    lattice = await service.upload(
        pieces(), shape=[side] * 3, bit_order=lattice_pb2.BIT_ORDER_LITTLE
    )
    took_s = time.perf_counter() - began_s
    while_coming = max(peaks) - held_before
    limit = 2 * size_bytes + _REST_BYTES
    is_well = while_coming <= limit and lattice.vertices + lattice.blocked_sites == side**3
    print(
        f"{side}^3 sites as {size_bytes / _MIB:,.0f} MiB of bits in {took_s:.1f} s: held"
        f" {while_coming / _MIB:,.0f} MiB more while they came (at most {limit / _MIB:,.0f}),"
        f" {peak_bytes(service.process.pid) / _MIB:,.0f} MiB at most:"
        f" {'holds' if is_well else 'MISSED'}",
        flush=True,
    )
    return is_well


def _npy_pieces(array: NDArray[np.bool_]) -> Iterator[bytes]:
    """The file that numpy would write, a MiB at a time."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    yield head.getvalue()
    data = array.reshape(-1).view(np.uint8)
    for begin in range(0, len(data), _MIB):
        yield data[begin : begin + _MIB].tobytes()


def _is_a_path(blocked: NDArray[np.bool_], path: lattice_pb2.Path) -> bool:
    """From the first site to the last, over free neighbours."""
    sites = np.array(path.sites).reshape(-1, path.axis_count)
    if not path.found or len(sites) != path.steps + 1:
        return False
    steps = np.abs(np.diff(sites, axis=0)).sum(axis=1)
    ends = (sites[0] == 0).all() and (sites[-1] == np.array(blocked.shape) - 1).all()
    return bool(ends and (steps == 1).all() and not blocked[tuple(sites.T)].any())


def _shows(png: bytes, path: lattice_pb2.Path, shape: tuple[int, ...]) -> bool:
    """Whether a picture has a red line where the path is, between dots, and nowhere else."""
    red, green, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")), 2, 0)
    is_line = (red > 160) & (green < 120) & (blue < 120)
    pixels = np.array(is_line.shape) / shape[:2]
    sites = np.array(path.sites).reshape(-1, path.axis_count)[:, :2]
    places = ((sites + 0.5) * pixels).astype(int)
    is_path = np.zeros_like(is_line)
    is_path[tuple(places.T)] = True
    is_end = np.zeros_like(is_line)
    is_end[tuple(places[[0, -1]].T)] = True
    near = max(4, round(max(pixels)))
    is_missed = is_path & ~_widened(is_line, near) & ~_widened(is_end, 2 * near)
    return not is_missed.any() and not (is_line & ~_widened(is_path, near)).any()


def _widened(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """With what is so near to it along both axes."""
    for axis in (0, 1):
        padded = np.pad(mask, [(pixels, pixels) if each == axis else (0, 0) for each in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * pixels + 1, axis)
        mask = np.asarray(windows.any(axis=-1))
    return mask


async def main(arguments: argparse.Namespace) -> int:
    shapes = [(100, 120), (40, 40, 40)] if arguments.small else [(2_000, 2_000), (500, 500, 500)]
    side = 200 if arguments.small else 1_000
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        lattice, address = lattice_process(events_address, folder)
        with ending(events, lattice):
            for process in (events, lattice):
                process.start()
                await asyncio.to_thread(process.wait_ready)
            async with open_channel(address) as channel:
                service = Service(channel, Caller(authority_of(folder)), lattice)
                holds = True
                for seed, shape in enumerate(shapes):
                    holds &= await prove_path(service, shape, arguments.pictures, seed)
                holds &= await prove_bits(service, side)
    return 0 if holds else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, help="where to draw the paths")
    parser.add_argument("--small", action="store_true", help="lattices of some thousand sites")
    sys.exit(asyncio.run(main(parser.parse_args())))
