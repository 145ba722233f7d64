"""The numbers, as Prometheus and as gRPC callers read them."""

import urllib.request
from unittest.mock import ANY

import grpc
import grpc.aio
import pytest
from prometheus_client import Counter, Gauge

import girih
from girih.ops.v1 import ops_pb2 as pb
from girih.ops.v1 import ops_pb2_grpc
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.grpc.ops import MetricsServicer, add_metrics_service, figures
from services.plumbing.grpc.server import Server, running
from services.plumbing.metrics import (
    ClientMetrics,
    DependencyMetrics,
    GrpcMetrics,
    MetricsPortTaken,
    code_name,
    metrics_server,
    new_registry,
)
from services.plumbing.settings import ServerSettings
from services.policy import GATEWAY, POLICY
from tests.authority import Authority
from tests.plumbing.conftest import Log, MakeSettings, Served
from tests.plumbing.knots import DOMAIN, KINDS, SERVICE, KnotClient


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (grpc.StatusCode.OK, "OK"),
        (grpc.StatusCode.CANCELLED, "Canceled"),
        (grpc.StatusCode.NOT_FOUND, "NotFound"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (grpc.StatusCode.DATA_LOSS, "DataLoss"),
    ],
)
def test_codes_are_spelled_as_dashboards_know_them(code: grpc.StatusCode, name: str) -> None:
    assert code_name(code) == name


def test_every_number_exists_before_the_first_call() -> None:
    registry = new_registry()
    GrpcMetrics(registry).of("unary", "a.v1.Service", "Do")

    labels = {"grpc_type": "unary", "grpc_service": "a.v1.Service", "grpc_method": "Do"}
    for name in ("started_total", "msg_received_total", "msg_sent_total", "handling_seconds_sum"):
        assert registry.get_sample_value(f"grpc_server_{name}", labels) == 0
    for code in grpc.StatusCode:
        with_code = labels | {"grpc_code": code_name(code)}
        assert registry.get_sample_value("grpc_server_handled_total", with_code) == 0


def test_nothing_is_counted_or_served_where_metrics_are_off() -> None:
    registry = new_registry(is_on=False)
    method = GrpcMetrics(registry).of("unary", "a.v1.Service", "Do")
    method.started.inc()
    method.sent.inc()
    method.handled[grpc.StatusCode.OK].inc()
    method.handling.observe(1.0)

    with metrics_server(registry, "127.0.0.1", 0) as port:
        assert port == 0
    assert list(registry.collect()) == []


def test_what_is_depended_on_is_told_by_name() -> None:
    registry = new_registry()
    registry.register(DependencyMetrics(lambda: {"database": True, "events": False}))

    up = {
        name: registry.get_sample_value("girih_dependency_up", {"dependency": name})
        for name in ("database", "events")
    }
    assert up == {"database": 1, "events": 0}


def test_registries_share_nothing() -> None:
    first, second = new_registry(), new_registry()
    Gauge("knots", "Knots.", registry=first).set(3)

    assert second.get_sample_value("knots") is None


def test_the_process_itself_is_measured() -> None:
    with metrics_server(new_registry(), "127.0.0.1", 0) as port:
        text = _get(port)

    for name in ("process_resident_memory_bytes", "python_info", "python_gc_collections_total"):
        assert f"\n{name}" in text


def test_prometheus_reads_them_from_a_port_of_their_own() -> None:
    registry = new_registry()
    GrpcMetrics(registry).of("unary", "a.v1.Service", "Do").started.inc()

    with metrics_server(registry, "127.0.0.1", 0) as port:
        text = _get(port)

    line = (
        'grpc_server_started_total{grpc_method="Do",grpc_service="a.v1.Service",grpc_type="unary"}'
    )
    assert f"{line} 1.0" in text


def test_a_taken_metrics_port_is_told_clearly() -> None:
    with (
        metrics_server(new_registry(), "127.0.0.1", 0) as port,
        pytest.raises(MetricsPortTaken, match=str(port)),
        metrics_server(new_registry(), "127.0.0.1", port),
    ):
        pass


def _get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_other_processes_are_counted_by_how_they_ended(
    served: Served, authority: Authority, kind: str
) -> None:
    registry = new_registry()
    async with open_channel(
        f"127.0.0.1:{served.server.port}",
        bearer=lambda: authority.token(aud=[DOMAIN]),
        metrics=ClientMetrics(registry),
    ) as channel:
        client = KnotClient(channel)
        await client.ask(kind, "ok")
        with pytest.raises(grpc.aio.AioRpcError):
            await client.ask(kind, "refuse")

    names = {"grpc_service": SERVICE.full_name, "grpc_method": kind}
    samples = [
        sample
        for family in registry.collect()
        for sample in family.samples
        if names.items() <= sample.labels.items()
    ]
    ended = {
        sample.labels["grpc_code"]: sample.value
        for sample in samples
        if sample.name == "grpc_client_handled_total"
    }
    assert ended == {"OK": 1, "Aborted": 1}
    (timed,) = [one for one in samples if one.name == "grpc_client_handling_seconds_count"]
    assert timed.value == 2


async def get_metrics(prefix: str, settings: ServerSettings) -> pb.GetMetricsResponse:
    server = Server(DOMAIN, settings, policy=POLICY)
    add_metrics_service(server)
    # For operators, and so for nobody in particular.
    token = Authority.load(settings.trusted_keys.parent).service_token(
        DOMAIN, tenant="", scopes=["ops.read"], service=GATEWAY, sub=GATEWAY
    )
    async with (
        running(server, "127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = ops_pb2_grpc.MetricsServiceStub(channel)
        response: pb.GetMetricsResponse = await stub.GetMetrics(
            pb.GetMetricsRequest(name_prefix=prefix),
            metadata=[("authorization", f"Bearer {token}")],
        )
        return response


async def test_callers_without_a_tenant_get_the_numbers(
    make_settings: MakeSettings, log: Log
) -> None:
    response = await get_metrics("grpc_server_", make_settings(environment="production"))

    names = [family.name for family in response.families]
    assert names == sorted(names)
    assert "grpc_server_started" in names
    assert all(name.startswith("grpc_server_") for name in names)


async def test_a_family_has_type_help_labels_and_values(settings: ServerSettings, log: Log) -> None:
    response = await get_metrics("grpc_server_started", settings)

    (family,) = response.families
    assert family.type == pb.MetricFamily.TYPE_COUNTER
    assert family.help == "RPCs started on the server."
    (own,) = (sample for sample in family.samples if sample.labels["grpc_method"] == "GetMetrics")
    assert (own.name, own.value) == ("grpc_server_started_total", 1.0)


async def test_a_histogram_comes_with_its_buckets(settings: ServerSettings, log: Log) -> None:
    (family,) = (await get_metrics("grpc_server_handling", settings)).families

    assert family.type == pb.MetricFamily.TYPE_HISTOGRAM
    assert {sample.name.rpartition("_")[2] for sample in family.samples} == {
        "bucket",
        "sum",
        "count",
    }


async def test_a_gauge_may_be_named_like_a_time_of_making(log: Log) -> None:
    registry = new_registry()
    Gauge("knots_created", "Knots.", registry=registry).set(3)
    Counter("loops", "Loops.", registry=registry).inc()

    response = await MetricsServicer(registry).GetMetrics(pb.GetMetricsRequest(), ANY)

    answer = {
        sample.name: sample.value for family in response.families for sample in family.samples
    }
    assert answer["knots_created"] == 3
    assert "loops_created" not in answer


async def test_figures_tell_how_many_calls_took_how_long_and_what_the_pool_is_at(log: Log) -> None:
    registry = new_registry()
    metrics = GrpcMetrics(registry)
    for kind, seconds in (("unary", 0.0001), ("unary", 0.3), ("server_stream", 600.0)):
        metrics.of(kind, "a.v1.Service", kind).handling.observe(seconds)
    metrics.of("unary", "a.v1.Service", "Other").handling.observe(3600.0)
    for number, name in enumerate(("connections_max", "connections", "idle_connections"), 1):
        Gauge(f"events_pool_{name}", "A pool.", registry=registry).set(10 // number)
    Gauge("events_pool_waiting_calls", "A pool.", registry=registry).set(2)

    shown = await figures(registry)

    assert shown.software_version == girih.__version__
    assert shown.started_at.ToDatetime().year >= 2026
    within = {bucket.within_s: bucket.call_count for bucket in shown.latencies}
    assert (within[0.1], within[0.5], within[0]) == (1, 2, 3)
    assert [bucket.within_s for bucket in shown.latencies] == [*sorted(within)[1:], 0]
    assert shown.pool == pb.ConnectionPool(size=5, idle=3, waiting=2, size_max=10)


async def test_figures_tell_the_version_alone_where_nothing_is_counted(log: Log) -> None:
    shown = await figures(new_registry(is_on=False))

    assert shown == pb.Figures(software_version=girih.__version__)


async def test_an_unknown_prefix_answers_nothing(settings: ServerSettings, log: Log) -> None:
    assert not (await get_metrics("nothing_", settings)).families


async def test_callers_are_answered_nothing_where_metrics_are_off(
    make_settings: MakeSettings, log: Log
) -> None:
    assert not (await get_metrics("", make_settings(metrics=False))).families


async def test_an_endless_prefix_is_refused(settings: ServerSettings, log: Log) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await get_metrics("x" * 201, settings)

    error = from_rpc_error(caught.value)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.violations[0].field == "name_prefix"
