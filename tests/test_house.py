"""Promises about the repository itself."""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import pictures, settings_table

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("pyproject.toml", "girih/pyproject.toml")
_variable = re.compile(r'"(GIRIH_[A-Z_]+)"')
_link = re.compile(r"\]\(([^)\s]+)\)")
LOCKS = sorted(ROOT.glob("requirements*.txt"))
SOURCES = (
    *("services", "gateway", "cli", "girih", "girih_server"),
    *("release", "docs", "examples", "bench", "tests"),
)
_no_term = re.compile("(^|_)(found|told|said|says|tells?|heard|hears?|patience)(_|$)")
_suspicious = re.compile("found|told|said|says|tell|hear|patience|home", re.IGNORECASE)
"""Only a file that has one of these can have such a name: to look through all takes long."""


def test_locks_exist_for_what_each_is_installed_for() -> None:
    assert [lock.name for lock in LOCKS] == [
        "requirements-bench.txt",
        "requirements-dev.txt",
        "requirements-docs.txt",
        "requirements-release.txt",
        "requirements.txt",
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_address_and_hashes_everything(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    pins = re.findall(r"^[a-z0-9._-]+==", text, re.MULTILINE | re.IGNORECASE)
    hashed = re.findall(r"^[a-z0-9._-]+==[^\n]*\\\n +--hash=", text, re.MULTILINE | re.IGNORECASE)
    assert pins
    assert len(pins) == len(hashed)


def test_every_dependency_is_locked() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    locked = (ROOT / "requirements.txt").read_text().lower()

    for dependency in groups["server"] + groups["build"]:
        name = re.split(r"[><=; ]", dependency, maxsplit=1)[0].lower()
        assert f"\n{name}==" in f"\n{locked}", name


def test_distributions_are_built_with_what_is_locked() -> None:
    server, light = (tomllib.loads((ROOT / name).read_text()) for name in PROJECTS)

    assert light["build-system"]["requires"] == server["dependency-groups"]["build"]
    assert set(server["build-system"]["requires"]) <= set(server["dependency-groups"]["build"])


def test_both_distributions_carry_the_licence() -> None:
    assert (ROOT / "LICENSE").read_text() == (ROOT / "girih/LICENSE").read_text()


def test_the_page_of_settings_fits_the_classes() -> None:
    assert settings_table.PAGE.read_text() == settings_table.page(), "run `make docs`"


def test_the_page_of_settings_has_what_the_command_and_the_client_read() -> None:
    page = settings_table.page()
    sources = [*(ROOT / "cli").rglob("*.py"), *(ROOT / "girih").rglob("*.py")]
    read = {name for one in sources for name in _variable.findall(one.read_text())}

    assert {"GIRIH_URL", "GIRIH_DATA"} <= read
    assert {name for name in read if f"`{name}`" not in page} == set()


def test_the_pictures_are_what_is_drawn() -> None:
    drawn = {f"{name}.svg": draw().svg() for name, draw in pictures.PICTURES.items()}
    kept = {one.name: one.read_text(encoding="utf-8") for one in pictures.FOLDER.iterdir()}

    assert kept == drawn, "run `make docs`"


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in _link.findall(page.read_text())]
    inside = [(page, link) for page, link in links if not link.startswith(("http:", "https:"))]

    assert len(inside) > 50
    assert [(page.name, link) for page, link in inside if not _leads(page, link)] == []


def _leads(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not heading or heading in _headings(target))


def _headings(page: Path) -> set[str]:
    """As they are linked to."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_generated_stubs_are_not_committed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "girih"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")

    assert [name for name in tracked.stdout.split() if "_pb2" in name or "binpb" in name] == []


def test_nothing_is_committed_that_git_is_told_to_ignore() -> None:
    """A forced add of a folder takes along what was installed in it."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--ignored", "--exclude-standard"]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_make_looks_for_a_python_once(tmp_path: Path) -> None:
    """Those that pyenv puts on the PATH take seconds to say that a version is not there."""
    asked = tmp_path / "asked"
    for version, exit_code in (("3.13", 1), ("3.12", 0)):
        command = tmp_path / f"python{version}"
        command.write_text(f"#!/bin/sh\necho {version} >> {asked}\nexit {exit_code}\n")
        command.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environ.pop("PYTHON", None)

    done = subprocess.run(
        ["make", "--dry-run", "free-ports"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "python3.12 -B -m cli.local.addresses" in done.stdout
    assert asked.read_text().split() == ["3.13", "3.12"]


def test_names_are_terms_of_the_field() -> None:
    """A name says what a value is: a record, a match, a deadline. That it was found or told says
    only how it came."""
    files = [file for folder in SOURCES for file in sorted((ROOT / folder).rglob("*.py"))]

    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in files
        if "_pb2" not in file.name
        if _suspicious.search(source := file.read_text(encoding="utf-8"))
        for line, name in _bound_names(ast.parse(source))
        if not _is_term(name)
    ]

    assert len(files) > 1_000
    assert wrong == []


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "for told in (): pass",
        "def tell(): pass",
        "def ask(_said): pass",
        "class Home: pass",
        "class ToldProcess: pass",
        "one.patience_s = 1",
        "import asyncio as heard",
        "match 1:\n    case found_at: pass",
    ],
)
def test_a_name_that_is_no_term_of_the_field_is_seen(source: str) -> None:
    (bound,) = [name for _, name in _bound_names(ast.parse(source)) if name not in ("one", "ask")]

    assert _suspicious.search(source)
    assert not _is_term(bound)


def _bound_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What a module names itself, but for tests, whose names are sentences, and `found` as a field,
    which the contract has."""
    fields = set[ast.expr]()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if name != "found" or node not in fields:
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.alias(asname=str(name)) | ast.MatchAs(name=str(name)):
                yield node.lineno, name
            case ast.ClassDef(name=name, body=body):
                # A class comes before what is in it.
                fields |= {one.target for one in body if isinstance(one, ast.AnnAssign)}
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not name.startswith("test_"):
                    yield node.lineno, name


def _is_term(name: str) -> bool:
    """Not found is what gRPC calls it."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("not_found", "")
    return not _no_term.search(words) and not re.search("Home(?![a-z])", name)
