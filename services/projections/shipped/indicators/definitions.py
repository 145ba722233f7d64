"""What indicators are: declared in a TOML file, checked when it is read. Does no other I/O.

tenants = ["acme"]          # told apart by name in Prometheus; all others together

[[indicator]]
name = "open_cases"
help = "Cases that were opened and are not closed."
types = ["case.opened"]
subtract_types = ["case.closed"]
operation = "count"         # or "sum", of the number at `path`
path = "/amount"            # JSON Pointer
window = "month"            # none, hour, day or month, in UTC
time = "/occurred_at"       # JSON Pointer to an ISO 8601 time; without it, when it was recorded

[indicator.labels.channel]
from = "/channel"           # JSON Pointer, or "type" for the event's type
values = ["desk", "web"]    # everything else is "other"
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import prod
from pathlib import Path
from typing import Any, Final

from services.plumbing.errors import CannotRun
from services.plumbing.settings import EX_CONFIG

INDICATOR_COUNT_MAX: Final = 100
TYPE_COUNT_MAX: Final = 100
LABEL_COUNT_MAX: Final = 5
COMBINATION_COUNT_MAX: Final = 1_000
"""Of values of labels: Prometheus keeps a series for each."""
OTHER: Final = "other"
OF_TYPE: Final = "type"

_is_name: Final = re.compile(r"[a-z][a-z0-9_]{0,39}").fullmatch
_is_pointer: Final = re.compile(r"(/([^~/]|~[01])*)+").fullmatch
_KEYS: Final = {
    "name", "help", "types", "subtract_types", "operation", "path", "window", "time", "labels",
}  # fmt: skip


class WrongIndicators(CannotRun):
    """The file of indicators cannot be read, or does not declare what it should."""

    exit_code = EX_CONFIG

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"the indicators in {path} are wrong:{lines}")
        self.problems = tuple(problems)


class Operation(Enum):
    """What an event adds."""

    COUNT = "count"
    SUM = "sum"


class Window(Enum):
    """Into which pieces time is cut."""

    NONE = "none"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What an indicator is told apart by."""

    name: str
    source: str
    """A JSON Pointer, or OF_TYPE."""
    values: tuple[str, ...]

    def of(self, event_type: str, value: object) -> str:
        """The value that an event has: one of `values`, or OTHER."""
        label = event_type if self.source == OF_TYPE else value
        return label if isinstance(label, str) and label in self.values else OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """A number that events come to."""

    name: str
    help: str
    types: tuple[str, ...]
    subtract_types: tuple[str, ...]
    operation: Operation
    path: str
    """A JSON Pointer to the number that is summed; empty for a count."""
    window: Window
    time: str
    """A JSON Pointer to when it happened; empty for when it was recorded."""
    labels: tuple[Label, ...]

    @property
    def all_types(self) -> tuple[str, ...]:
        return (*self.types, *self.subtract_types)

    @property
    def fingerprint(self) -> str:
        """Of what makes its numbers: another one means that they are to be made anew."""
        return hashlib.sha256(repr(replace(self, help="")).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Definitions:
    """All indicators."""

    indicators: tuple[Indicator, ...] = ()
    tenants: frozenset[str] = frozenset()
    """Those that Prometheus is told of by name."""

    @property
    def version(self) -> str:
        """The fingerprints of all, so that it tells which indicators were built as they are."""
        return "-".join(sorted(one.fingerprint for one in self.indicators)) or "none"

    def by_name(self, name: str) -> Indicator | None:
        return next((one for one in self.indicators if one.name == name), None)


def read_definitions(path: Path | None) -> Definitions:
    """The definitions of a file, none without one. Raises WrongIndicators with all problems."""
    if path is None:
        return Definitions()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongIndicators(path, [str(error)]) from error
    problems = list(_problems(document))
    if problems:
        raise WrongIndicators(path, problems)
    return Definitions(
        tuple(sorted(map(_indicator, document.get("indicator", [])), key=lambda one: one.name)),
        frozenset(document.get("tenants", [])),
    )


def _indicator(table: Mapping[str, Any]) -> Indicator:
    labels = table.get("labels", {})
    return Indicator(
        name=table["name"],
        help=table.get("help", ""),
        types=tuple(table["types"]),
        subtract_types=tuple(table.get("subtract_types", [])),
        operation=Operation(table["operation"]),
        path=table.get("path", ""),
        window=Window(table.get("window", "none")),
        time=table.get("time", ""),
        labels=tuple(
            Label(name=name, source=one["from"], values=tuple(one["values"]))
            for name, one in sorted(labels.items())
        ),
    )


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    for key in document.keys() - {"indicator", "tenants"}:
        yield f"{key} means nothing"
    if not _are_texts(document.get("tenants", [])):
        yield "tenants must be a list of texts"
    tables = document.get("indicator", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        yield "indicator must be tables, as in [[indicator]]"
        return
    if len(tables) > INDICATOR_COUNT_MAX:
        yield f"there are more than {INDICATOR_COUNT_MAX} indicators"
    names = [one.get("name") for one in tables]
    for index, table in enumerate(tables):
        name = table.get("name")
        where = f"indicator {name!r}" if isinstance(name, str) else f"indicator {index + 1}"
        if names.count(name) > 1:
            yield f"{where}: there are several of this name"
        yield from (f"{where}: {problem}" for problem in _problems_of(table))


def _problems_of(table: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(table.keys() - _KEYS):
        yield f"{key} means nothing"
    if not (isinstance(table.get("name"), str) and _is_name(table["name"])):
        yield "name must be 1 to 40 of a-z 0-9 _, the first a letter"
    if not isinstance(table.get("help", ""), str):
        yield "help must be a text"
    yield from _problems_of_types(table)
    operation = table.get("operation")
    if operation not in {one.value for one in Operation}:
        yield "operation must be count or sum"
    if (operation == "sum") != ("path" in table):
        yield "path must be there for a sum, and for nothing else"
    for key in ("path", "time"):
        if key in table and not _is_a_pointer(table[key]):
            yield f"{key} must be a JSON Pointer, such as /amount"
    if table.get("window", "none") not in {one.value for one in Window}:
        yield "window must be none, hour, day or month"
    yield from _problems_of_labels(table.get("labels", {}))


def _problems_of_types(table: Mapping[str, Any]) -> Iterator[str]:
    types, subtracted = table.get("types"), table.get("subtract_types", [])
    if not types or not _are_texts(types) or not _are_texts(subtracted):
        yield "types must be a list of one event type at least, and subtract_types one of them"
        return
    if len(types) + len(subtracted) > TYPE_COUNT_MAX:
        yield f"there may be {TYPE_COUNT_MAX} types"
    if len({*types, *subtracted}) < len(types) + len(subtracted):
        yield "types and subtract_types must differ from each other"


def _problems_of_labels(labels: object) -> Iterator[str]:
    if not isinstance(labels, dict):
        yield "labels must be tables, as in [indicator.labels.channel]"
        return
    if len(labels) > LABEL_COUNT_MAX:
        yield f"there may be {LABEL_COUNT_MAX} labels"
    sizes = [1]
    for name, one in labels.items():
        if not _is_name(name) or name == "tenant":
            yield f"label {name!r}: its name must be 1 to 40 of a-z 0-9 _, and not tenant"
        if not isinstance(one, dict) or one.keys() != {"from", "values"}:
            yield f"label {name!r}: must have from and values"
            continue
        if one["from"] != OF_TYPE and not _is_a_pointer(one["from"]):
            yield f"label {name!r}: from must be a JSON Pointer, or {OF_TYPE!r}"
        values = one["values"]
        if not _are_texts(values) or OTHER in values or len(set(values)) < len(values):
            yield f"label {name!r}: values must be texts that differ, and not {OTHER!r}"
            continue
        sizes.append(len(values) + 1)
    if prod(sizes) > COMBINATION_COUNT_MAX:
        yield f"the values of labels may have {COMBINATION_COUNT_MAX} combinations"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _is_a_pointer(value: object) -> bool:
    return isinstance(value, str) and _is_pointer(value) is not None
