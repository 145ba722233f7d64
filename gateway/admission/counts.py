"""Counters that end by themselves: in this process, or shared by several.

Replicas share a Redis, and the processes of one gateway their parent's memory. Knows no limits
and no callers. What is counted there goes on in this process while it is away: a limit that is
a little too generous is better than a product that is down.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from limits.aio.storage import RedisStorage, Storage
from limits.errors import StorageError
from prometheus_client import CollectorRegistry, Counter, Gauge

from services.plumbing.logging import get_logger

_log = get_logger("gateway")

R = TypeVar("R")

KEY_COUNT_MAX: Final = 100_000
"""Counters of one window length that a process keeps; the oldest makes room for the next."""

_REDIS_TIMEOUT_S = 0.25
_REDIS_CONNECTION_COUNT_MAX = 50
_REDIS_PAUSE_S = 5.0


SharedCounts = Callable[[str], Storage]
"""Gives the storage of a group of counters that several processes share."""


class Counts:
    """Counters by key, each for a window that begins with its first count."""

    def __init__(
        self,
        local: "MemoryCounts",
        shared: Storage | None,
        metrics: "CountsMetrics",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._local = local
        self._shared = shared
        self._metrics = metrics
        self._clock = clock
        self._away_until_s: float | None = None

    async def add(self, key: str, window_s: int, amount: int = 1) -> int:
        """Count, and answer how much was counted in the window, this included.

        Atomic, also between replicas: of two callers one sees the other. A negative `amount`
        takes back what was counted before.
        """
        count = self.add_here(key, window_s, amount)
        if count is not None:
            return count
        return await self._ask(lambda storage: storage.incr(key, window_s, amount))

    def add_here(self, key: str, window_s: int, amount: int = 1) -> int | None:
        """What `add` answers, where nobody has to be asked for it: three times in every call."""
        return None if self._shared is not None else self._local.add(key, window_s, amount)

    async def read(self, key: str) -> int:
        """What was counted in the window; 0 when there is none."""
        return await self._ask(lambda storage: storage.get(key))

    async def forget(self, key: str) -> None:
        await self._ask(lambda storage: storage.clear(key))

    async def ends_at(self, key: str) -> float:
        """When the window ends, on the clock of `time.time()`."""
        return await self._ask(lambda storage: storage.get_expiry(key))

    async def _ask(self, work: Callable[[Storage], Awaitable[R]]) -> R:
        shared = self._reachable()
        if shared is None:
            return await work(self._local)
        try:
            answer = await work(shared)
        except (StorageError, OSError) as error:
            self._went_away(error)
            return await work(self._local)
        self._came_back()
        return answer

    def _reachable(self) -> Storage | None:
        """The shared storage, unless it was away a moment ago. After that one call tries."""
        if self._away_until_s is None:
            return self._shared
        now_s = self._clock()
        if now_s < self._away_until_s:
            return None
        self._away_until_s = now_s + _REDIS_PAUSE_S
        return self._shared

    def _went_away(self, error: Exception) -> None:
        self._metrics.failures.inc()
        if self._away_until_s is None:
            # Not the error itself, which may repeat the URL and what is secret in it.
            kind = type(error.__cause__ or error).__name__
            _log.warning("the shared counters are away: this process counts alone", problem=kind)
        self._away_until_s = self._clock() + _REDIS_PAUSE_S
        self._metrics.away.set(1)

    def _came_back(self) -> None:
        if self._away_until_s is not None:
            self._away_until_s = None
            self._metrics.away.set(0)
            _log.info("the shared counters are back")


class MemoryCounts(Storage):
    """Counters of this process: a storage of `limits` that is bounded in memory and in time.

    The one that comes with the library looks at every key it holds at every hit, which takes
    a millisecond at ten thousand of them, and forgets none before its time. Windows of one
    length end in the order in which they began, so here each hit looks at the oldest two.
    """

    STORAGE_SCHEME = None

    def __init__(
        self, key_count_max: int = KEY_COUNT_MAX, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._key_count_max = key_count_max
        self._clock = clock
        self._windows: dict[int, dict[str, list[float]]] = {}
        """By length, oldest first: [count, end]."""

    def __len__(self) -> int:
        return sum(map(len, self._windows.values()))

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return self.add(key, expiry, amount)

    def add(self, key: str, expiry: int, amount: int = 1) -> int:
        """What `incr` does, which waits for nothing."""
        windows = self._windows.get(expiry)
        if windows is None:
            windows = self._windows[expiry] = {}
        now_s = self._clock()
        window = windows.get(key)
        if window is not None and window[1] > now_s and window[0] + amount > 0:
            window[0] += amount
            return int(window[0])
        windows.pop(key, None)
        if amount <= 0:
            # All was taken back. It must not stand in the way of what still counts.
            return 0
        self._evict(windows, now_s)
        windows[key] = [amount, now_s + expiry]
        return amount

    async def get(self, key: str) -> int:
        window = self._find(key)
        return int(window[0]) if window else 0

    async def get_expiry(self, key: str) -> float:
        window = self._find(key)
        return window[1] if window else self._clock()

    async def clear(self, key: str) -> None:
        for windows in self._windows.values():
            windows.pop(key, None)

    async def check(self) -> bool:
        return True

    async def reset(self) -> int:
        count = len(self)
        self._windows.clear()
        return count

    def _find(self, key: str) -> list[float] | None:
        for windows in self._windows.values():
            window = windows.get(key)
            if window is not None:
                return window if window[1] > self._clock() else None
        return None

    def _evict(self, windows: dict[str, list[float]], now_s: float) -> None:
        for _ in range(2):
            oldest = next(iter(windows), None)
            if oldest is None:
                return
            if windows[oldest][1] > now_s and len(windows) < self._key_count_max:
                return
            del windows[oldest]


class CountsMetrics:
    """How the shared counters do."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.away = Gauge(
            "gateway_counters_away",
            "1 while what shares the counters is away, and limits are counted by each process.",
            registry=registry,
        )
        self.failures = Counter(
            "gateway_counters_failures",
            "Counts that what shares them did not take.",
            registry=registry,
        )


@asynccontextmanager
async def open_counts(
    redis_url: str | None,
    metrics: CountsMetrics,
    clock: Callable[[], float] = time.monotonic,
    *,
    shared: SharedCounts | None = None,
    group: str = "",
) -> AsyncIterator[Counts]:
    """Counters of this process, or of the Redis at `redis_url` (redis, rediss or unix), or
    else those of a group that it shares.

    Nothing is connected until it is counted. Whoever uses these has the local ones to itself.
    """
    if redis_url is None:
        yield Counts(MemoryCounts(), shared(group) if shared else None, metrics, clock)
        return
    pool = _redis_pool(redis_url)
    try:
        yield Counts(MemoryCounts(), _redis_storage(pool), metrics, clock)
    finally:
        await pool.aclose()


def _redis_pool(url: str) -> Any:  # noqa: ANN401 - generic in a way that its own stubs leave open
    from redis.asyncio import BlockingConnectionPool
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return BlockingConnectionPool.from_url(
        url,
        max_connections=_REDIS_CONNECTION_COUNT_MAX,
        timeout=_REDIS_TIMEOUT_S,
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        # Once more, for a connection that Redis has closed while it was idle.
        retry=Retry(NoBackoff(), 1),
    )


def _redis_storage(pool: Any) -> Storage:  # noqa: ANN401
    return RedisStorage(
        "async+redis://",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="girih",
        connection_pool=pool,
    )
