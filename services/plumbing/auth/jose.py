"""JSON as JOSE has it, read so that every value has exactly one text. Knows no tokens."""

import json
from typing import Any


def json_object(data: bytes) -> dict[str, Any]:
    """The object that UTF-8 text holds. Raises ValueError for anything else.

    A name may stand in it once: with two, one reader takes the first and another the last.
    """
    value = json.loads(
        data.decode("utf-8"), object_pairs_hook=_named_once, parse_constant=_refuse_constant
    )
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - the text is wrong, not a type
    return value


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("must name each member once")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"must be JSON, which has no {name}")
