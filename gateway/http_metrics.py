"""What the gateway counts about requests. Labels come from the contract, never from clients."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class HttpMetrics:
    """The numbers of one gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "http_requests",
            "Requests answered, by method, route template and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "http_request_seconds",
            "How long requests took, until the last byte was handed to the system.",
            ("method", "route"),
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        gauge = Gauge("http_requests_in_flight", "Requests being served.", registry=registry)
        gauge.set_function(lambda: self.in_flight_count)
        self.in_flight_count = 0
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def finished(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count a request. `route` is a template, of which there are as many as in the contract."""
        children = self._children.get((method, route, status))
        if children is None:
            children = self._made(method, route, status)
        children[0].inc()
        children[1].observe(duration_s)

    def _made(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        label = method if method in _METHODS else "OTHER"
        counter = self._requests.labels(label, route, str(status))
        made = counter, self._seconds.labels(label, route)
        if label == method:
            self._children[method, route, status] = made
        return made
