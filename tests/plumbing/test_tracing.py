"""Spans of calls in one process, as a collector gets them."""

import threading
from collections.abc import Iterator

import grpc.aio
import pytest

from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.grpc.channel import open_channel
from services.plumbing.metrics import ClientMetrics, new_registry
from services.plumbing.telemetry import tracing
from tests.authority import Authority
from tests.collector import Collector, collecting
from tests.plumbing.conftest import Log, Served
from tests.plumbing.knots import DOMAIN, KnotClient

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE_ID}-{CALLER}-{flags}" for flags in ("01", "00"))
UNARY = "girih.test.v1.KnotService/Unary"


def recorder(endpoint: str, *, ratio: float) -> tracing.Recorder:
    from services.plumbing.telemetry.otlp import OtlpRecorder

    return OtlpRecorder(endpoint, "girih-tests", "0", ratio, believes_callers=True)


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def traced(collected: Collector) -> Iterator[Collector]:
    """Traces are recorded during the test, those that begin here never."""
    collected.spans.clear()
    tracing.install(recorder(collected.endpoint, ratio=0.0))
    yield collected
    tracing.close()


async def test_a_call_that_is_made_for_another_is_a_part_of_its_trace(
    served: Served, traced: Collector, authority: Authority
) -> None:
    async with open_channel(
        f"127.0.0.1:{served.server.port}",
        bearer=lambda: authority.token(aud=[DOMAIN]),
        metrics=ClientMetrics(new_registry()),
    ) as channel:
        outer = tracing.served("outer", SAMPLED, {})
        assert outer is not None
        with correlation.bind(Call("c-1", traceparent=outer.traceparent)):
            await KnotClient(channel).ask("Unary", "ok")
        outer.end()
    tracing.close()

    spans = {span.kind: span for span in traced.spans if span.name == UNARY}
    (first,) = [span for span in traced.spans if span.name == "outer"]
    assert {span.trace_id for span in traced.spans} == {TRACE_ID}
    assert first.parent_id == CALLER
    assert spans["client"].parent_id == first.span_id
    assert spans["server"].parent_id == spans["client"].span_id
    assert spans["server"].attributes["girih.correlation_id"] == "c-1"


async def test_the_log_names_the_span_that_a_line_belongs_to(
    served: Served, traced: Collector, log: Log
) -> None:
    await served.client.ask("Unary", "ok", metadata=[("traceparent", SAMPLED)])
    tracing.close()

    (span,) = traced.spans
    (line,) = [line for line in log.lines("call") if line["method"].endswith("Unary")]
    assert (line["trace_id"], line["span_id"]) == (TRACE_ID, span.span_id)


@pytest.mark.parametrize(
    ("asked", "status", "has_failed"),
    [("ok", "OK", False), ("refuse", "ABORTED", False), ("crash", "INTERNAL", True)],
)
async def test_a_span_says_how_its_call_ended(
    served: Served, traced: Collector, asked: str, status: str, has_failed: bool
) -> None:
    metadata = [("traceparent", SAMPLED)]
    if asked == "ok":
        await served.client.ask("Unary", asked, metadata=metadata)
    else:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.client.ask("Unary", asked, metadata=metadata)
    tracing.close()

    (span,) = traced.spans
    assert span.attributes["rpc.response.status_code"] == status
    assert span.has_failed is has_failed
    assert "swordfish" not in str(span)


async def test_what_is_not_sampled_is_not_recorded_and_says_so_further_on(
    served: Served, traced: Collector
) -> None:
    await served.client.ask("Unary", "ok", metadata=[("traceparent", NOT_SAMPLED)])
    await served.client.ask("Unary", "ok")
    tracing.close()

    assert traced.spans == []
    unsampled, begun = (call.traceparent for call in served.knots.seen.calls)
    assert unsampled.startswith(f"00-{TRACE_ID}-")
    assert unsampled.endswith("-00")
    assert int(begun[-2:], 16) & 1 == 0


async def test_a_trace_passes_where_nothing_is_traced(served: Served) -> None:
    await served.client.ask("Unary", "ok", metadata=[("traceparent", SAMPLED)])

    (call,) = served.knots.seen.calls
    assert call.traceparent == SAMPLED


def test_work_for_several_calls_is_a_child_of_one_and_linked_to_the_others(
    traced: Collector,
) -> None:
    calls = [tracing.served(name, SAMPLED, {}) for name in ("one", "two")]
    parents = [span.traceparent for span in calls if span]
    with tracing.shared("append a batch", [*parents, ""], {}):
        inner = tracing.child("postgresql append_records", "client", {})
        assert inner is not None
        inner.end()
    for span in calls:
        assert span is not None
        span.end()
    tracing.close()

    by_name = {span.name: span for span in traced.spans}
    batch = by_name["append a batch"]
    assert batch.parent_id == by_name["one"].span_id
    assert batch.links == (by_name["two"].span_id,)
    assert by_name["postgresql append_records"].parent_id == batch.span_id


def test_what_outlives_a_call_is_no_part_of_its_trace(traced: Collector) -> None:
    span = tracing.served("call", SAMPLED, {})
    assert span is not None
    span.end()

    with correlation.bind(Call("c-1", traceparent=span.traceparent)):
        assert tracing.child("late", "client", {}) is None


def test_nothing_is_made_where_nothing_is_traced() -> None:
    assert tracing.served("call", SAMPLED, {}) is None
    with correlation.bind(Call("c-1", traceparent=SAMPLED)):
        assert tracing.child("statement", "client", {}) is None
        with tracing.shared("batch", [SAMPLED], {}), tracing.background("apply", {}):
            assert correlation.current().traceparent == SAMPLED


def test_a_collector_that_is_away_delays_nobody_for_long() -> None:
    tracing.install(recorder("http://127.0.0.1:1", ratio=1.0))
    for _ in range(6_000):
        span = tracing.served("call", "", {})
        assert span is not None
        span.end()

    tracing.close(timeout_s=0.1)

    # By itself the library would go on for half a minute.
    assert "last spans" not in {thread.name for thread in threading.enumerate()}
