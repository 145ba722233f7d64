"""Who sends the bytes of a lattice or a field slowly, and what that leaves to others."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from google.api.httpbody_pb2 import HttpBody

from girih.lattice.v1 import lattice_pb2, uploads_pb2
from services.lattice.computing.send_budget import SendBudget
from services.lattice.fields import streamed
from services.lattice.fields.streamed import first_of, pieces_of
from services.lattice.uploads.servicer import LatticeUploadServicer
from services.plumbing.correlation import bind
from services.plumbing.grpc.requests import CallIdle
from tests.acceptance.resident import resident_mib
from tests.lattice.callers import call_of

_MIB = 2**20


def message(data: bytes, **fields: Any) -> uploads_pb2.UploadLatticeRequest:
    return uploads_pb2.UploadLatticeRequest(body=HttpBody(data=data), **fields)


async def sent(*messages: uploads_pb2.UploadLatticeRequest, pause_s: float = 0) -> Any:
    """The messages of a call, and no end of it."""
    for one in messages:
        yield one
        await asyncio.sleep(pause_s)
    await asyncio.Event().wait()


@pytest.fixture
def short_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PACE_S", 0.05)


async def taken(
    requests: AsyncIterator[uploads_pb2.UploadLatticeRequest], count: int, *, is_waited_for: bool
) -> bytes:
    """The first bytes of a call."""
    data = b""
    async with asyncio.timeout(30):
        first = await first_of(requests)
        async for piece in pieces_of(first, requests, lambda: is_waited_for):
            data += piece
            if len(data) >= count:
                break
    return data


@pytest.mark.usefixtures("short_pace")
@pytest.mark.parametrize("pause_s", [0.03, 3_600])
async def test_who_sends_slowly_gives_way_to_those_who_wait(pause_s: float) -> None:
    requests = sent(*(message(b"a") for _ in range(100)), pause_s=pause_s)

    with pytest.raises(CallIdle, match="others wait"):
        await taken(requests, 100, is_waited_for=True)


@pytest.mark.usefixtures("short_pace")
async def test_who_sends_slowly_goes_on_while_nobody_waits() -> None:
    requests = sent(*(message(b"%d" % number) for number in range(8)), pause_s=0.03)

    assert await taken(requests, 8, is_waited_for=False) == b"01234567"


async def test_who_sends_fast_goes_on_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PACE_S", 20.0)
    requests = sent(*(message(bytes(_MIB)) for _ in range(8)))

    assert len(await taken(requests, 8 * _MIB, is_waited_for=True)) == 8 * _MIB


async def test_the_largest_lattice_leaves_room_to_other_tenants_while_it_comes() -> None:
    transfers = SendBudget(256 * _MIB)
    servicer = LatticeUploadServicer(cast("Any", None), transfers, sites_max=2**30)
    requests = sent(message(b"a", shape=[2**15, 2**15], bit_order=lattice_pb2.BIT_ORDER_LITTLE))

    held_mib = resident_mib(os.getpid())
    with bind(call_of("slow")):
        uploading = asyncio.create_task(servicer.UploadLattice(requests, cast("Any", None)))
    async with asyncio.timeout(30):
        while not transfers.lent:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        with bind(call_of("other")):
            async with transfers.reserved(64 * _MIB):
                lent = transfers.lent
    taken_mib = resident_mib(os.getpid()) - held_mib
    uploading.cancel()

    assert lent > 2**30 // 8 + 64 * _MIB
    assert taken_mib < 64, "what has not come takes no memory, and no time"
