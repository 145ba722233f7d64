"""What the lattice service counts about itself. Every label comes from a closed set."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.lattice.computing.component_index import ComponentIndex
from services.lattice.computing.compute import Compute
from services.lattice.computing.search_pool import SearchPool
from services.lattice.computing.send_budget import SendBudget
from services.lattice.domain import Computation, Method
from services.lattice.jobs.scheduling import JobScheduler
from services.lattice.state.lattices import Lattices

_STOP_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class ComputationMetrics:
    """Counts computations by their method."""

    def __init__(self, registry: CollectorRegistry) -> None:
        computations = Counter(
            "lattice_computations",
            "Answers, or parts of them, that were computed.",
            ["method"],
            registry=registry,
        )
        sites = Counter(
            "lattice_sites_expanded",
            "Sites whose neighbours were looked at.",
            ["method"],
            registry=registry,
        )
        seconds = Counter(
            "lattice_computation_seconds",
            "Time spent on computing, without queueing and transport.",
            ["method"],
            registry=registry,
        )
        self._stops = Histogram(
            "lattice_stop_seconds",
            "How long computations went on for whose callers had gone.",
            buckets=_STOP_BUCKETS_S,
            registry=registry,
        )
        self._of = {
            method: tuple(
                counter.labels(method.value) for counter in (computations, sites, seconds)
            )
            for method in Method
        }

    def record(self, computation: Computation) -> None:
        computations, sites, seconds = self._of[computation.method]
        computations.inc()
        sites.inc(computation.sites_expanded)
        seconds.inc(computation.elapsed_ns / 1e9)

    def stopped(self, seconds: float) -> None:
        """Work whose caller had gone went on for so long."""
        self._stops.observe(seconds)


class StateMetrics(Collector):
    """How much is held, running and waiting at the moment of asking."""

    def __init__(
        self,
        compute: Compute,
        searches: SearchPool,
        components: ComponentIndex,
        send_budget: SendBudget,
        lattices: Lattices,
    ) -> None:
        self._compute = compute
        self._searches = searches
        self._components = components
        self._send_budget = send_budget
        self._lattices = lattices

    def collect(self) -> Iterator[Metric]:
        compute, cache = self._compute, self._lattices.cache
        yield _gauge("lattice_compute_running", "Threads at work.", compute.running)
        yield _gauge("lattice_compute_waiting", "Calls that wait for them.", compute.waiting)
        yield _gauge("lattice_compute_bytes", "Memory lent to calls, in bytes.", compute.bytes_lent)
        yield _gauge(
            "lattice_unsent_bytes",
            "Memory of answers that their readers have not taken yet, in bytes.",
            self._send_budget.lent,
        )
        yield _gauge(
            "lattice_searches_bytes",
            "Memory kept for searches, in bytes.",
            self._searches.bytes_held,
        )
        yield _gauge(
            "lattice_components_bytes",
            "Memory kept to tell which sites paths join, in bytes.",
            self._components.bytes_held,
        )
        yield _gauge(
            "lattice_followed_tenants",
            "Tenants whose changes through other replicas are followed.",
            self._lattices.following.tenant_count,
        )
        yield _gauge("lattice_cache_bytes", "Memory of lattices, in bytes.", cache.bytes_held)
        yield CounterMetricFamily(
            "lattice_cache_hits", "Lattices that were in memory.", value=cache.hits
        )
        yield CounterMetricFamily(
            "lattice_cache_misses", "Lattices that had to be read.", value=cache.misses
        )


class JobMetrics(Collector):
    """How many jobs this process works on, and sees wait, at the moment of asking."""

    def __init__(self, scheduler: JobScheduler) -> None:
        self._scheduler = scheduler

    def collect(self) -> Iterator[Metric]:
        yield _gauge("lattice_jobs_running", "Jobs at work here.", self._scheduler.running)
        yield _gauge(
            "lattice_jobs_waiting",
            "Jobs that are open and not at work here, as they were seen last.",
            self._scheduler.waiting,
        )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
