"""Frozen values to JSON and back, by their annotations. Knows no event, and no call.

A value is a frozen dataclass of other values: str, int, float, bool, None, Enum, datetime (with a
time zone), date, Decimal, UUID, Literal, tuple, frozenset and Mapping of texts to them, and those
of them or None. What could be changed behind its owner's back (list, dict, set) is refused when the
codec is made, and so is what JSON could not tell apart.
"""

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from hashlib import sha256
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, Generic, Literal, NewType, TypeVar, Union, get_args, get_origin
from uuid import UUID

T = TypeVar("T")

_NONE: Final = type(None)


class NotAsDeclared(ValueError):
    """JSON is not what a type says; the message has the path to where."""


@dataclass(frozen=True, slots=True)
class _Part:
    """How values of one annotation are written and read."""

    name: str
    """Tells all that JSON of it depends on."""
    write: Callable[[Any], Any]
    read: Callable[[Any, str], Any]
    """Takes JSON and its path; raises NotAsDeclared."""


class Codec(Generic[T]):
    """Writes values of one class as JSON objects, and reads them."""

    def __init__(self, kind: type[T]) -> None:
        """Raises TypeError for what is no frozen dataclass of values, naming the field."""
        known: dict[type, _Record] = {}
        self._record = _record(kind, known)
        layout = sorted((one.name, one.layout) for one in known.values())
        self.layout: Final = sha256(repr((self._record.name, layout)).encode()).hexdigest()[:16]
        """Changes with any field of the class, or of a class within it."""

    def write(self, value: T) -> dict[str, Any]:
        """As what `json.dumps` takes."""
        return self._record.write(value)

    def read(self, parsed: object, *, is_complete: bool = False) -> T:
        """From what `json.loads` gives. Fields that are missing have their defaults, and others
        are passed over, but not where it must be complete. Raises NotAsDeclared, and what the
        class raises of values that make no sense.
        """
        if is_complete:
            self._record.must_be_complete(parsed, "")
        value: T = self._record.read(parsed, "")
        return value


@dataclass(slots=True)
class _Record:
    """A dataclass; its fields may be of classes that refer back to it."""

    kind: type
    fields: dict[str, _Part] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.kind.__qualname__

    @property
    def layout(self) -> list[tuple[str, str]]:
        return [(name, part.name) for name, part in self.fields.items()]

    def write(self, value: object) -> dict[str, Any]:
        return {name: part.write(getattr(value, name)) for name, part in self.fields.items()}

    def read(self, parsed: object, path: str) -> Any:  # noqa: ANN401 - of the class
        members = _object(parsed, path)
        if missing := sorted(self.required - members.keys()):
            raise NotAsDeclared(f"{_shown(path)} has no {missing[0]}")
        return self.kind(
            **{
                name: part.read(members[name], f"{path}/{name}")
                for name, part in self.fields.items()
                if name in members
            }
        )

    def must_be_complete(self, parsed: object, path: str) -> None:
        """Of the outermost fields: what lies in them is told by the layout."""
        if missing := sorted(self.fields.keys() ^ _object(parsed, path).keys()):
            raise NotAsDeclared(f"{_shown(path)} has other fields: {', '.join(missing)}")


def _record(kind: type, known: dict[type, _Record]) -> _Record:
    if (record := known.get(kind)) is not None:
        return record
    if not dataclasses.is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined] # the standard library keeps it there
        raise TypeError(f"{kind.__qualname__} must be a frozen dataclass")
    known[kind] = record = _Record(kind)
    hints = typing.get_type_hints(kind)
    made = [one for one in dataclasses.fields(kind) if one.init]
    for one in made:
        record.fields[one.name] = _part(hints[one.name], f"{kind.__qualname__}.{one.name}", known)
    record.required = frozenset(
        one.name for one in made if one.default is MISSING and one.default_factory is MISSING
    )
    return record


def _part(hint: Any, where: str, known: dict[type, _Record]) -> _Part:  # noqa: ANN401 - a table
    if isinstance(hint, NewType):
        return _part(hint.__supertype__, where, known)
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _optional(hint, where, known)
    if origin is Literal:
        return _one_of({one: one for one in arguments}, str(hint))
    if origin is tuple:
        return _tuple(arguments, where, known)
    if origin is frozenset:
        return _set(_part(arguments[0], where, known))
    if origin is Mapping and arguments[0] is str:
        return _mapping(_part(arguments[1], where, known))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        record = _record(hint, known)
        return _Part(record.name, record.write, record.read)
    raise TypeError(f"{where} must be of frozen values, not {hint}")


def _plain(kind: type, *also: type) -> _Part:
    """What JSON has itself. A bool is no number here."""

    def read(parsed: object, path: str) -> object:
        if type(parsed) not in (kind, *also):
            raise NotAsDeclared(f"{_shown(path)} must be {kind.__name__}")
        return kind(parsed) if also else parsed

    return _Part(kind.__name__, lambda value: value, read)


def _text(kind: type, read_text: Callable[[str], Any], write: Callable[[Any], str] = str) -> _Part:
    """What is written as a text."""

    def read(parsed: object, path: str) -> object:
        if not isinstance(parsed, str):
            raise NotAsDeclared(f"{_shown(path)} must be a text")
        try:
            return read_text(parsed)
        except (ValueError, InvalidOperation):
            raise NotAsDeclared(f"{_shown(path)} must be {kind.__name__}") from None

    return _Part(kind.__name__, write, read)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it has no time zone")
    return moment


def _written_moment(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time must have a time zone")
    return moment.isoformat()


def _none(parsed: object, path: str) -> None:
    if parsed is not None:
        raise NotAsDeclared(f"{_shown(path)} must be null")


_PLAIN: Final[Mapping[Any, _Part]] = {
    str: _plain(str),
    int: _plain(int),
    float: _plain(float, int),
    bool: _plain(bool),
    NoneType: _Part("None", lambda _: None, _none),
    datetime: _text(datetime, _moment, _written_moment),
    date: _text(date, date.fromisoformat, date.isoformat),
    Decimal: _text(Decimal, Decimal),
    UUID: _text(UUID, UUID),
}


def _optional(hint: Any, where: str, known: dict[type, _Record]) -> _Part:  # noqa: ANN401 - a hint
    some = [one for one in get_args(hint) if one is not _NONE]
    if len(some) != 1 or len(get_args(hint)) == len(some):
        raise TypeError(f"{where} must be of one kind, or None, not {hint}")
    part = _part(some[0], where, known)
    return _Part(
        f"{part.name} | None",
        lambda value: None if value is None else part.write(value),
        lambda parsed, path: None if parsed is None else part.read(parsed, path),
    )


def _one_of(values: Mapping[Any, Any], name: str) -> _Part:
    """What is written as one of several constants, by which the values are found."""
    known = {json.dumps(written): value for written, value in values.items()}
    by_value = {value: written for written, value in values.items()}

    def read(parsed: object, path: str) -> object:
        try:
            return known[json.dumps(parsed)]
        except KeyError:
            raise NotAsDeclared(f"{_shown(path)} must be one of {', '.join(known)}") from None

    return _Part(name, by_value.__getitem__, read)


def _enum(kind: type[Enum]) -> _Part:
    values = {one.value: one for one in kind}
    if any(type(value) not in (str, int) for value in values):
        raise TypeError(f"the values of {kind.__qualname__} must be texts or whole numbers")
    return _one_of(values, f"{kind.__qualname__}({sorted(map(repr, values))})")


def _tuple(arguments: tuple[Any, ...], where: str, known: dict[type, _Record]) -> _Part:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        one = _part(arguments[0], where, known)
        return _Part(
            f"tuple[{one.name}, ...]",
            lambda value: [one.write(item) for item in value],
            lambda parsed, path: tuple(
                one.read(item, f"{path}/{n}") for n, item in enumerate(_array(parsed, path))
            ),
        )
    parts = [_part(argument, where, known) for argument in arguments]

    def read(parsed: object, path: str) -> tuple[Any, ...]:
        items = _array(parsed, path)
        if len(items) != len(parts):
            raise NotAsDeclared(f"{_shown(path)} must have {len(parts)} items")
        pairs = enumerate(zip(parts, items, strict=True))
        return tuple(part.read(item, f"{path}/{n}") for n, (part, item) in pairs)

    return _Part(
        f"tuple[{', '.join(part.name for part in parts)}]",
        lambda value: [part.write(item) for part, item in zip(parts, value, strict=True)],
        read,
    )


def _set(part: _Part) -> _Part:
    """In the order of their JSON, so that equal sets are written alike."""
    return _Part(
        f"frozenset[{part.name}]",
        lambda value: sorted((part.write(item) for item in value), key=json.dumps),
        lambda parsed, path: frozenset(
            part.read(item, f"{path}/{n}") for n, item in enumerate(_array(parsed, path))
        ),
    )


def _mapping(part: _Part) -> _Part:
    return _Part(
        f"Mapping[str, {part.name}]",
        lambda value: {key: part.write(item) for key, item in value.items()},
        lambda parsed, path: MappingProxyType(
            {key: part.read(item, f"{path}/{key}") for key, item in _object(parsed, path).items()}
        ),
    )


def _object(parsed: object, path: str) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise NotAsDeclared(f"{_shown(path)} must be an object")
    return parsed


def _array(parsed: object, path: str) -> list[Any]:
    if not isinstance(parsed, list):
        raise NotAsDeclared(f"{_shown(path)} must be an array")
    return parsed


def _shown(path: str) -> str:
    return path or "it"
