"""The two encodings of JOSE, read so that every value has exactly one text. Knows no tokens."""

import base64
import json
from typing import Any


def to_base64url(data: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Raises ValueError for padding, foreign characters, and bits that belong to nothing.

    Python's own decoder skips what it does not know, so that many texts mean one value.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if to_base64url(data) != text:
        raise ValueError("is not base64url in its only form")
    return data


def json_object(data: bytes) -> dict[str, Any]:
    """The object that UTF-8 text holds. Raises ValueError for anything else.

    A name may stand in it once: with two, one reader takes the first and another the last.
    """
    found = json.loads(
        data.decode("utf-8"), object_pairs_hook=_named_once, parse_constant=_refuse_constant
    )
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - the text is wrong, not a type
    return found


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("names something twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
