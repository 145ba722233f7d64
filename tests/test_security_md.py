"""What SECURITY.md says of the repository is so."""

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs import settings_table

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")

TESTS = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", TEXT)))
MODULES = sorted(set(re.findall(r"python -m ([\w.]+)", TEXT)))
SETTINGS = sorted(set(re.findall(r"\b(?:GIRIH|GATEWAY|EVENTS|LATTICE)_[A-Z_]*[A-Z]\b", TEXT)))
LINKS = sorted(set(re.findall(r"\]\(([\w/.]+)\)", TEXT)))


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name for _, name in TESTS])
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in _functions_of(ROOT / file)


@pytest.mark.parametrize("risk", [f"API{number}" for number in range(1, 11)])
def test_every_risk_names_a_test(risk: str) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith(f"| **{risk}** ")]

    assert len(rows) == 1
    assert "::test_" in rows[0]


@pytest.mark.parametrize("module", MODULES)
def test_every_proof_that_is_named_exists(module: str) -> None:
    assert find_spec(module) is not None


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_that_is_named_exists(setting: str) -> None:
    assert f"`{setting}`" in settings_table.page()


@pytest.mark.parametrize("link", LINKS)
def test_every_page_that_is_linked_exists(link: str) -> None:
    assert (ROOT / link).is_file()


@cache
def _functions_of(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))
