"""Wires the lattice process together. Importing it imports the compiler."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from girih.lattice.v1 import (
    fields_pb2,
    history_pb2,
    jobs_pb2,
    paths_pb2,
    pictures_pb2,
    structure_pb2,
    transforms_pb2,
    uploads_pb2,
)
from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice.calls import Calls
from services.lattice.computing.compilation import Compilation
from services.lattice.computing.component_index import ComponentIndex
from services.lattice.computing.compute import Compute
from services.lattice.computing.search_pool import SearchPool
from services.lattice.computing.send_budget import SendBudget
from services.lattice.computing.work_limit import WorkLimit
from services.lattice.costs import Costs
from services.lattice.distributed.cluster import Cluster, ClusterSetup
from services.lattice.distributed.folders import remove_left
from services.lattice.fields import servicer as fields_servicer
from services.lattice.fields.collecting import ArrayCollector
from services.lattice.fields.limits import FieldLimits
from services.lattice.fields.reading import FieldReader
from services.lattice.fields.servicer import FieldParts
from services.lattice.fields.states import FieldStates
from services.lattice.fields.uploads import Uploads
from services.lattice.fields.writing import FieldWriter
from services.lattice.history.blocked import TurningBlocked
from services.lattice.history.earlier import EarlierStates
from services.lattice.history.past import Past
from services.lattice.history.replaying import Replaying
from services.lattice.history.servicer import HistoryParts, HistoryServicer
from services.lattice.history.undoing import Undoing
from services.lattice.history.verifying import Verifying
from services.lattice.jobs import servicer as jobs_servicer
from services.lattice.jobs.commands import JobBounds, Jobs
from services.lattice.jobs.convert import recorded_model
from services.lattice.jobs.journal import JobJournal
from services.lattice.jobs.looking import JobLooks
from services.lattice.jobs.replaying import JobReplays
from services.lattice.jobs.runs.run import JobParts, JobTimes
from services.lattice.jobs.scheduling import JobLimits, JobScheduler
from services.lattice.jobs.states import JobStates
from services.lattice.jobs.storage import JobStorage, OpenJobs
from services.lattice.jobs.worker import WorkerSetup
from services.lattice.kernels import warm
from services.lattice.metrics import ComputationMetrics, JobMetrics, StateMetrics
from services.lattice.operations.context import OperationContext
from services.lattice.pictures import servicer as pictures_servicer
from services.lattice.routing import servicer as routing_servicer
from services.lattice.routing.servicer import PathServicer
from services.lattice.servicer import SERIALIZED, LatticeServicer
from services.lattice.settings import Settings
from services.lattice.state.bitmaps import JournalWithBitmaps
from services.lattice.state.events_journal import EventStoreJournal
from services.lattice.state.journal import LatticeJournal
from services.lattice.state.lattices import Lattices
from services.lattice.state.streams import EventStreams, acting_bearer
from services.lattice.storage.arrays import ArrayStore
from services.lattice.storage.bitmaps import KeptBitmaps
from services.lattice.storage.opening import absolute, open_store, user_folder
from services.lattice.structure.components import ComponentLabeller
from services.lattice.structure.servicer import StructureServicer
from services.lattice.transforms.applying import ChainApplier, Transformer
from services.lattice.transforms.blocked.by_field import FieldBlocker
from services.lattice.transforms.blocked.changing import BlockedTransformer
from services.lattice.transforms.distributing import ChainDistributor
from services.lattice.transforms.repeated import Repeated
from services.lattice.transforms.servicer import TransformServicer
from services.lattice.uploads.servicer import LatticeUploadServicer
from services.plumbing.auth.keys import SigningKeyFile
from services.plumbing.auth.tokens import Issuer
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.event_store import EventStoreHealth
from services.plumbing.grpc.ops import add_metrics_service, add_settings_service
from services.plumbing.grpc.server import Server, serve
from services.plumbing.logging import get_logger
from services.plumbing.metrics import ClientMetrics, metrics_server
from services.plumbing.tls import channel_credentials
from services.policy import LATTICE, POLICY

DOMAIN = LATTICE
SERVICE = pb.DESCRIPTOR.services_by_name["LatticeService"]
JOB_SERVICE = jobs_pb2.DESCRIPTOR.services_by_name["JobService"]
FIELD_SERVICE = fields_pb2.DESCRIPTOR.services_by_name["FieldService"]
PATH_SERVICE = paths_pb2.DESCRIPTOR.services_by_name["PathService"]
UPLOAD_SERVICE = uploads_pb2.DESCRIPTOR.services_by_name["LatticeUploadService"]
PICTURE_SERVICE = pictures_pb2.DESCRIPTOR.services_by_name["PictureService"]
HISTORY_SERVICE = history_pb2.DESCRIPTOR.services_by_name["HistoryService"]
TRANSFORM_SERVICE = transforms_pb2.DESCRIPTOR.services_by_name["TransformService"]
STRUCTURE_SERVICE = structure_pb2.DESCRIPTOR.services_by_name["StructureService"]

_JOBS_CACHE_BYTES = 16 << 20
"""What is kept of jobs that were read: some thousands of them."""
_KERNELS_INTERVAL_S = 3_600.0
_KERNELS_TIMEOUT_S = 3_600.0
"""What is compiled stays so, and may take its time."""

_log = get_logger("lattice")


async def run(settings: Settings) -> None:
    """Serve until the process is asked to stop."""
    async with built(settings) as server:
        with metrics_server(server.registry, settings.metrics_host, settings.metrics_port):
            await serve(server)


@asynccontextmanager
async def built(settings: Settings) -> AsyncIterator[Server]:
    """The server, ready to be started inside the block.

    It serves once the first kernels are compiled, and while the event store does.
    """
    server = Server(DOMAIN, settings, policy=POLICY)
    key = SigningKeyFile(settings.signing_key, private=settings.environment == "production")
    server.tasks.start("signing key", key.watch())
    channel = open_channel(
        settings.events_address,
        bearer=acting_bearer(Issuer(key, LATTICE)),
        tls=channel_credentials(settings),
        metrics=ClientMetrics(server.registry),
    )
    metrics = ComputationMetrics(server.registry)
    compute = Compute(
        threads=settings.threads or _core_count(),
        bytes_max=settings.compute_bytes,
        waiting_max=settings.waiting_calls_max,
        on_stopped=metrics.stopped,
    )
    events = EventStoreHealth(channel)

    def answer_timeout_s() -> float:
        """How long an answer is worth waiting for: not for long while none is expected."""
        is_answering = events.is_answering()
        return settings.events_timeout_s if is_answering else settings.events_down_timeout_s

    streams = EventStreams(channel, answer_timeout_s, events.answered)
    journal = EventStoreJournal(streams, events.is_serving)
    searches = SearchPool(settings.searches_bytes)
    components = ComponentIndex(settings.components_bytes)
    send_budget = SendBudget(settings.send_bytes)
    compilation = Compilation(warm.KINDS, warm.compile_kind)
    await asyncio.to_thread(remove_left)
    storage = absolute(settings.storage or user_folder(os.environ))
    cluster = Cluster(
        ClusterSetup(
            storage=storage,
            scheduler=settings.dask_scheduler,
            worker_count=settings.dask_workers,
            worker_bytes=settings.dask_worker_bytes,
        )
    )
    operations = OperationContext(
        compute,
        compilation,
        searches,
        components,
        send_budget,
        WorkLimit(settings.looks_max),
        metrics,
        part_timeout_s=settings.part_timeout_s,
        cluster=cluster,
    )
    arrays = ArrayStore(open_store(storage))
    with_bitmaps = JournalWithBitmaps(journal, KeptBitmaps(arrays))
    lattices = _lattices(settings, with_bitmaps, operations)
    server.registry.register(StateMetrics(compute, searches, components, send_budget, lattices))
    transfers = SendBudget(settings.transfer_bytes)
    parts = _field_parts(settings, journal, lattices, arrays, transfers, cluster)
    calls = Calls(lattices, operations)
    costs = Costs(calls, parts.states, parts.reader, transfers)
    distributor = ChainDistributor(cluster, parts.writer, compilation, operations.work_limit)
    applier = ChainApplier(parts.reader, parts.writer, operations, distributor)
    past = Past(journal)
    replaying = Replaying(parts.reader, parts.writer, applier)
    earlier = EarlierStates(past, replaying, with_bitmaps)
    servicer = LatticeServicer(
        calls, costs, earlier, parts.uploads, message_bytes_max=settings.message_bytes_max
    )
    server.add_service(SERVICE, servicer, raw_responses=SERIALIZED)
    field_servicer = fields_servicer.FieldServicer(parts, earlier, operations)
    server.add_service(FIELD_SERVICE, field_servicer, raw_responses=fields_servicer.SERIALIZED)
    paths = PathServicer(calls, costs, message_bytes_max=settings.message_bytes_max)
    server.add_service(PATH_SERVICE, paths, raw_responses=routing_servicer.SERIALIZED)
    server.tasks.start("collector of arrays", parts.collector.run())
    server.add_service(STRUCTURE_SERVICE, StructureServicer(calls, costs))
    transformer = Transformer(parts.states, parts.writer, applier)
    blocked = BlockedTransformer(lattices, parts.states, operations)
    repeated = Repeated(journal)
    sites_max = settings.blocked_sites_max
    by_field = FieldBlocker(blocked, parts.reader, transfers, sites_max=sites_max)
    transforms = TransformServicer(calls, transformer, blocked, by_field, repeated, parts.collector)
    server.add_service(TRANSFORM_SERVICE, transforms)
    uploads = LatticeUploadServicer(lattices, transfers, sites_max=sites_max)
    server.add_service(UPLOAD_SERVICE, uploads)
    journal_of_jobs = JobJournal(streams)
    labeller = ComponentLabeller(operations, parts.writer)
    job_parts = JobParts(
        journal=journal_of_jobs,
        storage=JobStorage(arrays),
        marks=OpenJobs(arrays),
        lattices=lattices,
        fields=parts.states,
        reader=parts.reader,
        writer=parts.writer,
        bitmaps=with_bitmaps,
        blocked=blocked,
        distributor=distributor,
        labeller=labeller,
        model_of=recorded_model,
        spec_since=earlier.spec_since,
    )
    jobs = _jobs(settings, job_parts, parts, compilation)
    server.registry.register(JobMetrics(jobs.scheduler))
    job_servicer = jobs_servicer.JobServicer(calls, jobs, journal_of_jobs)
    server.add_service(JOB_SERVICE, job_servicer, raw_responses=jobs_servicer.SERIALIZED)
    replays = JobReplays(job_parts, jobs.states, operations)
    history = HistoryParts(
        past=past,
        undoing=Undoing(past, transformer, applier, replaying),
        earlier=earlier,
        verifying=Verifying(past, arrays, replaying, replays),
        blocked=TurningBlocked(past, with_bitmaps, blocked),
        repeated=repeated,
        reader=parts.reader,
        collector=parts.collector,
    )
    server.add_service(HISTORY_SERVICE, HistoryServicer(calls, history))
    looks = JobLooks(job_parts, jobs.states, jobs.scheduler, operations)
    pictures = pictures_servicer.PictureServicer(
        lattices, parts.states, earlier, parts.reader, operations, applier, looks
    )
    server.add_service(PICTURE_SERVICE, pictures, raw_responses=pictures_servicer.SERIALIZED)
    server.tasks.start("jobs", jobs.scheduler.run())
    server.after_calls.append(jobs.scheduler.close)
    add_metrics_service(server)
    add_settings_service(server, settings)
    _watch_kernels(server, compilation)
    server.health.watch("events", events.probe, interval_s=settings.events_health_interval_s)
    try:
        yield server
    finally:
        await jobs.scheduler.close()
        await cluster.close()
        await parts.writer.close()
        await arrays.objects.close()
        await lattices.close()
        await compute.close()
        await channel.close()


def _lattices(
    settings: Settings, journal: LatticeJournal, operations: OperationContext
) -> Lattices:
    return Lattices(
        journal,
        operations,
        cache_bytes=settings.cache_bytes,
        catalogue_bytes=settings.catalogue_bytes,
        freshness_s=settings.freshness_s,
        confirm_timeout_s=settings.confirm_timeout_s,
        followed_tenants_max=settings.followed_tenants_max,
    )


def _field_parts(
    settings: Settings,
    journal: LatticeJournal,
    lattices: Lattices,
    arrays: ArrayStore,
    transfers: SendBudget,
    cluster: Cluster,
) -> FieldParts:
    states = FieldStates(
        journal,
        cache_bytes=settings.fields_bytes,
        confirm_timeout_s=settings.confirm_timeout_s,
    )
    limits = FieldLimits(
        field_bytes_max=settings.field_bytes_max,
        fields_max=settings.fields_max,
        uploads_max=settings.uploads_max,
    )
    writer = FieldWriter(states, arrays, limits, transfers, upload_s=settings.upload_s)
    return FieldParts(
        lattices=lattices,
        states=states,
        reader=FieldReader(arrays),
        writer=writer,
        uploads=Uploads(writer, transfers, upload_s=settings.upload_s),
        collector=ArrayCollector(
            arrays,
            states,
            upload_s=settings.upload_s,
            replaced_s=settings.replaced_s,
            history_s=settings.history_s,
            interval_s=settings.collect_interval_s,
        ),
        cluster=cluster,
    )


def _jobs(
    settings: Settings, parts: JobParts, fields: FieldParts, compilation: Compilation
) -> Jobs:
    states = JobStates(parts.journal, cache_bytes=_JOBS_CACHE_BYTES)
    times = JobTimes(
        lease_s=settings.job_lease_s,
        checkpoint_s=settings.job_checkpoint_s,
        process=WorkerSetup(settings.job_threads or _core_count(), settings.job_niceness),
    )
    limits = JobLimits(
        count=settings.jobs_at_once, size_bytes=settings.jobs_bytes, turn_s=settings.job_turn_s
    )
    scheduler = JobScheduler(
        parts,
        states,
        times,
        limits,
        compilation,
        kind=warm.SIMULATIONS,
        interval_s=settings.jobs_interval_s,
    )
    bounds = JobBounds(updates_max=settings.job_updates_max, size_bytes_max=settings.jobs_bytes)
    return Jobs(
        parts.journal,
        states,
        parts.storage,
        parts.marks,
        parts.lattices,
        fields.states,
        fields.reader,
        scheduler,
        parts.distributor,
        parts.labeller,
        bounds,
        fields.writer.limits,
    )


def _watch_kernels(server: Server, compilation: Compilation) -> None:
    """Compile the kernels in the background; the process does not go on without them.

    It serves with the first kind, and says of each of the others whether it is compiled.
    """

    async def compile_kernels() -> None:
        await compilation.run()
        _log.info("kernels are compiled")
        await asyncio.Event().wait()

    server.health.watch("kernels", partial(compilation.wait_for, warm.ANSWERS))
    for kind in warm.KINDS:
        server.health.watch(
            f"kernels.{kind}",
            partial(compilation.wait_for, kind),
            services=[f"kernels.{kind}"],
            interval_s=_KERNELS_INTERVAL_S,
            timeout_s=_KERNELS_TIMEOUT_S,
        )
    server.tasks.start("compiler", compile_kernels())


def _core_count() -> int:
    """The cores that this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
