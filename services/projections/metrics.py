"""What the process that runs projections counts about itself, for Prometheus."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.projections.domain import ProjectionKey
from services.projections.running.runner import Run

_DURATION_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class ApplyMetrics:
    """Counts what is applied. `ApplyInstruments`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._applied = Counter(
            "projections_events_applied",
            "Events that projections have applied.",
            ["projection"],
            registry=registry,
        )
        self._duration = Histogram(
            "projections_transaction_seconds",
            "How long a transaction took that applied events and moved the checkpoint.",
            ["projection"],
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self._failed = Counter(
            "projections_attempts_failed",
            "Attempts to apply events that failed, whether they were repeated or not.",
            ["projection"],
            registry=registry,
        )
        self._set_aside = Counter(
            "projections_events_set_aside",
            "Events that were put into quarantine since they could not be applied.",
            ["projection"],
            registry=registry,
        )

    def applied(self, projection: str, event_count: int, duration_s: float) -> None:
        self._applied.labels(projection).inc(event_count)
        self._duration.labels(projection).observe(duration_s)

    def failed(self, projection: str) -> None:
        self._failed.labels(projection).inc()

    def set_aside(self, projection: str, event_count: int) -> None:
        self._set_aside.labels(projection).inc(event_count)


class RunMetrics(Collector):
    """How what runs here stands, over all tenants, whenever somebody asks."""

    def __init__(
        self,
        runs: Callable[[], Mapping[ProjectionKey, Run]],
        problems: Callable[[], Mapping[str, str]],
        projections: Iterable[str],
    ) -> None:
        self._runs = runs
        self._problems = problems
        self._projections = sorted(projections)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called from another thread."""
        running, stopped, lag = Tally[str](), Tally[str](), Tally[str]()
        lag_s: dict[str, float] = {}
        for key, run in [*self._runs().items()]:
            running[key.projection] += 1
            stopped[key.projection] += run.is_stopped
            behind = max(0, (run.head or 0) - run.place.position)
            lag[key.projection] = max(lag[key.projection], behind)
            lag_s[key.projection] = max(lag_s.get(key.projection, 0.0), run.lag_s())
        yield self._family("runs", "Tenants that a projection is run for here.", running)
        yield self._family(
            "stopped", "Of those, tenants for which it stands still: an event is poison.", stopped
        )
        yield self._family(
            "lag_events", "How many events of its log the last tenant is behind.", lag
        )
        yield self._family(
            "lag_seconds",
            "For how long the last tenant has been without an event that its log holds.",
            lag_s,
        )
        unfit = Tally(dict.fromkeys(self._problems(), 1))
        yield self._family(
            "unfit", "1 for a projection that cannot run: its migration failed, for one.", unfit
        )

    def _family(self, name: str, words: str, values: Mapping[str, float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"projections_{name}", words, labels=["projection"])
        for projection in self._projections:
            family.add_metric([projection], values.get(projection, 0))
        return family
