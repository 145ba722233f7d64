"""What a caller's token gets it from the lattice service, and that others' stays others'."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import grpc
import grpc.aio
import numpy as np
import pytest

from girih.ids import TenantId
from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice.computing.compute import Compute
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import LatticeId
from services.lattice.operations.context import OperationContext
from services.lattice.state.journal import StreamSlice
from services.lattice.state.streams import acting_bearer
from services.plumbing import correlation
from services.plumbing.auth.keys import SigningKeyFile, TrustedKeys
from services.plumbing.auth.tokens import Issuer, TokenInvalid, Verifier
from services.plumbing.correlation import Call
from services.plumbing.grpc.channel import Bearer
from services.plumbing.identity import Principal
from services.policy import EVENTS, GATEWAY, LATTICE, POLICY
from tests.authority import USER, Authority
from tests.lattice.callers import call_of
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.serving import ABSENT, Client, refusal, replica, site, until
from tests.lattice.worlds import TENANT, UNBOUNDED, lattices_on, new, operations_on, plan, spec
from tests.processes import Process

Rpcs = dict[str, Callable[[Client, str], Awaitable[object]]]

ON_A_LATTICE: Rpcs = {
    "GetLattice": lambda client, lattice_id: client.get(lattice_id),
    "ReadBlocked": lambda client, lattice_id: client.blocked(lattice_id),
    "DeleteLattice": lambda client, lattice_id: client.delete(lattice_id),
    "FindPath": lambda client, lattice_id: client.find_path(lattice_id, [0], [0]),
    "FindPaths": lambda client, lattice_id: client.find_paths(lattice_id, [([0], [0])]),
    "Distances": lambda client, lattice_id: client.distances(lattice_id, sources=[site([0])]),
}
"""Every rpc that names a lattice."""


def test_every_rpc_that_names_a_lattice_is_tried_on_a_foreign_one() -> None:
    methods = pb.DESCRIPTOR.services_by_name["LatticeService"].methods

    naming = {one.name for one in methods if "lattice_id" in one.input_type.fields_by_name}

    assert set(ON_A_LATTICE) == naming


@pytest.mark.parametrize("rpc", ON_A_LATTICE)
async def test_a_foreign_lattice_is_as_one_that_does_not_exist(
    client: Client, tenant: str, rpc: str
) -> None:
    lattice_id = (await client.create(shape=[4])).lattice_id
    await client.get(lattice_id)
    other = client.as_caller(f"{tenant}-b")

    foreign = await refusal(ON_A_LATTICE[rpc](other, lattice_id))
    absent = await refusal(ON_A_LATTICE[rpc](other, ABSENT))

    assert (foreign.code, foreign.reason) == (grpc.StatusCode.NOT_FOUND, "LATTICE_NOT_FOUND")
    assert (foreign.code, foreign.message, foreign.reason) == (
        absent.code,
        absent.message,
        absent.reason,
    )
    assert (await client.get(lattice_id)).lattice_id == lattice_id


async def test_tenants_who_use_the_same_ids_at_once_get_their_own(
    client: Client, tenant: str
) -> None:
    callers = {f"{tenant}-{n}": n + 2 for n in range(4)}
    request_ids = [str(uuid4()) for _ in range(5)]

    async def use(name: str, length: int) -> set[str]:
        """Create by the same requests as all others, and look at what one gets."""
        own = client.as_caller(name)
        created = await asyncio.gather(
            *(own.create(shape=[length], request_id=one) for one in request_ids * 3)
        )
        ids = {lattice.lattice_id for lattice in created}
        listed = (await own.page()).lattices
        assert [*map(len, (ids, listed))] == [5, 5]
        assert {one.lattice_id for one in listed} == ids
        assert all(list(one.shape) == [length] for one in [*created, *listed])
        for lattice_id in ids:
            path = (await own.find_path(lattice_id, [0], [length - 1])).path
            assert path.length == length - 1
        return ids

    ids = await asyncio.gather(*(use(name, length) for name, length in callers.items()))

    assert len(set.union(*ids)) == 5 * len(callers)


async def test_a_tenant_named_beside_the_token_means_nothing(client: Client, tenant: str) -> None:
    lattice_id = (await client.create(shape=[4])).lattice_id
    other = client.as_caller(f"{tenant}-b")
    other.metadata = [*other.metadata, ("x-tenant-id", tenant)]

    assert (await refusal(other.get(lattice_id))).reason == "LATTICE_NOT_FOUND"
    assert not (await other.page()).lattices


async def test_who_may_only_read_creates_and_deletes_nothing(client: Client, tenant: str) -> None:
    lattice_id = (await client.create(shape=[4])).lattice_id
    reader = client.as_caller(tenant, scopes=["lattices.read"])

    assert (await reader.get(lattice_id)).lattice_id == lattice_id
    for call in (reader.create(shape=[2]), reader.delete(lattice_id)):
        error = await refusal(call)
        assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")


async def test_who_may_write_lattices_needs_to_know_nothing_of_events(
    client: Client, tenant: str
) -> None:
    writer = client.as_caller(tenant, scopes=["lattices.read", "lattices.write"])

    await writer.delete((await writer.create(shape=[4])).lattice_id)


async def test_a_token_without_a_plan_creates_nothing(
    client: Client, authority: Authority, tenant: str
) -> None:
    token = authority.service_token(LATTICE, tenant, ["lattices.write"], service=GATEWAY)
    client.metadata = [("authorization", f"Bearer {token}")]

    error = await refusal(client.create(shape=[2]))

    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PLAN_MISSING")


@pytest.mark.parametrize(
    ("shape", "limit", "maximum", "asked"),
    [([2, 2, 2, 2], "axes", "3", "4"), ([2, 11], "extent", "10", "11")],
)
async def test_a_lattice_beyond_the_plan_is_refused_and_says_why(
    client: Client, tenant: str, shape: list[int], limit: str, maximum: str, asked: str
) -> None:
    free = client.as_caller(tenant, plan=plan(lattices=5, axes=3, extent=10))

    error = await refusal(free.create(shape=shape))

    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PLAN_LIMIT")
    answer = {"limit": limit, "maximum": maximum, "asked": asked, "plan": "small"}
    assert error.metadata == answer
    assert error.retry_after_s is None


async def test_a_plan_of_the_future_is_enforced_as_far_as_it_is_known(
    client: Client, tenant: str
) -> None:
    future = {**plan(lattices=1).claim(), "console_count_max": 2, "regions": ["eu", "moon"]}
    scopes = ["lattices.write", "lattices.fold"]
    caller = client.as_caller(tenant, scopes=scopes, plan=future)
    await caller.create(shape=[2])

    error = await refusal(caller.create(shape=[3]))

    assert (error.reason, error.metadata["limit"]) == ("PLAN_LIMIT", "lattices")


async def test_a_hundred_creations_through_two_replicas_leave_as_many_as_the_plan_allows(
    event_store: tuple[Process, str], authority: Authority, client: Client, tenant: str
) -> None:
    async with replica(event_store[1], authority, tenant) as second:
        await until(second.is_serving)
        allowed = plan(lattices=5, axes=3, extent=10)
        callers = [one.as_caller(tenant, plan=allowed) for one in (client, second)]

        outcomes = await asyncio.gather(
            *(callers[n % 2].create(dimensions=3, size=10) for n in range(100)),
            return_exceptions=True,
        )

        refused = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
        assert Counter(one.code() for one in refused) == {grpc.StatusCode.PERMISSION_DENIED: 95}
        assert (await client.page()).total_count == 5
        await callers[0].delete((await client.page()).lattices[0].lattice_id)
        await callers[1].create(shape=[2])
        assert (await refusal(callers[0].create(shape=[2]))).reason == "PLAN_LIMIT"


async def test_the_bitmap_read_is_the_one_created(client: Client) -> None:
    bits = np.random.default_rng(5).random(3_000_001) < 0.5
    bitmap = np.packbits(bits, bitorder="little").tobytes()
    lattice_id = (await client.create(shape=[3_000_001], blocked=bitmap)).lattice_id

    pieces = await client.blocked(lattice_id)

    assert b"".join(piece.data for piece in pieces) == bitmap
    assert {piece.content_type for piece in pieces} == {"application/octet-stream"}
    assert max(len(piece.data) for piece in pieces) == 65_536


async def test_a_bitmap_as_numpy_writes_it_blocks_the_same_sites(client: Client) -> None:
    bits = np.random.default_rng(6).random(1_000_000) < 0.5
    big, little = np.packbits(bits).tobytes(), np.packbits(bits, bitorder="little").tobytes()
    request_id = str(uuid4())

    made = await client.create(
        shape=[1_000_000], blocked=big, bit_order=pb.BIT_ORDER_BIG, request_id=request_id
    )
    same = await client.create(shape=[1_000_000], blocked=little, request_id=request_id)

    assert made == same
    for bit_order, bitmap in ((pb.BIT_ORDER_BIG, big), (pb.BIT_ORDER_UNSPECIFIED, little)):
        pieces = await client.blocked(made.lattice_id, bit_order=bit_order)
        assert b"".join(piece.data for piece in pieces) == bitmap


async def test_the_bitmap_of_a_free_lattice_is_one_empty_piece(client: Client) -> None:
    lattice_id = (await client.create(dimensions=2, size=10**9)).lattice_id

    (piece,) = await client.blocked(lattice_id)

    assert (piece.data, piece.content_type) == (b"", "application/octet-stream")


@pytest.fixture
def bearer(authority: Authority) -> Bearer:
    return acting_bearer(Issuer(SigningKeyFile(authority.lattice_key), LATTICE))


def test_the_services_own_token_names_the_tenant_and_who_acts(
    authority: Authority, bearer: Bearer
) -> None:
    trusted = TrustedKeys.load(authority.trusted_keys)
    with correlation.bind(call_of("acme", USER)):
        token = bearer()

    principal = Verifier(trusted, EVENTS, POLICY).verify(token)

    assert (principal.tenant, principal.subject, principal.service) == ("acme", USER, LATTICE)
    assert principal.scopes == {"events.append", "events.read"}
    assert principal.expires_at <= time.time() + 60
    with pytest.raises(TokenInvalid):
        Verifier(trusted, LATTICE, POLICY).verify(token)


def test_each_tenant_and_each_user_has_a_token_of_its_own(bearer: Bearer) -> None:
    tokens = set()
    for tenant in ("a", "b"):
        for key in ("key:1", "key:2"):
            with correlation.bind(call_of(tenant, key)):
                tokens |= {bearer(), bearer()}

    assert len(tokens) == 4


def test_what_nobody_asks_for_carries_no_token(bearer: Bearer) -> None:
    assert bearer() == ""


@pytest.mark.parametrize("principal", [None, call_of("b").principal])
def test_no_token_is_made_for_a_tenant_that_nobody_of_it_asks_for(
    bearer: Bearer, principal: Principal | None
) -> None:
    call = Call(correlation_id="test", tenant=TenantId("a"), principal=principal)

    with correlation.bind(call), pytest.raises(RuntimeError):
        bearer()


async def test_a_load_goes_on_for_who_began_it_when_they_have_gone(
    operations: OperationContext,
) -> None:
    journal = WatchedJournal()
    with correlation.bind(call_of(TENANT, "key:creator")):
        held = await lattices_on(journal, operations).create(TENANT, new(spec(3)), UNBOUNDED)
    lattices = lattices_on(journal, operations)

    def opening(subject: str) -> asyncio.Task[HeldLattice]:
        with correlation.bind(call_of(TENANT, subject)):
            return asyncio.create_task(lattices.open(TENANT, held.lattice.lattice_id))

    first, second = opening("key:first"), opening("key:second")
    await asyncio.sleep(0)
    first.cancel()

    assert (await second).lattice == held.lattice
    assert journal.read_by == ["key:first"]


class WatchedJournal(MemoryJournal):
    """Notes for whom it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_by: list[str] = []

    async def read(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        incarnation: str = "",
    ) -> StreamSlice:
        await asyncio.sleep(0.01)
        principal = correlation.current().principal
        assert principal is not None
        self.read_by.append(principal.subject)
        return await super().read(
            tenant, lattice_id, after_revision=after_revision, incarnation=incarnation
        )


@pytest.fixture
async def operations() -> AsyncIterator[OperationContext]:
    compute = Compute(threads=2, bytes_max=1 << 30, waiting_max=100)
    yield operations_on(compute)
    await compute.close()
