"""What the doctor compares: the environment, what databases say, and what processes say."""

import pytest

from cli.failure import Failed
from cli.local.places import DEFAULT, Replica, SeenPlace, problems, replicas

MAIN = SeenPlace("1/1", {None: 5, "west": 2})
WEST = SeenPlace("2/1", {None: 2})
NAMED = [DEFAULT, "west"]
SEEN = {DEFAULT: MAIN, "west": WEST}


def sentences(*answer: tuple[str, str]) -> str:
    """The messages of problems."""
    return "; ".join(message for message, _ in answer)


def test_places_that_all_mean_the_same_have_no_problem() -> None:
    replica = Replica("a:1", {DEFAULT: "1/1", "west": "2/1"})

    assert list(problems(NAMED, SEEN, [replica])) == []


def test_a_place_with_logs_that_the_environment_does_not_name_is_told() -> None:
    south = {**SEEN, DEFAULT: SeenPlace("1/1", {None: 5, "south": 1_200})}

    assert sentences(*problems(NAMED, south, [])) == (
        "1,200 logs are at south, which EVENTS_PLACES does not name"
    )


def test_a_place_whose_database_knows_no_log_is_told() -> None:
    empty = {**SEEN, "west": SeenPlace("3/1", {})}

    assert sentences(*problems(NAMED, empty, [])) == "2 logs are at west, whose database knows none"


def test_two_places_in_one_database_are_told() -> None:
    same = {**SEEN, "west": SeenPlace("1/1", {None: 2})}

    assert sentences(*problems(NAMED, same, [])) == "default and west lead to the same database"


def test_a_process_with_other_places_or_other_databases_is_told() -> None:
    other = Replica("a:1", {DEFAULT: "1/1", "east": "9/1"})
    elsewhere = Replica("b:1", {DEFAULT: "1/1", "west": "3/1"})
    starting = Replica("c:1", {DEFAULT: "", "west": ""})

    assert sentences(*problems(NAMED, SEEN, [other, elsewhere, starting])) == (
        "a:1 has the places default, east, and EVENTS_PLACES here names default, west;"
        " west of b:1 leads to another database than here"
    )


def test_every_address_of_a_name_is_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [(2, 1, 6, "", (host, 50051)) for host in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: infos)

    assert replicas("events.girih.test:50051") == ["10.0.0.1:50051", "10.0.0.2:50051"]


def test_a_name_that_leads_nowhere_is_told() -> None:
    with pytest.raises(Failed, match=r"nowhere\.invalid:1 is not known"):
        replicas("nowhere.invalid:1")
