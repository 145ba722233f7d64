"""What consumers of one group have handled, and every promise of it that was broken."""

import threading
from collections import Counter
from typing import Any

from girih.client import GirihError, Message

GROUP = "counting"


class SharedWork:
    """Events by stream and position, as consumers in tasks and threads handle them."""

    def __init__(self) -> None:
        self.broken: Counter[str] = Counter()
        self.handled_count = 0
        self.acknowledged: set[int] = set()
        """Positions of which the service has said that it is durable."""
        self._handled: dict[str, list[int]] = {}
        """Positions of each stream, as they were handled for the first time."""
        self._lock = threading.Lock()

    def handle(self, message: Message[Any]) -> None:
        event = message.event
        with self._lock:
            self.handled_count += 1
            if event.position in self.acknowledged:
                self.broken["events handled again that were acknowledged"] += 1
            before = self._handled.setdefault(event.stream, [])
            if event.position not in before:
                before.append(event.position)

    def settled(self, position: int, error: BaseException | None) -> None:
        """What came of an acknowledgement: one that was lost is no promise."""
        with self._lock:
            if error is None:
                self.acknowledged.add(position)
            elif not isinstance(error, GirihError):
                self.broken[f"an acknowledgement ended: {error!r}"] += 1

    def has_handled(self, count: int) -> bool:
        with self._lock:
            return sum(map(len, self._handled.values())) >= count

    def judge(self, stored: dict[str, list[int]], figures: Counter[str]) -> Counter[str]:
        """`stored` are the positions of each stream. An acknowledgement whose answer was lost may
        have been durable, so that an event need not come again."""
        count = sum(map(len, stored.values()))
        figures["events handled by consumers"] = self.handled_count
        figures["of them repeated"] = self.handled_count - count
        for stream, positions in stored.items():
            handled = self._handled.get(stream, [])
            self.broken[f"events of {stream} never handled"] += len(set(positions) - set(handled))
            self.broken[f"{stream} handled out of order"] += handled != sorted(handled)
        return self.broken
