"""Wires the gateway: contract, channels, routes, pages and server."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.routing import Mount

import girih
from gateway.admission.counts import SharedCounts
from gateway.application import Application
from gateway.backends.local import LocalBackend
from gateway.backends.remote import Backend, answering, label_of, open_backends
from gateway.composition import Composition, open_composition
from gateway.contract.descriptors import Contract, ContractError
from gateway.contract.rules import Routes, Rule, rules_of
from gateway.endpoints.endpoint import Endpoint, EndpointContext
from gateway.endpoints.factory import build_endpoint
from gateway.endpoints.large_bodies import LargeBodies
from gateway.endpoints.open_streams import OpenStreams
from gateway.http.aliases import newest_version
from gateway.http.lifecycle import Lifecycle
from gateway.http.metrics import HttpMetrics
from gateway.openapi.document import document as openapi_document
from gateway.serving.server import listen, serve
from gateway.settings import Settings
from gateway.site.applications import console_mount, shared_mount
from gateway.site.health import Health, HealthMonitor, HealthPages
from gateway.site.jwks import jwks_route
from gateway.site.pages import Site
from gateway.site.reference import reference
from services.plumbing.logging import get_logger
from services.plumbing.metrics import DependencyMetrics, metrics_server, new_registry
from services.plumbing.process import give_back_freed_memory
from services.plumbing.tasks import OwnedTasks

_log = get_logger("gateway")


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises PortTaken, MetricsPortTaken and TaskDied."""
    registry = new_registry(is_on=settings.metrics)
    with (
        listen(settings.address) as listener,
        metrics_server(registry, settings.metrics_host, settings.metrics_port) as metrics_port,
    ):
        host, port = listener.getsockname()[:2]

        async def log_ready() -> None:
            _log.info("serving", address=f"{host}:{port}", metrics_port=metrics_port)

        await serve_from(listener, settings, registry, OwnedTasks(), on_ready=log_ready)


async def serve_from(
    listener: socket.socket,
    settings: Settings,
    registry: CollectorRegistry,
    tasks: OwnedTasks,
    *,
    on_ready: Callable[[], Awaitable[None]],
    shared_counts: SharedCounts | None = None,
) -> None:
    """Serve what comes in at a socket until SIGTERM or SIGINT; raises TaskDied.

    `shared_counts` are those of all processes of this gateway, where there are several.
    """
    give_back_freed_memory()
    lifecycle = Lifecycle()
    async with (
        open_composition(settings, registry, tasks, shared_counts) as composition,
        open_gateway(settings, read_contract(), registry, lifecycle, composition, tasks) as app,
    ):
        # Routes and pages are made while the event store may still be starting.
        await composition.until_caught_up()
        await on_ready()
        await serve(app, settings, lifecycle, listener, tasks)


def read_contract(path: Path = girih.DESCRIPTOR_SET) -> Contract:
    return Contract.from_descriptor_set(path.read_bytes())


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    contract: Contract,
    registry: CollectorRegistry,
    lifecycle: Lifecycle,
    composition: Composition,
    tasks: OwnedTasks,
) -> AsyncIterator[Application]:
    """The ASGI application, with its channels open. Raises ContractError.

    Its background work runs among `tasks`, which the caller stops.
    """
    rules = list(rules_of(contract))
    own = [_local(contract, name, servicer) for name, servicer in composition.services.items()]
    services, calls = composition.services, composition.call_metrics
    async with open_backends(contract, settings, services, calls) as backends:
        streams = OpenStreams(settings, lifecycle, composition.admission.is_revoked)
        registry.register(DependencyMetrics(partial(answering, backends)))
        health = Health(backends, lifecycle, timeout_s=settings.health_timeout_s)
        tasks.start("streams", streams.watch())
        pages = HealthPages(
            health, backends, composition.ops_token, timeout_s=settings.health_timeout_s
        )
        document = openapi_document(contract, rules) if settings.docs else None
        words = reference(contract, composition.services) if settings.docs else None
        large_bodies = LargeBodies(contract, wait_s=settings.call_timeout_s)
        endpoints = EndpointContext(contract, settings, streams, large_bodies)
        try:
            application = Application(
                _routes(rules, [*backends, *own], endpoints),
                newest_version(rule.template.text for rule in rules),
                Site(
                    [*pages.routes(), jwks_route(composition.trusted), *_applications(settings)],
                    document,
                    words,
                ),
                composition.admission,
                settings,
                lifecycle,
                HttpMetrics(registry),
            )
            async with tasks.running("pulse", HealthMonitor(health, backends).run()):
                yield application
        finally:
            for backend in own:
                await backend.finish()
            await large_bodies.close()


def _applications(settings: Settings) -> Iterable[Mount]:
    """The pages that are more than one: the console, and what it shares with the documentation."""
    if settings.console:
        yield console_mount()
    if settings.console or settings.docs:
        yield shared_mount()


def _local(contract: Contract, name: str, servicer: object) -> LocalBackend:
    for service in contract.services:
        if service.full_name == name:
            return LocalBackend(label_of(service), service, servicer)
    raise ContractError(f"the contract has no {name}")


def _routes(
    rules: Iterable[Rule], backends: Iterable[Backend], context: EndpointContext
) -> Routes[Endpoint]:
    backend_of = {backend.service.full_name: backend for backend in backends}
    return Routes(
        (rule.http_method, rule.template, build_endpoint(context, rule, backend_of[_service(rule)]))
        for rule in rules
    )


def _service(rule: Rule) -> str:
    assert rule.method.containing_service is not None, "every method is of a service"
    return rule.method.containing_service.full_name
