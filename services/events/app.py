"""Wires the events process together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import groups_pb2, logs_pb2, schemas_pb2, snapshots_pb2, transfer_pb2
from girih.ids import Position, TenantId
from services.events import convert, record
from services.events.appending.committer import Committer, CommitterLimits
from services.events.appending.remembered import RevisionCache
from services.events.appending.sequencer import SequencerLimits, Sequencers
from services.events.groups import convert as groups_convert
from services.events.groups.administration import Groups
from services.events.groups.consumer import Parts
from services.events.groups.consumers import Consumers
from services.events.groups.metrics import GroupMetrics
from services.events.groups.readings import Readings
from services.events.groups.servicer import GroupServicer
from services.events.groups.settling import Settlements
from services.events.keeping.keeper import StreamKeeper
from services.events.keeping.payload_taker import PayloadTaker
from services.events.logs.servicer import LogServicer
from services.events.matching.recent import RecentBlocks, RecentEvents
from services.events.metrics import (
    CacheMetrics,
    FollowLag,
    FollowMetrics,
    SequencerMetrics,
    SnapshotMetrics,
    TakerMetrics,
)
from services.events.postgres import taking
from services.events.postgres.database import Database
from services.events.postgres.groups.administration import PostgresGroups
from services.events.postgres.groups.leading import PostgresLanes
from services.events.postgres.listing import Listing
from services.events.postgres.snapshots import PostgresSnapshots
from services.events.postgres.store import PostgresEventStore
from services.events.postgres.transfer import PostgresTransfer
from services.events.reading.follower import Followers
from services.events.reading.notifications import Notifications
from services.events.reading.reader import PAGE_BYTES_MAX, Reader
from services.events.reading.send_budget import SendBudget
from services.events.reading.tail import TailLimits, Tails
from services.events.reading.traces import Traces
from services.events.schemas import convert as schemas_convert
from services.events.schemas.beside import Beside
from services.events.schemas.enforcing import EnforcingAppender
from services.events.schemas.reading import Upcasts
from services.events.schemas.registering import Registrar
from services.events.schemas.registries import Registries
from services.events.schemas.servicer import SchemaServicer
from services.events.servicer import EventStoreServicer
from services.events.settings import Settings
from services.events.snapshots.servicer import SnapshotServicer
from services.events.snapshots.snapshots import Snapshots
from services.events.transfer.servicer import TransferServicer
from services.plumbing.grpc.ops import add_metrics_service
from services.plumbing.grpc.server import Server, serve
from services.plumbing.metrics import metrics_server
from services.plumbing.process import give_back_freed_memory, keep_memory_trimmed
from services.policy import POLICY

DOMAIN = "events.girih"

_LARGE_BYTES = 4 * PAGE_BYTES_MAX
"""Pages are kept for the next ones: the page faults of new ones took half of what reading takes.
What stays behind is trimmed when it is much."""

SERVICE = pb.DESCRIPTOR.services_by_name["EventStoreService"]
SNAPSHOT_SERVICE = snapshots_pb2.DESCRIPTOR.services_by_name["SnapshotService"]
LOG_SERVICE = logs_pb2.DESCRIPTOR.services_by_name["LogService"]
GROUP_SERVICE = groups_pb2.DESCRIPTOR.services_by_name["GroupService"]
TRANSFER_SERVICE = transfer_pb2.DESCRIPTOR.services_by_name["TransferService"]
SCHEMA_SERVICE = schemas_pb2.DESCRIPTOR.services_by_name["SchemaService"]


async def run(settings: Settings) -> None:
    """Serve until the process is asked to stop."""
    give_back_freed_memory(_LARGE_BYTES)
    async with built(settings) as server:
        with metrics_server(server.registry, settings.metrics_host, settings.metrics_port):
            await serve(server)


@asynccontextmanager
async def built(settings: Settings) -> AsyncIterator[Server]:
    """The server, ready to be started inside the block.

    Appends that its calls have begun are settled before it closes the database.
    """
    server = Server(DOMAIN, settings, policy=POLICY, details_of=convert.details_of)
    database = Database(settings)
    store = PostgresEventStore(database)
    metrics = FollowMetrics(server.registry)
    limits = TailLimits()
    send_budget = SendBudget(settings.responses_mib * 2**20)
    tails = Tails(store, record.read_response, metrics, limits, send_budget)
    followers = Followers(
        store, tails, record.read_response, record.signal_response, metrics, limits
    )
    consumers = Consumers()
    notifications = Notifications(database, tails, metrics, consumers)
    consumers.announce = notifications.group_changed
    server.registry.register(FollowLag(followers.lags))
    revision_cache = RevisionCache()
    sequencers = _sequencers(
        store, notifications, settings, SequencerMetrics(server.registry), revision_cache
    )
    taker = PayloadTaker(
        partial(_keeper, database, settings),
        TakerMetrics(server.registry),
        settings.keeping_interval_s,
    )

    def rules_changed(tenant: TenantId) -> None:
        tails.rules_changed(tenant)
        taker.nudge(tenant)

    def restored(tenant: TenantId, head: Position) -> None:
        notifications.committed(tenant, head)
        rules_changed(tenant)

    database.count(server.registry, "events")
    beside = Beside()
    reader = Reader(store, send_budget)
    registries = Registries(store, schemas_convert.changes_of)
    server.registry.register(CacheMetrics({"revisions": revision_cache, "schemas": registries}))
    upcasts = Upcasts(registries, beside)
    snapshots = Snapshots(
        PostgresSnapshots(database),
        store,
        settings.snapshot_count_max,
        SnapshotMetrics(server.registry).passed_over,
    )
    server.add_service(
        SERVICE,
        EventStoreServicer(
            EnforcingAppender(sequencers, registries, store, beside),
            store,
            reader,
            followers,
            upcasts,
            Traces(store, record.causation_id_of),
            StreamKeeper(sequencers, store, rules_changed),
            database,
            DOMAIN,
            server.stopping,
        ),
        raw_responses={"Read"},
    )
    server.add_service(
        SNAPSHOT_SERVICE,
        SnapshotServicer(snapshots, reader, upcasts, send_budget),
        raw_responses={"LoadStream"},
    )
    server.add_service(
        TRANSFER_SERVICE,
        TransferServicer(
            PostgresTransfer(database, store, record.payload_digest),
            store,
            reader,
            snapshots,
            send_budget,
            restored,
        ),
    )
    server.add_service(
        SCHEMA_SERVICE,
        SchemaServicer(Registrar(sequencers, registries, beside), registries),
    )
    lanes = PostgresLanes(database)
    listing = Listing(settings, lambda: database.is_open)
    # Asked every second, by each process that runs projections.
    server.add_service(LOG_SERVICE, LogServicer(listing), quiet=True)
    server.add_service(
        GROUP_SERVICE,
        GroupServicer(
            Groups(PostgresGroups(database), store, consumers),
            Parts(
                lanes,
                Settlements(lanes.settle),
                store,
                reader,
                Readings(followers, groups_convert.decode),
                groups_convert.decode,
                record.response_of,
                groups_convert.filter_of,
                consumers,
                GroupMetrics(server.registry),
                server.stopping,
            ),
            DOMAIN,
        ),
        raw_responses={"Consume"},
    )
    add_metrics_service(server)
    server.tasks.start("database", database.keep_open())
    server.tasks.start("tell of appends", notifications.notify())
    server.tasks.start("listen for notifications", notifications.listen())
    server.tasks.start("look at followed logs", tails.poll())
    server.tasks.start("tell followers how far they are", tails.tell())
    server.tasks.start("label events", store.labels.fill())
    server.tasks.start("end followers", tails.end_when(server.stopping))
    server.tasks.start("take payloads", taker.run())
    server.tasks.start("trim memory", keep_memory_trimmed())
    server.health.watch("database", database.probe)
    server.after_calls.append(sequencers.close)
    server.after_calls.append(consumers.close)
    server.after_calls.append(beside.close)
    server.after_calls.append(listing.close)
    yield server


@asynccontextmanager
async def _keeper(database: Database, settings: Settings) -> AsyncIterator[taking.Taking]:
    await database.until_open()
    async with taking.opened(settings, record.payload_digest) as keeper:
        yield keeper


def _sequencers(
    store: PostgresEventStore,
    notifications: Notifications,
    settings: Settings,
    metrics: SequencerMetrics,
    revision_cache: RevisionCache,
) -> Sequencers:
    committer_limits = CommitterLimits(retry_budget_s=settings.append_retry_s)
    recent_blocks = RecentBlocks()

    def committer_of(tenant: TenantId) -> Committer:
        return Committer(
            store.log(tenant),
            record.encoder_at,
            metrics,
            committer_limits,
            revision_cache,
            partial(notifications.committed, tenant),
            RecentEvents(recent_blocks),
        )

    return Sequencers(
        committer_of,
        metrics,
        SequencerLimits(
            queue_bytes=settings.append_queue_mib * 2**20,
            total_bytes=settings.append_queues_mib * 2**20,
        ),
    )
