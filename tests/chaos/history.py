"""Checks a recorded history of appends and reads against what the log promises.

Positions and revisions are explicit, so nothing has to be searched for: one pass over the
final log, one over the operations, O(n log n). An anomaly has a name, so that a report says
which promise broke.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True)
class Place:
    """Where an event is said to be."""

    position: int
    revision: int


@dataclass
class Attempt:
    """One call of an operation: times by one monotonic clock, in seconds."""

    started_s: float
    ended_s: float
    outcome: Outcome
    places: tuple[Place, ...] = ()
    already_stored: bool = False


@dataclass
class Operation:
    """One append, with all its attempts: each sends the same ids."""

    writer: str
    stream: str
    event_ids: tuple[str, ...]
    expected_revision: int | None
    """The revision it demanded; -1 for an absent stream, None for any."""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def acknowledged(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.outcome == "ok"), None)


@dataclass(frozen=True)
class Recorded:
    """One event of the final log, as a reader got it."""

    position: int
    stream: str
    revision: int
    event_id: str


@dataclass
class History:
    """Everything that was done and seen."""

    operations: list[Operation]
    final: list[Recorded]
    """The log after quiet has returned, by position."""
    tailed: list[Recorded]
    """What the tailing reader saw, in the order it saw it."""
    elsewhere: list[Recorded] | None = None
    """The final log as another replica tells it, where it was asked."""

    def summary(self) -> dict[str, int]:
        """The counts that tell whether the run could have found anything."""
        attempts = [attempt for operation in self.operations for attempt in operation.attempts]
        outcomes = Counter(attempt.outcome for attempt in attempts)
        return {
            "operations": len(self.operations),
            "ok": outcomes["ok"],
            "fail": outcomes["fail"],
            "unknown": outcomes["unknown"],
            "unknown that had committed": sum(a.already_stored for a in attempts),
            "events": len(self.final),
            "streams": len({event.stream for event in self.final}),
            "tailed": len(self.tailed),
        }

    def anomalies(self) -> list[str]:
        """Every broken promise, as `name: witness`. Empty when all held."""
        return [
            *_density(self.final),
            *_acknowledgements(self.operations, self.final),
            *_winners(self.operations),
            *_real_time(self.operations),
            *_tail(self.tailed, self.final),
            *_divergence(self.final, self.elsewhere),
        ]


def _density(final: Sequence[Recorded]) -> Iterator[str]:
    """Positions and revisions are dense, ids unique, both orders agree."""
    next_revision: dict[str, int] = defaultdict(int)
    seen: dict[str, int] = {}
    for index, event in enumerate(final, start=1):
        if event.position != index:
            yield f"position-gap-or-duplicate: {event.position} stands at place {index}"
        if event.revision != next_revision[event.stream]:
            yield f"revision-gap-or-duplicate: {event} after {next_revision[event.stream] - 1}"
        next_revision[event.stream] = event.revision + 1
        if event.event_id in seen:
            yield f"duplicate-event: {event.event_id} at {seen[event.event_id]} and {index}"
        seen[event.event_id] = index


def _acknowledgements(operations: Iterable[Operation], final: Sequence[Recorded]) -> Iterator[str]:
    """What was acknowledged is there; what was refused is not; a batch is one piece."""
    result = {event.event_id: event for event in final}
    attempted = set[str]()
    for operation in operations:
        attempted.update(operation.event_ids)
        present = [result[event_id] for event_id in operation.event_ids if event_id in result]
        if operation.acknowledged is not None:
            yield from _misplaced(operation, result)
        elif present and operation.attempts[-1].outcome == "fail":
            yield f"failed-but-visible: {operation.event_ids[0]}"
        if 0 < len(present) < len(operation.event_ids):
            yield f"torn-batch: {operation.event_ids}"
        positions = [event.position for event in present]
        if positions and positions != list(range(positions[0], positions[0] + len(positions))):
            yield f"split-batch: {positions}"
    for event in final:
        if event.event_id not in attempted:
            yield f"phantom-event: {event}"


def _misplaced(operation: Operation, result: dict[str, Recorded]) -> Iterator[str]:
    """Every acknowledgement named the place where the event is."""
    for attempt in operation.attempts:
        if attempt.outcome != "ok":
            continue
        for event_id, place in zip(operation.event_ids, attempt.places, strict=True):
            event = result.get(event_id)
            if event is None:
                yield f"lost-ack: {event_id} told {place}"
            elif (event.position, event.revision) != (place.position, place.revision):
                yield f"wrong-place: {event} told {place}"


def _winners(operations: Iterable[Operation]) -> Iterator[str]:
    """One success per stream and expected revision, and it starts right after it."""
    winners: dict[tuple[str, int], str] = {}
    for operation in operations:
        acknowledged = operation.acknowledged
        if operation.expected_revision is None or acknowledged is None:
            continue
        key = (operation.stream, operation.expected_revision)
        if key in winners:
            yield f"two-winners: {key} by {winners[key]} and {operation.writer}"
        winners[key] = operation.writer
        if acknowledged.places[0].revision != operation.expected_revision + 1:
            yield f"wrong-revision: {key} began at {acknowledged.places[0].revision}"


def _real_time(operations: Iterable[Operation]) -> Iterator[str]:
    """An append that ended before another began has the lower positions."""
    starts: list[tuple[float, int, str]] = []
    ends: list[tuple[float, int]] = []
    for operation in operations:
        acknowledged = operation.acknowledged
        if acknowledged is None or acknowledged.already_stored:
            continue
        first = operation.attempts[0]
        positions = [place.position for place in acknowledged.places]
        starts.append((first.started_s, min(positions), operation.event_ids[0]))
        ends.append((acknowledged.ended_s, max(positions)))
    ends.sort()
    highest, done = 0, 0
    for started_s, position, event_id in sorted(starts):
        while done < len(ends) and ends[done][0] < started_s:
            highest = max(highest, ends[done][1])
            done += 1
        if position <= highest:
            yield f"real-time-order: {event_id} at {position} began after {highest} was told"


def _tail(tailed: Sequence[Recorded], final: Sequence[Recorded]) -> Iterator[str]:
    """The tailing reader saw the final log: nothing skipped, twice, or out of order."""
    for seen, event in zip(tailed, final, strict=False):
        if seen != event:
            yield f"skipped-or-reordered: saw {seen} where the log has {event}"
            return
    if len(tailed) != len(final):
        yield f"lost-tail: saw {len(tailed)} of {len(final)} events"


def _divergence(final: Sequence[Recorded], elsewhere: Sequence[Recorded] | None) -> Iterator[str]:
    """Every replica tells the same log."""
    if elsewhere is not None and final != elsewhere:
        yield f"divergence: {len(final)} events here, {len(elsewhere)} there, or in another order"
