"""Which calls a service is sent that gets more of them than it can answer. Knows no rpc.

Sent all the same, each would wait for all others, until it ends at its deadline and was worked on
for nothing: a service that is asked for twice what it can do would do nothing. How many are too
many cannot be told by their number: as many are a moment's work for one machine, and a minute's
for another.
"""

from collections import Counter
from typing import Final

from gateway.http import errors
from services.plumbing.pace import Pace

SENT_COUNT: Final = 100
"""So many calls may wait whatever they wait for: a few that take long say nothing of others."""


class Backlog:
    """The calls with one answer that a service was sent by this process and has not answered.

    A call is refused that would wait for more than `wait_s_max` if tenants were served in turns.
    So who has many under way is refused first, and who has none last; where all have as many, it is
    what each of them waits.
    """

    def __init__(self, wait_s_max: float, *, sent_count: int = SENT_COUNT) -> None:
        self._wait_s_max = wait_s_max
        self._sent_count = sent_count
        self._pace = Pace()
        self._count = 0
        self._by_tenant: Counter[str] = Counter()

    def sent(self, tenant: str) -> "_Sent":
        """A block in which a call of a tenant is under way; raises HttpError when there is to be
        none. A block that ends without an error was answered."""
        if self._count >= self._sent_count:
            self._check(tenant)
        return _Sent(self, tenant)

    def begin(self, tenant: str) -> float:
        self._count += 1
        self._by_tenant[tenant] += 1
        return self._pace.begin_s()

    def end(self, tenant: str, began_s: float, *, is_answered: bool) -> None:
        self._count -= 1
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        if is_answered:
            self._pace.done(began_s)

    def _check(self, tenant: str) -> None:
        own_count = self._by_tenant.get(tenant, 0)
        tenant_count = len(self._by_tenant) + (own_count == 0)
        # For as many of each other tenant as are its own, and for no more than there are.
        waiting_count = min((own_count + 1) * tenant_count, self._count + 1)
        expected_s = self._pace.expected_s(waiting_count)
        if expected_s > self._wait_s_max:
            raise errors.too_busy(expected_s)


class _Sent:
    """See `Backlog.sent`. No generator: every call has one of these."""

    __slots__ = ("_backlog", "_began_s", "_tenant")

    def __init__(self, backlog: Backlog, tenant: str) -> None:
        self._backlog = backlog
        self._tenant = tenant
        self._began_s = 0.0

    def __enter__(self) -> None:
        self._began_s = self._backlog.begin(self._tenant)

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self._backlog.end(self._tenant, self._began_s, is_answered=kind is None)
