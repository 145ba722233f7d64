"""Rows of cells under their titles, no line longer than the terminal is wide.

Knows nothing of what is shown. Where a table does not fit, ids are shortened, then columns left
out, then texts cut; for programs, nothing is.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

Row = Any
"""What a cell is read from: a decoded JSON value."""

_GAP = 2
_SHORT_ID = 8
"""Characters of an id that are shown where the whole is too much; more where two are alike."""

LOOKED_AT = 500
"""So many rows tell how wide the columns are, so that a long list begins at once."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. At least one of a table must be left when it is narrow."""

    title: str
    cell: Callable[[Row], str]
    is_number: bool = False
    """Stands right, and is never cut."""
    is_id: bool = False
    """May be told by its first characters."""
    is_text: bool = False
    """May be cut where there is no room for all of it."""
    is_wide: bool = False
    """Shown only where everything is asked for."""
    rank: int = 0
    """The higher, the earlier it is left out where there is no room. 0 stays."""
    width: int = 0
    """It is given at least so much, when cut too: for lists whose end is not known."""


@dataclass(frozen=True)
class _Fitted:
    column: Column
    width: int
    id_length: int = 0
    """Characters of each id; 0 for the whole."""


def separated(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """For programs: a line a row, its cells between tabs, whole, without titles."""
    for row in rows:
        yield "\t".join(_plain(column, row) for column in columns)


def fitted(
    columns: Sequence[Column], rows: Iterable[Row], width: int, *, looked_at: int = LOOKED_AT
) -> Iterator[str]:
    """The title line and a line for each row, none wider than `width`.

    The columns are as wide as the first `looked_at` rows need; without any, as they say.
    """
    coming = iter(rows)
    first = list(islice(coming, looked_at))
    layout = _layout(columns, first, width)
    yield _line([_padded(one.column.title, one) for one in layout], width)
    for row in chain(first, coming):
        yield _line([_cell(one, row) for one in layout], width)


def _plain(column: Column, row: Row) -> str:
    text = printable(column.cell(row))
    return text.replace(",", "") if column.is_number else text


def printable(text: str) -> str:
    """Without what would move a terminal's cursor, change its colours or end a line."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def text_width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_sign_width, text))


def cut(text: str, width: int) -> str:
    """As much of a text as has room in `width` columns, with an ellipsis for the rest."""
    if text_width(text) <= width:
        return text
    kept, left = list[str](), width - 1
    for sign in text:
        left -= _sign_width(sign)
        if left < 0:
            break
        kept.append(sign)
    return "".join(kept) + "…" * (width > 0)


def _sign_width(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _layout(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[_Fitted]:
    layout = [_natural(column, rows) for column in columns]
    if _total(layout) > width:
        layout = [_shortened(one, rows) for one in layout]
    while _least(layout) > width and any(one.column.rank for one in layout):
        layout.remove(max(layout, key=lambda one: one.column.rank))
    return _narrowed(layout, _total(layout) - width)


def _natural(column: Column, rows: Sequence[Row]) -> _Fitted:
    cells = (text_width(printable(column.cell(row))) for row in rows)
    return _Fitted(column, max(text_width(column.title), column.width, *cells))


def _shortened(one: _Fitted, rows: Sequence[Row]) -> _Fitted:
    if not one.column.is_id:
        return one
    ids = {one.column.cell(row) for row in rows}
    length = _SHORT_ID
    while len({text[:length] for text in ids}) < len(ids):
        length += 1
    width = max(text_width(one.column.title), *(len(text[:length]) for text in ids))
    return replace(one, width=width, id_length=length)


def _total(layout: Sequence[_Fitted]) -> int:
    return sum(one.width for one in layout) + _GAP * (len(layout) - 1)


def _least(layout: Sequence[_Fitted]) -> int:
    return sum(_width_min(one) for one in layout) + _GAP * (len(layout) - 1)


def _width_min(one: _Fitted) -> int:
    column = one.column
    return min(one.width, max(len(column.title), 12)) if column.is_text else one.width


def _narrowed(layout: Sequence[_Fitted], excess: int) -> list[_Fitted]:
    """What is too much is taken from texts, the widest first."""
    narrowed = list(layout)
    while excess > 0:
        texts = [one for one in narrowed if one.width > _width_min(one)]
        if not texts:
            break
        widest = max(texts, key=lambda one: one.width)
        narrowed[narrowed.index(widest)] = replace(widest, width=widest.width - 1)
        excess -= 1
    return narrowed


def _cell(one: _Fitted, row: Row) -> str:
    text = printable(one.column.cell(row))
    return _padded(text[: one.id_length] if one.id_length else text, one)


def _padded(text: str, one: _Fitted) -> str:
    text = cut(text, one.width) if one.column.is_text else text
    room = " " * max(0, one.width - text_width(text))
    return room + text if one.column.is_number else text + room


def _line(cells: Sequence[str], width: int) -> str:
    return cut((" " * _GAP).join(cells).rstrip(), width)
