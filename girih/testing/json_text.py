"""Whether a text is JSON that every reader can take, told the plain way. Knows no events."""

import json
import math
from typing import Final

DEPTH_MAX: Final = 64


def problem(text: str) -> str | None:
    """What is wrong with `text` as one JSON text of the contract, or None.

    Takes what the service takes, which has a faster way to tell.
    """
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_number,
            parse_int=_number,
            object_pairs_hook=_object,
        )
    except RecursionError:
        return f"must be nested at most {DEPTH_MAX} levels deep"
    except ValueError as error:
        return f"must be valid JSON: {error}"
    return _text_problem(text, value)


def _text_problem(text: str, value: object) -> str | None:
    level, depth = [value], 0
    while level:
        depth += any(isinstance(one, dict | list) for one in level)
        if depth > DEPTH_MAX:
            return f"must be nested at most {DEPTH_MAX} levels deep"
        for string in (one for one in level if isinstance(one, str)):
            if "\x00" in string:
                return "must not hold the character \\u0000"
            if any("\ud800" <= character <= "\udfff" for character in string):
                return "must be valid JSON: a surrogate stands alone"
        level = [child for one in level for child in _children(one)]
    return "must be valid JSON: a byte order mark" if text.startswith("\ufeff") else None


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key of an object is there twice")
    return made


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is out of the range of a double")
    return number


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")
