"""Statistics of the numbers of a field, chunk by chunk: nothing of its size is in memory.

What takes one thread longer than a call may is looked at by workers. What they find is put together
in the order of the chunks, so every bit comes out as of one thread.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import ChunkPart
from services.lattice.arrays.region import Region
from services.lattice.computing.compute import Compute
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.distributed.cluster import Cluster
from services.lattice.distributed.worker import cancel_flag
from services.lattice.fields.boxed import KeptArray
from services.lattice.fields.looking import look_at_each
from services.lattice.fields.reading import FieldReader, FieldSource, as_array
from services.lattice.kernels.slices import Cancelled
from services.plumbing.errors import InvalidInput, Violations

Numbers = NDArray[np.generic]
Bounds = tuple[float | None, float | None]

_TASKS_MAX = 256
"""Into so many the chunks are shared out to workers, at most."""
_LOOKS_PER_SITE = 4
_BYTES_PER_SITE = 24
"""Of a chunk while it is looked at: its numbers as doubles, and what is left of them."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many numbers lie in equal intervals; the last one has its end, too."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def edges(self) -> NDArray[np.float64]:
        return np.linspace(self.low, self.high, len(self.counts) + 1)


@dataclass(frozen=True, kw_only=True)
class PartStatistics:
    """What is known of the numbers of a part, those that are NaN apart."""

    sites: int
    nan_count: int = 0
    low: float | int = math.inf
    high: float | int = -math.inf
    mean: float = 0.0
    deviations: float = 0.0

    @classmethod
    def of(cls, numbers: Numbers) -> Self:
        flat = np.ascontiguousarray(numbers).reshape(-1)
        sites, values, nan_count = flat.size, flat.astype(np.float64), 0
        if flat.dtype.kind == "f":
            is_nan = np.isnan(values)
            nan_count = int(is_nan.sum())
            flat, values = flat[~is_nan], values[~is_nan]
        if not flat.size:
            return cls(sites=sites, nan_count=nan_count)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(values.mean())
            deviations = float(np.square(values - mean).sum())
        return cls(
            sites=sites,
            nan_count=nan_count,
            low=flat.min().item(),
            high=flat.max().item(),
            mean=mean,
            deviations=deviations,
        )


@dataclass(kw_only=True)
class Statistics:
    """What is known of the numbers looked at so far. NaN is counted, and left out of the rest."""

    sites: int = 0
    nan_count: int = 0
    low: float | int = math.inf
    high: float | int = -math.inf
    mean: float = 0.0
    deviations: float = 0.0
    """The sum of the squares of what each number differs from the mean."""
    histogram: Histogram | None = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    """Of the bytes of the numbers in C order."""
    elapsed_ns: int = 0

    @property
    def counted(self) -> int:
        return self.sites - self.nan_count

    @property
    def variance(self) -> float:
        """Of all numbers as a whole population."""
        return self.deviations / self.counted if self.counted else math.nan

    def add(self, numbers: Numbers) -> None:
        """Add the numbers of a part."""
        self.digest_more(numbers)
        self.merge(PartStatistics.of(numbers))

    def digest_more(self, numbers: Numbers) -> None:
        """Add the bytes of a part to the digest."""
        self.digest.update(np.ascontiguousarray(numbers).reshape(-1).view(np.uint8).data)

    def merge(self, part: PartStatistics) -> None:
        """Add what is known of a part. Means are merged as Chan, Golub and LeVeque do."""
        before, count = self.counted, part.sites - part.nan_count
        self.sites += part.sites
        self.nan_count += part.nan_count
        if not count:
            return
        self.low = min(self.low, part.low)
        self.high = max(self.high, part.high)
        away, total = part.mean - self.mean, before + count
        self.deviations += part.deviations
        self.deviations += away * away * before * count / total
        self.mean += away * count / total


@dataclass(frozen=True, kw_only=True)
class StatisticsQuery:
    """Which numbers to look at, and into how many intervals to sort them; 0 into none.

    Without bounds the histogram reaches from the least to the greatest.
    """

    region: Region
    bins: int = 0
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None and not math.isfinite(bound):
                raise InvalidInput.of(name, "must be a finite number")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise InvalidInput.of("high", "must be greater than low")
        if self.is_counted_at_once and self.low is not None and self.high is not None:
            _check_bins(self.low, self.high, self.bins)

    @property
    def passes(self) -> int:
        """How often the numbers are read: once more for bounds that are not known before."""
        return 2 if self.bins and (self.low is None or self.high is None) else 1

    @property
    def looks(self) -> int:
        """The time that it takes, as looks."""
        return _LOOKS_PER_SITE * self.passes * self.region.sites

    @property
    def bounds(self) -> Bounds:
        """As they are said."""
        return self.low, self.high

    @property
    def is_counted_at_once(self) -> bool:
        """Numbers are sorted into intervals when they are read first."""
        return self.bins > 0 and self.passes == 1


async def summarize(
    reader: FieldReader,
    source: FieldSource,
    query: StatisticsQuery,
    compute: Compute,
    work_limit: WorkLimit,
) -> Statistics:
    """The statistics of a region; raises WorkTooLarge before anything is read."""
    work_limit.check_looks(query.looks)
    began_ns = time.monotonic_ns()
    statistics = Statistics()
    counts = np.zeros(query.bins, np.int64)
    bounds = query.bounds

    def look(_part: ChunkPart, numbers: Numbers) -> None:
        statistics.add(numbers)
        if query.is_counted_at_once:
            counts[...] += _counted(numbers, query.bins, bounds)

    def look_again(_part: ChunkPart, numbers: Numbers) -> None:
        counts[...] += _counted(numbers, query.bins, bounds)

    estimate = _estimate(source)
    await look_at_each(compute, estimate, reader.parts(source, query.region), look)
    if query.passes == 2 and statistics.counted:
        bounds = _bounds(query, statistics)
        await look_at_each(compute, estimate, reader.parts(source, query.region), look_again)
    return _finished(statistics, query, bounds, counts, began_ns)


async def summarize_by_workers(
    cluster: Cluster,
    kept: KeptArray,
    reader: FieldReader,
    source: FieldSource,
    query: StatisticsQuery,
    compute: Compute,
    work_limit: WorkLimit,
) -> Statistics:
    """The same. Bytes that are digested one behind the other are so here, beside the workers.

    Raises WorkersUnavailable, too.
    """
    work_limit.check_looks(query.looks, cluster.thread_count)
    began_ns = time.monotonic_ns()
    statistics = Statistics()
    tasks = list(_tasks(kept, source, query))
    parts = reader.parts(source, query.region)
    digesting = asyncio.create_task(
        look_at_each(
            compute, _estimate(source), parts, lambda _, numbers: statistics.digest_more(numbers)
        ),
        name="digest field",
    )
    try:
        looked = await cluster.map(look_at_parts, tasks)
        await digesting
    finally:
        digesting.cancel()
        await asyncio.gather(digesting, return_exceptions=True)
    for each in looked:
        for part in each.parts:
            statistics.merge(part)
    bounds = query.bounds
    if query.passes == 2 and statistics.counted:
        bounds = _bounds(query, statistics)
        again = [replace(task, bounds=bounds, is_only_counted=True) for task in tasks]
        looked = await cluster.map(look_at_parts, again)
    counts = np.zeros(query.bins, np.int64)
    for each in looked:
        counts += each.counts
    return _finished(statistics, query, bounds, counts, began_ns)


@dataclass(frozen=True, kw_only=True)
class PartsTask:
    """Some of the parts of a region that a worker looks at."""

    kept: KeptArray
    query: StatisticsQuery
    begin: int
    end: int
    bounds: Bounds
    is_only_counted: bool = False


@dataclass(frozen=True)
class LookedAt:
    """What is known of parts, in their order, and how many numbers lie in each interval."""

    parts: list[PartStatistics]
    counts: NDArray[np.int64]


def look_at_parts(task: PartsTask) -> LookedAt:
    """Look at parts, in a worker. Raises ChunkDamaged and StorageUnavailable."""
    return task.kept.read(lambda reader, source: _looked_at(task, reader, source))


async def _looked_at(task: PartsTask, reader: FieldReader, source: FieldSource) -> LookedAt:
    query, parts = task.query, []
    counts = np.zeros(query.bins, np.int64)
    own = islice(source.layout.chunking.parts(query.region), task.begin, task.end)
    cancel = cancel_flag()
    for part in own:
        if cancel[0]:
            raise Cancelled
        numbers = as_array(await source.chunk(reader.arrays, part.ordinal), source.layout)
        if not task.is_only_counted:
            parts.append(PartStatistics.of(numbers[part.selection]))
        if task.is_only_counted or query.is_counted_at_once:
            counts += _counted(numbers[part.selection], query.bins, task.bounds)
    return LookedAt(parts, counts)


def _tasks(kept: KeptArray, source: FieldSource, query: StatisticsQuery) -> Iterator[PartsTask]:
    count = sum(1 for _ in source.layout.chunking.parts(query.region))
    each = -(-count // _TASKS_MAX)
    for begin in range(0, count, each):
        yield PartsTask(kept=kept, query=query, begin=begin, end=begin + each, bounds=query.bounds)


def _estimate(source: FieldSource) -> Estimate:
    """Of a chunk."""
    sites = source.layout.chunking.chunk_sites
    return Estimate(size_bytes=_BYTES_PER_SITE * sites, looks=_LOOKS_PER_SITE * sites)


def _finished(
    statistics: Statistics,
    query: StatisticsQuery,
    bounds: Bounds,
    counts: NDArray[np.int64],
    began_ns: int,
) -> Statistics:
    if query.bins and statistics.counted:
        low, high = bounds
        assert low is not None and high is not None, "both are known by now"  # noqa: PT018
        statistics.histogram = Histogram(low=low, high=high, counts=counts)
    statistics.elapsed_ns = time.monotonic_ns() - began_ns
    return statistics


def _bounds(query: StatisticsQuery, statistics: Statistics) -> tuple[float, float]:
    """Where the histogram begins and ends: where its caller says in any case, and it is not without
    width. Raises InvalidInput naming what must be given."""
    low = float(statistics.low) if query.low is None else query.low
    high = float(statistics.high) if query.high is None else query.high
    bad = Violations()
    for name, bound in (("low", low), ("high", high)):
        if not math.isfinite(bound):
            bad.add(name, "must be given where numbers are infinite")
    bad.raise_if_any()
    if low >= high:
        low, high = _widened(query, low, high)
    _check_bins(low, high, query.bins)
    return low, high


def _widened(query: StatisticsQuery, low: float, high: float) -> tuple[float, float]:
    """Bounds of no width, or of numbers on the other side of the one that is given, as wide as
    doubles there can be cut."""
    given = low if query.high is None else high
    half = max(0.5, query.bins * math.ulp(given))
    if query.low is not None:
        return given, given + 2 * half
    if query.high is not None:
        return given - 2 * half, given
    return given - half, given + half


def _check_bins(low: float, high: float, bins: int) -> None:
    """Raise InvalidInput where doubles cannot be cut into so many intervals."""
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(low, high, bins + 1)
    if not (math.isfinite(high - low) and (np.diff(edges) > 0).all()):
        message = f"must be a number of intervals that lie between {low!r} and {high!r}"
        raise InvalidInput.of("bins", message)


def _counted(numbers: Numbers, bins: int, bounds: Bounds) -> NDArray[np.int64]:
    values = numbers.reshape(-1).astype(np.float64)
    counts: NDArray[np.int64] = np.histogram(values[~np.isnan(values)], bins, bounds)[0]  # type: ignore[arg-type]
    return counts
