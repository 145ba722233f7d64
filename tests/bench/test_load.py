"""What the load says of requests and ledgers: whatever is not answered as it must be is told."""

import json
from collections import Counter
from typing import Any

import pytest

from bench.load.figures import Figures, Outcome, percentile_ms, table
from bench.load.ledger import Ledger

BUSY = b'{"error":{"code":"UNAVAILABLE","details":{"reason":"GATEWAY_BUSY","retryAfterS":1}}}'


def test_only_what_says_why_and_until_when_is_a_refusal() -> None:
    assert Outcome.of(200, None, b"{}").ending == "answered"
    assert Outcome.of(503, "2", BUSY) == Outcome("refused", "GATEWAY_BUSY", 2.0)
    assert Outcome.of(503, None, BUSY) == Outcome("failed", "503 GATEWAY_BUSY")
    assert Outcome.of(503, "2", b"<html>").ending == "failed"
    assert Outcome.of(500, "2", BUSY).ending == "failed"
    assert Outcome.of(0, None, b"").ending == "failed"


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (99, 9), (100, 2_000)])
def test_a_percentile_is_the_least_that_so_many_do_not_exceed(percent: int, expected: int) -> None:
    took_ms = Counter({1: 40, 2: 30, 9: 29, 2_000: 1})

    assert percentile_ms(took_ms, percent) == expected


def test_figures_of_several_processes_add_up() -> None:
    one, other = Figures(), Figures()
    one.add("read", Outcome("answered"), 0.0104)
    other.add("read", Outcome("answered"), 1.2345)
    other.add("read", Outcome("refused", "GATEWAY_BUSY"), 0.1)
    other.add("append", Outcome("failed", "500"), 0.1)

    total = Figures.sum(
        Figures.from_json(json.loads(json.dumps(f.to_json()))) for f in (one, other)
    )

    assert total.took_ms == {"read": Counter({10: 1, 1_230: 1})}
    assert total.refusals() == {"GATEWAY_BUSY": 1}
    assert total.failures() == {"append: 500": 1}
    assert total.only(["append"]).answered == 0
    assert [line.split()[0] for line in table(total, 1.0)] == ["ms", "read", "append", "all"]


def test_whatever_is_not_as_it_was_acknowledged_is_told() -> None:
    ledger = Ledger("s", {"a": 3, "b": 5}, {"l"})

    assert list(ledger.problems([_event("a", 3, 0), _event("b", 5, 1)], ["l", "m"])) == []
    # Stored, and never acknowledged: the answer was lost.
    assert list(ledger.problems([*map(_event, "abc", (3, 5, 9), (0, 1, 2))], ["l"])) == []
    for events, lattices, problem in (
        ([_event("a", 3, 0)], ["l"], "b was stored at 5"),
        ([_event("a", 3, 0), _event("b", 6, 1)], ["l"], "b was stored at 5, and is at 6"),
        ([_event("b", 5, 0), _event("a", 3, 1)], ["l"], "a is out of order"),
        ([_event("a", 3, 0), _event("b", 5, 2)], ["l"], "b is out of order"),
        ([*map(_event, "aab", (3, 4, 5), (0, 1, 2))], ["l"], "a is stored twice"),
        ([_event("a", 3, 0), _event("b", 5, 1)], [], "lattice l was made"),
    ):
        problems = list(ledger.problems(events, lattices))
        assert problems
        assert problems[0].startswith(problem)


def _event(event_id: str, position: int, revision: int) -> dict[str, Any]:
    """As REST has it, with numbers of 64 bits as strings and none that is 0."""
    place = {"revision": str(revision)} if revision else {}
    return {"position": str(position), **place, "event": {"id": event_id}}
