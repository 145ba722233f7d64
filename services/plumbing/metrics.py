"""What a process counts about itself, as Prometheus reads it.

Every process has one registry, made by `new_registry` and passed on. All children of the
gRPC metrics exist whenever somebody looks: labels come from descriptors, never from callers.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, Final, cast

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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.plumbing import logging
from services.plumbing.errors import CannotRun

Exemplar = dict[str, str]
"""The trace that a measurement was taken in: OpenMetrics' `trace_id` and `span_id`."""

_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")
_LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class NoRegistry(CollectorRegistry):
    """That of a process whose metrics are off: takes whatever is registered, and keeps nothing."""

    def register(self, collector: Collector) -> None:
        pass


def new_registry(*, is_on: bool = True) -> CollectorRegistry:
    """A registry with what is known of the process itself: memory, CPU, files, collections.

    One that is not on holds nothing, and what is counted for every call is not counted then.
    """
    if not is_on:
        return NoRegistry()
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_LogLines())
    return registry


class MethodMetrics:
    """The numbers of one rpc. Each child is made when it is needed first, and kept: to make all of
    them takes a tenth of the time in which a process starts."""

    def __init__(self, metrics: "RpcMetrics", labels: tuple[str, str, str]) -> None:
        self._metrics = metrics
        self._labels = labels
        self.handled = _ByCode(metrics.handled, labels)

    @cached_property
    def started(self) -> Counter:
        return self._metrics.started.labels(*self._labels)

    @cached_property
    def handling(self) -> Histogram:
        return self._metrics.handling.labels(*self._labels)


class ServedMethodMetrics(MethodMetrics):
    """Those of an rpc that is served, which count its messages, too."""

    def __init__(self, metrics: "GrpcMetrics", labels: tuple[str, str, str]) -> None:
        super().__init__(metrics, labels)
        self._served = metrics

    @cached_property
    def received(self) -> Counter:
        return self._served.received.labels(*self._labels)

    @cached_property
    def sent(self) -> Counter:
        return self._served.sent.labels(*self._labels)

    def complete(self) -> None:
        """Make what is missing, in any thread: who makes a child first makes it for all."""
        _ = self.started, self.received, self.sent, self.handling
        for code in grpc.StatusCode:
            _ = self.handled[code]


class _Uncounted(ServedMethodMetrics):
    """Those of an rpc where metrics are off."""

    def __init__(self) -> None:
        nothing = cast("Any", _Nothing())
        # In place of what would be made when it is asked for.
        self.__dict__.update(dict.fromkeys(("started", "received", "sent", "handling"), nothing))
        self.handled = cast("_ByCode", dict.fromkeys(grpc.StatusCode, nothing))


class _Nothing:
    """A metric that does not count."""

    def inc(self) -> None:
        pass

    def observe(self, value: float, exemplar: Exemplar | None = None) -> None:
        pass


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
        self.methods: list[ServedMethodMetrics] = []

    def collect(self) -> Iterator[Metric]:
        for method in tuple(self.methods):
            method.complete()
        yield from ()


class RpcMetrics:
    """The metrics of rpcs on one of their sides, named and labelled as go-grpc-middleware does."""

    def __init__(self, registry: CollectorRegistry, side: str) -> None:
        """`side` is "server" or "client"."""
        self.is_on = not isinstance(registry, NoRegistry)
        self.started = Counter(
            f"grpc_{side}_started", f"RPCs started on the {side}.", _LABELS, registry=registry
        )
        self.handled = Counter(
            f"grpc_{side}_handled",
            f"RPCs completed on the {side}, regardless of success or failure.",
            (*_LABELS, "grpc_code"),
            registry=registry,
        )
        self.handling = Histogram(
            f"grpc_{side}_handling_seconds",
            f"How long RPCs took on the {side}, until their last message.",
            _LABELS,
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )


class ClientMetrics(RpcMetrics):
    """The metrics of the calls that a process makes: one a process, for all of its channels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "client")
        self._made: dict[tuple[str, str, str], MethodMetrics] = {}

    def of(self, grpc_type: str, service: str, method: str) -> MethodMetrics:
        """The numbers of one rpc: the same ones whoever asks."""
        if not self.is_on:
            return _Uncounted()
        labels = (grpc_type, service, method)
        made = self._made.get(labels)
        if made is None:
            made = self._made[labels] = MethodMetrics(self, labels)
        return made


class GrpcMetrics(RpcMetrics):
    """The metrics of a gRPC server. All of its children are there whenever somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._completed = _Completed()
        registry.register(self._completed)
        super().__init__(registry, "server")
        self.received = Counter(
            "grpc_server_msg_received", "Messages received.", _LABELS, registry=registry
        )
        self.sent = Counter("grpc_server_msg_sent", "Messages sent.", _LABELS, registry=registry)
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

    def of(self, grpc_type: str, service: str, method: str) -> ServedMethodMetrics:
        if not self.is_on:
            return _Uncounted()
        made = ServedMethodMetrics(self, (grpc_type, service, method))
        self._completed.methods.append(made)
        return made


class DependencyMetrics(Collector):
    """Whether what a process depends on is there, at the moment of asking."""

    def __init__(self, dependencies: Callable[[], Mapping[str, bool]]) -> None:
        """`dependencies` tells it by names, of which there are few; called from another thread."""
        self._dependencies = dependencies

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "girih_dependency_up",
            "1 while what this process depends on answers and serves, 0 while it does not.",
            labels=["dependency"],
        )
        for dependency, is_up in sorted(self._dependencies().items()):
            family.add_metric([dependency], is_up)
        yield family


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
    """Serve the metrics from a thread, off the event loop; gives the port.

    Where metrics are off nothing listens, and the port is 0.
    """
    if isinstance(registry, NoRegistry):
        yield 0
        return
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
