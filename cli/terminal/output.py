"""How answers are told: as tables to people, as JSON to programs. stdout has nothing else."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

Json = Any
"""A decoded JSON value."""


def document(value: Json) -> None:
    """One JSON document; in lines where somebody looks at it."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def record(pairs: Iterable[tuple[str, object]], *, beside: bool = False) -> None:
    """Names and values below each other, without those that are empty; `beside` stdout when
    that is for something else."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value not in (None, ""):
            table.add_row(Text(name, style="dim"), Text(str(value)))
    _console(sys.stderr if beside else sys.stdout).print(table)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, nothing: str) -> None:
    """Rows under their columns, or a sentence when there are none. Numbers stand right."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, name in enumerate(columns):
        justify: JustifyMethod = "right" if name.endswith(">") else "left"
        # The first names the row, and is copied.
        made.add_column(name.removesuffix(">"), justify=justify, no_wrap=index == 0)
    for row in rows:
        made.add_row(*(Text(str(value), overflow="fold") for value in row))
    if made.row_count:
        _console(sys.stdout).print(made)
    else:
        message(nothing)


def message(sentence: str) -> None:
    """A sentence for people, beside stdout."""
    print(sentence, file=sys.stderr)


def moment(timestamp: str) -> str:
    """A timestamp of the contract in UTC, to the second; empty for none."""
    if not timestamp:
        return ""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return timestamp
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def word(name: str) -> str:
    """An enum value for people: ROLE_OWNER as owner, METHOD_CLOSED_FORM as closed form."""
    return " ".join(name.lower().split("_")[1:])


def _console(stream: TextIO) -> Console:
    # Who reads it through a pipe has no width that tables would have to fit in.
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 10_000)
