"""Any route of a real gateway from the command line."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Person
from tests.processes import ROOT

pytestmark = pytest.mark.e2e


def test_a_body_is_printed_as_it_was_answered(ada: Person) -> None:
    head = ada.does("api", "get", "/v1/log").json["headPosition"]

    assert isinstance(head, str)
    made = ada.does("api", "POST", "/v1/lattices", "-F", "dimensions=3", "-F", "size=10").json
    assert made["vertices"] == "1000"
    assert ada.does("api", "DELETE", f"/v1/lattices/{made['latticeId']}").json == {}


def test_fields_are_a_query_or_a_body_and_lines_are_lines(ada: Person, tmp_path: Path) -> None:
    event = {"stream": "s", "type": "t", "json": {"n": 1}}
    ada.does("api", "POST", "/v1/events:append", "-F", f"events={json.dumps([event, event])}")
    body = tmp_path / "body"
    body.write_text("\n".join(json.dumps({"events": [event]}) for _ in range(2)))
    lines = ("--content-type", "application/x-ndjson")
    answer = ada.does("api", "POST", "/v1/events:appendStream", "--input", str(body), *lines)
    assert [len(one["placements"]) for one in answer.lines] == [1, 1]

    read = ada.does("api", "GET", "/v1/events?stream=s", "-F", "limit=3").lines
    assert [one["event"]["json"] for one in read] == [{"n": 1}] * 3
    backwards = ("-f", "direction=DIRECTION_BACKWARDS", "-f", "limit=1")
    (last,) = ada.does("api", "GET", "/v1/streams/s/events", *backwards).lines
    assert last["revision"] == "3"
    whole = json.dumps({"events": [event]})
    assert ada.does("api", "POST", "/v1/events:append", "--input", "-", stdin=whole).json


def test_lines_of_a_stream_come_as_they_are_sent(ada: Person) -> None:
    query = "/v1/events?stream=s&follow=true"
    child = subprocess.Popen(
        ada.command("api", "GET", query),
        cwd=ROOT,
        env=ada.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        for number in range(2):
            ada.does("events", "append", "s", f"t{number}")
            assert json.loads(child.stdout.readline())["event"]["type"] == f"t{number}"
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("GET", "/v1/streams/none"), 66),
        (("GET", "/v1/events", "-f", "limit=x"), 65),
        (("POST", "/v1/lattices", "-F", "size=x"), 2),
        (("POST", "/v1/lattices", "-f", "size"), 2),
        (("GET", "https://elsewhere.example/v1/log"), 2),
        (("GET", "//elsewhere.example/v1/log"), 2),
        (("STEAL", "/v1/log"), 2),
    ],
)
def test_what_goes_wrong_ends_as_with_other_commands(
    ada: Person, words: tuple[str, ...], code: int
) -> None:
    done = ada.girih("api", *words)

    assert (done.code, done.out) == (code, "")
    assert done.err
