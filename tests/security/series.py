"""The series that a running girih tells Prometheus, and whether their labels are what they may."""

import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.app import read_contract
from gateway.contract.rules import rules_of
from services.lattice.domain import Method
from services.plumbing.metrics import code_name
from services.plumbing.postgres.sql import OTHER, TRANSACTION
from tests.processes import ROOT, Process, System

_HTTP_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"}
_UNKNOWN: Final = "unknown"
_REFLECTION: Final = "grpc.reflection.v1.ServerReflection"
"""The same as `v1alpha`, of which there is a package."""
_GROWING: Final = frozenset({"status", "grpc_code", "statement", "reason", "kind", "outcome"})
"""Labels of which a series comes to be when something happens for the first time."""


def samples_of(system: System) -> dict[str, list[Sample]]:
    """What each process tells, by its name."""
    return {process.log.stem.split("-")[0]: list(_samples(process)) for process in system.processes}


def strange_values(samples: Iterable[Sample], pages: Iterable[str]) -> set[tuple[str, str]]:
    """The labels whose values are in no closed set, with these values."""
    closed = _closed(pages)
    return {
        (label, value)
        for sample in samples
        for label, value in sample.labels.items()
        if label in closed and value not in closed[label]
    }


def kinds(samples: Iterable[Sample]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """The series without the labels that grow with what has happened."""
    return {
        (
            sample.name,
            frozenset(pair for pair in sample.labels.items() if pair[0] not in _GROWING),
        )
        for sample in samples
    }


def _samples(process: Process) -> Iterator[Sample]:
    (port,) = [value for name, value in process.environ.items() if name.endswith("METRICS_PORT")]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        text = response.read().decode()
    for family in text_string_to_metric_families(text):
        yield from family.samples


def _closed(pages: Iterable[str]) -> dict[str, set[str]]:
    contract = read_contract()
    services = [*contract.services, *_services_of_grpc()]
    return {
        "grpc_type": {"unary", "client_stream", "server_stream", "bidi_stream"},
        "grpc_service": {one.full_name for one in services} | {_REFLECTION, _UNKNOWN},
        "grpc_method": {one.name for service in services for one in service.methods} | {_UNKNOWN},
        "grpc_code": {code_name(code) for code in grpc.StatusCode},
        "method": _HTTP_METHODS | {method.value for method in Method},
        "route": {rule.template.text for rule in rules_of(contract)} | {*pages, "(none)"},
        "status": {str(status) for status in range(100, 600)},
        "statement": {path.stem for path in _statements()} | {TRANSACTION, OTHER},
    }


def _services_of_grpc() -> Iterator[ServiceDescriptor]:
    from grpc_health.v1 import health_pb2
    from grpc_reflection.v1alpha import reflection_pb2

    for file in (health_pb2, reflection_pb2):
        yield from file.DESCRIPTOR.services_by_name.values()


def _statements() -> Iterator[Path]:
    return (ROOT / "services").rglob("*.sql")
