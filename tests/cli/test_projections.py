"""Projections from the command line, against a real gateway."""

import pytest

from tests.cli.conftest import Person

pytestmark = pytest.mark.e2e


def test_projections_are_listed_shown_waited_for_and_steered(ada: Person) -> None:
    ada.does("lattices", "create", "-d", "2", "-n", "4")
    head = ada.does("api", "GET", "/v1/log").json["headPosition"]

    waited = ada.does("projections", "wait", "lattices", str(head), "--timeout-s", "60")
    listed = ada.does("projections", "list", "-o", "json").json
    shown = ada.does("projections", "show", "lattices").out
    paused = ada.does("projections", "pause", "lattices").err
    resumed = ada.does("projections", "resume", "lattices").err
    rebuilt = ada.does("projections", "rebuild", "lattices").err

    assert int(waited.out) >= int(head)
    assert {"documents", "event_types", "lattices"} <= {one["projection"] for one in listed}
    assert "running" in shown
    assert ("paused" in paused, "running" in resumed, "running" in rebuilt) == (True, True, True)


def test_a_projection_that_has_not_come_so_far_ends_a_wait_with_75(ada: Person) -> None:
    done = ada.girih("projections", "wait", "lattices", "999999", "--timeout-s", "0")

    assert done.code == 75


def test_what_was_put_aside_is_listed_replayed_and_given_up(ada: Person) -> None:
    listed = ada.does("projections", "quarantine", "lattices", "-o", "json")
    replayed = ada.does("projections", "replay", "lattices", "--all")
    empty = ada.girih("projections", "replay", "lattices", "--stream", "")
    policy = ada.does("projections", "on-poison", "lattices", "quarantine")
    missing = ada.girih("projections", "discard", "lattices", "1", "--yes")

    assert listed.json == []
    assert "0 events" in replayed.err
    assert empty.code == 2
    assert "lattices is" in policy.err
    assert missing.code == 66
