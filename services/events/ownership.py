"""Which streams belong to a service, so that nobody else appends to them. Knows no log."""

import re
from collections.abc import Iterable

from services.events.errors import StreamOwned

_LATTICE = "lattice.girih"
_GATEWAY = "gateway.girih"

_OWNERS = (
    (re.compile(r"lattices|lattice-.*"), _LATTICE),
    (re.compile(r"security"), _GATEWAY),
)
"""The streams of a tenant's log that its users may read and only one service may write."""


def owner_of(stream: str) -> str:
    """The service that a stream belongs to; empty when it is its tenant's own."""
    return next((service for name, service in _OWNERS if name.fullmatch(stream)), "")


def check(streams: Iterable[str], service: str) -> None:
    """Raises `StreamOwned` when one of `streams` belongs to a service other than `service`.

    `service` is the one that makes the call; empty for users and keys.
    """
    owned = sorted({stream for stream in streams if owner_of(stream) not in ("", service)})
    if owned:
        raise StreamOwned(owned)
