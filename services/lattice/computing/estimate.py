"""What a piece of work takes at most, as far as that is known before it begins."""

from dataclasses import dataclass

LOOKS_PER_S = 20_000_000
"""What one thread does at least, roughly: it tells short work from long, and no more."""

_SHORT_S = 0.5
_SMALL_BYTES = 1 << 25


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The memory that work reserves and the time it takes, both at most."""

    size_bytes: int
    looks: int
    """Neighbours looked at or numbers written: what the innermost loops do."""

    @property
    def duration_s(self) -> float:
        """About how long it takes alone."""
        return self.looks / LOOKS_PER_S

    @property
    def is_short(self) -> bool:
        """It takes a moment and little memory, so it need not wait for what takes long."""
        return self.duration_s <= _SHORT_S and self.size_bytes <= _SMALL_BYTES
