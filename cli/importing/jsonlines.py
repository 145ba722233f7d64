"""Cuts a JSON line into a stream's name, an event's type and the payload as it was sent.

Numbers, order and spacing of the payload survive: its members are cut out of the text, not
decoded and written anew, so 1.10 stays 1.10 and a large integer stays whole.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from typing import BinaryIO, NoReturn

LINE_BYTES_MAX = 4 * 1024 * 1024
"""An event may not be larger, so neither may its line."""


class BadLine(Exception):
    """A line that is no event. The message says what is wrong with it."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"line {number}: {message}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. `number` counts all lines, from 1."""

    number: int
    content: bytes
    """Without the white space around it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a line says, before the server has seen it."""

    stream: str
    type: str
    payload: str
    """The text of a JSON object."""


@dataclass(frozen=True)
class Format:
    """Which members of a line's object name the stream and the type."""

    stream_field: str = "stream"
    type_field: str = "type"


def lines(file: BinaryIO) -> Iterator[Line | BadLine]:
    """The lines that are not blank. An overlong one comes as an error, and is passed over."""
    number = 0
    while chunk := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(chunk) > LINE_BYTES_MAX and not chunk.endswith(b"\n"):
            _pass_over_rest(file)
            yield BadLine(number, f"must be at most {LINE_BYTES_MAX:,} bytes")
        elif content := chunk.strip():
            yield Line(number, content)


def _pass_over_rest(file: BinaryIO) -> None:
    while (chunk := file.readline(LINE_BYTES_MAX)) and not chunk.endswith(b"\n"):
        pass


def event_id(namespace: uuid.UUID, source: str, line: Line) -> str:
    """The same for the same line of the same source, whenever and from wherever it is read.

    The number tells identical lines apart. The digest makes a line that was changed another
    event, since an id stands for one content for ever.
    """
    digest = hashlib.sha256(line.content).hexdigest()
    return str(uuid.uuid5(namespace, f"{source}:{line.number}:{digest}"))


def draft(line: Line, form: Format) -> Draft:
    """Cut a line; raises BadLine."""
    members = _members(line)
    stream = _take_text(line, members, form.stream_field)
    type_ = _take_text(line, members, form.type_field)
    return Draft(stream, type_, "{" + ",".join(text for text, _ in members.values()) + "}")


def _take_text(line: Line, members: dict[str, tuple[str, object]], name: str) -> str:
    if name not in members:
        raise BadLine(line.number, f"must have the member {name!r}")
    value = members.pop(name)[1]
    if not isinstance(value, str) or not value:
        raise BadLine(line.number, f"the member {name!r} must be a text that is not empty")
    return value


def _members(line: Line) -> dict[str, tuple[str, object]]:
    """The members of the line's object: name, then its text as sent and its value."""
    try:
        # A byte order mark may open a file, and nothing else.
        text = line.content.decode("utf-8-sig" if line.number == 1 else "utf-8")
        return _scan(text)
    except UnicodeDecodeError as error:
        raise BadLine(
            line.number, f"must be UTF-8, and is not at byte {error.start + 1}"
        ) from error
    except _NotJson as error:
        raise BadLine(line.number, str(error)) from error
    except RecursionError as error:
        raise BadLine(line.number, "must be nested less deep") from error
    except JSONDecodeError as error:
        raise BadLine(line.number, f"{error.msg} at character {error.pos + 1}") from error


class _NotJson(Exception):
    """Python's decoder would have taken it."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJson(f"must be JSON, which has no {name}")


# Numbers are checked and not converted: only their text travels on.
_decode = json.JSONDecoder(
    parse_int=len, parse_float=len, parse_constant=_refuse_constant
).raw_decode
_skip_space = re.compile(r"[ \t\n\r]*").match


def _scan(text: str) -> dict[str, tuple[str, object]]:
    members: dict[str, tuple[str, object]] = {}
    at = _expect(text, _after_space(text, 0), "{")
    if text[at : at + 1] == "}":
        return _ended(text, at, members)
    while True:
        start = at
        _expect(text, start, '"')
        name, at = _decode(text, start)
        at = _expect(text, _after_space(text, at), ":")
        value, at = _decode(text, at)
        if name in members:
            raise JSONDecodeError(f"the member {name!r} stands there twice", text, start)
        members[name] = (text[start:at], value)
        at = _after_space(text, at)
        if text[at : at + 1] != ",":
            return _ended(text, at, members)
        at = _after_space(text, at + 1)


def _ended(
    text: str, at: int, members: dict[str, tuple[str, object]]
) -> dict[str, tuple[str, object]]:
    at = _expect(text, at, "}")
    if at != len(text):
        raise JSONDecodeError("more follows after the object", text, at)
    return members


def _expect(text: str, at: int, mark: str) -> int:
    """The index behind `mark`, and behind the white space that follows it."""
    if text[at : at + 1] != mark:
        what = "must be a JSON object: " if mark == "{" else ""
        raise JSONDecodeError(f"{what}{mark!r} expected", text, at)
    return _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    match = _skip_space(text, at)
    return match.end() if match else at
