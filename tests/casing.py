"""The one casing of the gateway's JSON, camelCase, and the names that are not in it."""

import re
from collections.abc import Iterator
from typing import Any, Final

EXCEPTIONS: Final = frozenset(
    # Of OAuth, RFC 6749.
    {"access_token", "refresh_token", "token_type", "expires_in"}
    # Named as in the logs, and as the header is.
    | {"correlation_id"}
)


_is_camel_case = re.compile(r"[a-z][a-zA-Z0-9]*(\.[a-z][a-zA-Z0-9]*)*").fullmatch


def odd_names(document: Any) -> set[str]:
    """Names of properties and parameters in an OpenAPI document that are not in the casing."""
    return {name for name in _described(document) if not _fits(name)}


def odd_keys(answer: Any, *, free: frozenset[str] = frozenset()) -> set[str]:
    """Keys of an answer that are not in the casing. Below those of `free` callers name the keys."""
    return {key for key in _keys(answer, free) if not _fits(key)}


def _fits(name: str) -> bool:
    # A parameter that is within a message has dots.
    return name in EXCEPTIONS or _is_camel_case(name) is not None


def _described(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("properties"), dict):
            yield from value["properties"]
        if value.get("in") in {"path", "query"}:
            yield value["name"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _described(item)


def _keys(value: Any, free: frozenset[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in free:
                yield from _keys(item, free)
    if isinstance(value, list):
        for item in value:
            yield from _keys(item, free)
