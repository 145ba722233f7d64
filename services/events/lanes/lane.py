"""One lane as its leader has it: what is read, delivered, settled and held. Does no I/O.

What is read waits in the queue of its key, of which only the first may be delivered. What is
settled is out of the way of the checkpoint at once, and of its key when it is durable: so of each
key nothing is delivered before all that came before it is settled for ever.

What is to be tried again goes to the held events, and all of its key that is read from then on goes
behind it, so that the checkpoint passes both. They are rows of their own, and few as a rule.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from girih.ids import Position
from services.events.errors import EventNotDelivered
from services.events.lanes.group import (
    ClaimedLane,
    GroupSettings,
    HeldEvent,
    HeldState,
    Key,
    LaneChange,
    hash_of,
)
from services.events.matching.queries import Labels

BEYOND_COUNT_MAX: Final = 2_000
"""Settled beyond the checkpoint: each commit writes them all."""


@dataclass(eq=False, slots=True)
class Entry:
    """An event of a lane that is here."""

    position: Position
    key: Key
    event: bytes
    """The record as it is delivered; nobody here looks into it."""
    attempt_count: int = 0
    """That went before."""
    is_held: bool = False


class Lane:
    """A lane that this process leads."""

    def __init__(self, claimed: ClaimedLane, settings: GroupSettings) -> None:
        self.number = claimed.number
        self.token = claimed.token
        self.incarnation = claimed.incarnation
        self.read_through = claimed.checkpoint
        """Everything of it up to there was read."""
        self.is_draining = False
        """It is to go to somebody else: nothing more is delivered of it."""
        self.settings = settings
        self.waiting_bytes = 0
        """Of the events that were read and are not settled."""
        self._written = claimed.checkpoint
        self._cuts = list(claimed.cuts)
        self._beyond = set(claimed.acked)
        self._passed_over = set(claimed.acked) | {held.position for held in claimed.held}
        """Behind where it was claimed: read again, and not to be delivered."""
        self._queues: dict[Key, deque[Entry]] = {}
        self._unsettled: OrderedDict[Position, Entry] = OrderedDict()
        self._ready: deque[Entry] = deque()
        self._delivered: OrderedDict[Position, Entry] = OrderedDict()
        self._held: dict[Key, deque[HeldEvent]] = {}
        self._fetched: dict[Position, int] = {}
        """Held events that are here, or are being fetched, and how many bytes of them."""
        self._held_count = len(claimed.held)
        self._held_changes: dict[Position, HeldEvent] = {}
        self._freed: list[Position] = []
        self._settled: list[Entry] = []
        self._writing: list[Entry] = []
        """What is being written, as the two that follow: part of the next change if it fails."""
        self._writing_held: dict[Position, HeldEvent] = {}
        self._writing_freed: list[Position] = []
        for held in sorted(claimed.held, key=lambda one: one.position):
            if held.state is not HeldState.PARKED or not settings.passes_parked:
                self._held.setdefault(held.key, deque()).append(held)

    # What is read

    def take(self, position: Position, key: Key, labels: Labels, event: bytes) -> None:
        """An event of the lane was read, which has that key. Again when it was before."""
        if position <= self.read_through:
            return
        self.read_through = position
        if position in self._passed_over:
            self._passed_over.remove(position)
        elif self._cuts and self._is_cut_off(position, key, labels):
            pass
        elif key in self._held:
            self._hold(HeldEvent(position, key, HeldState.WAITING, 0, 0.0))
            self._held[key].append(self._held_changes[position])
        else:
            entry = Entry(position, key, event)
            self._unsettled[position] = entry
            self.waiting_bytes += len(event)
            queue = self._queues.setdefault(key, deque())
            queue.append(entry)
            if len(queue) == 1:
                self._ready.append(entry)

    def read_up_to(self, position: Position, incarnation: str) -> None:
        """Nothing else of it is there up to a position."""
        # Lanes that are not as far are read with those that are: what comes again may be from
        # before the log was replaced, and says nothing of what lies behind it.
        if position >= self.read_through:
            self.read_through, self.incarnation = position, incarnation

    @property
    def is_full(self) -> bool:
        """It is not to read on: too much of it waits apart, or is settled beyond its checkpoint."""
        is_beyond = len(self._beyond) >= BEYOND_COUNT_MAX
        return is_beyond or self._held_count >= self.settings.held_count_max

    @property
    def waiting_count(self) -> int:
        """Events that were read and are not settled."""
        return len(self._unsettled)

    @property
    def fetched_bytes(self) -> int:
        """Of held events that are here."""
        return sum(self._fetched.values())

    def is_here(self, position: Position) -> bool:
        """Whether a held event was fetched, and is not settled."""
        return position in self._fetched

    @property
    def delivered_count(self) -> int:
        """Events that a consumer has."""
        return len(self._delivered)

    def due(self, now_s: float, count_max: int) -> Sequence[HeldEvent]:
        """Held events that may be tried now, so that so many of them are here at most."""
        count_max -= len(self._fetched)
        if self.is_draining or not self._held or count_max <= 0:
            return ()
        heads = (queue[0] for queue in self._held.values())
        ready = [head for head in heads if self._may_be_tried(head) and head.due_s <= now_s]
        return sorted(ready, key=lambda one: one.position)[:count_max]

    def next_due_s(self) -> float | None:
        """When the next held event may be tried that is not here."""
        heads = (queue[0] for queue in self._held.values())
        return min((head.due_s for head in heads if self._may_be_tried(head)), default=None)

    def fetching(self, held: HeldEvent) -> None:
        """It is being fetched."""
        self._fetched[held.position] = 0

    def fetched(self, held: HeldEvent, event: bytes | None) -> None:
        """A held event was fetched; None when it is gone, or not wanted: then it is settled."""
        entry = Entry(held.position, held.key, event or b"", held.attempt_count, is_held=True)
        self._fetched[held.position] = len(entry.event)
        if event is None:
            self._settle(entry)
        else:
            self._ready.append(entry)

    def _may_be_tried(self, held: HeldEvent) -> bool:
        return held.state is not HeldState.PARKED and held.position not in self._fetched

    def _is_cut_off(self, position: Position, key: Key, labels: Labels) -> bool:
        self._cuts = [cut for cut in self._cuts if position <= cut.through]
        return any(cut.is_over(position, labels, hash_of(key)) for cut in self._cuts)

    # What is delivered, and what becomes of it

    def deliver(self) -> Entry | None:
        """The next event for a consumer, which has it from now on."""
        if self.is_draining or not self._ready:
            return None
        entry = self._ready.popleft()
        self._delivered[entry.position] = entry
        return entry

    @property
    def has_ready(self) -> bool:
        return bool(self._ready) and not self.is_draining

    def acknowledge(self, position: Position) -> None:
        """A consumer has handled the event. Raises `EventNotDelivered`."""
        self._settle(self._take_back(position))

    def retry_later(self, position: Position, now_s: float, delay_s: float, reason: str) -> None:
        """It is to be tried again. Raises `EventNotDelivered`."""
        entry = self._take_back(position)
        count_max = self.settings.attempt_count_max
        is_last = 0 < count_max <= entry.attempt_count + 1
        self._set_apart(
            HeldEvent(
                entry.position,
                entry.key,
                HeldState.PARKED if is_last else HeldState.RETRY,
                entry.attempt_count + 1,
                now_s + delay_s,
                reason,
            ),
            entry,
        )

    def park(self, position: Position, reason: str) -> None:
        """It is not to be tried again. Raises `EventNotDelivered`."""
        entry = self._take_back(position)
        attempts = entry.attempt_count + 1
        parked = HeldEvent(entry.position, entry.key, HeldState.PARKED, attempts, 0.0, reason)
        self._set_apart(parked, entry)

    def _take_back(self, position: Position) -> Entry:
        entry = self._delivered.pop(position, None)
        if entry is None:
            raise EventNotDelivered(
                f"the event at position {position} was not delivered to this consumer, or is"
                " settled already",
                position=position,
                lane=self.number,
            )
        return entry

    def _settle(self, entry: Entry) -> None:
        self._let_go(entry)
        # Held ones too: without its row nothing else tells of one that the lane was not read up to.
        self._beyond.add(entry.position)
        if entry.is_held:
            self._freed.append(entry.position)
        self._settled.append(entry)

    def _set_apart(self, held: HeldEvent, entry: Entry) -> None:
        """Hold an event that was delivered, and what is behind it of its key."""
        is_passed = held.state is HeldState.PARKED and self.settings.passes_parked
        self._let_go(entry)
        self._hold(held, is_new=not entry.is_held)
        self._settled.append(entry)
        if is_passed:
            return
        if entry.is_held:
            self._held[entry.key][0] = held
            return
        behind = list(self._queues.pop(entry.key))[1:]
        waiting = [HeldEvent(one.position, one.key, HeldState.WAITING, 0, 0.0) for one in behind]
        for entry_behind in behind:
            self._let_go(entry_behind)
        for one in waiting:
            self._hold(one)
        self._held[entry.key] = deque([held, *waiting])

    def _let_go(self, entry: Entry) -> None:
        """The checkpoint may pass it."""
        if self._unsettled.pop(entry.position, None) is not None:
            self.waiting_bytes -= len(entry.event)

    def _hold(self, held: HeldEvent, *, is_new: bool = True) -> None:
        self._held_changes[held.position] = held
        if is_new:
            self._held_count += 1

    # What is written

    @property
    def checkpoint(self) -> Position:
        """Everything up to there is settled, or held."""
        first = next(iter(self._unsettled), None)
        return self.read_through if first is None else Position(first - 1)

    @property
    def has_changes(self) -> bool:
        """Somebody waits for something to be written."""
        return bool(self._settled or self._held_changes or self._writing)

    @property
    def has_progress(self) -> bool:
        """It is further than is written."""
        return self.checkpoint > self._written

    @property
    def is_drained(self) -> bool:
        """Nobody has an event of it, and everything that was said is written."""
        return not (self._delivered or self.has_changes)

    def take_change(self, now_s: float) -> LaneChange:
        """What there is to write, with what was taken before and is not `written`."""
        self._writing += self._settled
        self._writing_held |= self._held_changes
        self._writing_freed += self._freed
        self._settled, self._held_changes, self._freed = [], {}, []
        checkpoint = self.checkpoint
        self._beyond = {position for position in self._beyond if position > checkpoint}
        held = [
            replace(one, due_s=max(0.0, one.due_s - now_s)) for one in self._writing_held.values()
        ]
        return LaneChange(
            self.number,
            self.token,
            checkpoint,
            self.incarnation,
            sorted(self._beyond),
            held,
            list(self._writing_freed),
            [entry.position for entry in self._writing],
        )

    def written(self, change: LaneChange) -> None:
        """What was taken last is durable: what is behind it of its keys may be delivered."""
        self._written = change.checkpoint
        freed = set(change.freed)
        for entry in self._writing:
            if not entry.is_held:
                self._go_on(entry)
                continue
            self._fetched.pop(entry.position, None)
            is_freed = entry.position in freed
            self._held_count -= is_freed
            if is_freed or self._is_passed(entry, change):
                self._go_on_held(entry)
        self._writing, self._writing_held, self._writing_freed = [], {}, []

    def _is_passed(self, entry: Entry, change: LaneChange) -> bool:
        if not self.settings.passes_parked:
            return False
        held = (one for one in change.held if one.position == entry.position)
        return any(one.state is HeldState.PARKED for one in held)

    def _go_on(self, entry: Entry) -> None:
        queue = self._queues.get(entry.key)
        # Held back since, it has none.
        if queue is None or queue[0] is not entry:
            return
        queue.popleft()
        if queue:
            self._ready.append(queue[0])
        else:
            del self._queues[entry.key]

    def _go_on_held(self, entry: Entry) -> None:
        queue = self._held[entry.key]
        if queue[0].position == entry.position:
            queue.popleft()
        if not queue:
            del self._held[entry.key]
