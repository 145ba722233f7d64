"""Moments as people say them: `2h` ago, or in ISO 8601."""

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_span = re.compile(r"(?:([0-9]{1,9})w)?" + "".join(rf"(?:([0-9]{{1,9}}){one})?" for one in "dhms"))


def moment_of(text: str, now: datetime, option: str) -> datetime:
    """What `2h`, `1d12h` or `2026-11-29T09:30` means; without a zone it is UTC, as in tables.

    Raises BadParameter, which names the option.
    """
    message = f"must be as in 2h, 3d or 2026-11-29T09:30, not {text!r}"
    try:
        if text and (span := _span.fullmatch(text)):
            amounts = zip(_UNITS.values(), span.groups(default="0"), strict=True)
            return now - timedelta(**{unit: int(amount) for unit, amount in amounts})
        at = datetime.fromisoformat(text)
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(message, param_hint=option) from error
