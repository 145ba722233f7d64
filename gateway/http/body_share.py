"""What one request holds of the memory for bodies, in the name of its tenant."""

from gateway.http import errors
from services.plumbing.budget import Budget


class BodyShare:
    """Holds nothing at first."""

    __slots__ = ("_budget", "_bytes_held", "_tenant")

    def __init__(self, budget: Budget, tenant: str) -> None:
        self._budget = budget
        self._tenant = tenant
        self._bytes_held = 0

    def take(self, byte_count: int) -> None:
        """Hold so many more; raises HttpError when there are not so many left.

        Nothing waits here: what waits is in memory already.
        """
        if self._budget.take_now(byte_count, self._tenant) is None:
            raise errors.bodies_busy()
        self._bytes_held += byte_count

    def give_back(self, byte_count: int) -> None:
        """Hold so many less."""
        self._budget.give_back(byte_count, self._tenant)
        self._bytes_held -= byte_count

    def close(self) -> None:
        """Hold nothing any more."""
        if self._bytes_held:
            self.give_back(self._bytes_held)
