"""Finds where in a log a moment is."""

import json
from bisect import bisect_left
from datetime import datetime

from cli.client.rest import Gateway


class RecordedTimes:
    """When the events of a log were recorded, as far as it reaches now. Asks for its end at once.

    Times grow with positions as far as the clocks of the servers agree, so each search is a
    binary one: for a log of a million events 20 reads of one event each. What was read is kept
    for the next search. Where a clock was put back the moment may be at several places: one of
    them is found.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._head = int(gateway.get("/v1/log").get("headPosition", 0))
        self._known: dict[int, datetime] = {}

    def first_since(self, moment: datetime) -> int:
        """The position of the first event at or behind the moment; behind the end for none."""
        return 1 + bisect_left(range(1, self._head + 1), moment, key=self._at)

    def _at(self, position: int) -> datetime:
        if position not in self._known:
            params = {"fromPosition": position, "limit": 1}
            (line,) = self._gateway.lines("GET", "/v1/events", params=params)
            self._known[position] = datetime.fromisoformat(json.loads(line)["recordedAt"])
        return self._known[position]
