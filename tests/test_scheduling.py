"""A run in several processes keeps together what shares something, and begins with what is long;
its files lie in memory, and what all import is compiled by one.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import choose_temporary_folder
from tests.processes import ROOT
from tests.scheduling import APART, FIRST, TOGETHER, compile_once, is_compiled, scope_of


@pytest.mark.parametrize("name", sorted({*APART, *FIRST, *TOGETHER}))
def test_what_is_named_is_there(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/cli/test_up.py::test_a[x::y]", "tests/cli/test_up.py"),
        ("tests/security/test_scopes.py::test_a", "tests/security/"),
        (f"{APART[0]}::test_a[x]", f"{APART[0]}::test_a[x]"),
    ],
)
def test_tests_stay_together_by_file_by_folder_or_not_at_all(nodeid: str, scope: str) -> None:
    assert scope_of(nodeid) == scope


def test_files_lie_where_it_is_said_or_as_ever_without_a_memory_for_files(tmp_path: Path) -> None:
    chosen, defaulted = {"TMPDIR": "/said"}, dict[str, str]()

    choose_temporary_folder(chosen)
    choose_temporary_folder(defaulted, tmp_path / "none")

    assert (chosen, defaulted) == ({"TMPDIR": "/said"}, {})


def test_files_lie_in_memory_that_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.conftest._MEMORY_BYTES", 0)
    monkeypatch.setattr(os, "ST_NOEXEC", 0)
    environ = dict[str, str]()

    choose_temporary_folder(environ, tmp_path)

    assert environ == {"TMPDIR": str(tmp_path)}


def test_tests_that_were_never_imported_are_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_file = tmp_path / "test_never.py"
    test_file.write_text("def test_nothing() -> None:\n    assert True\n")
    monkeypatch.setattr("tests.scheduling._LAST", test_file)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    before = is_compiled(test_file)

    compile_once([str(test_file)])

    assert (before, is_compiled(test_file)) == (False, True)
