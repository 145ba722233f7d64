"""Statistics of the numbers of a field, chunk by chunk: nothing of its size is in memory."""

import hashlib
import math
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import ChunkPart
from services.lattice.arrays.region import Region
from services.lattice.computing.compute import Compute
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.fields.looking import look_at_each
from services.lattice.fields.reading import FieldReader, FieldSource
from services.plumbing.errors import InvalidInput

Numbers = NDArray[np.generic]

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
        """Add the numbers of a part. Means are merged as Chan, Golub and LeVeque do."""
        flat = np.ascontiguousarray(numbers).reshape(-1)
        self.digest.update(flat.view(np.uint8).data)
        self.sites += flat.size
        values = flat.astype(np.float64)
        if flat.dtype.kind == "f":
            is_nan = np.isnan(values)
            self.nan_count += int(is_nan.sum())
            flat, values = flat[~is_nan], values[~is_nan]
        if not flat.size:
            return
        self.low = min(self.low, flat.min().item())
        self.high = max(self.high, flat.max().item())
        self._merge(values.size, values)

    def _merge(self, count: int, values: NDArray[np.float64]) -> None:
        before, total = self.counted - count, self.counted
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(values.mean())
            away = mean - self.mean
            self.deviations += float(np.square(values - mean).sum())
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

    @property
    def passes(self) -> int:
        """How often the numbers are read: once more for bounds that are not known before."""
        return 2 if self.bins and (self.low is None or self.high is None) else 1


async def summarize(
    reader: FieldReader,
    source: FieldSource,
    query: StatisticsQuery,
    compute: Compute,
    work_limit: WorkLimit,
) -> Statistics:
    """The statistics of a region; raises WorkTooLarge before anything is read."""
    work_limit.check_looks(_LOOKS_PER_SITE * query.passes * query.region.sites)
    began_ns = time.monotonic_ns()
    found = Statistics()
    counts = np.zeros(query.bins, np.int64)
    is_single = query.bins > 0 and query.passes == 1
    bounds: tuple[float | None, float | None] = (query.low, query.high)

    def look(_part: ChunkPart, numbers: Numbers) -> None:
        found.add(numbers)
        if is_single:
            _count(numbers, counts, bounds)

    sites = source.layout.chunking.chunk_sites
    estimate = Estimate(size_bytes=_BYTES_PER_SITE * sites, looks=_LOOKS_PER_SITE * sites)
    await look_at_each(compute, estimate, reader.parts(source, query.region), look)
    if query.passes == 2 and found.counted:
        bounds = _bounds(query, found)
        again = reader.parts(source, query.region)
        await look_at_each(
            compute, estimate, again, lambda _, numbers: _count(numbers, counts, bounds)
        )
    if query.bins and found.counted:
        low, high = bounds
        assert low is not None and high is not None, "both are known by now"  # noqa: PT018
        found.histogram = Histogram(low=low, high=high, counts=counts)
    found.elapsed_ns = time.monotonic_ns() - began_ns
    return found


def _bounds(query: StatisticsQuery, found: Statistics) -> tuple[float, float]:
    """Where the histogram begins and ends; it is not without width where all numbers are one."""
    low = float(found.low) if query.low is None else query.low
    high = float(found.high) if query.high is None else query.high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidInput.of("low", "must be said, and high, where numbers are infinite")
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _count(
    numbers: Numbers,
    counts: NDArray[np.int64],
    bounds: tuple[float | None, float | None],
) -> None:
    values = numbers.reshape(-1).astype(np.float64)
    counts += np.histogram(values[~np.isnan(values)], len(counts), bounds)[0]  # type: ignore[arg-type]
