"""What the consumers of `tests.chaos.groups` wrote down, and the promises that it breaks."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WANTED, OTHER = "wanted", "other"
"""Types of events: the group wants the one always, and the other for a while."""
EXAMPLES_MAX = 3
"""Of each broken promise."""


Log = dict[int, tuple[str, str]]
"""Stream and type of events, by position."""


@dataclass
class Answer:
    """What happened, and every promise that was broken, by name."""

    figures: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add_fault(self, name: str, what: str) -> None:
        self.broken[name] += 1
        if self.broken[name] <= EXAMPLES_MAX:
            self.examples.append(f"{name}: {what}")


def journals(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """The lines of each consumer; the last may have been cut off."""
    for file in sorted(folder.glob("consumer-*.jsonl")):
        lines = []
        for line in file.read_text().splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        yield lines


def check(
    answer: Answer,
    written: Sequence[Sequence[dict[str, Any]]],
    log: Log,
) -> None:
    """Look for promises that were broken in what was written down.

    A line has `what`: `begin` (an event is given to the handler), `say` (it is acknowledged), and
    `settled` (that is durable), with `at`, `lane`, `token` and `position`.
    """
    lines = sorted((line for one in written for line in one), key=lambda line: line["at"])
    settled_at: dict[int, float] = {}
    began: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["what"] == "settled":
            settled_at.setdefault(line["position"], line["at"])
        elif line["what"] == "begin":
            began[line["position"]].append(line)
    answer.figures["times that handlers began"] = sum(map(len, began.values()))
    answer.figures["events appended"] = len(log)
    answer.figures["events settled"] = len(settled_at)
    answer.figures["refused under a lost lease"] = sum(
        line["what"] == "refused" and line["reason"] == "LEASE_LOST" for line in lines
    )
    answer.figures["begun more than once"] = sum(len(times) > 1 for times in began.values())
    _check_all_handled(answer, settled_at, began, log)
    _check_settled_stays(answer, settled_at, began)
    _check_order(answer, settled_at, lines, log)
    _check_tokens(answer, lines)


def _check_all_handled(
    answer: Answer,
    settled_at: dict[int, float],
    began: dict[int, list[dict[str, Any]]],
    log: Log,
) -> None:
    for position, (_, kind) in log.items():
        # Those of the other type are wanted for a while only; of one that was killed before it
        # was told, nobody knows that it is settled.
        if kind == WANTED and position not in began:
            answer.add_fault("never handled", str(position))
    answer.figures["settled for all who know"] = len(settled_at)


def _check_settled_stays(
    answer: Answer, settled_at: dict[int, float], began: dict[int, list[dict[str, Any]]]
) -> None:
    for position, at in settled_at.items():
        for line in began[position]:
            if line["at"] > at:
                answer.add_fault("handled again after it was settled", f"{position}: {line}")


def _check_order(
    answer: Answer,
    settled_at: dict[int, float],
    lines: Sequence[dict[str, Any]],
    log: Log,
) -> None:
    """Of a stream nothing is begun before all that is wanted before it was begun, nor anything from
    before an event that was begun.
    """
    highest: dict[str, int] = defaultdict(int)
    for line in lines:
        if line["what"] != "begin" or line["position"] not in log:
            continue
        stream, position = log[line["position"]][0], line["position"]
        if position < highest[stream]:
            answer.add_fault("out of order", f"{stream}: {position} after {highest[stream]}")
        highest[stream] = max(highest[stream], position)


def _check_tokens(answer: Answer, lines: Sequence[dict[str, Any]]) -> None:
    """Nobody is told that an event is settled which it said of under a token, when it was given to
    another under a later one before.
    """
    given: dict[int, list[tuple[float, int]]] = defaultdict(list)
    handled_at: dict[tuple[int, int], float] = {}
    for line in lines:
        place = (line.get("position", 0), line.get("token", 0))
        if line["what"] == "begin":
            given[line["position"]].append((line["at"], line["token"]))
        elif line["what"] == "say":
            handled_at[place] = line["at"]
        elif line["what"] == "settled" and place in handled_at:
            later = [
                token
                for at, token in given[line["position"]]
                if token > line["token"] and at < handled_at[place]
            ]
            if later:
                answer.add_fault("settled under a lost lease", f"{line} after token {later}")
