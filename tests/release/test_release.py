"""What a release comes with: its parts, their licences, what is known of them, and its notes."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from release import audit, notes, sbom
from release.components import LOCK, ROOT, Component, components, named, pins, vendored
from release.expressions import is_allowed, spelled
from release.product import VERSION, needed

LOCKS = sorted(ROOT.glob("requirements*.txt"))
VERSION_PATTERNS = {
    "deploy/Containerfile": r"-t girih:(\S+) ",
    "deploy/compose.yaml": r"girih:([\d.]+)\}",
    "deploy/helm/girih/Chart.yaml": r'(?:^version: |^appVersion: ")([\d.]+)',
    "deploy/helm/girih/values.yaml": r"^  tag: (\S+)",
    "docs/operate/deploy.md": r"-t girih:(\S+) ",
    "CHANGELOG.md": r"\A# Changelog\n.*?^## (\S+)",
}


@pytest.fixture(scope="module")
def parts() -> list[Component]:
    return components(needed())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_of_a_lock_is_read(lock: Path) -> None:
    lines = re.findall(r"^[\w.-]+==\S+", lock.read_text(encoding="utf-8"), re.MULTILINE)

    assert [f"{pin.name}=={pin.version}" for pin in pins(lock)] == lines
    assert all(pin.hashes for pin in pins(lock))


def test_the_product_consists_of_what_is_locked_but_for_what_builds_it(
    parts: list[Component],
) -> None:
    names = {one.name for one in parts if one.ecosystem == "PyPI"}
    here = {pin.name for pin in pins(LOCK) if pin.is_for_here}

    assert set(named(needed())) <= names <= here
    assert {"grpcio", "numba", "pycparser"} <= names
    assert "hatchling" in here - names


def test_what_browsers_load_is_a_part() -> None:
    assert {one.name for one in vendored()} >= {"preact", "htm", "uplot"}


def test_every_licence_is_one_that_we_take(parts: list[Component]) -> None:
    assert {one.name: one.licence for one in parts if not is_allowed(one.licence)} == {}


@pytest.mark.parametrize(
    ("expression", "is_taken"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only AND MIT", False),
        ("MPL-2.0 AND (Apache-2.0 OR GPL-2.0-only)", True),
        ("(MIT", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH LLVM-exception", False),
        ("MIT MIT", False),
        ("see LICENSE!", False),
        ("", False),
    ],
)
def test_an_expression_is_taken_when_it_leaves_us_a_licence(
    expression: str, is_taken: bool
) -> None:
    assert is_allowed(expression) == is_taken


def test_a_licence_is_spelled_as_spdx_does() -> None:
    assert spelled("uvloop", "MIT License") == "MIT"
    assert spelled("some", "Copyright (c) somebody\nPermission is hereby granted") == ""


def test_the_bill_names_each_part_once_and_what_it_needs(parts: list[Component]) -> None:
    bill = sbom.document(parts, named(needed()))
    places = [one["bom-ref"] for one in bill["components"]]
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    root = bill["metadata"]["component"]["bom-ref"]

    assert len(places) == len(set(places)) == len(parts) + 1
    assert set(needs) == {*places, root}
    assert _reached(root, needs) == {*places, root}


def _reached(place: str, needs: Mapping[str, list[str]]) -> set[str]:
    reached, waiting = set[str](), [place]
    while waiting:
        one = waiting.pop()
        if one not in reached:
            reached.add(one)
            waiting += needs[one]
    return reached


def test_equal_parts_make_equal_bills_and_others_another_number(parts: list[Component]) -> None:
    one, same, other = (sbom.document(some, []) for some in (parts, list(parts), parts[:-1]))

    assert json.dumps(one) == json.dumps(same)
    assert one["serialNumber"] != other["serialNumber"]


def test_the_notes_of_a_version_are_its_section() -> None:
    changelog = "# Changelog\n\n## 0.2.0 (unreleased)\n\n- b\n\n## 0.1.0\n\n- a\n"

    assert notes.notes(changelog, "0.2.0") == "- b\n"
    assert notes.notes(changelog, "0.1.0") == "- a\n"
    with pytest.raises(LookupError, match=r"0\.3\.0"):
        notes.notes(changelog, "0.3.0")


@pytest.mark.parametrize("name", VERSION_PATTERNS)
def test_what_names_the_version_names_this_one(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    versions = re.findall(VERSION_PATTERNS[name], text, re.MULTILINE | re.DOTALL)
    assert set(versions) == {VERSION}


Known = Mapping[str, list[list[str]]]
"""The ids of what is known of a package, in pages."""


@contextmanager
def database(known: Known) -> Iterator[str]:
    """Where one answers in the form of OSV."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = json.dumps({"results": [_result(one, known) for one in body["queries"]]})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _result(query: dict[str, Any], known: Known) -> dict[str, Any]:
    pages = known.get(query["package"]["name"], [])
    number = int(query.get("page_token", "0"))
    if number >= len(pages):
        return {}
    token = {"next_page_token": str(number + 1)} if number + 1 < len(pages) else {}
    return {"vulns": [{"id": one} for one in pages[number]], **token}


OLD = {"pyyaml": [["GHSA-old"]]}


def test_what_is_known_is_told_page_by_page() -> None:
    bad, good = audit.Part("npm", "preact", "1"), audit.Part("PyPI", "fine", "1")

    with database({**OLD, "preact": [["A", "B"], ["C"]]}) as url:
        assert audit.known(url, [good, bad]) == {bad: ["A", "B", "C"]}


def test_an_audit_ends_well_when_nothing_is_known_of_what_is_locked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "KNOWN_BAD", audit.Part("PyPI", "canary", "5.3"))

    with database({"canary": [["GHSA-old"]]}) as url:
        assert audit.main(url) == 0
    assert f"{len(audit.locked())} packages" in capsys.readouterr().out
    with database({"canary": [["GHSA-old"]], "grpcio": [["GHSA-new"]]}) as url:
        assert audit.main(url) == 1
    assert "GHSA-new" in capsys.readouterr().err


def test_an_audit_that_cannot_ask_says_that_nothing_was_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with database({}) as forgetful:
        assert audit.main(forgetful) == audit.UNAVAILABLE
    assert audit.main(forgetful) == audit.UNAVAILABLE  # nobody is there any more
    assert capsys.readouterr().err.count("nothing was checked") == 2


def test_what_is_accepted_and_not_told_any_more_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "KNOWN_BAD", audit.Part("PyPI", "canary", "5.3"))
    monkeypatch.setattr(audit, "ACCEPTED", {"GHSA-1": "is of Windows", "GHSA-2": "is of a server"})

    with database({"canary": [["GHSA-old"]], "grpcio": [["GHSA-1"]]}) as url:
        assert audit.main(url) == 1
    assert "GHSA-2 is accepted, and nobody tells of it any more" in capsys.readouterr().err
