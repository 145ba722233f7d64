"""What one person was told is stored, and whether it is there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """Whatever was acknowledged to one person. What nobody answered may be stored or not."""

    stream: str
    """Where all events of this person go."""
    positions: dict[str, int] = field(default_factory=dict)
    """Of each event that was acknowledged: its position, by its id."""
    lattices: set[str] = field(default_factory=set)
    """The ids of lattices that were made."""

    def problems(
        self, events: Iterable[Mapping[str, Any]], lattices: Iterable[str]
    ) -> Iterator[str]:
        """What is wrong with what is stored: the stream's events in order, and all lattices."""
        stored: dict[str, int] = {}
        last = 0
        for revision, event in enumerate(events):
            event_id, position = event["event"]["id"], int(event["position"])
            if event_id in stored:
                yield f"{event_id} is stored twice, at {stored[event_id]} and {position}"
            if position <= last or int(event.get("revision", 0)) != revision:
                yield f"{event_id} is out of order, at {position} behind {last}"
            stored[event_id] = last = position
        for event_id, position in self.positions.items():
            if stored.get(event_id) != position:
                yield f"{event_id} was stored at {position}, and is at {stored.get(event_id)}"
        for lattice_id in sorted(self.lattices.difference(lattices)):
            yield f"lattice {lattice_id} was made, and is not there"
