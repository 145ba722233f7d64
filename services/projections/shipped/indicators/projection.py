"""Adds up what indicators tell of events, exactly and by windows of time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, cast

from girih.client import Query, RecordedEvent
from girih.projection import Projection, ProjectionTransaction
from services.plumbing.postgres.sql import load
from services.projections.shipped.indicators.definitions import (
    Definitions,
    Indicator,
    Operation,
    Window,
)
from services.projections.shipped.indicators.exact import DIGITS_MAX, add

NO_WINDOW: Final = datetime(1, 1, 1, tzinfo=UTC)
"""Where the window begins that all time is."""

_PACKAGE = "services.projections.shipped.indicators.sql"

Point = tuple[str, tuple[str, ...], datetime]
"""An indicator's name, its labels in the order of their names, and where the window begins."""


class NotAsDeclared(Exception):
    """An event does not have what an indicator takes from it."""

    def __init__(self, indicator: Indicator, pointer: str, wanted: str) -> None:
        super().__init__(f"indicator {indicator.name}: {pointer} of the payload is no {wanted}")


class Indicators(Projection):
    """Numbers that events come to, as they are declared."""

    name: ClassVar = "indicators"
    migrations: ClassVar = f"{_PACKAGE}.migrations"

    def __init__(self, definitions: Definitions) -> None:
        self._by_type: dict[str, list[tuple[Indicator, int]]] = {}
        for indicator in definitions.indicators:
            for event_type in indicator.types:
                self._by_type.setdefault(event_type, []).append((indicator, 1))
            for event_type in indicator.subtract_types:
                self._by_type.setdefault(event_type, []).append((indicator, -1))
        self._version = definitions.version

    @property
    def version(self) -> str:
        return self._version

    @property
    def queries(self) -> Sequence[Query]:
        return (Query(types=tuple(sorted(self._by_type))),)

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        points: dict[Point, tuple[Decimal, int]] = {}
        for event in events:
            for point, value in self._points_of(event):
                sum_, count = points.get(point, (Decimal(0), 0))
                points[point] = (add(sum_, value), count + 1)
        of = (transaction.tenant, transaction.generation)
        rows = [
            (*of, name, list(labels), window_start, value, count)
            for (name, labels, window_start), (value, count) in sorted(points.items())
        ]
        await transaction.execute_many(load(_PACKAGE, "add"), rows)

    async def forget(self, transaction: ProjectionTransaction, row_count_max: int) -> int:
        rows = await transaction.fetch(
            load(_PACKAGE, "forget"), transaction.tenant, transaction.generation, row_count_max
        )
        return cast("int", rows[0]["row_count"])

    def _points_of(self, event: RecordedEvent) -> Iterator[tuple[Point, Decimal]]:
        payload = json.loads(event.json, parse_float=Decimal) if event.json else None
        for indicator, sign in self._by_type.get(event.type, ()):
            labels = tuple(
                label.of(event.type, _at(payload, label.source)) for label in indicator.labels
            )
            window_start = _window_start(indicator, event, payload)
            value = _value(indicator, payload)
            # `-value` would round it.
            signed = value if sign > 0 else value.copy_negate()
            yield (indicator.name, labels, window_start), signed


def _value(indicator: Indicator, payload: object) -> Decimal:
    """What an event comes to; raises NotAsDeclared where that is no number."""
    if indicator.operation is Operation.COUNT:
        return Decimal(1)
    amount = _at(payload, indicator.path)
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        raise NotAsDeclared(indicator, indicator.path, "number")
    number = Decimal(amount)
    if abs(number.adjusted()) > DIGITS_MAX or -int(number.as_tuple().exponent) > DIGITS_MAX:
        raise NotAsDeclared(indicator, indicator.path, f"number of {DIGITS_MAX} digits")
    return number


def _window_start(indicator: Indicator, event: RecordedEvent, payload: object) -> datetime:
    if indicator.window is Window.NONE:
        return NO_WINDOW
    at = _time(indicator, payload) if indicator.time else event.recorded_at.astimezone(UTC)
    at = at.replace(minute=0, second=0, microsecond=0)
    if indicator.window is Window.HOUR:
        return at
    at = at.replace(hour=0)
    return at if indicator.window is Window.DAY else at.replace(day=1)


def _time(indicator: Indicator, payload: object) -> datetime:
    text = _at(payload, indicator.time)
    try:
        at = datetime.fromisoformat(text if isinstance(text, str) else "")
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotAsDeclared(indicator, indicator.time, "time of ISO 8601") from error


def _at(payload: object, pointer: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """What a JSON Pointer leads to in objects and lists; None where that is nothing."""
    node: Any = payload
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node
