"""Groups from the command line, against a real gateway."""

import pytest

from tests.cli.conftest import Person

pytestmark = pytest.mark.e2e

WANTED = '{"queries": [{"category": "permit"}]}'


def test_a_group_is_created_shown_changed_set_back_and_deleted(ada: Person) -> None:
    ada.does("groups", "create", "mailing", "--lanes", "2", "--filter", WANTED)
    again = ada.does("groups", "create", "mailing", "--lanes", "2", "--filter", WANTED)
    assert "already" in again.err
    shown = ada.does("groups", "show", "mailing")
    assert "permit" in shown.out

    ada.does("groups", "change", "mailing", "--lanes", "3", "--attempts", "4", "--filter", "null")

    answer = ada.does("groups", "show", "mailing", "-o", "json").json
    assert (len(answer["lanes"]), answer["settings"]["attemptCountMax"]) == (3, 4)
    assert "filter" not in answer["settings"]
    assert ada.does("groups", "list", "-o", "name").out.split() == ["mailing"]
    assert "position 1" in ada.does("groups", "reset", "mailing", "--position", "1", "--yes").err
    ada.does("groups", "delete", "mailing", "--yes")
    assert ada.girih("groups", "show", "mailing").code == 66


def test_what_is_parked_is_listed_replayed_and_discarded(ada: Person) -> None:
    ada.does("groups", "create", "printing")

    assert ada.does("groups", "parked", "printing", "-o", "json").json == []
    assert "replayed 0 events" in ada.does("groups", "replay", "printing", "--all").err
    discarded = ada.does("groups", "discard", "printing", "--all", "--yes")
    assert "discarded 0 events" in discarded.err
    missing = ada.girih("groups", "replay", "printing", "17")
    assert "PARKED_EVENT_NOT_FOUND" in missing.err


def test_no_positions_are_not_all_that_is_parked(ada: Person) -> None:
    ada.does("groups", "create", "binding")

    for verb in ("replay", "discard"):
        for words in ([], ["17", "--all"]):
            refused = ada.girih("groups", verb, "binding", *words)
            assert refused.code == 2
            assert "say either positions or --all" in refused.err
