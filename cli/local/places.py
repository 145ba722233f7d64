"""Whether all who serve logs mean the same databases by the names of places, asked from outside.

Knows the contract and what a database answers, and neither settings nor SQL.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cli.failure import Failed
from cli.local import ports

DEFAULT: Final = "default"
"""The place that knows where each log is."""


@dataclass(frozen=True)
class SeenPlace:
    """What the database of a place says."""

    database: str
    """Which one it is."""
    log_counts: Mapping[str | None, int]
    """How many logs are at each place as far as it knows; None is there."""


@dataclass(frozen=True)
class Replica:
    """What one process of the events service says of its places."""

    address: str
    databases: Mapping[str, str]
    """Which database each leads to; empty for one that has not answered yet."""


def replicas(address: str) -> Sequence[str]:
    """The addresses of all processes that host:port names. Raises Failed."""
    host, port = ports.split(address)
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failed(f"{address} is not known: {error.strerror}") from error
    return sorted({_shown(str(sockaddr[0]), port) for *_, sockaddr in infos})


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def problems(
    named: Sequence[str], seen: Mapping[str, SeenPlace], processes: Sequence[Replica]
) -> Iterator[tuple[str, str]]:
    """What does not fit together, each with what mends it.

    `named` are the places of the environment, `default` first; `seen` are those that answered.
    """
    yield from _shared(seen)
    yield from _unnamed(named, seen)
    for process in processes:
        yield from _differing(named, seen, process)


def _shared(seen: Mapping[str, SeenPlace]) -> Iterator[tuple[str, str]]:
    by_database: dict[str, list[str]] = {}
    for name, place in seen.items():
        by_database.setdefault(place.database, []).append(name)
    for names in by_database.values():
        if len(names) > 1:
            message = f"{' and '.join(names)} lead to the same database"
            yield message, "give each place a database of its own"


def _unnamed(named: Sequence[str], seen: Mapping[str, SeenPlace]) -> Iterator[tuple[str, str]]:
    """What `default` says of logs elsewhere, beside who answers there."""
    if DEFAULT not in seen:
        return
    for name, count in seen[DEFAULT].log_counts.items():
        if name is None:
            continue
        if name not in named:
            message = f"{count:,} logs are at {name}, which EVENTS_PLACES does not name"
            yield message, "name it in EVENTS_PLACES of all processes of events"
        elif name in seen and not seen[name].log_counts:
            message = f"{count:,} logs are at {name}, whose database knows none"
            yield message, f"correct the URL of {name} in EVENTS_PLACES"


def _differing(
    named: Sequence[str], seen: Mapping[str, SeenPlace], process: Replica
) -> Iterator[tuple[str, str]]:
    mend = "tell all processes of events the same EVENTS_PLACES, and restart them"
    if set(process.databases) != set(named):
        theirs, own = ", ".join(process.databases), ", ".join(named)
        yield f"{process.address} has the places {theirs}, and EVENTS_PLACES here names {own}", mend
    for name, database in process.databases.items():
        if name in seen and database and database != seen[name].database:
            yield f"{name} of {process.address} leads to another database than here", mend
