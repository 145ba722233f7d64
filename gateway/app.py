"""Wires the gateway: contract, channels, routes, pages and server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

import girih
from gateway import openapi
from gateway.backends import Backend, open_backends
from gateway.contract import Contract
from gateway.front import Front
from gateway.health import Health, HealthPages
from gateway.http_metrics import HttpMetrics
from gateway.lifecycle import Lifecycle
from gateway.rules import Routes, Rule, rules_of
from gateway.server import listen, serve
from gateway.settings import Settings
from gateway.site import Site
from gateway.transcode import Endpoint, Transcoder
from services.plumbing.logging import get_logger
from services.plumbing.metrics import metrics_server, new_registry

_log = get_logger("gateway")


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises PortTaken and MetricsPortTaken."""
    registry = new_registry()
    lifecycle = Lifecycle()
    with (
        listen(settings.address) as listener,
        metrics_server(registry, settings.metrics_host, settings.metrics_port) as metrics_port,
    ):
        async with open_gateway(settings, read_contract(), registry, lifecycle) as app:
            host, port = listener.getsockname()[:2]
            _log.info("serving", address=f"{host}:{port}", metrics_port=metrics_port)
            await serve(app, settings, lifecycle, listener)


def read_contract(path: Path = girih.DESCRIPTOR_SET) -> Contract:
    return Contract.from_descriptor_set(path.read_bytes())


@asynccontextmanager
async def open_gateway(
    settings: Settings, contract: Contract, registry: CollectorRegistry, lifecycle: Lifecycle
) -> AsyncIterator[Front]:
    """The ASGI application, with its channels open. Raises ContractError."""
    rules = [
        rule
        for rule in rules_of(contract)
        if not _service(rule).startswith("girih.accounts.")  # served by the gateway itself
    ]
    async with open_backends(contract, settings) as backends:
        transcoder = Transcoder(contract, settings, lifecycle)
        health = Health(backends, lifecycle, timeout_s=settings.health_timeout_s)
        pages = HealthPages(health, backends, timeout_s=settings.health_timeout_s)
        document = openapi.document(contract, rules, settings) if settings.docs else None
        yield Front(
            _routes(rules, backends, transcoder),
            Site(pages, document),
            settings,
            lifecycle,
            HttpMetrics(registry),
        )


def _routes(rules: list[Rule], backends: list[Backend], transcoder: Transcoder) -> Routes[Endpoint]:
    backend_of = {backend.service.full_name: backend for backend in backends}
    return Routes(
        (rule.http_method, rule.template, transcoder.endpoint(rule, backend_of[_service(rule)]))
        for rule in rules
    )


def _service(rule: Rule) -> str:
    assert rule.method.containing_service is not None, "every method is of a service"
    return rule.method.containing_service.full_name
