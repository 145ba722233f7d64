"""Which streams are reserved, and for which service. Knows no log.

Names that begin with `$` are girih's own, which no name of a user's does: so more of them can
come without taking one from anybody. Whoever may read the log may read them.
"""

from collections.abc import Iterable
from typing import Final

from girih.ids import StreamName
from services.events.errors import StreamOwned
from services.policy import GATEWAY, LATTICE

RESERVED: Final = "$"

_OWNERS: Final = {"$job": LATTICE, "$lattice": LATTICE, "$security": GATEWAY}
"""By what the names of a service's streams begin with."""

_NOBODY: Final = "nobody"


def owner_of(stream: StreamName) -> str:
    """The service that alone appends to a stream; empty when it is its tenant's own."""
    if not stream.startswith(RESERVED):
        return ""
    owners = (service for prefix, service in _OWNERS.items() if stream.startswith(prefix))
    return next(owners, _NOBODY)


def check(streams: Iterable[StreamName], service: str) -> None:
    """Raises `StreamOwned` when one of `streams` is reserved for another than `service`.

    `service` is the one that makes the call; empty for users and keys.
    """
    reserved = {stream for stream in streams if stream.startswith(RESERVED)}
    owned = sorted(stream for stream in reserved if owner_of(stream) != service)
    if owned:
        raise StreamOwned(owned)
