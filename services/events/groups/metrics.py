"""What consumers do, for Prometheus. A `ConsumeInstruments`."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_DURATION_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_COUNT_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


class Backlog(Protocol):
    """A consumer, as far as it is counted here."""

    @property
    def waiting_count(self) -> int: ...


class GroupMetrics:
    """Counts for all groups together: groups are many, and named by tenants."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._present: set[Backlog] = set()
        consumers = Gauge("events_group_consumers", "Consumers of groups here.", registry=registry)
        consumers.set_function(lambda: len(self._present))
        waiting = Gauge(
            "events_group_waiting_events",
            "Events that were read for consumers here, and are not settled yet.",
            registry=registry,
        )
        waiting.set_function(lambda: sum(one.waiting_count for one in list(self._present)))
        self._lanes = Gauge("events_group_lanes", "Lanes led here.", registry=registry)
        self._delivered = Counter(
            "events_group_delivered", "Events delivered to consumers.", registry=registry
        )
        settled = Counter(
            "events_group_settled",
            "Events of which a consumer said what became of them.",
            ["outcome"],
            registry=registry,
        )
        self._settled = {
            outcome: settled.labels(outcome) for outcome in ("acknowledged", "retried", "parked")
        }
        self._lost = Counter(
            "events_group_lanes_lost",
            "Lanes that were lost without being given up: to a pause, or to a change of the group.",
            registry=registry,
        )
        self._commit = Histogram(
            "events_group_commit_seconds",
            "How long it took to make durable what consumers said.",
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self._commit_events = Histogram(
            "events_group_commit_events",
            "Of how many events it was made durable at once.",
            buckets=_COUNT_BUCKETS,
            registry=registry,
        )

    def joined(self, consumer: Backlog) -> None:
        self._present.add(consumer)

    def left(self, consumer: Backlog) -> None:
        self._present.discard(consumer)

    def leading(self, lane_count: int) -> None:
        self._lanes.inc(lane_count)

    def delivered(self, event_count: int) -> None:
        self._delivered.inc(event_count)

    def settled(self, outcome: str, event_count: int) -> None:
        self._settled[outcome].inc(event_count)

    def lost(self) -> None:
        self._lost.inc()

    def written(self, event_count: int, duration_s: float) -> None:
        self._commit.observe(duration_s)
        self._commit_events.observe(event_count)
