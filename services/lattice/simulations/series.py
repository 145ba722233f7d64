"""What was recorded of a simulation, row by row, and what it says: means and their errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCKS_MIN = 32
"""With fewer blocks an error is not known well enough to be believed."""


@dataclass(frozen=True)
class Summary:
    """One observable over all records."""

    name: str
    records: int
    last: float
    mean: float
    error: float


def summarize(columns: Sequence[str], rows: NDArray[np.float64]) -> list[Summary]:
    """Each observable of rows (records, 1 + columns), whose first column is the step."""
    if not len(rows):
        return []
    return [
        Summary(
            name=name,
            records=len(rows),
            last=float(rows[-1, at]),
            mean=float(_mean(rows[:, at])),
            error=blocking_error(rows[:, at]),
        )
        for at, name in enumerate(columns, start=1)
    ]


def blocking_error(values: NDArray[np.float64]) -> float:
    """The standard error of a mean of numbers that follow from each other.

    Pairs are averaged, then pairs of these (Flyvbjerg and Petersen 1989): the error that is told
    grows until the averages have nothing in common. The highest is taken that rests on 32 averages
    or more. NaN with fewer than two numbers, or where one is no number.
    """
    if len(values) < 2:
        return math.nan
    highest = _naive_error(values)
    while len(values) >= 2 * _BLOCKS_MIN:
        even = len(values) // 2 * 2
        values = (values[:even:2] + values[1:even:2]) / 2
        highest = max(highest, _naive_error(values))
    return highest


def csv_of(columns: Sequence[str], rows: NDArray[np.float64]) -> bytes:
    """Rows as text (RFC 4180); numbers are written so that they are read as the same."""
    lines = [",".join(("step", *columns))]
    lines += [",".join((str(int(row[0])), *map(repr, row[1:].tolist()))) for row in rows]
    return ("\r\n".join(lines) + "\r\n").encode()


def _mean(values: NDArray[np.float64]) -> np.float64:
    return np.float64(values.mean())


def _naive_error(values: NDArray[np.float64]) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        return float(values.std(ddof=1) / math.sqrt(len(values)))
