"""How much work a call may have done on a lattice, told before it is done."""

from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import WorkTooLarge
from services.plumbing import correlation

_LOOKS_PER_S_MAX = 100_000_000
"""What one thread does at best: what takes longer even so does not fit a call's time."""
_PROBE_SHARE = 64
BYTES_MAX = 5 << 28
"""The memory of the largest call: no fewer are reserved for all of them together."""


class WorkLimit:
    """No more than could be done in the time that a call has left, and so many looks at most."""

    def __init__(self, looks_max: int) -> None:
        self._looks_max = looks_max

    def check(self, lattice: HeldLattice) -> None:
        """Raise WorkTooLarge when all of a lattice is more than that."""
        if lattice.looks_max > self._limit():
            raise self.exceeded(lattice)

    def allows(self, looks: int) -> bool:
        """Whether something takes no more than that."""
        return looks <= self._limit()

    def check_looks(self, looks: int, thread_count: int = 1) -> None:
        """Raise WorkTooLarge when something takes more than that, of so many threads each."""
        limit = thread_count * self._limit()
        if looks > limit:
            raise WorkTooLarge(
                "this takes more looks than a call may have", estimate=looks, limit=limit
            )

    @staticmethod
    def check_bytes(size_bytes: int) -> None:
        """Raise WorkTooLarge when something takes more memory than the largest call may."""
        if size_bytes > BYTES_MAX:
            raise WorkTooLarge(
                "this takes more bytes of memory than a call may",
                estimate=size_bytes,
                limit=BYTES_MAX,
            )

    def sites_max(self, lattice: HeldLattice) -> int | None:
        """How many sites a search may expand that may end long before it has expanded all.

        Any number where all are no more than the limit. Otherwise what a small part of the limit
        is enough for: what is near is found, and the rest is refused soon.
        """
        limit = self._limit()
        if lattice.looks_max <= limit:
            return None
        return lattice.spec.geometry.sites * (limit // _PROBE_SHARE) // lattice.looks_max

    def exceeded(self, lattice: HeldLattice) -> WorkTooLarge:
        """What to raise when a search did not end by then."""
        return WorkTooLarge(
            "the lattice has more neighbours to look at than a call may have looked at",
            estimate=lattice.looks_max,
            limit=self._limit(),
        )

    def _limit(self) -> int:
        call = correlation.bound()
        left_s = call.remaining_s() if call else None
        if left_s is None:
            return self._looks_max
        return min(self._looks_max, int(left_s * _LOOKS_PER_S_MAX))
