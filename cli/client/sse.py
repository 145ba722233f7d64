"""Reads server-sent events out of the lines of a stream, as the HTML standard says."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `id` is the last one said, here or before; empty when none was."""

    kind: str
    data: str
    id: str


def server_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """The events that are complete. Comments, such as heartbeats, are none."""
    kind, data, last_id = "", list[str](), ""
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(kind or "message", "\n".join(data), last_id)
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value
