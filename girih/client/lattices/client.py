"""The lattices of a tenant, with asyncio. Knows the rpcs."""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from girih.client.caller import Caller
from girih.client.calls import CUT_OFF, begun, parts, unary
from girih.client.errors import LatticeNotFound
from girih.client.lattices import messages
from girih.client.lattices.asking import AsyncFields, AsyncPictures, AsyncRoutes, AsyncStructure
from girih.client.lattices.changing import AsyncHistory, AsyncJobs, AsyncTransforms
from girih.client.lattices.messages import BlockedCursor, DistancesCursor, PathsCursor, Query
from girih.client.lattices.questions import site_costs
from girih.client.lattices.sources import Pieces
from girih.client.lattices.uploading import MESSAGE_BYTES_MAX, LatticeUpload
from girih.client.lattices.values import (
    BlockedState,
    Boundary,
    CornerRule,
    CostRule,
    Lattice,
    Neighbourhood,
    Path,
    Site,
)
from girih.lattice.v1 import lattice_pb2 as pb
from girih.lattice.v1.fields_pb2_grpc import FieldServiceStub
from girih.lattice.v1.history_pb2_grpc import HistoryServiceStub
from girih.lattice.v1.jobs_pb2_grpc import JobServiceStub
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.lattice.v1.paths_pb2_grpc import PathServiceStub
from girih.lattice.v1.pictures_pb2_grpc import PictureServiceStub
from girih.lattice.v1.structure_pb2_grpc import StructureServiceStub
from girih.lattice.v1.transforms_pb2_grpc import TransformServiceStub
from girih.lattice.v1.uploads_pb2_grpc import LatticeUploadServiceStub

if TYPE_CHECKING:
    import grpc.aio
    import numpy as np
    from numpy.typing import NDArray


class AsyncLattices:
    """Creates lattices, and finds paths and distances on them.

    A lattice is given as the value that `create`, `get` and `list` answer, or by its id, which
    costs a call more where its shape is needed. An attempt may take as long as the call, since
    computing does. Arrays need numpy: `girih[lattice]`.
    """

    def __init__(self, channel: "grpc.aio.Channel", caller: Caller) -> None:
        self._channel = channel
        self._stub = LatticeServiceStub(channel)
        self._caller = caller.with_whole_attempts()

    @property
    def fields(self) -> AsyncFields:
        """Their fields: arrays with a number for each site."""
        return AsyncFields(FieldServiceStub(self._channel), self._caller, self._value)

    @property
    def routes(self) -> AsyncRoutes:
        """Several ways at once."""
        return AsyncRoutes(PathServiceStub(self._channel), self._caller, self._value)

    @property
    def structure(self) -> AsyncStructure:
        """What they are like as graphs."""
        return AsyncStructure(StructureServiceStub(self._channel), self._caller, self._value)

    @property
    def pictures(self) -> AsyncPictures:
        """What they look like, what chains would make of their fields, and what jobs compute."""
        return AsyncPictures(PictureServiceStub(self._channel), self._caller, self._value)

    @property
    def transforms(self) -> AsyncTransforms:
        """Chains of transforms of their fields, and of which sites are blocked."""
        return AsyncTransforms(TransformServiceStub(self._channel), self._caller, self._value)

    @property
    def history(self) -> AsyncHistory:
        """What happened to them: listed, undone, compared and verified."""
        return AsyncHistory(HistoryServiceStub(self._channel), self._caller, self._value)

    @property
    def jobs(self) -> AsyncJobs:
        """What takes longer than a call: simulations, and transforms by workers."""
        return AsyncJobs(JobServiceStub(self._channel), self._caller, self._value)

    async def create(
        self,
        shape: Sequence[int] | None = None,
        *,
        blocked: object | None = None,
        boundaries: Boundary | str | Sequence[Boundary | str] = Boundary.OPEN,
        neighbourhood: Neighbourhood | str = Neighbourhood.VON_NEUMANN,
        corner_rule: CornerRule | str = CornerRule.NO_CUTTING,
        timeout: float | None = None,
    ) -> Lattice:
        """Create a lattice; repeated by itself it is created once.

        `blocked` is a bool array, or what numpy makes one of, true where a site is blocked, or the
        path of a `.npy` file with one, which is not read into memory; it tells the `shape`. It may
        have up to 2^30 sites: what does not fit one message is sent as a stream, with its digest,
        and `timeout` is then by default a second longer for each MiB of bits. `boundaries` is one
        for all axes, or one per axis. Raises PlanLimit, InvalidRequest, WorkTooLarge, and
        ValueError for what no server would take.
        """
        request = messages.create_request(
            shape,
            blocked=blocked,
            boundaries=boundaries,
            neighbourhood=neighbourhood,
            corner_rule=corner_rule,
        )
        if len(request.blocked) > MESSAGE_BYTES_MAX:
            return await self._uploaded(LatticeUpload.of(request), timeout)
        response = await unary(self._caller, self._stub.CreateLattice, request, timeout)
        return messages.lattice(response.lattice)

    async def upload(
        self,
        shape: Sequence[int],
        pieces: Pieces,
        *,
        boundaries: Boundary | str | Sequence[Boundary | str] = Boundary.OPEN,
        neighbourhood: Neighbourhood | str = Neighbourhood.VON_NEUMANN,
        corner_rule: CornerRule | str = CornerRule.NO_CUTTING,
        timeout: float | None = None,
    ) -> Lattice:
        """The same of bytes that are read once, in constant memory: an iterable of bytes or a file
        that is open for reading, with a bit per site in C order, the least significant of each
        byte first.

        An upload that is cut off begins anew by itself while the first byte is among the last
        64 MiB, and raises UploadInterrupted else. What reading raises ends it.
        """
        upload = LatticeUpload.read_once(
            shape,
            pieces,
            boundaries=boundaries,
            neighbourhood=neighbourhood,
            corner_rule=corner_rule,
        )
        return await self._uploaded(upload, timeout)

    async def get(self, lattice_id: str, *, timeout: float | None = None) -> Lattice:
        """Raises LatticeNotFound."""
        request = pb.GetLatticeRequest(lattice_id=lattice_id)
        response = await unary(self._caller, self._stub.GetLattice, request, timeout)
        return messages.lattice(response.lattice)

    async def list(self, *, timeout: float | None = None) -> AsyncGenerator[Lattice]:
        """All of the tenant, in the order of their creation, page after page."""
        request = pb.ListLatticesRequest(page_size=messages.LIST_PAGE_SIZE)
        while True:
            page = await unary(self._caller, self._stub.ListLattices, request, timeout)
            for message in page.lattices:
                yield messages.lattice(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete(self, lattice: Lattice | str, *, timeout: float | None = None) -> None:
        """Raises LatticeNotFound; not where an attempt before may have deleted it."""
        request = pb.DeleteLatticeRequest(lattice_id=messages.id_of(lattice))
        caller, is_repeated = self._caller.noting_retries()
        try:
            await unary(caller, self._stub.DeleteLattice, request, timeout)
        except LatticeNotFound:
            if not is_repeated():
                raise

    async def find_path(
        self,
        lattice: Lattice | str,
        start: Site,
        goal: Site,
        *,
        costs: object | None = None,
        cost_rule: CostRule | str = CostRule.ENTERING,
        timeout: float | None = None,
    ) -> Path:
        """A shortest path, or one that is false: that there is none is no error.

        With `costs`, the name of a field or an array of the lattice's shape, a cheapest one.

        Raises WorkTooLarge for what cannot be computed in `timeout` seconds, and InvalidRequest
        for a site that is blocked or outside.
        """
        on = await self._value(lattice, timeout)
        request = messages.find_path_request(on, start, goal, site_costs(costs, cost_rule, on))
        response = await unary(self._caller, self._stub.FindPath, request, timeout)
        return messages.path(response.path, start, on, response.computation)

    async def find_paths(
        self,
        lattice: Lattice | str,
        queries: Iterable[Query],
        *,
        costs: object | None = None,
        cost_rule: CostRule | str = CostRule.ENTERING,
        timeout: float | None = None,
    ) -> AsyncGenerator[Path]:
        """Shortest paths for up to 10,000 pairs of start and goal, in their order, as they are
        computed. Resumes by itself with those that are not answered."""
        on = await self._value(lattice, timeout)
        cursor = PathsCursor(on, queries, site_costs(costs, cost_rule, on))
        async with aclosing(parts(self._caller, self._stub.FindPaths, cursor, timeout)) as answers:
            async for paths in answers:
                for path in paths:
                    yield path

    async def distances(
        self,
        lattice: Lattice | str,
        sources: Collection[Site],
        *,
        targets: Collection[Site] | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        costs: object | None = None,
        cost_rule: CostRule | str = CostRule.ENTERING,
        timeout: float | None = None,
    ) -> "NDArray[np.float64]":
        """The distance of sites from the nearest of `sources`, infinite where no path leads.

        Returns a float64 array: of the lattice's shape; of `shape` for the box of sites whose
        lowest corner is `origin`; or one number for each of `targets`. At most 33,554,432 sites.
        """
        on = await self._value(lattice, timeout)
        weights = site_costs(costs, cost_rule, on)
        cursor = DistancesCursor(
            on, sources, targets=targets, origin=origin, shape=shape, costs=weights
        )
        async for _ in parts(self._caller, self._stub.Distances, cursor, timeout):
            pass
        return cursor.distances()

    async def blocked(
        self, lattice: Lattice | str, *, timeout: float | None = None
    ) -> "NDArray[np.bool_]":
        """A bool array of the lattice's shape, true where a site is blocked."""
        cursor = BlockedCursor(await self._value(lattice, timeout))
        async for _ in parts(self._caller, self._stub.ReadBlocked, cursor, timeout):
            pass
        return cursor.blocked()

    async def write_blocked(
        self,
        lattice: Lattice | str,
        blocked: object,
        *,
        origin: Site | None = None,
        where: object | None = None,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> BlockedState:
        """Block the sites that are true in `blocked`, a bool array, and free the others, all as one
        event; repeated by itself it is done once.

        The array is of the box of sites whose lowest corner is `origin`, or of the lattice's first
        ones. With `where`, an array alike, only the sites that are true in that. Raises
        InvalidRequest where the box is not inside the lattice, and Conflict where
        `expected_revision` is not that of the last change of blocked sites, 0 for none.
        """
        request = messages.write_blocked_request(
            lattice, blocked, origin=origin, where=where, expected_revision=expected_revision
        )
        stub = TransformServiceStub(self._channel)
        response = await unary(self._caller, stub.WriteBlocked, request, timeout)
        return messages.blocked_state(response.state)

    async def block_by_field(
        self,
        lattice: Lattice | str,
        name: str,
        *,
        expected_revision: int | None = None,
        timeout: float | None = None,
    ) -> BlockedState:
        """Block the sites where the field `name` is not zero, and free the others, all as one
        event; repeated by itself it is done once. NaN is not zero.

        An array of sites that is too large to be sent twice comes in as a field, by
        `fields.write`, which goes on where it was cut off. Raises NotFound without such a
        field, and Conflict where `expected_revision` is not that of the last change of blocked
        sites, 0 for none.
        """
        request = messages.block_by_field_request(lattice, name, expected_revision)
        stub = TransformServiceStub(self._channel)
        response = await unary(self._caller, stub.BlockByField, request, timeout)
        return messages.blocked_state(response.state)

    async def _uploaded(self, upload: LatticeUpload, timeout: float | None) -> Lattice:
        stub = LatticeUploadServiceStub(self._channel)

        async def method(_request: object, **options: Any) -> Any:  # noqa: ANN401 - a call
            try:
                return await begun(stub.UploadLattice, upload.messages(), **options)
            except CUT_OFF:
                upload.broke_off()
                raise

        if timeout is None:
            timeout = upload.timeout_s(self._caller.retry.timeout_s)
        return upload.result(await unary(self._caller, method, upload.head, timeout))

    async def _value(self, lattice: Lattice | str, timeout: float | None) -> Lattice:
        return lattice if isinstance(lattice, Lattice) else await self.get(lattice, timeout=timeout)
