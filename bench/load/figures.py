"""How requests of a load ended and how long they took, added up over all load processes.

Knows nothing of who makes the load: requests come in one by one, and figures of processes and
phases can be added.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

Ending = Literal["answered", "refused", "failed"]

ANSWERED: Final = frozenset({200, 201})
REFUSALS: Final = frozenset({429, 503})
"""What a server may answer that has too much to do, when it says of what and until when."""

_FINE_MS: Final = 1_000
_COARSE_MS: Final = 10
"""Up to a second each millisecond counts by itself, and each ten of them beyond."""


@dataclass(frozen=True)
class Outcome:
    """How one request ended."""

    ending: Ending
    detail: str = ""
    """The reason of a refusal, and what went wrong with what failed."""
    retry_after_s: float = 0.0
    """When a refusal asks to come back, in seconds."""

    @classmethod
    def of(cls, status: int, retry_after: str | None, body: bytes) -> Self:
        """By a status (0 for no answer), the header `Retry-After`, and the body."""
        if status in ANSWERED:
            return cls("answered")
        reason = _reason(body)
        if status in REFUSALS and reason and retry_after is not None and retry_after.isdigit():
            return cls("refused", reason, float(retry_after))
        return cls("failed", f"{status} {reason or body[:200].decode(errors='replace')}".strip())


def _reason(body: bytes) -> str:
    """The reason that an error names in the one form that errors have; empty for other bodies."""
    try:
        reason = json.loads(body)["error"]["details"]["reason"]
    except (ValueError, KeyError, TypeError):
        return ""
    return reason if isinstance(reason, str) else ""


@dataclass
class Figures:
    """What became of the requests of one phase, by what they were for."""

    took_ms: dict[str, Counter[int]] = field(default_factory=dict)
    """Of those answered: how many took so many milliseconds."""
    refused: dict[str, Counter[str]] = field(default_factory=dict)
    """How many were refused for which reason."""
    failed: dict[str, Counter[str]] = field(default_factory=dict)
    """How many ended in any other way, by which."""

    def add(self, name: str, outcome: Outcome, duration_s: float) -> None:
        """Count one request."""
        match outcome.ending:
            case "answered":
                self.took_ms.setdefault(name, Counter())[_rounded_ms(duration_s)] += 1
            case "refused":
                self.refused.setdefault(name, Counter())[outcome.detail] += 1
            case "failed":
                self.failed.setdefault(name, Counter())[outcome.detail] += 1

    @classmethod
    def sum(cls, several: Iterable["Figures"]) -> Self:
        """Those of all together."""
        total = cls()
        for one in several:
            _gather(total.took_ms, one.took_ms)
            _gather(total.refused, one.refused)
            _gather(total.failed, one.failed)
        return total

    def only(self, names: Iterable[str]) -> "Figures":
        """Of what was for these alone."""
        kept = set(names)
        return Figures(
            {name: counts for name, counts in self.took_ms.items() if name in kept},
            {name: counts for name, counts in self.refused.items() if name in kept},
            {name: counts for name, counts in self.failed.items() if name in kept},
        )

    def names(self) -> list[str]:
        """What requests were for, in the order in which the first of each was answered."""
        return list({**self.took_ms, **self.refused, **self.failed})

    def answered_count(self, name: str) -> int:
        return self.took_ms.get(name, Counter()).total()

    def refused_count(self, name: str) -> int:
        return self.refused.get(name, Counter()).total()

    def failed_count(self, name: str) -> int:
        return self.failed.get(name, Counter()).total()

    @property
    def answered(self) -> int:
        return sum(map(self.answered_count, self.took_ms))

    def refusals(self) -> Counter[str]:
        """How many were refused, by reason."""
        return sum(self.refused.values(), Counter[str]())

    def failures(self) -> Counter[str]:
        """How many failed, by what they were for and what went wrong."""
        return Counter(
            {
                f"{name}: {what}": count
                for name, counts in self.failed.items()
                for what, count in counts.items()
            }
        )

    def all_took_ms(self) -> Counter[int]:
        """The durations of whatever was answered."""
        return sum(self.took_ms.values(), Counter[int]())

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"took_ms": self.took_ms, "refused": self.refused, "failed": self.failed}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Figures that another process has written with `json`, which has names for numbers."""
        return cls(
            {
                name: Counter({int(ms): count for ms, count in counts.items()})
                for name, counts in document["took_ms"].items()
            },
            {name: Counter(counts) for name, counts in document["refused"].items()},
            {name: Counter(counts) for name, counts in document["failed"].items()},
        )


def percentile_ms(took_ms: Counter[int], percent: float) -> int:
    """The least duration that so many of a hundred do not exceed, in ms; 0 of none."""
    wanted = took_ms.total() * percent / 100
    seen = 0
    for ms in sorted(took_ms):
        seen += took_ms[ms]
        if seen >= wanted:
            return ms
    return 0


def table(figures: Figures, duration_s: float) -> Iterator[str]:
    """A line for each name, and one for all together."""
    yield (
        f"  {'ms':<16} {'count':>8} {'per s':>7} {'p50':>7} {'p95':>7} {'p99':>7} {'max':>7}"
        f" {'refused':>8} {'failed':>7}"
    )
    for name in figures.names():
        counts = figures.took_ms.get(name, Counter())
        refused, failed = figures.refused_count(name), figures.failed_count(name)
        yield _line(name, counts, duration_s) + f" {refused:>8} {failed:>7}"
    refused, failed = figures.refusals().total(), figures.failures().total()
    yield _line("all", figures.all_took_ms(), duration_s) + f" {refused:>8} {failed:>7}"


def _line(name: str, counts: Counter[int], duration_s: float) -> str:
    total = counts.total()
    shown = [percentile_ms(counts, percent) for percent in (50, 95, 99, 100)]
    return f"  {name:<16} {total:>8} {total / duration_s:>7.1f}" + "".join(
        f" {ms:>7}" for ms in shown
    )


def _rounded_ms(duration_s: float) -> int:
    ms = round(duration_s * 1e3)
    return ms if ms <= _FINE_MS else round(ms / _COARSE_MS) * _COARSE_MS


def _gather(total: dict[str, Counter[Any]], part: Mapping[str, Counter[Any]]) -> None:
    for name, counts in part.items():
        total.setdefault(name, Counter()).update(counts)
