"""The rules of cellular automata, as people write them: `B3/S23`."""

import re
from dataclasses import dataclass

from services.plumbing.errors import Violations

_notation = re.compile(r"[Bb]([0-9,]*)/[Ss]([0-9,]*)").fullmatch
_FORM = "must be as in B3/S23, with commas between numbers above 9"


@dataclass(frozen=True)
class Rule:
    """With how many living neighbours a cell is born, and with how many one survives."""

    born: frozenset[int]
    kept: frozenset[int]

    def masks(self) -> tuple[int, int]:
        """Both as numbers whose bit n is set where n is meant."""
        return sum(1 << n for n in self.born), sum(1 << n for n in self.kept)


def read_rule(text: str, neighbours: int, field: str, bad: Violations) -> Rule:
    """The rule that a text says, for cells of so many neighbours at most.

    What is wrong with it is added to `bad`; then the rule is one without any number.
    """
    match = _notation(text.strip())
    if match is None:
        bad.add(field, _FORM)
        return Rule(frozenset(), frozenset())
    try:
        rule = Rule(_numbers(match[1]), _numbers(match[2]))
    except ValueError:
        bad.add(field, _FORM)
        return Rule(frozenset(), frozenset())
    highest = max(rule.born | rule.kept, default=0)
    if highest > neighbours:
        bad.add(field, f"must have no number above {neighbours}, as many as a cell has neighbours")
    if 0 in rule.born:
        bad.add(field, "must not have 0 behind B: cells would be born everywhere at once")
    return rule


def _numbers(text: str) -> frozenset[int]:
    if "," in text:
        return frozenset(int(part) for part in text.split(","))
    return frozenset(int(digit) for digit in text)
