"""Wires the process that runs projections together."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import grpc.aio

from girih.client import EventStoreClient
from girih.ids import NO_TENANT, TenantId
from girih.projection import Projection
from girih.projections.v1 import documents_pb2, indicators_pb2, lattices_pb2
from girih.projections.v1 import projections_pb2 as pb
from services.plumbing.auth.keys import SigningKeyFile
from services.plumbing.auth.tokens import Issuer
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.event_store import EventStoreHealth
from services.plumbing.grpc.ops import add_metrics_service, add_settings_service
from services.plumbing.grpc.server import Server, serve
from services.plumbing.identity import OPS_READ
from services.plumbing.metrics import ClientMetrics, metrics_server
from services.plumbing.tls import channel_credentials
from services.policy import EVENTS, POLICY, PROJECTIONS
from services.projections.control.status import Statuses
from services.projections.control.waiting import Waits
from services.projections.domain import ProjectionKey, ReadPlace
from services.projections.metrics import ApplyMetrics, RunMetrics
from services.projections.postgres.control import PostgresControl
from services.projections.postgres.database import Database
from services.projections.postgres.in_turn import ConnectionsInTurn
from services.projections.postgres.shares import Shares
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.registry import all_projections
from services.projections.running.applying import FailureLimits
from services.projections.running.changes import Changes
from services.projections.running.projection_run import ProjectionRun, RunLimits
from services.projections.running.runner import Runner
from services.projections.running.tenant_logs import TenantLogs
from services.projections.running.tenants import Tenants
from services.projections.running.turns import Turns
from services.projections.servicer import ProjectionServicer
from services.projections.settings import Settings
from services.projections.shipped.all import shipped
from services.projections.shipped.documents.projection import Documents
from services.projections.shipped.documents.reading import DocumentReader
from services.projections.shipped.documents.servicer import DocumentServicer
from services.projections.shipped.indicators.definitions import Definitions, read_definitions
from services.projections.shipped.indicators.metrics import IndicatorMetrics
from services.projections.shipped.indicators.projection import Indicators
from services.projections.shipped.indicators.reading import IndicatorReader
from services.projections.shipped.indicators.servicer import IndicatorServicer
from services.projections.shipped.lattices.projection import Lattices
from services.projections.shipped.lattices.reading import LatticeReader
from services.projections.shipped.lattices.servicer import LatticeViewServicer

DOMAIN: Final = PROJECTIONS
SERVICE: Final = pb.DESCRIPTOR.services_by_name["ProjectionService"]
DOCUMENT_SERVICE: Final = documents_pb2.DESCRIPTOR.services_by_name["DocumentService"]
LATTICE_VIEW_SERVICE: Final = lattices_pb2.DESCRIPTOR.services_by_name["LatticeViewService"]
INDICATOR_SERVICE: Final = indicators_pb2.DESCRIPTOR.services_by_name["IndicatorService"]


async def run(settings: Settings) -> None:
    """Serve until the process is asked to stop."""
    indicators = read_definitions(settings.indicators_file)
    async with built(settings, all_projections(shipped(indicators)), indicators) as server:
        with metrics_server(server.registry, settings.metrics_host, settings.metrics_port):
            await serve(server)


@asynccontextmanager
async def built(
    settings: Settings, projections: Mapping[str, Projection], indicators: Definitions
) -> AsyncIterator[Server]:
    """The server, ready to be started inside the block."""
    server = Server(DOMAIN, settings, policy=POLICY)
    key = SigningKeyFile(settings.signing_key, private=settings.environment == "production")
    server.tasks.start("signing key", key.watch())
    issuer = Issuer(key, PROJECTIONS)
    database = Database(settings, projections)
    database.count(server.registry, "projections")
    async with _channels(settings, issuer, ClientMetrics(server.registry)) as (logs, ops):
        tenant_logs = TenantLogs(
            EventStoreClient(logs),
            lambda tenant: issuer.service_token(EVENTS, tenant, ("events.read",)),
        )
        store = PostgresProjectionStore(database)
        runner = _runner(server, settings, database, projections, tenant_logs)
        server.registry.register(
            RunMetrics(lambda: runner.runs, lambda: database.problems, projections)
        )
        changes = Changes(database, runner.look_again_at, runner.look_again_at_all)
        control = PostgresControl(store)
        statuses = Statuses(projections, lambda: database.problems, control, tenant_logs)
        servicer = ProjectionServicer(
            statuses,
            control,
            Waits(control, lambda: runner.runs, settings.waiting_calls_max),
            changes.notify,
        )
        server.add_service(SERVICE, servicer)
        _serve_views(server, store, statuses)
        _serve_indicators(server, IndicatorReader(indicators, store), statuses, runner)
        add_metrics_service(server)
        add_settings_service(server, settings)
        tenants = Tenants(ops, runner.set_heads, settings.tenants_interval_s)
        server.tasks.start("database", database.keep_open())
        server.tasks.start("tenants", tenants.run())
        server.tasks.start("changes", _once_open(database, changes.listen))
        events = EventStoreHealth(ops)
        server.health.watch("database", database.probe)
        server.health.watch("events", events.probe, interval_s=settings.events_health_interval_s)
        yield server


def _serve_views(server: Server, store: PostgresProjectionStore, statuses: Statuses) -> None:
    """What projections hold, over gRPC."""
    server.add_service(
        DOCUMENT_SERVICE,
        DocumentServicer(DocumentReader(store), partial(statuses.fit, Documents.name)),
    )
    server.add_service(
        LATTICE_VIEW_SERVICE,
        LatticeViewServicer(LatticeReader(store), partial(statuses.fit, Lattices.name)),
    )


def _serve_indicators(
    server: Server, reader: IndicatorReader, statuses: Statuses, runner: Runner
) -> None:
    """Over gRPC, and to Prometheus."""
    check_fit = partial(statuses.fit, Indicators.name)
    server.add_service(INDICATOR_SERVICE, IndicatorServicer(reader, check_fit))

    def places() -> dict[TenantId, ReadPlace]:
        return {
            key.tenant: run.place
            for key, run in runner.runs.items()
            if key.projection == Indicators.name
        }

    metrics = IndicatorMetrics(reader, places)
    server.registry.register(metrics)
    server.tasks.start("totals of indicators", metrics.run())


@asynccontextmanager
async def _channels(
    settings: Settings, issuer: Issuer, metrics: ClientMetrics
) -> AsyncIterator[tuple[grpc.aio.Channel, grpc.aio.Channel]]:
    """One to the event store whose calls bring their token, and one for what is nobody's."""
    tls = channel_credentials(settings)

    def ops_token() -> str:
        return issuer.service_token(EVENTS, NO_TENANT, (OPS_READ,))

    async with (
        open_channel(settings.events_address, tls=tls, metrics=metrics) as logs,
        open_channel(settings.events_address, bearer=ops_token, tls=tls, metrics=metrics) as ops,
    ):
        yield logs, ops


def _runner(
    server: Server,
    settings: Settings,
    database: Database,
    projections: Mapping[str, Projection],
    logs: TenantLogs,
) -> Runner:
    """What runs projections, with what tells it which."""
    metrics = ApplyMetrics(server.registry)
    store = PostgresProjectionStore(ConnectionsInTurn(database, settings.pool_size_max))
    turns, limits = Turns(settings.followed_logs_max), _limits(settings)

    def run_of(key: ProjectionKey, fence: int, projection: Projection) -> ProjectionRun:
        return ProjectionRun(
            key, fence, projection, store, logs.follow, logs.event_at, metrics, limits, turns
        )

    shares = Shares(database, _own_name(), settings.lease_s)
    runner = Runner(projections, lambda: database.ready, lambda: shares.held, run_of)
    server.tasks.start("shares", _once_open(database, partial(shares.keep, runner.look)))
    server.tasks.start("projections", runner.run())
    return runner


def _limits(settings: Settings) -> RunLimits:
    return RunLimits(
        event_count_max=settings.batch_event_count_max,
        idle_s=settings.idle_s,
        failures=FailureLimits(
            attempt_count_max=settings.attempt_count_max, pause_s_max=settings.retry_pause_s_max
        ),
    )


def _own_name() -> str:
    """One that no other process has, and that tells people which this is."""
    return f"{socket.gethostname()}/{os.getpid()}/{os.urandom(4).hex()}"


async def _once_open(database: Database, work: Callable[[], Awaitable[None]]) -> None:
    await database.until_open()
    await work()
