"""What others wrote into the streams of lattices, before they were ours alone, spoils no answer."""

import base64
import json
import zlib
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID, uuid4, uuid5

import grpc.aio
import pytest
from structlog.testing import capture_logs

from girih.events.v1 import events_pb2 as events
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.ids import TenantId
from services.lattice.computing.compute import Compute
from services.lattice.domain import LatticeId
from services.lattice.errors import LatticeNotFound, RequestIdReused
from services.lattice.operations.creation import NewLattice
from services.lattice.state.events_journal import EventStoreJournal
from services.lattice.state.lattices import _REQUESTS, Lattices
from services.lattice.state.streams import EventStreams
from tests.lattice.worlds import UNBOUNDED, blocked_spec, geometry, lattices_on, operations_on, spec

LATTICE_ID = LatticeId("00000000-0000-7000-8000-000000000000")

VALID: dict[str, object] = {
    "latticeId": LATTICE_ID,
    "shape": ["3", "3"],
    "boundaries": ["BOUNDARY_OPEN", "BOUNDARY_OPEN"],
    "vertices": "9",
    "edges": "12",
}


def changed(**fields: object) -> str:
    return json.dumps(VALID | fields)


def with_bitmap(bitmap: bytes, compressed: bytes | None = None, **fields: object) -> str:
    packed = zlib.compress(bitmap) if compressed is None else compressed
    return changed(
        blockedDigest=base64.b64encode(sha256(bitmap).digest()).decode(),
        blockedZlib=base64.b64encode(packed).decode(),
        **fields,
    )


def zeros(mib: int) -> bytes:
    """So many MiB of them packed as zlib does, a piece at a time: to pack 256 takes it seconds."""
    packer = zlib.compressobj(9)
    first, again = (
        packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    # An empty last block, and the checksum of zeros (RFC 1950, 8.2), which counts them.
    checksum = (mib << 20) % 65_521 << 16 | 1
    return first + again * (mib - 1) + b"\3\0" + checksum.to_bytes(4, "big")


UNREADABLE = {
    "an id alone": '{"latticeId": "zzz"}',
    "another id": changed(latticeId="zzz"),
    "an id in capitals": changed(latticeId="ABCDEF00-0000-7000-8000-000000000000"),
    "an empty object": "{}",
    "an array": "[]",
    "an array of names": '["shape", "latticeId"]',
    "a number": "5",
    "nothing": "null",
    "deep": "[" * 64 + "]" * 64,
    "no payload": None,
    "edges in words": changed(edges="many"),
    "no edges": changed(edges=""),
    "edges of many digits": changed(edges="9" * 5_000),
    "more edges than can be": changed(edges="13"),
    "negative vertices": changed(vertices="-9223372036854775808"),
    "more vertices than sites": changed(vertices="10"),
    "a field of another type": changed(shape="3x3"),
    "no shape": changed(shape=[]),
    "a negative axis": changed(shape=["-3", "3"]),
    "too many sites": changed(shape=["9223372036854775807"] * 2),
    "eleven axes and two boundaries": changed(shape=["3"] * 11),
    "an axis without boundary": changed(boundaries=["BOUNDARY_OPEN"]),
    "an unknown boundary": changed(boundaries=[77, 77]),
    "an unknown neighbourhood": changed(neighbourhood=77),
    "a short digest": changed(blockedDigest="AAAA"),
    "a bitmap of too many sites": with_bitmap(
        b"", shape=[str(1 << 31)], boundaries=["BOUNDARY_OPEN"], vertices="1", edges="1"
    ),
}
"""Payloads of `lattice.created` that the service cannot have written."""

UNREADABLE_BITMAPS = {
    "a damaged bitmap": with_bitmap(b"\1\0", b"\1\2\3"),
    "a bitmap that expands to 256 MiB": with_bitmap(b"\1\0", zeros(256)),
    "a short bitmap": with_bitmap(b"\1"),
    "a bit beyond the last site": with_bitmap(b"\1\2"),
    "no bitmap": with_bitmap(b"\1\0", b""),
    "a bitmap without digest": changed(
        blockedZlib=base64.b64encode(zlib.compress(b"\1\0")).decode()
    ),
}

in_the_catalogue = pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE)
_both = UNREADABLE | UNREADABLE_BITMAPS
in_a_lattice = pytest.mark.parametrize("payload", _both.values(), ids=_both)


class Stranger:
    """Appends what it likes. Only the service's own token, which it has, still lets it do so."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = EventStoreServiceStub(channel)

    async def append(self, stream: str, event_type: str, payload: str | None) -> None:
        event = events.Event(id=str(uuid4()), stream=stream, type=event_type)
        if payload is None:
            event.binary = b""
        else:
            event.json = payload
        await self.append_event(event)

    async def append_event(self, event: events.Event) -> None:
        await self._stub.Append(events.AppendRequest(events=[event]))


@pytest.fixture
def stranger(events_channel: grpc.aio.Channel) -> Stranger:
    return Stranger(events_channel)


def journal_on(events_channel: grpc.aio.Channel) -> EventStoreJournal:
    return EventStoreJournal(EventStreams(events_channel, lambda: 10))


@pytest.fixture
async def lattices(events_channel: grpc.aio.Channel) -> AsyncIterator[Lattices]:
    compute = Compute(threads=2, bytes_max=1 << 30, waiting_max=100)
    yield lattices_on(journal_on(events_channel), operations_on(compute))
    await compute.close()


async def listed(lattices: Lattices, tenant: TenantId) -> list[str]:
    page = await lattices.page(tenant, 10, "")
    return [one.lattice.lattice_id for one in page.listed]


async def create(lattices: Lattices, tenant: TenantId) -> LatticeId:
    return (
        await lattices.create(tenant, NewLattice(spec=spec(3, 3)), UNBOUNDED)
    ).lattice.lattice_id


@in_the_catalogue
async def test_an_unreadable_entry_is_left_out_of_the_list(
    lattices: Lattices, stranger: Stranger, tenant: TenantId, payload: str | None
) -> None:
    before = await create(lattices, tenant)
    await stranger.append("$lattices", "lattice.created", payload)
    after = await create(lattices, tenant)

    with capture_logs() as logged:
        ids = await listed(lattices, tenant)

    assert ids == [before, after]
    (line,) = logged
    await stranger.append("$lattices", "lattice.created", payload)
    with capture_logs() as logged:
        assert [await listed(lattices, tenant) for _ in range(3)] == [ids] * 3
    assert len(logged) == 1, "it was read again"
    assert line["log_level"] == "warning"
    assert len(str(line)) < 500


@in_a_lattice
async def test_an_unreadable_creation_creates_no_lattice(
    lattices: Lattices, stranger: Stranger, tenant: TenantId, payload: str | None
) -> None:
    await stranger.append(f"$lattice-{LATTICE_ID}", "lattice.created", payload)

    with pytest.raises(LatticeNotFound):
        await lattices.open(tenant, LATTICE_ID)
    with pytest.raises(LatticeNotFound):
        await lattices.delete(tenant, LATTICE_ID)


@in_a_lattice
@pytest.mark.parametrize("event_type", ["lattice.created", "lattice.deleted", "lattice.blocked"])
async def test_a_lattice_stays_what_it_is_and_can_be_deleted(
    lattices: Lattices, stranger: Stranger, tenant: TenantId, payload: str | None, event_type: str
) -> None:
    lattice_id = await create(lattices, tenant)
    await stranger.append(f"$lattice-{lattice_id}", event_type, payload)

    assert (await lattices.open(tenant, lattice_id)).spec == spec(3, 3)
    await lattices.delete(tenant, lattice_id)
    with pytest.raises(LatticeNotFound):
        await lattices.open(tenant, lattice_id)


async def test_a_second_creation_changes_nothing(
    lattices: Lattices, stranger: Stranger, events_channel: grpc.aio.Channel, tenant: TenantId
) -> None:
    lattice_id = (
        await lattices.create(tenant, NewLattice(spec=spec(7)), UNBOUNDED)
    ).lattice.lattice_id
    for stream in ("$lattices", f"$lattice-{lattice_id}"):
        await stranger.append(stream, "lattice.created", changed(latticeId=lattice_id))

    fresh = lattices_on(journal_on(events_channel), lattices._operations)

    assert (await fresh.open(tenant, lattice_id)).spec == spec(7)
    assert await listed(fresh, tenant) == [lattice_id]


@pytest.mark.parametrize("share", [0.0, 0.4])
async def test_parts_that_a_stranger_adds_do_not_change_a_bitmap(
    lattices: Lattices,
    stranger: Stranger,
    events_channel: grpc.aio.Channel,
    tenant: TenantId,
    share: float,
) -> None:
    expected = blocked_spec(geometry(9, 9), share, seed=3)
    lattice_id = (
        await lattices.create(tenant, NewLattice(spec=expected), UNBOUNDED)
    ).lattice.lattice_id
    stream = f"$lattice-{lattice_id}"
    part = events.Event(id=str(uuid4()), stream=stream, type="lattice.blocked", binary=b"\1\2")
    await stranger.append_event(part)

    fresh = lattices_on(journal_on(events_channel), lattices._operations)

    assert (await fresh.open(tenant, lattice_id)).spec == expected


async def test_a_creation_where_a_stranger_wrote_before_is_refused(
    lattices: Lattices, stranger: Stranger, tenant: TenantId
) -> None:
    request_id = uuid4()
    lattice_id: UUID = uuid5(_REQUESTS, f"{tenant}/{request_id}")
    await stranger.append(f"$lattice-{lattice_id}", "lattice.created", changed(edges="many"))

    with pytest.raises(RequestIdReused):
        await lattices.create(tenant, NewLattice(spec=spec(3), request_id=request_id), UNBOUNDED)
