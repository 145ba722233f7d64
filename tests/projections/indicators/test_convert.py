"""Indicators are answered as they are declared, whatever they were before."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from girih.ids import Position
from services.projections.shipped.indicators import convert
from services.projections.shipped.indicators.reading import History
from tests.projections.indicators.declared import INDICATORS


def row(*labels: str) -> dict[str, Any]:
    return {
        "window_start": datetime(2011, 1, 1, tzinfo=UTC),
        "labels": list(labels),
        "value": Decimal(1),
        "level": Decimal(1),
        "event_count": 1,
    }


def test_points_from_before_its_labels_changed_are_left_out() -> None:
    declared = INDICATORS.by_name("open_cases")
    assert declared is not None
    history = History([row(), row("web"), row("web", "north")], Position(3))

    answer = convert.history_response(declared, history)

    assert [dict(point.labels) for point in answer.points] == [{"channel": "web"}]
