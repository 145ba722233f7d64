"""Moments as people say them."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from cli.terminal.times import moment_of

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "before_now"),
    [
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w1d1h30m5s", timedelta(days=8, hours=1, minutes=30, seconds=5)),
        ("2026-11-29T09:30", timedelta(hours=2, minutes=30)),
        ("2026-11-29", timedelta(hours=12)),
        ("2026-11-29T13:00:00.5+02:00", timedelta(minutes=59, seconds=59.5)),
        ("2026-11-29T11:59:59.999999Z", timedelta(microseconds=1)),
    ],
)
def test_a_moment_is_so_long_ago_or_said_in_iso_8601(text: str, before_now: timedelta) -> None:
    assert NOW - moment_of(text, NOW, "--since") == before_now


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2", "h", "2h ", "-2h", "2y", "999999999w", "2026-13-01", "0001-01-01T00+09"],
)
def test_what_is_no_moment_is_refused_by_the_option(text: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        moment_of(text, NOW, "--since")

    assert refused.value.param_hint == "--since"
