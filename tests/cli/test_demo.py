"""The demonstration, in the tenant of somebody who has just registered."""

import itertools

import pytest

from cli.demo.workshop import FLOORS, HAPPENINGS
from tests.cli.conftest import Person

pytestmark = pytest.mark.e2e


def test_a_second_demo_appends_nothing(ada: Person) -> None:
    first = ada.does("demo")
    log = ada.does("events", "list", "-o", "jsonl").out
    second = ada.does("demo", "-o", "json").json

    assert f"{len(HAPPENINGS)} of them appended now" in first.out
    assert "girih streams list" in first.err
    assert second["eventsAppended"] == 0
    assert len(second["lattices"]) == len(FLOORS)
    assert ada.does("events", "list", "-o", "jsonl").out == log


def test_a_demo_has_causes_cases_tags_and_ways(ada: Person) -> None:
    floors = ada.does("demo", "-o", "json").json["lattices"]
    listed = ada.does("events", "list", "-o", "jsonl").lines
    events = {one["event"]["id"]: one for one in listed if one["event"].get("tags")}

    assert len(events) == len(HAPPENINGS)
    for one in events.values():
        context = one["context"]
        assert context["correlationId"].startswith("demo-order-")
        if cause := context.get("causationId"):
            assert events[cause]["context"]["correlationId"] == context["correlationId"]
            assert events[cause]["position"] < one["position"]
    roots = [one for one in events.values() if not one["context"].get("causationId")]
    assert [one["event"]["type"] for one in roots] == ["placed"] * 3
    lengths = [floor["length"] for floor in floors]
    assert (lengths[0], lengths[2]) == (57, 6)
    assert lengths[1] > 30
    assert len(ada.does("lattices", "list", "-o", "json").json) == len(FLOORS)


def test_lattices_that_were_deleted_are_made_again_once(ada: Person) -> None:
    before = ada.does("demo", "-o", "name").out.split()
    ada.does("lattices", "delete", before[1], "--yes")

    after = ada.does("demo", "-o", "name").out.split()

    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    assert ada.does("demo", "-o", "name").out.split() == after


def test_what_is_looked_at_next_is_there(ada: Person) -> None:
    shown = ada.does("demo").err.splitlines()
    commands = itertools.dropwhile(lambda line: not line.startswith("  girih "), shown)

    for line in commands:
        assert ada.does(*line.split()[1:]).out
