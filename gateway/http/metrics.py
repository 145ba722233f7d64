"""What the gateway counts about requests. Labels come from the contract, never from clients.

Counted in plain numbers, on the event loop alone, and made into Prometheus's when it asks:
its own counters take a lock and a float object for each bucket.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from services.plumbing.metrics import NoRegistry

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


_Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class _Durations:
    """A histogram."""

    __slots__ = ("counts", "examples", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_S) + 1)
        self.examples: dict[int, Exemplar] = {}
        """The last that was traced, by the number of its bucket."""
        self.sum_s = 0.0


class HttpMetrics(Collector):
    """The numbers of one gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight_count = 0
        """Requests being served."""
        self.body_bytes: Callable[[], int] = int
        """How many bytes of request bodies are held."""
        self._is_on = not isinstance(registry, NoRegistry)
        self._requests: dict[tuple[str, str, int], int] = {}
        self._durations: dict[tuple[str, str], _Durations] = {}
        registry.register(self)

    def finished(
        self,
        method: str,
        route: str,
        status: int,
        duration_s: float,
        trace: Mapping[str, str] | None = None,
    ) -> None:
        """Count a request. `route` is a template, of which the contract has so many; `trace` is
        that of the request, where it is recorded."""
        if not self._is_on:
            return
        if method not in _METHODS:
            method = "OTHER"
        key = (method, route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        durations = self._durations.get((method, route))
        if durations is None:
            durations = self._durations[method, route] = _Durations()
        bucket = bisect_left(_BOUNDS_S, duration_s)
        durations.counts[bucket] += 1
        if trace is not None:
            durations.examples[bucket] = Exemplar(dict(trace), duration_s, time.time())
        durations.sum_s += duration_s

    def collect(self) -> Iterator[Metric]:
        """From the thread that serves metrics: reads copies of what grows meanwhile."""
        yield GaugeMetricFamily(
            "http_requests_in_flight", "Requests being served.", value=self.in_flight_count
        )
        yield GaugeMetricFamily(
            "http_request_body_bytes", "Bytes held of request bodies.", value=self.body_bytes()
        )
        yield self._collected_requests()
        yield self._collected_durations()

    def _collected_requests(self) -> Metric:
        family = CounterMetricFamily(
            "http_requests",
            "Requests answered, by method, route template and status.",
            labels=("method", "route", "status"),
        )
        for (method, route, status), count in list(self._requests.items()):
            family.add_metric((method, route, str(status)), count)
        return family

    def _collected_durations(self) -> Metric:
        family = HistogramMetricFamily(
            "http_request_seconds",
            "How long requests took, until the last byte was handed to the system.",
            labels=("method", "route"),
        )
        bounds = [*(str(bound) for bound in _BOUNDS_S), "+Inf"]
        for labels, durations in list(self._durations.items()):
            family.add_metric(labels, list(_buckets(bounds, durations)), durations.sum_s)
        return family


def _buckets(bounds: Sequence[str], durations: _Durations) -> Iterator[_Bucket]:
    """Cumulative, as Prometheus has them."""
    for number, count in enumerate(accumulate(durations.counts)):
        example = durations.examples.get(number)
        yield (bounds[number], count) if example is None else (bounds[number], count, example)
