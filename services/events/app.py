"""Wires the events process together."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import (
    groups_pb2,
    logs_pb2,
    places_pb2,
    schemas_pb2,
    snapshots_pb2,
    transfer_pb2,
)
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
from services.events.keeping.compactor import Compactor
from services.events.keeping.keeper import StreamKeeper
from services.events.keeping.payload_taker import PayloadTaker
from services.events.lanes.group import GroupName
from services.events.logs.servicer import LogServicer
from services.events.matching.recent import RecentBlocks, RecentEvents
from services.events.metrics import (
    CacheMetrics,
    CompactorMetrics,
    FollowLag,
    FollowMetrics,
    ListeningEverywhere,
    PlaceMetrics,
    SequencerMetrics,
    SnapshotMetrics,
    TakerMetrics,
)
from services.events.places.listing import LogListing
from services.events.places.moves import Moves
from services.events.places.placing import Placing
from services.events.places.servicer import PlaceServicer
from services.events.places.store import Openers
from services.events.postgres import compacting, moving, taking
from services.events.postgres.database import Database
from services.events.postgres.groups.administration import PostgresGroups
from services.events.postgres.groups.leading import PostgresLanes
from services.events.postgres.listing import Listing
from services.events.postgres.placed import Places
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
from services.events.settings import DEFAULT_PLACE, Settings
from services.events.snapshots.servicer import SnapshotServicer
from services.events.snapshots.snapshots import Snapshots
from services.events.transfer.servicer import TransferServicer
from services.plumbing.errors import ServiceError
from services.plumbing.grpc.ops import add_metrics_service, add_settings_service
from services.plumbing.grpc.server import Server, serve
from services.plumbing.metrics import metrics_server
from services.plumbing.process import give_back_freed_memory, keep_memory_trimmed
from services.policy import POLICY

DOMAIN = "events.girih"

_ALL_PLACES_S = 15.0
"""So long a process that starts says that it does not serve while a place has not answered."""

_LARGE_BYTES = 4 * PAGE_BYTES_MAX
"""Pages are kept for the next ones: the page faults of new ones took half of what reading takes.
What stays behind is trimmed when it is much."""

SERVICE = pb.DESCRIPTOR.services_by_name["EventStoreService"]
SNAPSHOT_SERVICE = snapshots_pb2.DESCRIPTOR.services_by_name["SnapshotService"]
LOG_SERVICE = logs_pb2.DESCRIPTOR.services_by_name["LogService"]
GROUP_SERVICE = groups_pb2.DESCRIPTOR.services_by_name["GroupService"]
PLACE_SERVICE = places_pb2.DESCRIPTOR.services_by_name["PlaceService"]
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
    at_places = settings.at_places()
    databases = {place: Database(one) for place, one in at_places.items()}
    for one in databases.values():
        one.others = databases
    database = databases[DEFAULT_PLACE]
    movers = {place: partial(moving.opened, one) for place, one in at_places.items()}
    places = Places(databases, partial(_arrive, movers))
    store = PostgresEventStore(places)
    metrics = FollowMetrics(server.registry)
    limits = TailLimits()
    send_budget = SendBudget(settings.responses_mib * 2**20)
    tails = Tails(store, record.read_response, metrics, limits, send_budget)
    followers = Followers(
        store, tails, record.read_response, record.signal_response, metrics, limits
    )
    consumers = Consumers()
    listening = ListeningEverywhere(metrics, len(databases))
    notifications = {
        place: Notifications(one, tails, listening.at(place), consumers)
        for place, one in databases.items()
    }

    def committed(tenant: TenantId, head: Position) -> None:
        notifications[places.guess(tenant)].committed(tenant, head)

    def group_changed(tenant: TenantId, group: GroupName) -> None:
        notifications[places.guess(tenant)].group_changed(tenant, group)

    consumers.announce = group_changed
    server.registry.register(FollowLag(followers.lags))
    revision_cache = RevisionCache()
    sequencers = _sequencers(
        store, committed, settings, SequencerMetrics(server.registry), revision_cache
    )
    taker_metrics = TakerMetrics(server.registry)
    takers = {
        place: PayloadTaker(
            partial(_keeper, databases[place], one), taker_metrics, one.keeping_interval_s
        )
        for place, one in at_places.items()
    }
    compactor_metrics = CompactorMetrics(server.registry)
    compactors = {
        place: Compactor(
            partial(_record_file, databases[place], one),
            compactor_metrics,
            one.compacting_interval_s,
        )
        for place, one in at_places.items()
    }

    def rules_changed(tenant: TenantId) -> None:
        tails.rules_changed(tenant)
        takers[places.guess(tenant)].nudge(tenant)

    def restored(tenant: TenantId, head: Position) -> None:
        committed(tenant, head)
        rules_changed(tenant)

    database.count(server.registry, "events")
    for other in databases.values():
        other.count_with(database)
    beside = Beside(work_s=settings.schema_check_s)
    reader = Reader(store, send_budget)
    registries = Registries(store, schemas_convert.changes_of)
    server.registry.register(CacheMetrics({"revisions": revision_cache, "schemas": registries}))
    upcasts = Upcasts(registries, beside)
    snapshots = Snapshots(
        PostgresSnapshots(places),
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
            PostgresTransfer(places, store, record.payload_digest),
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
    place_metrics = PlaceMetrics(server.registry)
    lanes = PostgresLanes(places)
    listings = {
        place: Listing(one, partial(_is_open, databases[place])) for place, one in at_places.items()
    }
    log_listing = LogListing(listings)
    # Asked every second, by each process that runs projections.
    server.add_service(LOG_SERVICE, LogServicer(log_listing), quiet=True)
    moves = Moves(movers, place_metrics, settings.moving_interval_s)
    server.add_service(
        PLACE_SERVICE,
        PlaceServicer(
            Placing(movers, moves.nudge),
            log_listing,
            lambda: {place: one.seen_place for place, one in databases.items()},
        ),
    )
    server.add_service(
        GROUP_SERVICE,
        GroupServicer(
            Groups(PostgresGroups(places), store, consumers),
            Parts(
                lanes,
                Settlements(lanes.settle),
                store,
                reader,
                Readings(followers, groups_convert.decode, send_budget),
                send_budget,
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
    add_settings_service(server, settings)
    for place, one in databases.items():
        of_place = f" of {place}" if len(databases) > 1 else ""
        server.tasks.start(f"database{of_place}", one.keep_open())
        server.tasks.start(f"tell of appends{of_place}", notifications[place].notify())
        server.tasks.start(f"listen for notifications{of_place}", notifications[place].listen())
        server.tasks.start(f"take payloads{of_place}", takers[place].run())
        server.tasks.start(f"give room back{of_place}", compactors[place].run())
    server.tasks.start("look at followed logs", tails.poll())
    server.tasks.start("tell followers how far they are", tails.report_progress())
    server.tasks.start("label events", store.labels.fill())
    server.tasks.start("end followers", tails.end_when(server.stopping))
    server.tasks.start("trim memory", keep_memory_trimmed())
    server.health.watch("database", _PlacesProbe(databases).probe)
    for place, one in databases.items() if len(databases) > 1 else ():
        server.tasks.start(f"move logs from {place}", moves.run(place))
        server.health.watch(
            f"place {place}",
            partial(place_metrics.probed, place, one.probe),
            services=(f"place.{place}",),
        )
    server.after_calls.append(sequencers.close)
    server.after_calls.append(consumers.close)
    server.after_calls.append(beside.close)
    server.after_calls += [listing.close for listing in listings.values()]
    yield server


def _is_open(database: Database) -> bool:
    return database.is_open


class _PlacesProbe:
    """Whether places answer."""

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self._databases = databases
        self._has_begun = False
        self._deadline_s = time.monotonic() + _ALL_PLACES_S

    async def probe(self) -> None:
        """Raises unless a place answers: the logs of the others wait, and those there do not. A
        process that starts has all of them answer first, for a while.
        """
        if not self._has_begun and time.monotonic() < self._deadline_s:
            await asyncio.gather(*[one.probe() for one in self._databases.values()])
        else:
            await _any_of([one.probe() for one in self._databases.values()])
        self._has_begun = True


async def _any_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Return once one has ended well; raises what the first raised when none does."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        for task in asyncio.as_completed(tasks):
            with suppress(ServiceError):
                await task
                return
        await tasks[0]
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _arrive(movers: Openers, place: str, tenant: TenantId, move: int) -> bool:
    async with movers[place]() as store:
        return await store.arrive(tenant, move)


@asynccontextmanager
async def _keeper(database: Database, settings: Settings) -> AsyncIterator[taking.Taking]:
    await database.until_open()
    async with taking.opened(settings, record.payload_digest) as keeper:
        yield keeper


@asynccontextmanager
async def _record_file(
    database: Database, settings: Settings
) -> AsyncIterator[compacting.RecordFile]:
    await database.until_open()
    async with compacting.opened(settings) as file:
        yield file


def _sequencers(
    store: PostgresEventStore,
    committed: Callable[[TenantId, Position], None],
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
            partial(committed, tenant),
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
