"""Spans by OpenTelemetry, sent by OTLP over gRPC. Imported only where something is traced.

Spans go through a bounded queue to a thread of their own; what the collector does not take is
dropped, and no call waits for it.
"""

import threading
from collections.abc import Collection
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.plumbing.errors import Scalar
from services.plumbing.telemetry.tracing import Attributes, Kind, Recording

_QUEUE_SPANS_MAX: Final = 4_096
_BATCH_SPANS_MAX: Final = 512
_SEND_EVERY_MS: Final = 1_000
_EXPORT_TIMEOUT_S: Final = 10
_GIVE_UP_S: Final = 1.0
_TEXT_CHARS_MAX: Final = 256
_LINKS_MAX: Final = 32

_KINDS: Final[dict[Kind, Any]] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
    "consumer": SpanKind.CONSUMER,
}


class OtlpRecorder:
    """Records one process's spans. A `tracing.Recorder`."""

    def __init__(
        self, endpoint: str, service: str, version: str, ratio: float, *, believes_callers: bool
    ) -> None:
        """Sends to `endpoint`, an http or https URL. Of traces that begin here `ratio` are sampled.

        Where it `believes_callers` a caller's word on sampling counts; else a trace that it says is
        sampled is one of those that `ratio` is of.
        """
        sampler = TraceIdRatioBased(ratio)
        self._provider = TracerProvider(
            sampler=ParentBased(
                sampler, remote_parent_sampled=ALWAYS_ON if believes_callers else sampler
            ),
            resource=Resource({"service.name": service, "service.version": version}),
            span_limits=SpanLimits(
                max_attributes=32, max_links=_LINKS_MAX, max_attribute_length=_TEXT_CHARS_MAX
            ),
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint,
            insecure=not endpoint.startswith("https://"),
            timeout=_EXPORT_TIMEOUT_S,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=_QUEUE_SPANS_MAX,
                schedule_delay_millis=_SEND_EVERY_MS,
                max_export_batch_size=_BATCH_SPANS_MAX,
            )
        )
        self._tracer = self._provider.get_tracer("girih", version)

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: str,
        attributes: Attributes,
        links: Collection[str] = (),
        began_ns: int | None = None,
    ) -> tuple[Recording | None, str]:
        span = self._tracer.start_span(
            name,
            context=_context_of(parent),
            kind=_KINDS[kind],
            attributes=attributes,
            links=[trace.Link(_span_context(link)) for link in list(links)[:_LINKS_MAX]],
            start_time=began_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        is_kept = bool(span.is_recording())
        return _Recording(span) if is_kept else None, _traceparent(span.get_span_context())

    def close(self, timeout_s: float) -> None:
        # By itself it goes on for half a minute, trying again what no collector takes.
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(timeout_s)
        if closing.is_alive():
            self._exporter.shutdown()
            closing.join(_GIVE_UP_S)


class _Recording:
    """A span of OpenTelemetry's."""

    def __init__(self, span: Any) -> None:  # noqa: ANN401 - one of several classes of theirs
        self._span = span

    def set(self, name: str, value: Scalar) -> None:
        self._span.set_attribute(name, value)

    def end(self, problem: str, ended_ns: int | None) -> None:
        if problem:
            self._span.set_attribute("error.type", problem)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(ended_ns)


def _context_of(parent: str) -> Any:  # noqa: ANN401 - a context of theirs
    """An empty one, and not the current one, for a span that begins a trace."""
    if not parent:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    return trace.set_span_in_context(trace.NonRecordingSpan(_span_context(parent)))


def _span_context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


def _traceparent(context: SpanContext) -> str:
    trace_id, span_id = format(context.trace_id, "032x"), format(context.span_id, "016x")
    return f"00-{trace_id}-{span_id}-{int(context.trace_flags):02x}"
