"""What a process counts about itself, as Prometheus reads it.

Every process has one registry, made by `new_registry` and passed on. All children of the
gRPC metrics exist whenever somebody looks: labels come from descriptors, never from callers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from services.plumbing import logging
from services.plumbing.errors import CannotRun

_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


def new_registry() -> CollectorRegistry:
    """A registry with what is known of the process itself: memory, CPU, files, collections."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_LogLines())
    return registry


class MethodMetrics:
    """The numbers of one rpc. Each child is made when it is needed first, and kept: to make all of
    them takes a tenth of the time in which a process starts."""

    def __init__(self, metrics: "GrpcMetrics", labels: tuple[str, str, str]) -> None:
        self._metrics = metrics
        self._labels = labels
        self.handled = _ByCode(metrics.handled, labels)

    @cached_property
    def started(self) -> Counter:
        return self._metrics.started.labels(*self._labels)

    @cached_property
    def received(self) -> Counter:
        return self._metrics.received.labels(*self._labels)

    @cached_property
    def sent(self) -> Counter:
        return self._metrics.sent.labels(*self._labels)

    @cached_property
    def handling(self) -> Histogram:
        return self._metrics.handling.labels(*self._labels)

    def complete(self) -> None:
        """Make what is missing, in any thread: who makes a child first makes it for all."""
        _ = self.started, self.received, self.sent, self.handling
        for code in grpc.StatusCode:
            _ = self.handled[code]


class _ByCode(dict[grpc.StatusCode, Counter]):
    """How many calls of an rpc have ended with each code."""

    def __init__(self, handled: Counter, labels: tuple[str, str, str]) -> None:
        super().__init__()
        self._handled = handled
        self._labels = labels

    def __missing__(self, code: grpc.StatusCode) -> Counter:
        child = self[code] = self._handled.labels(*self._labels, code_name(code))
        return child


class _Completed(Collector):
    """Has all children made before they are looked at: it is registered ahead of them."""

    def __init__(self) -> None:
        self.methods: list[MethodMetrics] = []

    def collect(self) -> Iterator[Metric]:
        for method in tuple(self.methods):
            method.complete()
        yield from ()


class GrpcMetrics:
    """The metrics of a gRPC server, named and labelled as go-grpc-middleware does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._completed = _Completed()
        registry.register(self._completed)
        self.started = Counter(
            "grpc_server_started", "RPCs started on the server.", _LABELS, registry=registry
        )
        self.handled = Counter(
            "grpc_server_handled",
            "RPCs completed on the server, regardless of success or failure.",
            (*_LABELS, "grpc_code"),
            registry=registry,
        )
        self.received = Counter(
            "grpc_server_msg_received", "Messages received.", _LABELS, registry=registry
        )
        self.sent = Counter("grpc_server_msg_sent", "Messages sent.", _LABELS, registry=registry)
        self.handling = Histogram(
            "grpc_server_handling_seconds",
            "How long RPCs took on the server, until their last message.",
            _LABELS,
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )

        self.refused = Counter(
            "girih_calls_refused",
            "RPCs refused for who makes them, by the reason that the caller was told.",
            ("reason",),
            registry=registry,
        )
        self._request_bytes = Gauge(
            "girih_request_memory_bytes",
            "What requests hold, or may hold as soon as they have come.",
            registry=registry,
        )

    def watch_memory(self, bytes_held: Callable[[], float]) -> None:
        """Ask `bytes_held` whenever somebody looks; it is called from another thread."""
        self._request_bytes.set_function(bytes_held)

    def of(self, grpc_type: str, service: str, method: str) -> MethodMetrics:
        made = MethodMetrics(self, (grpc_type, service, method))
        self._completed.methods.append(made)
        return made


@cache
def code_name(code: grpc.StatusCode) -> str:
    """A code as Go spells it, which is what dashboards know: OK, NotFound."""
    if code in _GO_SPELLINGS:
        return _GO_SPELLINGS[code]
    return "".join(word.capitalize() for word in code.name.split("_"))


_GO_SPELLINGS = {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}


class MetricsPortTaken(CannotRun):
    """Nothing else may listen where Prometheus is told to look."""


@contextmanager
def metrics_server(registry: CollectorRegistry, host: str, port: int) -> Iterator[int]:
    """Serve the metrics from a thread, off the event loop; gives the port."""
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise MetricsPortTaken(f"cannot serve metrics on {host}:{port}: {error}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _LogLines(Collector):
    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "girih_log_lines_dropped",
            "Log lines lost because nobody read them.",
            value=logging.dropped_count(),
        )
