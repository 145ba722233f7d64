"""`girih.ops.v1`: the numbers of Prometheus, and the settings, for callers that speak gRPC."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import grpc.aio
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.samples import Sample
from pydantic import BaseModel

import girih
from girih.ops.v1 import ops_pb2 as pb
from services.plumbing import validation
from services.plumbing.grpc.server import Server
from services.plumbing.settings import shown

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["MetricsService"]
SETTINGS_SERVICE = pb.DESCRIPTOR.services_by_name["SettingsService"]

_TYPES = {
    "counter": pb.MetricFamily.TYPE_COUNTER,
    "gauge": pb.MetricFamily.TYPE_GAUGE,
    "histogram": pb.MetricFamily.TYPE_HISTOGRAM,
    "summary": pb.MetricFamily.TYPE_SUMMARY,
    "info": pb.MetricFamily.TYPE_INFO,
}
_STARTED = "process_start_time_seconds"
_LATENCIES = ("grpc_server_handling_seconds_bucket", "http_request_seconds_bucket")
_UNARY = "unary"
_WITH_POOLS = ("events", "projections")
_POOL = {
    "connections": "size",
    "idle_connections": "idle",
    "waiting_calls": "waiting",
    "connections_max": "size_max",
}

_DATED_TYPES = frozenset({"counter", "histogram", "summary"})


class MetricsServicer:
    """Answers what the registry holds at the moment."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def GetMetrics(
        self, request: pb.GetMetricsRequest, _context: Context
    ) -> pb.GetMetricsResponse:
        validation.check(request)
        # A thread: collecting takes milliseconds, in which other calls should go on.
        families = await asyncio.to_thread(self._families, request.name_prefix)
        return pb.GetMetricsResponse(families=families)

    async def GetFigures(
        self, _request: pb.GetFiguresRequest, _context: Context
    ) -> pb.GetFiguresResponse:
        return pb.GetFiguresResponse(figures=await figures(self._registry))

    def _families(self, prefix: str) -> list[pb.MetricFamily]:
        families = sorted(_named(self._registry.collect(), prefix), key=lambda metric: metric.name)
        return [_family(metric) for metric in families]


class SettingsServicer:
    """Answers what the process was told."""

    def __init__(self, settings: BaseModel) -> None:
        self._answer = pb.GetSettingsResponse(settings=settings_to_proto(settings))

    async def GetSettings(
        self, _request: pb.GetSettingsRequest, _context: Context
    ) -> pb.GetSettingsResponse:
        return self._answer


async def figures(registry: CollectorRegistry) -> pb.Figures:
    """How busy a process is, from what it counts; without numbers where its metrics are off."""
    # A thread: as all metrics are.
    return await asyncio.to_thread(_figures, registry)


def _figures(registry: CollectorRegistry) -> pb.Figures:
    figures = pb.Figures(software_version=girih.__version__)
    within_s: Counter[float] = Counter()
    for sample in _samples(registry):
        if sample.name == _STARTED:
            figures.started_at.FromNanoseconds(round(sample.value * 1e9))
        elif sample.name.endswith("_bucket"):
            if sample.labels.get("grpc_type", _UNARY) == _UNARY:
                within_s[float(sample.labels["le"])] += int(sample.value)
        else:
            setattr(figures.pool, _POOL[sample.name.partition("_pool_")[2]], int(sample.value))
    for bound_s in sorted(within_s):
        bound = 0.0 if bound_s == math.inf else bound_s
        figures.latencies.add(within_s=bound, call_count=within_s[bound_s])
    return figures


def _samples(registry: CollectorRegistry) -> Iterator[Sample]:
    pools = [f"{service}_pool_{name}" for service in _WITH_POOLS for name in _POOL]
    wanted = registry.restricted_registry((_STARTED, *_LATENCIES, *pools))
    return (sample for metric in wanted.collect() for sample in metric.samples)


def settings_to_proto(settings: BaseModel) -> list[pb.Setting]:
    """All settings without what is secret."""
    return [
        pb.Setting(
            variable=one.variable,
            value=one.value,
            is_secret=one.is_secret,
            is_default=one.is_default,
        )
        for one in shown(settings)
    ]


def add_settings_service(server: Server, settings: BaseModel) -> None:
    """Serve the settings of the process, whatever else is down."""
    servicer = SettingsServicer(settings)
    server.add_service(SETTINGS_SERVICE, servicer, needs_nothing=True, is_traced=False)


def add_metrics_service(server: Server) -> None:
    """Serve the numbers of the server's registry, whatever else is down."""
    server.add_service(
        SERVICE, MetricsServicer(server.registry), needs_nothing=True, is_traced=False
    )


def _named(metrics: Iterable[Metric], prefix: str) -> Iterator[Metric]:
    return (metric for metric in metrics if metric.name.startswith(prefix))


def _family(metric: Metric) -> pb.MetricFamily:
    return pb.MetricFamily(
        name=metric.name,
        help=metric.documentation,
        type=_TYPES.get(metric.type, pb.MetricFamily.TYPE_UNSPECIFIED),
        samples=[
            pb.Sample(name=sample.name, labels=sample.labels, value=sample.value)
            for sample in metric.samples
            if not _is_creation_time(metric, sample.name)
        ],
    )


def _is_creation_time(metric: Metric, sample_name: str) -> bool:
    """When a child was made is a sample of its own for Prometheus, and no measurement."""
    return metric.type in _DATED_TYPES and sample_name == f"{metric.name}_created"
