"""Fields, routes and structure of lattices, with asyncio. Knows the rpcs."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from girih.client.caller import Caller
from girih.client.calls import CUT_OFF, begun, parts, unary
from girih.client.errors import FieldNotFound, UploadNotFound
from girih.client.lattices import arrays, fields, pictures, routes, structure
from girih.client.lattices.fields import Box, Field, Statistics
from girih.client.lattices.messages import Query
from girih.client.lattices.pictures import FIRST_SLICE, JobPicture, Preview, View
from girih.client.lattices.questions import Asked, Streamed
from girih.client.lattices.routes import Nearest, PathCount, Reached, Route
from girih.client.lattices.sources import Pieces
from girih.client.lattices.structure import (
    Colouring,
    Communities,
    Components,
    Extent,
    Measure,
    Percolation,
    Ranking,
    SiteValues,
    SpanningTree,
    SpanningTrees,
    Spectrum,
)
from girih.client.lattices.transforms import Chain
from girih.client.lattices.values import CostRule, Lattice, Path, Site

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

LatticeOf = Callable[[Lattice | str, float | None], Awaitable[Lattice]]
"""The value of a lattice that is given by its id."""


class AsyncAsking:
    """Asks one service of lattices."""

    def __init__(self, stub: Any, caller: Caller, lattice_of: LatticeOf) -> None:  # noqa: ANN401
        self._stub = stub
        self._caller = caller
        self._lattice_of = lattice_of

    async def _asked(self, question: Asked[T], timeout: float | None) -> T:
        method = getattr(self._stub, question.rpc)
        return question.read(await unary(self._caller, method, question.request, timeout))

    async def _streamed(self, question: Streamed[T], timeout: float | None) -> T:
        method = getattr(self._stub, question.rpc)
        async for _ in parts(self._caller, method, question.answer, timeout):
            pass
        return question.answer.result()


class AsyncFields(AsyncAsking):
    """The fields of lattices: named arrays of numpy with a number for each site.

    A lattice is given as a value or by its id. Every method raises LatticeNotFound, and where it
    needs a field that there is FieldNotFound.
    """

    async def create(
        self,
        lattice: Lattice | str,
        name: str,
        dtype: str = "float64",
        fill: float = 0.0,
        *,
        timeout: float | None = None,
    ) -> Field:
        """Create a field that has the same number everywhere; nothing is kept for sites.
        Repeated by itself it is created once. Raises AlreadyExists."""
        return await self._asked(fields.create(lattice, name, dtype, fill), timeout)

    async def write(
        self,
        lattice: Lattice | str,
        name: str,
        array: object,
        *,
        origin: Site | None = None,
        steps: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> Field:
        """Write all of a field, which is created where there is none; with `origin` or `steps` a
        region of the array's shape, as `field[origin::steps]` is one.

        `array` is what numpy makes an array of, or the path of a `.npy` file, which is not read
        into memory; any order and byte order of memory will do, and it must not change meanwhile.
        A write happens wholly or not at all, and is an event with the field's digest. All of a
        field that is larger than 8 MiB is checked by its digest, and goes on by itself where it
        was cut off; `timeout` is then by default a second longer for each MiB.
        Raises InvalidRequest where its shape does not fit, WorkTooLarge.
        """
        write = fields.Write(lattice, name, array, origin, steps)
        if write.is_large:
            upload = write.upload(await self._lattice_of(lattice, timeout))
            return await self._uploaded(upload, timeout)

        def method(_request: object, **options: Any) -> Any:  # noqa: ANN401 - a call
            return self._stub.WriteField(write.messages(), **options)

        return write.result(await unary(self._caller, method, write.head, timeout))

    async def upload(
        self,
        lattice: Lattice | str,
        name: str,
        pieces: Pieces,
        dtype: str,
        *,
        timeout: float | None = None,
    ) -> Field:
        """Write all of a field from bytes that are read once, in constant memory: little-endian
        numbers of `dtype` in C order, as an iterable of bytes or a file that is open for reading.

        It goes on by itself where it was cut off: the last 64 MiB are kept for that, and
        UploadInterrupted is raised should they not reach. What reading raises ends it. Raises
        InvalidRequest where the bytes are too few or too many, WorkTooLarge.
        """
        upload = fields.Upload.read_once(lattice, name, dtype, pieces)
        return await self._uploaded(upload, timeout)

    async def read(
        self,
        lattice: Lattice | str,
        name: str,
        *,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> "NDArray[np.generic]":
        """The numbers of a field, or of a region of it, as an array of their own. A read that is
        cut off goes on by itself where it was, in the field as it was."""
        answer = fields.Read(lattice, name, Box.of(origin, shape, steps))
        return await self._streamed(Streamed("ReadField", answer), timeout)

    async def download(
        self,
        lattice: Lattice | str,
        name: str,
        path: str | os.PathLike[str],
        *,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> "NDArray[np.generic]":
        """The same into a `.npy` file, in constant memory; the array is that of the file, mapped
        into memory.

        A file that is there is replaced, and only by a whole one. All of a field is checked by its
        digest: raises DataDamaged.
        """
        box = Box.of(origin, shape, steps)
        with arrays.replaced(path) as beside:
            answer = fields.Read(lattice, name, box, beside)
            await self._streamed(Streamed("ReadField", answer), timeout)
        return arrays.mapped(path)

    async def get(
        self, lattice: Lattice | str, name: str, *, timeout: float | None = None
    ) -> Field:
        """What is known of a field, without its numbers."""
        return await self._asked(fields.get(lattice, name), timeout)

    async def list(
        self, lattice: Lattice | str, *, timeout: float | None = None
    ) -> tuple[Field, ...]:
        """All of a lattice, by their names."""
        return await self._asked(fields.list_of(lattice), timeout)

    async def delete(
        self, lattice: Lattice | str, name: str, *, timeout: float | None = None
    ) -> None:
        """Raises FieldNotFound; not where an attempt before may have deleted it."""
        caller, is_repeated = self._caller.noting_retries()
        question = fields.delete(lattice, name)
        try:
            await unary(caller, self._stub.DeleteField, question.request, timeout)
        except FieldNotFound:
            if not is_repeated():
                raise

    async def statistics(
        self,
        lattice: Lattice | str,
        name: str,
        *,
        bins: int = 0,
        low: float | None = None,
        high: float | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> Statistics:
        """What its numbers are like, without sending them; with `bins` a histogram, from `low` to
        `high` or from the least to the greatest."""
        box = Box.of(origin, shape, steps)
        question = fields.statistics(lattice, name, bins=bins, low=low, high=high, region=box)
        return await self._asked(question, timeout)

    async def _uploaded(self, upload: fields.Upload, timeout: float | None) -> Field:
        begin = upload.begin()
        upload.at(await unary(self._caller, self._stub.BeginUpload, begin, timeout))

        async def method(_request: object, **options: Any) -> Any:  # noqa: ANN401 - a call
            try:
                if upload.is_interrupted:
                    where = begun(self._stub.GetUpload, upload.where, **options)
                    upload.at(await where)
                return await begun(self._stub.WriteField, upload.messages(), **options)
            except CUT_OFF as error:
                upload.broke_off(error)
                raise

        if timeout is None:
            timeout = upload.timeout_s(self._caller.retry.timeout_s)
        try:
            return upload.result(await unary(self._caller, method, upload.where, timeout))
        except UploadNotFound:
            # What was made of it may be written over, or deleted, by now.
            with suppress(FieldNotFound):
                field = await self.get(upload.where.lattice_id, upload.where.name, timeout=timeout)
                if upload.has_made(field):
                    return field
            raise


class AsyncPictures(AsyncAsking):
    """Pictures of lattices and their fields, as PNG.

    Every method raises InvalidRequest for a view that is not inside the lattice.
    """

    async def draw(
        self,
        lattice: Lattice | str,
        name: str = "",
        view: View = FIRST_SLICE,
        *,
        at_revision: int | None = None,
        minus_revision: int | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """A field, or without a name which sites are blocked; with `at_revision` as it was then,
        with `minus_revision` how much more it is than it was then."""
        drawing = pictures.Drawing(
            lattice, name, view, at_revision=at_revision, minus_revision=minus_revision
        )
        return await self._streamed(Streamed("Render", drawing), timeout)

    async def preview(
        self,
        lattice: Lattice | str,
        name: str,
        chain: Chain,
        view: View = FIRST_SLICE,
        *,
        timeout: float | None = None,
    ) -> Preview:
        """What a chain of transforms would make of a field: nothing is changed. Each step is as in
        the contract's JSON, as `{"reflect": {"axes": [0]}}`."""
        return await self._asked(pictures.preview(lattice, name, chain, view), timeout)

    async def job(
        self, job_id: str, view: View = FIRST_SLICE, *, timeout: float | None = None
    ) -> JobPicture:
        """What a job that waits, runs or was cancelled has computed so far."""
        return await self._asked(pictures.job(job_id, view), timeout)


class AsyncRoutes(AsyncAsking):
    """Several ways at once: routes, counts of paths, what is near.

    `costs` is the name of a field of the lattice, or an array of its shape: what each site costs.
    Every method raises LatticeNotFound, InvalidRequest for a site that is blocked or outside, and
    WorkTooLarge for what cannot be computed in `timeout` seconds.
    """

    async def route(
        self,
        lattice: Lattice | str,
        stops: Sequence[Sequence[Site]],
        *,
        costs: object | None = None,
        cost_rule: CostRule | str = CostRule.ENTERING,
        timeout: float | None = None,
    ) -> Route:
        """A shortest route that passes one site of each stop, in their order."""
        on = await self._lattice_of(lattice, timeout)
        return await self._asked(routes.route(on, stops, costs, cost_rule), timeout)

    async def count(
        self, lattice: Lattice | str, start: Site, goal: Site, *, timeout: float | None = None
    ) -> PathCount:
        """How many shortest paths there are, exactly."""
        return await self._asked(routes.count(lattice, start, goal), timeout)

    async def simple(
        self,
        lattice: Lattice | str,
        start: Site,
        goal: Site,
        *,
        length_max: float,
        steps_max: int = 1_000,
        paths_max: int = 10_000,
        costs: object | None = None,
        cost_rule: CostRule | str = CostRule.ENTERING,
        timeout: float | None = None,
    ) -> AsyncGenerator[Path]:
        """Every path that visits no site twice and is not longer than told, as they are found.
        At most `paths_max`."""
        cursor = routes.SimplePaths(
            await self._lattice_of(lattice, timeout),
            start,
            goal,
            length_max=length_max,
            steps_max=steps_max,
            paths_max=paths_max,
            costs=costs,
            cost_rule=cost_rule,
        )
        async with aclosing(
            parts(self._caller, self._stub.SimplePaths, cursor, timeout)
        ) as batches:
            async for paths in batches:
                for path in paths:
                    yield path

    async def reachable(
        self,
        lattice: Lattice | str,
        sources: Collection[Site],
        length_max: float,
        *,
        sites_max: int | None = None,
        costs: object | None = None,
        cost_rule: CostRule | str = CostRule.ENTERING,
        timeout: float | None = None,
    ) -> Reached:
        """The sites not further from the nearest of `sources` than told. `sites_max` 0 counts
        them alone."""
        on = await self._lattice_of(lattice, timeout)
        question = routes.reachable(on, sources, length_max, sites_max, costs, cost_rule)
        return await self._streamed(question, timeout)

    async def nearest(
        self,
        lattice: Lattice | str,
        sources: Collection[Site],
        k: int = 1,
        *,
        targets: Collection[Site] | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        costs: object | None = None,
        cost_rule: CostRule | str = CostRule.ENTERING,
        timeout: float | None = None,
    ) -> Nearest:
        """Which `k` of `sources` are nearest to each site: with one the regions of Voronoi."""
        question = routes.nearest(
            await self._lattice_of(lattice, timeout),
            sources,
            k,
            targets=targets,
            origin=origin,
            shape=shape,
            costs=costs,
            cost_rule=cost_rule,
        )
        return await self._streamed(question, timeout)


class AsyncStructure(AsyncAsking):
    """What lattices are like as graphs.

    Values of sites are told of the whole lattice; of `shape` for the box whose lowest corner is
    `origin`; or of each of `targets`. Every method raises LatticeNotFound, and WorkTooLarge for
    what cannot be computed in `timeout` seconds.
    """

    async def degrees(
        self, lattice: Lattice | str, *, timeout: float | None = None
    ) -> dict[int, int]:
        """How many sites have so many neighbours."""
        return await self._asked(structure.degrees(lattice), timeout)

    async def components(
        self, lattice: Lattice | str, *, components_max: int = 100, timeout: float | None = None
    ) -> Components:
        """How many there are and how many lead across; the largest in detail."""
        return await self._asked(structure.components(lattice, components_max), timeout)

    async def labels(
        self,
        lattice: Lattice | str,
        *,
        targets: Collection[Site] | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> SiteValues:
        """The component of each site, an int32 array: -1 where blocked."""
        on = await self._lattice_of(lattice, timeout)
        return await self._streamed(structure.labels(on, targets, origin, shape), timeout)

    async def centrality(
        self,
        lattice: Lattice | str,
        measure: Measure | str,
        *,
        damping: float = 0.0,
        targets: Collection[Site] | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> SiteValues:
        """How central each site is, a float64 array: 0 where blocked. `damping` is that of
        PageRank (0 means 0.85) and of Katz, which needs one."""
        on = await self._lattice_of(lattice, timeout)
        question = structure.centrality(on, measure, damping, targets, origin, shape)
        return await self._streamed(question, timeout)

    async def most_central(
        self,
        lattice: Lattice | str,
        measure: Measure | str,
        k: int,
        *,
        damping: float = 0.0,
        timeout: float | None = None,
    ) -> Ranking:
        """The `k` most central sites, the first in C order of equal ones."""
        return await self._streamed(structure.most_central(lattice, measure, k, damping), timeout)

    async def extent(
        self,
        lattice: Lattice | str,
        sites: Collection[Site] = (),
        *,
        timeout: float | None = None,
    ) -> Extent:
        """Diameter, radius and mean distance; of `sites` their eccentricities instead."""
        return await self._asked(structure.extent(lattice, sites), timeout)

    async def spectrum(
        self, lattice: Lattice | str, k: int, *, timeout: float | None = None
    ) -> Spectrum:
        """The `k` least eigenvalues of the Laplacian."""
        return await self._asked(structure.spectrum(lattice, k), timeout)

    async def heat(
        self,
        lattice: Lattice | str,
        source: Site,
        time: float,
        *,
        targets: Collection[Site] | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> SiteValues:
        """How much is at each site of what was at `source` at first, a float64 array."""
        on = await self._lattice_of(lattice, timeout)
        question = structure.heat(on, source, time, targets, origin, shape)
        return await self._streamed(question, timeout)

    async def resistances(
        self, lattice: Lattice | str, pairs: Collection[Query], *, timeout: float | None = None
    ) -> "NDArray[np.float64]":
        """Between pairs of sites, where each edge is a resistor of 1; infinite where no path
        leads."""
        return await self._asked(structure.resistances(lattice, pairs), timeout)

    async def spanning_trees(
        self, lattice: Lattice | str, *, timeout: float | None = None
    ) -> SpanningTrees:
        """The logarithm of how many there are."""
        return await self._asked(structure.spanning_trees(lattice), timeout)

    async def minimum_spanning_tree(
        self,
        lattice: Lattice | str,
        *,
        costs: object | None = None,
        list_edges: bool = False,
        timeout: float | None = None,
    ) -> SpanningTree:
        """A forest that costs least: an edge costs the mean of both its ends, or 1."""
        on = await self._lattice_of(lattice, timeout)
        question = structure.minimum_spanning_tree(on, costs, list_edges=list_edges)
        return await self._streamed(question, timeout)

    async def colouring(
        self,
        lattice: Lattice | str,
        *,
        targets: Collection[Site] | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> Colouring:
        """Colours of which no two neighbours have the same."""
        on = await self._lattice_of(lattice, timeout)
        return await self._streamed(structure.colouring(on, targets, origin, shape), timeout)

    async def communities(
        self,
        lattice: Lattice | str,
        *,
        seed: int = 0,
        targets: Collection[Site] | None = None,
        origin: Site | None = None,
        shape: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> Communities:
        """Communities, and their modularity; the same for the same `seed`."""
        on = await self._lattice_of(lattice, timeout)
        question = structure.communities(on, seed, targets, origin, shape)
        return await self._streamed(question, timeout)

    async def percolation(
        self,
        lattice: Lattice | str,
        shares: Sequence[float],
        *,
        runs: int = 100,
        seed: int = 0,
        axis: int = 0,
        timeout: float | None = None,
    ) -> Percolation:
        """How probably open sites lead across an axis, by their share, over random orders."""
        question = structure.percolation(lattice, shares, runs=runs, seed=seed, axis=axis)
        return await self._asked(question, timeout)
