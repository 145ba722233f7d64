"""Indicators between the wire and what they are."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from typing import Final

from girih.projections.v1 import indicators_pb2 as pb
from girih.rules.requests import check_time
from services.plumbing import validation
from services.plumbing.errors import Violations
from services.projections.shipped.indicators.definitions import (
    OTHER,
    Definitions,
    Indicator,
    Operation,
    Window,
)
from services.projections.shipped.indicators.exact import add
from services.projections.shipped.indicators.projection import NO_WINDOW
from services.projections.shipped.indicators.reading import History, Row, Totals

_ALL_TIME: Final = (NO_WINDOW, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
_OPERATIONS = {
    Operation.COUNT: pb.Indicator.OPERATION_COUNT,
    Operation.SUM: pb.Indicator.OPERATION_SUM,
}
_WINDOWS = {
    Window.NONE: pb.Indicator.WINDOW_NONE,
    Window.HOUR: pb.Indicator.WINDOW_HOUR,
    Window.DAY: pb.Indicator.WINDOW_DAY,
    Window.MONTH: pb.Indicator.WINDOW_MONTH,
}


def asked_time(request: pb.GetIndicatorHistoryRequest) -> tuple[datetime, datetime]:
    """Between which times windows are to begin. Raises `InvalidInput`."""
    violations = Violations()
    validation.add_violations(request, violations)
    since, before = _ALL_TIME
    for name in ("from", "before"):
        if request.HasField(name):
            check_time(getattr(request, name), name, violations)
    violations.raise_if_any()
    if request.HasField("from"):
        since = getattr(request, "from").ToDatetime(tzinfo=UTC)
    if request.HasField("before"):
        before = request.before.ToDatetime(tzinfo=UTC)
    return since, before


def list_response(definitions: Definitions, totals: Totals) -> pb.ListIndicatorsResponse:
    """All indicators with what they come to."""
    return pb.ListIndicatorsResponse(
        indicators=[_indicator(one, totals) for one in definitions.indicators],
        position=totals.built.position,
    )


def history_response(indicator: Indicator, history: History) -> pb.GetIndicatorHistoryResponse:
    """The points of an indicator."""
    points = [_point(indicator, row) for row in history.rows]
    return pb.GetIndicatorHistoryResponse(points=points, position=history.position)


def number(value: Decimal) -> str:
    """As decimal text, without an exponent and without zeros that say nothing."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _indicator(indicator: Indicator, totals: Totals) -> pb.Indicator:
    return pb.Indicator(
        indicator=indicator.name,
        help=indicator.help,
        operation=_OPERATIONS[indicator.operation],
        window=_WINDOWS[indicator.window],
        event_types=indicator.all_types,
        labels=[
            pb.IndicatorLabel(name=label.name, values=[*label.values, OTHER])
            for label in indicator.labels
        ],
        total=number(reduce(add, totals.of(indicator).values(), Decimal(0))),
        position=totals.built.position_of(indicator),
    )


def _point(indicator: Indicator, row: Row) -> pb.IndicatorPoint:
    labels: Sequence[str] = row["labels"]
    point = pb.IndicatorPoint(
        labels={label.name: value for label, value in zip(indicator.labels, labels, strict=True)},
        value=number(row["value"]),
        level=number(row["level"]),
        event_count=row["event_count"],
    )
    if indicator.window is not Window.NONE:
        point.window_start.FromDatetime(row["window_start"])
    return point
