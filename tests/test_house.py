"""Promises about the repository itself."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from docs import settings_table

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("pyproject.toml", "girih/pyproject.toml")
LOCKS = sorted(ROOT.glob("requirements*.txt"))


def test_locks_exist_for_running_developing_and_measuring() -> None:
    assert [lock.name for lock in LOCKS] == [
        "requirements-bench.txt",
        "requirements-dev.txt",
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
