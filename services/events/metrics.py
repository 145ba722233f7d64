"""What the event store counts about itself, for Prometheus."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.events.reading.follower import Lag
from services.events.snapshot import Unfit

_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
_DURATION_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class Counted(Protocol):
    """A cache that counts."""

    hit_count: int
    miss_count: int


class SequencerMetrics:
    """Counts what the sequencers of all logs do. An `Instruments`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queued = Gauge(
            "events_sequencer_queued_events",
            "Events that wait to be appended.",
            registry=registry,
        )
        self._batch = Histogram(
            "events_sequencer_batch_events",
            "Events settled together.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._settle = Histogram(
            "events_sequencer_settle_seconds",
            "How long a batch took from leaving the queue to its commit.",
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self._appended = Counter(
            "events_appended", "Events appended to the logs of all tenants.", registry=registry
        )
        self._appended_bytes = Counter(
            "events_appended_bytes",
            "Bytes of the events appended, with their preconditions.",
            registry=registry,
        )
        self._races_lost = Counter(
            "events_sequencer_races_lost",
            "Batches decided again because another process appended first.",
            registry=registry,
        )
        self._database_away = Counter(
            "events_sequencer_database_away",
            "Attempts at a batch that failed because the database was away or busy.",
            registry=registry,
        )

    def queued(self, event_count: int) -> None:
        self._queued.inc(event_count)

    def settled(self, event_count: int, duration_s: float) -> None:
        self._batch.observe(event_count)
        self._settle.observe(duration_s)

    def appended(self, event_count: int, byte_count: int) -> None:
        self._appended.inc(event_count)
        self._appended_bytes.inc(byte_count)

    def race_lost(self) -> None:
        self._races_lost.inc()

    def database_away(self) -> None:
        self._database_away.inc()


class SnapshotMetrics:
    """Counts what becomes of snapshots."""

    def __init__(self, registry: CollectorRegistry) -> None:
        passed_over = Counter(
            "events_snapshots_passed_over",
            "Snapshots that were not given to a reader, by why they do not fit: corrupt is none"
            " that was saved, replaced is of events that the stream does not hold, newer is of a"
            " version that the reader does not know.",
            ["reason"],
            registry=registry,
        )
        self._passed_over = {unfit: passed_over.labels(unfit.value) for unfit in Unfit}

    def passed_over(self, unfit: Unfit) -> None:
        self._passed_over[unfit].inc()


class FollowMetrics:
    """Counts what is followed: for tails, for followers and for notifications."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._followers = Gauge(
            "events_followers", "Calls that follow a log or a stream.", registry=registry
        )
        self._windows = Gauge(
            "events_tail_window_bytes",
            "What is kept of the newest events of followed logs, in bytes.",
            registry=registry,
        )
        delivered = Counter(
            "events_follow_delivered_events",
            "Events sent to followers, by where they came from.",
            ["source"],
            registry=registry,
        )
        self._delivered = {source: delivered.labels(source) for source in ("window", "database")}
        self._listening = Gauge(
            "events_notifications_connected",
            "1 while this process is notified of the appends of others at once, 0 while it looks"
            " for them every second.",
            registry=registry,
        )

    def windows_changed(self, byte_count: int) -> None:
        self._windows.set(byte_count)

    def followed(self, follower_count: int) -> None:
        self._followers.inc(follower_count)

    def delivered(self, source: str, record_count: int) -> None:
        self._delivered[source].inc(record_count)

    def listening(self, *, is_connected: bool) -> None:
        self._listening.set(is_connected)


class ListeningEverywhere:
    """Shows whether notifications come from all places."""

    def __init__(self, metrics: FollowMetrics, place_count: int) -> None:
        self._metrics = metrics
        self._place_count = place_count
        self._connected: set[str] = set()

    def at(self, place: str) -> "ListeningAt":
        """What the notifications of one place are shown by."""
        return ListeningAt(partial(self._listening, place))

    def _listening(self, place: str, *, is_connected: bool) -> None:
        (self._connected.add if is_connected else self._connected.discard)(place)
        self._metrics.listening(is_connected=len(self._connected) == self._place_count)


class ListeningAt:
    """Whether notifications come from one place."""

    def __init__(self, shown: Callable[..., None]) -> None:
        self.listening = shown


class PlaceMetrics:
    """Counts where logs are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._logs = Gauge(
            "events_place_logs",
            "Logs in a place, as of half a minute ago at most. Told where there are several.",
            ["place"],
            registry=registry,
        )
        self._moving = Gauge(
            "events_place_moving_logs",
            "Logs that are to be moved from a place to another.",
            ["place"],
            registry=registry,
        )
        self._copies = Gauge(
            "events_place_copies",
            "Logs that are elsewhere, and of which a place has a copy: one that is being made, or"
            " that is being deleted.",
            ["place"],
            registry=registry,
        )
        self._up = Gauge(
            "events_place_up",
            "1 while a place answers and lets logs be written, 0 while it does not.",
            ["place"],
            registry=registry,
        )

    def counted(self, place: str, log_count: int) -> None:
        self._logs.labels(place).set(log_count)

    def looked(self, place: str, *, moving_count: int, copy_count: int) -> None:
        self._moving.labels(place).set(moving_count)
        self._copies.labels(place).set(copy_count)

    async def probed(self, place: str, probe: Callable[[], Awaitable[object]]) -> None:
        """Raises what `probe` does, and shows whether it did."""
        try:
            await probe()
        except BaseException:
            self._up.labels(place).set(0)
            raise
        self._up.labels(place).set(1)


class FollowLag(Collector):
    """How far those are behind who are furthest behind, at the moment of asking."""

    def __init__(self, lags: Callable[[], Sequence[Lag]]) -> None:
        self._lags = lags

    def collect(self) -> Iterator[Metric]:
        """Called from another thread. Costs about a microsecond a follower."""
        lags = self._lags()
        behind = [lag for lag in lags if lag.duration_s]
        yield GaugeMetricFamily(
            "events_followers_behind",
            "Calls that follow and are served from the database, since they are behind.",
            value=len(behind),
        )
        yield GaugeMetricFamily(
            "events_follow_lag_events",
            "How many positions of its log the last follower is behind.",
            value=max((lag.event_count for lag in lags), default=0),
        )
        yield GaugeMetricFamily(
            "events_follow_lag_seconds",
            "For how long the follower has been behind that has been so for longest.",
            value=max((lag.duration_s for lag in behind), default=0.0),
        )


class CacheMetrics(Collector):
    """What caches were good for."""

    def __init__(self, caches: Mapping[str, Counted]) -> None:
        """By names, of which there are few."""
        self._caches = caches

    def collect(self) -> Iterator[Metric]:
        hits = CounterMetricFamily(
            "events_cache_hits", "What was asked for and in memory.", labels=["cache"]
        )
        misses = CounterMetricFamily(
            "events_cache_misses", "What was asked for and had to be read.", labels=["cache"]
        )
        for name, cache in self._caches.items():
            hits.add_metric([name], cache.hit_count)
            misses.add_metric([name], cache.miss_count)
        yield from (hits, misses)


class TakerMetrics:
    """Counts the payloads that are taken away."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._taken = Counter(
            "events_payloads_taken",
            "Events that have lost their payload on the disk, by a rule of their stream.",
            registry=registry,
        )
        self._able = Gauge(
            "events_keeper_connected",
            "1 while this process can take payloads away, 0 while its login may not or the"
            " database is away.",
            registry=registry,
        )

    def taken(self, payload_count: int) -> None:
        self._taken.inc(payload_count)

    def taking(self, *, is_able: bool) -> None:
        self._able.set(is_able)


class CompactorMetrics:
    """Counts the room that is given back to the disk."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pages = Counter(
            "events_pages_given_back",
            "Pages of 8 KiB that the file of events became shorter by, after payloads were taken.",
            registry=registry,
        )

    def given_back(self, page_count: int) -> None:
        self._pages.inc(page_count)
