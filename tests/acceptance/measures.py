"""What two lists of measured numbers say about each other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Separation:
    """How well one number tells which of two lists it is from (Mann and Whitney)."""

    auc: float
    """The chance that one of the first list is the larger of a pair, ties counted half: the
    area under the ROC curve. 0.5 tells nothing, 0 and 1 tell everything."""
    p: float
    """The chance of an area as far from 0.5 or farther between lists of one and the same kind
    (two-sided, by the normal approximation, corrected for ties)."""

    @classmethod
    def of(cls, first: Sequence[float], second: Sequence[float]) -> "Separation":
        """Neither list is empty."""
        m, n = len(first), len(second)
        ranked = list(_ranked([(value, 1) for value in first] + [(value, 0) for value in second]))
        rank_sum = sum(rank * is_first for rank, is_first, _ in ranked)
        u = rank_sum - m * (m + 1) / 2
        ties = sum(tied * tied - 1 for _, _, tied in ranked) / ((m + n) * (m + n - 1))
        deviation = math.sqrt(m * n / 12 * (m + n + 1 - ties))
        z = abs(u - m * n / 2) / deviation if deviation else 0.0
        return cls(auc=u / (m * n), p=math.erfc(z / math.sqrt(2)))


def _ranked(values: list[tuple[float, int]]) -> Iterator[tuple[float, int, int]]:
    """Each value's rank, its mark, and how many share the rank, which is the mean of theirs."""
    rank = 0
    for _, group in groupby(sorted(values), key=lambda pair: pair[0]):
        tied = [mark for _, mark in group]
        mean = rank + (len(tied) + 1) / 2
        rank += len(tied)
        for mark in tied:
            yield mean, mark, len(tied)
