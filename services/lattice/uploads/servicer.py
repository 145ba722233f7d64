"""The rpc of LatticeUploadService: convert, call, convert back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from girih.lattice.v1 import uploads_pb2 as pb
from services.lattice import convert
from services.lattice.arrays.content_digest import ContentDigest
from services.lattice.calls import plan, tenant
from services.lattice.computing.send_budget import SendBudget
from services.lattice.fields.incoming import Incoming
from services.lattice.fields.streamed import first_of, pieces_of
from services.lattice.state.lattices import Lattices
from services.lattice.uploads.asked import AskedLattice, asked_lattice, check_sites, new_lattice
from services.lattice.uploads.bits import read_bitmap, read_numbers

Context = grpc.aio.ServicerContext[Any, Any]

_BUFFER_BYTES = 1 << 23
"""What is read at once, beside the bitmap."""


class LatticeUploadServicer:
    """Creates lattices whose blocked sites come as a stream."""

    def __init__(self, lattices: Lattices, transfers: SendBudget, *, sites_max: int) -> None:
        self._lattices = lattices
        self._transfers = transfers
        self._sites_max = sites_max

    async def UploadLattice(
        self, requests: AsyncIterator[pb.UploadLatticeRequest], _context: Context
    ) -> pb.UploadLatticeResponse:
        first = await first_of(requests)
        allowed = plan()
        pieces = pieces_of(first, requests, lambda: self._transfers.is_waited_for)
        incoming = Incoming(pieces)
        digest = ContentDigest(first.content_digest)
        asked = await asked_lattice(first, incoming, digest)
        check_sites(asked, self._sites_max)
        # Not twice as much: the copy that is made of it in the end takes a moment, and what
        # comes as slowly as its sender likes shall leave room to others.
        async with self._transfers.reserved(asked.bitmap_bytes + _BUFFER_BYTES):
            bitmap = await _bitmap(asked, incoming, digest)
            new = await asyncio.to_thread(new_lattice, asked, bitmap)
            held = await self._lattices.create(tenant(), new, allowed)
        bytes_held = self._lattices.bytes_held(tenant(), held.lattice.lattice_id)
        return pb.UploadLatticeResponse(lattice=convert.lattice_to_proto(held.lattice, bytes_held))


async def _bitmap(asked: AskedLattice, incoming: Incoming, digest: ContentDigest) -> bytes:
    if asked.bit_order is None:
        return await read_numbers(incoming, asked.sites, digest)
    return await read_bitmap(incoming, asked.sites, asked.bit_order, digest)
