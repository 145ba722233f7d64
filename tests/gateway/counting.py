"""Clocks that tests turn, and counters on them."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from gateway.admission.counts import Counts, CountsMetrics, MemoryCounts

NOON = 1_793_880_000.0
"""2026-11-05 12:00:00 UTC."""


@dataclass
class Clock:
    """Stands still until it is turned."""

    now_s: float = NOON

    def __call__(self) -> float:
        return self.now_s

    def turn(self, by_s: float) -> None:
        self.now_s += by_s


def counts_at(clock: Callable[[], float], key_count_max: int = 100_000) -> Counts:
    """Counters of this process, on a clock."""
    metrics = CountsMetrics(CollectorRegistry())
    return Counts(MemoryCounts(key_count_max, clock), None, metrics)
