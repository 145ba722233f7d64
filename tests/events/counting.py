"""What sequencers do, counted."""

from dataclasses import dataclass, field


@dataclass
class Counts:
    """An `Instruments` that remembers."""

    batches: list[int] = field(default_factory=list)
    queued_now: int = 0
    appended_count: int = 0
    races_lost: int = 0
    away: int = 0

    def queued(self, event_count: int) -> None:
        self.queued_now += event_count

    def settled(self, event_count: int, duration_s: float) -> None:
        self.batches.append(event_count)

    def appended(self, event_count: int, byte_count: int) -> None:
        self.appended_count += event_count

    def race_lost(self) -> None:
        self.races_lost += 1

    def database_away(self) -> None:
        self.away += 1
