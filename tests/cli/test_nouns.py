"""Lattices, paths and events from the command line, against a real gateway."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest

from cli.client.credentials import CredentialsFile
from tests.cli import terminal
from tests.cli.conftest import Person
from tests.cli.test_account import held_by
from tests.processes import ROOT, System

pytestmark = pytest.mark.e2e


@pytest.fixture
def lattice(ada: Person) -> str:
    return ada.does("lattices", "create", "--dimensions", "3", "--size", "10").out.strip()


def test_a_lattice_is_made_shown_listed_and_deleted(ada: Person) -> None:
    made = ada.does("lattices", "create", "-d", "3", "-n", "10")
    lattice_id = made.out.strip()
    assert "1,000" in made.err
    assert "2,700" in made.err
    assert "no cutting" in made.err

    answer = ada.does("lattices", "get", lattice_id, "--json").json
    assert (answer["vertices"], answer["edges"]) == (1000, 2700)
    assert "10 x 10 x 10" in ada.does("lattices", "get", lattice_id).out
    assert lattice_id in ada.does("lattices", "list").out
    listed = ada.does("lattices", "list", "-o", "json").json
    assert [one["latticeId"] for one in listed] == [lattice_id]

    ada.does("lattices", "delete", lattice_id, "--yes")
    missing = ada.girih("lattices", "get", lattice_id)
    assert (missing.code, "LATTICE_NOT_FOUND, correlation id " in missing.err) == (66, True)


def test_ids_may_be_told_by_how_they_begin_and_several_at_once(ada: Person) -> None:
    first, second = (
        ada.does("lattices", "create", "-d", "1", "-n", str(size)).out.strip() for size in (2, 3)
    )

    asked = ada.girih("lattices", "delete", first[:8])
    assert (asked.code, "Say --yes" in asked.err) == (2, True)
    unknown = ada.girih("lattices", "delete", first[:8], "zzzzzzzz", "--yes")
    assert (unknown.code, unknown.err) == (66, "no id begins with zzzzzzzz\n")
    assert ada.does("lattices", "list", "-o", "name").out.split() == [first, second]

    gone = ada.girih("lattices", "delete", first[:8], UNKNOWN, second, "--yes")

    assert (gone.code, "LATTICE_NOT_FOUND" in gone.err) == (66, True)
    assert ada.does("lattices", "list", "-o", "json").json == []


UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_terminal_shows_what_fits_and_asks_before_what_cannot_be_undone(
    ada: Person, lattice: str
) -> None:
    environ = {**ada.environ, "TERM": "xterm", "PAGER": "sed -u s/^/paged:/"}
    listing = ada.command("lattices", "list")
    with terminal.running(listing, environ, columns=60) as shown:
        assert shown.read_all() == 0
    lines = shown.shown.splitlines()
    assert [line.split()[0] for line in lines] == ["paged:lattice", f"paged:{lattice[:8]}"]
    assert all(len(line) <= 60 + len("paged:") for line in lines)
    assert lines[1].endswith("Z")

    with terminal.running(ada.command("lattices", "delete", lattice), environ) as asked:
        asked.read_until("[y/N]")
        # Behind it a key: one that comes before Python waits for any is noticed with the next.
        asked.type("\x03\n")
        assert asked.read_all() == 130
    assert lattice in ada.does("lattices", "list").out


def test_a_lattice_is_as_it_was_asked_for(ada: Person, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_bytes(bytes([0b0000_0010, 0]))

    words = ("--shape", "3x4", "--boundary", "open", "--boundary", "periodic", "--moore")
    bitmap = ("--blocked", str(blocked), "--bit-order", "little")
    made = ada.does("lattices", "create", *words, *bitmap, "--json").json

    assert made["shape"] == [3, 4]
    assert made["boundaries"] == ["BOUNDARY_OPEN", "BOUNDARY_PERIODIC"]
    assert made["neighbourhood"] == "NEIGHBOURHOOD_MOORE"
    assert made["vertices"] == 11


def test_blocked_sites_need_their_bit_order(ada: Person, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_bytes(bytes(2))

    done = ada.girih("lattices", "create", "--shape", "3x4", "--blocked", str(blocked))

    assert done.code == 65
    assert "--bit-order" in done.err


MAZE = "..#.\n.##.\n....\n"


def test_blocked_sites_come_from_a_file_and_go_to_one(ada: Person, tmp_path: Path) -> None:
    text, array = tmp_path / "maze.txt", tmp_path / "maze.npy"
    text.write_text(MAZE)

    made = ada.does("lattices", "create", "--blocked", str(text)).out.strip()
    assert ada.does("lattices", "blocked", made).out == MAZE
    ada.does("lattices", "blocked", made, "--output-file", str(array))
    same = ada.does("lattices", "create", "--blocked", str(array), "--shape", "3x4").out.strip()
    assert ada.does("lattices", "blocked", same).out == MAZE

    other = ada.girih("lattices", "create", "--blocked", str(text), "--shape", "4x3")
    assert (other.code, "3x4" in other.err) == (2, True)


def test_more_blocked_sites_than_a_message_holds_go_up_and_come_down(
    ada: Person, tmp_path: Path
) -> None:
    mask, back = tmp_path / "mask.npy", tmp_path / "back.npy"
    sites = np.lib.format.open_memmap(mask, "w+", np.int16, shape=(5_793, 5_793))
    sites[::7, ::5] = 1
    sites.flush()

    made = ada.does("lattices", "create", "--from-npy", str(mask)).out.strip()
    ada.does("lattices", "blocked", made, "--output-file", str(back))
    printed = ada.girih("lattices", "blocked", made, "--output-file", str(tmp_path / "maze.txt"))
    free = ada.does("lattices", "create", "--shape", "5793x5793").out.strip()
    none = ada.girih("lattices", "blocked", free, "--output-file", str(back))

    read = np.load(back)
    assert read.dtype == bool
    assert (read == sites).all()
    assert (printed.code, "--output-file FILE.npy" in printed.err) == (2, True)
    assert (none.code, "none of its 33,558,849 sites is blocked" in none.err) == (65, True)


def test_distances_are_told_of_sites_or_written_of_all(ada: Person, tmp_path: Path) -> None:
    text, file = tmp_path / "maze.txt", tmp_path / "field.npy"
    text.write_text("..#.\n..#.\n")
    made = ada.does("lattices", "create", "--blocked", str(text)).out.strip()
    words = ("lattices", "distances", made, "--from", "0,0", "--from", "1,0")

    assert ada.does(*words, "--to", "0,1", "--to", "0,3").out == "0,1\t1\n0,3\tno path\n"
    distances = ada.does(*words, "--to", "0,1", "--to", "0,3", "-o", "json").json
    assert distances == [{"site": [0, 1], "distance": 1.0}, {"site": [0, 3], "distance": None}]
    ada.does(*words, "--output-file", str(file))
    inf = float("inf")
    assert np.load(file).tolist() == [[0, 1, inf, inf], [0, 1, inf, inf]]
    assert ada.girih(*words).code == 2
    refused = ada.girih(*words, "--to", "9,9")
    assert (refused.code, refused.err.startswith("--to[0]")) == (65, True)


def test_what_the_service_finds_wrong_is_65(ada: Person) -> None:
    done = ada.girih("lattices", "create", "--shape", "0")

    assert done.code == 65
    assert done.err.startswith("--shape[0]: must be")


def test_a_path_is_found(ada: Person, lattice: str) -> None:
    words = ("paths", "find", lattice, "--from", "0,0,0", "--to", "9,9,9")

    answer = ada.does(*words, "--sites", "100", "--json").json
    assert answer["path"]["length"] == 27
    assert len(answer["path"]["sites"]) == 28
    for_people = ada.does(*words).out
    assert "27" in for_people
    assert "closed form" in for_people
    assert re.search(r"0,0,0 (1,0,0|0,1,0|0,0,1)\b", ada.does(*words, "--sites", "2").out)


def test_a_file_of_queries_is_answered_in_its_order(
    ada: Person, lattice: str, tmp_path: Path
) -> None:
    file = tmp_path / "queries"
    lines = [f"0,0,0 {n % 10},0,0" for n in range(12_000)]
    file.write_text("# from to\n\n" + "\n".join(lines))

    result = ada.does("paths", "find", lattice, "--file", str(file), "-o", "jsonl").lines

    assert [one["query"] for one in result] == list(range(12_000))
    assert [one["length"] for one in result] == [n % 10 for n in range(12_000)]
    for_people = ada.does("paths", "find", lattice, "--file", "-", stdin="0,0,0 0,0,3\n").out
    assert for_people.split() == ["0", "length", "3", "3", "steps"]


def test_a_refused_site_is_named_by_its_option(ada: Person, lattice: str) -> None:
    done = ada.girih("paths", "find", lattice, "--from", "0,0,0", "--to", "9,9")

    assert (done.code, done.err.split(" must ")[0]) == (65, "--to:")


def test_a_line_that_is_no_query_is_65_and_named(ada: Person, lattice: str, tmp_path: Path) -> None:
    file = tmp_path / "queries"
    file.write_text("0,0,0 1,1,1\n0,0,0\n")

    done = ada.girih("paths", "find", lattice, "--file", str(file))

    assert (done.code, f"{file}: line 2: " in done.err) == (65, True)


def test_an_event_is_appended_and_read(ada: Person) -> None:
    payload = '{"by": "Ada", "n": 123456789012345678}'
    answer = ada.does("events", "append", "permit-1", "submitted", payload)
    assert "revision 0 of permit-1" in answer.out

    read = ada.does("events", "read", "permit-1", "-o", "jsonl").lines
    assert read[0]["event"]["json"] == {"by": "Ada", "n": 123456789012345678}
    for_people = ada.does("events", "list").out
    assert "permit-1" in for_people
    assert payload in for_people


def test_an_id_is_stored_once(ada: Person) -> None:
    words = ("events", "append", "s", "t", "--id", "01890000-0000-7000-8000-000000000001")

    assert "already" not in ada.does(*words).out
    assert "already" in ada.does(*words).out


def test_a_stream_in_another_state_than_expected_is_75(ada: Person) -> None:
    ada.does("events", "append", "s", "t", "--expect", "absent")

    lost = ada.girih("events", "append", "s", "t", "--expect", "absent")

    assert (lost.code, "PRECONDITION_FAILED" in lost.err) == (75, True)
    ada.does("events", "append", "s", "t", "--expect", "0")
    ada.does("events", "append", "s", "t", "--expect", "exists")


def test_a_stream_is_read_from_where_and_as_far_as_asked(ada: Person) -> None:
    for number in range(5):
        ada.does("events", "append", "s", f"t{number}")

    def types(*words: str) -> list[str]:
        result = ada.does("events", "read", "s", "-o", "jsonl", *words).lines
        return [one["event"]["type"] for one in result]

    assert types("--limit", "2") == ["t0", "t1"]
    assert types("--backwards", "--limit", "2") == ["t4", "t3"]
    assert ada.does("events", "read", "none").out == ""


def types_of(person: Person, *words: str) -> list[str]:
    listed = person.does("events", "list", "-o", "jsonl", *words).lines
    return [one["event"]["type"] for one in listed]


def test_events_are_listed_by_type_time_and_stream(ada: Person) -> None:
    for number in range(6):
        ada.does("events", "append", "even" if number % 2 == 0 else "odd", f"t{number % 3}")
    # Before them are those of the gateway, about who registered.
    last = ada.does("events", "list", "-o", "jsonl").lines[-6:]
    times = [one["recordedAt"] for one in last]

    assert types_of(ada, "--type", "t1") == ["t1", "t1"]
    assert types_of(ada, "--type", "t1", "--type", "t2", "--limit", "3") == ["t1", "t2", "t1"]
    assert types_of(ada, "--type", "t0", "--limit", "1", "--backwards", "--stream", "odd") == ["t0"]
    assert types_of(ada, "--since", times[3]) == ["t0", "t1", "t2"]
    assert types_of(ada, "--since", times[1], "--until", times[4]) == ["t1", "t2", "t0"]
    window = ("--since", times[1], "--until", times[4], "--backwards")
    assert types_of(ada, *window) == ["t0", "t2", "t1"]
    assert types_of(ada, *window, "--limit", "1", "--stream", "odd") == ["t0"]
    assert types_of(ada, *window, "--from", str(last[1]["position"])) == ["t1"]
    assert types_of(ada, "--since", times[4], "--stream", "odd") == ["t2"]
    assert types_of(ada, "--since", "1h") == types_of(ada)
    assert types_of(ada, "--until", "1h") == types_of(ada, "--type", "other") == []
    assert len(ada.does("events", "read", "odd", "--since", times[4], "-o", "json").json) == 1


def test_events_are_listed_by_what_a_filter_means(ada: Person) -> None:
    for number in range(6):
        tags = ["--tag", "even"] if number % 2 == 0 else []
        ada.does("events", "append", f"count-{number % 3}", f"t{number}", *tags)

    assert types_of(ada, "--tag", "even") == ["t0", "t2", "t4"]
    assert types_of(ada, "--tag", "even", "--prefix", "count-1") == ["t4"]
    assert types_of(ada, "--category", "count", "--type", "t1", "--type", "t5") == ["t1", "t5"]
    assert types_of(ada, "--tag", "even", "--backwards", "--limit", "1") == ["t4"]
    assert types_of(ada, "--tag", "even", "--stream", "count-2") == ["t2"]
    (one,) = ada.does("events", "list", "--type", "t3", "-o", "jsonl").lines
    correlation_id = one["context"]["correlationId"]
    assert types_of(ada, "--correlation", correlation_id) == ["t3"]
    tail = ("events", "tail", "--from", "1", "--tag", "even", "--limit", "3", "-o", "jsonl")
    assert [line["event"]["type"] for line in ada.does(*tail).lines] == ["t0", "t2", "t4"]
    done = ada.girih("events", "list", "--stream", "s", "--prefix", "p")
    assert (done.code, "--prefix" in done.err) == (2, True)


def test_a_time_that_is_none_is_wrong_usage(ada: Person) -> None:
    done = ada.girih("events", "list", "--since", "yesterday")

    assert (done.code, "--since" in done.err, "2h" in done.err) == (2, True, True)


def test_streams_are_listed_by_how_they_begin(ada: Person) -> None:
    for stream in ("permit-2", "permit-1", "other", "permit-1"):
        ada.does("events", "append", stream, "t")
    # What is noted of their safety comes in between whenever it does.
    first, second = (
        ada.does("events", "read", stream, "-o", "jsonl").lines[-1]["position"]
        for stream in ("permit-1", "permit-2")
    )

    listed = ada.does("streams", "list", "--prefix", "permit-", "-o", "json").json
    assert [(one["stream"], one["lastRevision"], one["lastPosition"]) for one in listed] == [
        ("permit-1", 1, first),
        ("permit-2", 0, second),
    ]
    assert first > second
    names = ada.does("streams", "list", "-o", "name").out.split()
    assert [name for name in names if name[0] != "$"] == ["other", "permit-1", "permit-2"]
    assert ada.does("streams", "list", "--prefix", "none").out == ""


def test_schemas_are_registered_shown_listed_kept_to_and_deleted(
    ada: Person, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text('{"type": "object", "required": ["by"]}')
    second.write_text('{"type": "object", "required": ["grantedBy"]}')
    steps = '[{"rename": {"path": "/by", "name": "grantedBy"}}]'

    ada.does("schemas", "register", "granted", "1", str(first))
    broken = ada.girih("schemas", "register", "granted", "2", str(second))
    ada.does("schemas", "register", "granted", "2", str(second), "--compatibility", "none")
    ada.does("schemas", "upcast", "granted", "1", "2", "-", stdin=steps)
    listed = ada.does("schemas", "list", "--type", "granted", "-o", "json").json
    shown = ada.does("schemas", "show", "granted", "--version", "1", "-o", "json").json
    refused = ada.girih("events", "append", "s", "granted", "{}", "--schema-version", "1")
    ada.does("events", "append", "s", "granted", '{"by": "Ada"}', "--schema-version", "1")
    upcast = [
        ada.does("events", *of, "--upcast", "-o", "json").json[-1]["event"]
        for of in (("list", "--type", "granted"), ("read", "s"))
    ]
    ada.does("schemas", "delete", "granted", "--yes")

    assert [(one["json"], one["schemaVersion"]) for one in upcast] == [
        ({"grantedBy": "Ada"}, 2)
    ] * 2
    assert (broken.code, "SCHEMA_INCOMPATIBLE" in broken.err) == (1, True)
    assert [(one["version"], one["hasUpcaster"]) for one in listed] == [(1, True), (2, False)]
    assert shown["schema"] == {"type": "object", "required": ["by"]}
    assert shown["upcaster"]["steps"] == json.loads(steps)
    assert (refused.code, "SCHEMA_VIOLATED" in refused.err) == (65, True)
    assert ada.does("schemas", "list", "--type", "granted", "-o", "json").json == []
    assert ada.girih("schemas", "show", "granted").code == 66


def test_streams_are_shown_retained_and_deleted(ada: Person) -> None:
    for number in range(3):
        ada.does("events", "append", "room-1", "entered", str(number))

    ada.does("streams", "retain", "room-1", "--last", "2", "--yes")
    shown = ada.does("streams", "show", "room-1").out
    assert "the last 2" in shown
    assert "1 to 2" in shown
    assert len(ada.does("events", "read", "room-1", "-o", "json").json) == 2
    position = ada.does("events", "read", "room-1", "-o", "json").json[-1]["position"]
    ada.does("streams", "redact", str(position), "an address", "--yes")
    redacted = ada.does("events", "read", "room-1", "-o", "json").json[-1]
    assert redacted["gone"]["reason"] == "GONE_REASON_REDACTED"
    ada.does("streams", "delete", "room-1", "--yes")
    assert "deleted" in ada.does("streams", "show", "room-1").out
    assert ada.does("streams", "list", "--category", "room", "-o", "name").out == "room-1\n"


def test_snapshots_are_saved_and_loaded_with_what_lies_behind_them(ada: Person) -> None:
    for number in range(3):
        ada.does("events", "append", "hall-1", "entered", str(number))
    assert "none that fits" in ada.does("streams", "load", "hall-1").out

    saved = ada.does("streams", "save", "hall-1", "1", "-", "--schema-version", "2", stdin="[0, 1]")
    loaded = ada.does("streams", "load", "hall-1", "-o", "json").json
    shown = ada.does("streams", "load", "hall-1", "--schema-version", "3").out
    passed_over = ada.does("streams", "load", "hall-1", "--schema-version", "1", "-o", "json").json
    refused = ada.girih("streams", "save", "hall-1", "9", "{}")

    assert saved.err == "kept\n"
    assert loaded["snapshot"]["json"] == [0, 1]
    assert [one["event"]["json"] for one in loaded["events"]] == [2]
    assert "2, which is an older one" in shown
    assert "1 behind it" in shown
    assert passed_over["snapshot"] is None
    assert (refused.code, "SNAPSHOT_REVISION_NOT_FOUND" in refused.err) == (66, True)
    assert ada.girih("streams", "save", "hall-1", "1", "{").code == 65


def test_a_trace_is_drawn_as_a_tree(ada: Person) -> None:
    def append(stream: str, type_: str, causation_id: str) -> str:
        event = {"id": str(uuid4()), "stream": stream, "type": type_}
        headers = {
            "authorization": f"Bearer {held_by(ada).access_token}",
            "x-correlation-id": "c-1",
            "x-causation-id": causation_id,
        }
        url = f"{ada.environ['GIRIH_URL']}/v1/events:append"
        assert httpx.post(url, json={"events": [event]}, headers=headers, timeout=30).is_success
        return event["id"]

    first = append("permit-1", "submitted", "a-form")
    second = append("permit-2", "checked", first)
    append("permit-1", "granted", first)
    last = append("permit-3", "noted", second)

    rows = [line.split("\t") for line in ada.does("events", "trace", "c-1").out.splitlines()]
    assert [(row[1], row[2], row[4]) for row in rows] == [
        ("submitted", "permit-1", "a-form"),
        ("├─ checked", "permit-2", ""),
        ("│  └─ noted", "permit-3", ""),
        ("└─ granted", "permit-1", ""),
    ]
    answer = ada.does("events", "trace", "c-1", "-o", "json").json
    assert [(one["depth"], one["recorded"]["event"]["type"]) for one in answer] == [
        (0, "submitted"),
        (1, "checked"),
        (2, "noted"),
        (1, "granted"),
    ]
    assert ada.does("events", "trace", "c-1", "-o", "name").out.split()[2] == last
    part = ada.does("events", "trace", "c-1", "--limit", "2")
    assert (len(part.out.splitlines()), "--limit" in part.err) == (2, True)
    nothing = ada.does("events", "trace", "c-2")
    assert (nothing.out, "no event" in nothing.err) == ("", True)


@contextmanager
def tailing(person: Person, *words: str) -> Iterator["subprocess.Popen[str]"]:
    child = subprocess.Popen(
        person.command("events", "tail", "--json", *words),
        cwd=ROOT,
        env={**person.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def read_until(child: "subprocess.Popen[str]", words: str) -> None:
    """Read its errors up to the line that holds `words`."""
    assert child.stderr is not None
    assert any(words in line for line in iter(child.stderr.readline, ""))


def next_type(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return str(json.loads(child.stdout.readline())["event"]["type"])


def test_a_tail_tells_what_was_and_what_comes(ada: Person) -> None:
    ada.does("events", "append", "s", "was")

    with tailing(ada, "--stream", "s", "--from", "1") as child:
        assert next_type(child) == "was"
        ada.does("events", "append", "other", "elsewhere")
        ada.does("events", "append", "s", "comes")
        assert next_type(child) == "comes"


def test_a_tail_ends_after_as_many_events_as_asked(ada: Person) -> None:
    for number in range(3):
        ada.does("events", "append", "s", f"t{number}")

    answer = ada.does("events", "tail", "--stream", "s", "--from", "1", "--limit", "2", "--json")

    assert [one["event"]["type"] for one in answer.lines] == ["t0", "t1"]


def test_a_tail_goes_on_where_it_was_when_the_gateway_is_killed(
    ada: Person, system: System
) -> None:
    ada.does("events", "append", "s", "before")
    with tailing(ada, "--stream", "s", "--from", "1") as child:
        assert next_type(child) == "before"

        system.gateway.kill()
        read_until(child, "trying again")
        system.gateway.start()
        system.gateway.wait_ready()
        ada.does("events", "append", "s", "after")
        ada.does("events", "append", "s", "and more")

        assert [next_type(child), next_type(child)] == ["after", "and more"]
        child.terminate()
        _, output = child.communicate(timeout=60)
    assert "is back" in output


def test_a_tail_survives_the_end_of_its_token(ada: Person, system: System) -> None:
    """The stream ends with the token it was opened with, and the next one takes another."""
    ada.does("events", "append", "s", "before")
    ends_s = int(time.time()) + 8
    short = system.authority.token(held_by(ada).tenant_id, exp=ends_s)
    with CredentialsFile(ada.credentials).locked() as sessions:
        url = ada.environ["GIRIH_URL"]
        # The clock of this machine is wrong: the token looks good for longer than it is.
        sessions[url] = replace(sessions[url], access_token=short, expires_at_s=time.time() + 600)

    with tailing(ada, "--stream", "s", "--from", "1") as child:
        assert next_type(child) == "before"
        time.sleep(max(0.0, ends_s + 0.5 - time.time()))
        ada.does("events", "append", "s", "after")
        assert next_type(child) == "after"


def test_a_reader_that_goes_away_ends_it_quietly(ada: Person) -> None:
    for number in range(3):
        ada.does("events", "append", "s", f"t{number}")

    with tailing(ada, "--from", "1") as child:
        next_type(child)
        assert child.stdout is not None
        child.stdout.close()
        ada.does("events", "append", "s", "one more")
        code = child.wait(timeout=30)

    assert code == 141
