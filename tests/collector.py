"""A collector of traces for the tests: takes OTLP over gRPC on a port of the loopback, and keeps
what it is sent. Tests that import it are skipped where there is no OpenTelemetry."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

_PATH = "opentelemetry.proto.collector.trace.v1.TraceService"
_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


@dataclass(frozen=True)
class Span:
    """A span as it was sent."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    """The ids of the spans it is linked to."""
    has_failed: bool


@dataclass
class Collector:
    """What was sent so far."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)
    _came: threading.Condition = field(default_factory=threading.Condition)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def until(self, is_enough: Callable[[list[Span]], bool]) -> list[Span]:
        """What was sent, once it is enough."""
        with self._came:
            assert self._came.wait_for(lambda: is_enough(self.spans), timeout=60), self.spans
            return list(self.spans)

    def trace(self, trace_id: str, *last: tuple[str, str]) -> list[Span]:
        """The spans of a trace, once these are among them, by service and name: a process sends
        them in the order in which they end, and processes send when they like."""

        def is_enough(spans: list[Span]) -> bool:
            of_trace = [span for span in spans if span.trace_id == trace_id]
            return {*last} <= {(span.service, span.name) for span in of_trace}

        return [span for span in self.until(is_enough) if span.trace_id == trace_id]

    def take(self, request: Any) -> None:
        with self._came:
            self.spans += _spans(request)
            self._came.notify_all()


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens inside the block."""
    collector = Collector()

    def export(request: Any, _context: grpc.ServicerContext) -> Any:
        collector.take(request)
        return messages.ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=messages.ExportTraceServiceRequest.FromString,
        response_serializer=messages.ExportTraceServiceResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(_PATH, {"Export": handler})]
    )
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def _spans(request: Any) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        service = _attributes(of_resource.resource.attributes)["service.name"]
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    service,
                    span.name,
                    _KINDS[span.kind],
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    _attributes(span.attributes),
                    tuple(link.span_id.hex() for link in span.links),
                    span.status.code == 2,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
