"""Every list on terminals of any width, and for programs."""

import importlib
import pkgutil
from types import SimpleNamespace
from typing import Any

import pytest

import cli.commands
from cli.terminal import table
from cli.terminal.output import Listing, folded
from cli.terminal.table import Column

UUIDS = ("3f2a9c1e-52f4-4a0e-9f38-0b7d6c1d2e3f", "3f2a9c1e-52f4-7a0e-9f38-0b7d6c1d2e3f")
MOMENT = "2026-11-29T05:50:02.451050Z"
NAME = "Abū ʿAlī al-Ḥasan\tibn al-Haytham 星の模様 \x1b[31m of the second house"
EMAIL = "abu.ali.al.hasan.ibn.al.haytham@observatory.of.the.second.house.example.org"
USER = {"userId": UUIDS[0], "email": EMAIL, "name": NAME}
LATTICE = {
    "latticeId": UUIDS[0],
    "shape": [1_000_000] * 10,
    "vertices": 10**60,
    "edges": "9" * 60,
    "bytesHeld": 2**40,
    "createdAt": MOMENT,
    "boundaries": ["BOUNDARY_OPEN"] * 10,
}
EVENT = {
    "position": 123_456_789,
    "recordedAt": MOMENT,
    "event": {"id": UUIDS[0], "stream": "s" * 255, "type": "t" * 255, "json": {"note": NAME * 9}},
}
KEY = {"keyId": UUIDS[0], "name": NAME, "scopes": ["events.append", "events.read"] * 3}
INVITATION = {
    "invitationId": UUIDS[0],
    "email": EMAIL,
    "role": "ROLE_OWNER",
    "createdAt": MOMENT,
    "expiresAt": MOMENT,
}
ROWS: dict[str, list[Any]] = {
    "lattices._LATTICES": [LATTICE, {**LATTICE, "latticeId": UUIDS[1], "shape": [3]}],
    "lattices._DISTANCES": [{"site": [10**9] * 10, "distance": 1.23456789e9}],
    "events._EVENTS": [EVENT],
    "events._TRACE": [
        {
            **EVENT,
            "context": {"actor": f"user:{UUIDS[0]}"},
            "branch": "│  " * 12 + "└─ ",
            "causedBy": f"position 123,456,789 of {'c' * 64}",
        }
    ],
    "streams._STREAMS": [
        {
            "stream": "s" * 255,
            "lastRevision": 123_456_789,
            "firstPosition": 123_456_789,
            "lastPosition": 123_456_789,
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
        }
    ],
    "schemas._VERSIONS": [
        {
            "type": "t" * 255,
            "version": 2**31 - 1,
            "compatibility": "COMPATIBILITY_BACKWARD",
            "registeredAt": MOMENT,
            "byteCount": 49_152,
            "hasUpcaster": True,
        }
    ],
    "keys._KEYS": [KEY, {**KEY, "createdAt": MOMENT, "expiresAt": MOMENT, "lastUsedAt": MOMENT}],
    "members._MEMBERS": [{"user": USER, "role": "ROLE_OWNER", "joinedAt": MOMENT}],
    "members._INVITATIONS": [INVITATION],
    "sessions._SESSIONS": [
        {
            "sessionId": UUIDS[0],
            "isCurrent": True,
            "tenantName": NAME,
            "address": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "agent": NAME * 9,
            "openedAt": MOMENT,
            "refreshedAt": MOMENT,
        }
    ],
    "tenants._TENANTS": [
        {
            "tenant": {"tenantId": UUIDS[0], "name": NAME},
            "role": "ROLE_OWNER",
            "joinedAt": MOMENT,
        }
    ],
    "groups._GROUPS": [
        {
            "group": "g" * 100,
            "laneCount": 4096,
            "consumerCount": 4096,
            "position": 123_456_789,
            "heldCount": 10**6,
            "parkedCount": 10**6,
        }
    ],
    "groups._LANES": [
        {
            "lane": 4095,
            "position": 123_456_789,
            "lagCount": 123_456_789,
            "lag": "31536000.123456s",
            "heldCount": 10**6,
            "parkedCount": 10**6,
            "consumer": UUIDS[0],
        }
    ],
    "groups._PARKED": [
        {
            "position": 123_456_789,
            "key": "s" * 255,
            "attemptCount": 10**6,
            "waitingCount": 10**6,
            "parkedAt": MOMENT,
            "reason": NAME * 9,
        }
    ],
    "projections._PROJECTIONS": [
        {
            "projection": "p" * 63,
            "state": "STATE_REBUILDING",
            "position": 123_456_789,
            "lagEvents": 123_456_789,
            "quarantinedCount": 10**6,
            "movedAt": MOMENT,
            "problem": NAME * 9,
        }
    ],
    "projections._QUARANTINE": [
        {
            "position": 123_456_789,
            "stream": "s" * 255,
            "type": "t" * 255,
            "problem": NAME * 9,
            "setAsideAt": MOMENT,
        }
    ],
    "logs._PLACED": [
        {
            "tenant": UUIDS[0],
            "place": "p" * 63,
            "movingTo": "q" * 63,
            "reachable": True,
            "headPosition": "123456789",
            "copiedPosition": "123456789",
        }
    ],
    "changes._HISTORY": [
        {
            "revision": "123456789",
            "kind": "CHANGE_KIND_FIELD_TRANSFORMED",
            "name": "f" * 64,
            "recordedAt": MOMENT,
            "actor": f"user:{UUIDS[0]}",
            "digest": "d" * 64,
        }
    ],
    "commands._FIELDS": [
        {
            "name": "f" * 64,
            "numberType": "NUMBER_TYPE_FLOAT64",
            "sizeBytes": 2**40,
            "writtenAt": MOMENT,
            "digest": "d" * 64,
        }
    ],
    "jobs._JOBS": [
        {
            "jobId": UUIDS[0],
            "latticeId": UUIDS[1],
            "simulation": {"cellularAutomaton": {}},
            "state": "JOB_STATE_SUCCEEDED",
            "steps": 10**9,
            "progress": {"stepsDone": 10**9},
            "startedAt": MOMENT,
        }
    ],
    "structure._COMPONENTS": [
        {
            "label": 10**9,
            "size": 10**9,
            "first": [10**9] * 10,
            "spanning": [True] * 10,
            "wrapping": [True] * 10,
        }
    ],
    "structure._CENTRAL": [{"site": [10**9] * 10, "value": -1.23456789012e-300}],
    "databases._BACKUPS": [
        {
            "name": "20261130T000000Z",
            "place": "p" * 40,
            "endedAt": MOMENT,
            "byteCount": 2**44,
            "firstSegment": "000000010000000000000001",
            "serverVersion": "PostgreSQL 18.0",
        }
    ],
    "usage._USAGE": [("calls in 2026-11", f"{10**12:,}", "no limit")],
    "signing_keys._KEYS": [
        {"kid": "k" * 43, "issuer": "gateway.girih", "state": "trusted", "retireAtS": 1.8e9}
    ],
    "running._PROCESSES": [
        SimpleNamespace(name="gateway", state="healthy", pid=4_194_304, address="http://[::1]" * 9)
    ],
}


def listings() -> dict[str, Listing]:
    """Every list of the command, by the module and the name that it has there."""
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(cli.commands.__path__, "cli.commands.")
    ]
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Listing)
    }


def test_every_list_is_looked_at_here() -> None:
    assert listings().keys() == ROWS.keys()


@pytest.mark.parametrize("width", [20, 60, 80, 120])
@pytest.mark.parametrize("name", ROWS)
def test_no_list_is_wider_than_the_terminal(name: str, width: int) -> None:
    columns = [column for column in listings()[name].columns if not column.is_wide]

    lines = list(table.fitted(columns, ROWS[name], width))

    assert len(lines) == len(ROWS[name]) + 1
    assert all(table.text_width(line) <= width and line.isprintable() for line in lines), lines
    assert all(line.strip() for line in lines[1:])


def ids(*names: str) -> list[str]:
    columns = (Column(title="id", cell=str, is_id=True), Column(title="x", cell=lambda _row: "x"))
    return [line.split()[0] for line in table.fitted(columns, names, 30)][1:]


def test_ids_are_shortened_no_further_than_they_can_be_told_apart() -> None:
    assert ids(*UUIDS) == ["3f2a9c1e-52f4-4", "3f2a9c1e-52f4-7"]
    assert ids("0" * 36, "1" * 36) == ["0" * 8, "1" * 8]


def test_programs_get_every_cell_whole_and_numbers_without_commas() -> None:
    columns = (
        Column(title="id", cell=lambda row: row[0], is_id=True),
        Column(title="n", cell=lambda row: row[1], is_number=True, rank=9),
        Column(title="text", cell=lambda row: row[2], is_text=True),
    )

    [line] = table.separated(columns, [(UUIDS[0], "1,234", "long, " * 200)])

    assert line.split("\t") == [UUIDS[0], "1234", "long, " * 200]


def test_rows_that_come_later_fit_as_well() -> None:
    columns = (Column(title="text", cell=str, is_text=True),)

    lines = list(table.fitted(columns, ["short", "long " * 50], 40, looked_at=1))

    assert all(len(line) <= 40 for line in lines)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("星の模様", 5, "星の…"),
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("e\u0301te", 3, "e\u0301te"),
    ],
)
def test_a_text_is_cut_by_the_columns_that_it_takes(text: str, width: int, shown: str) -> None:
    assert table.cut(text, width) == shown


def test_a_word_that_is_too_long_begins_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")

    lines = list(folded("keys  ", "one; GIRIH_TRUSTED_KEYS=/folder/keys.json two"))

    assert lines == ["keys  one;", "      GIRIH_TRUSTED_KEYS=/fold", "      er/keys.json two"]
    assert list(folded("keys  ", "")) == ["keys  "]
