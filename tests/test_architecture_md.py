"""What docs/explanation/architecture.md says of the repository is so."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")

LINKS = sorted(set(re.findall(r"\]\(\.\./\.\./([\w/.]+)\)", TEXT)))
ROOMS = ("cli", "docs", "examples", "gateway", "girih", "services")

TOPS = (
    "services/events",
    "services/lattice",
    "services/projections",
    "services/plumbing",
    "gateway",
    "cli",
)

CROWDED = {"services/lattice/kernels", "services/events/postgres/sql"}
"""Folders of many small files of one kind, of which a reader wants one at a time."""

FILES_MAX = 16


@pytest.mark.parametrize("link", LINKS)
def test_every_file_that_is_linked_exists(link: str) -> None:
    assert (ROOT / link).is_file()


def test_every_package_is_on_the_page() -> None:
    packages = {
        folder.name
        for top in TOPS
        for folder in (ROOT / top).iterdir()
        if (folder / "__init__.py").is_file()
    }

    missing = sorted(name for name in packages if f"{name}/" not in TEXT)
    assert missing == []


def test_no_folder_is_crowded() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")

    counts = Counter(
        str(Path(name).parent)
        for name in tracked.stdout.split()
        if not name.endswith("__init__.py")
    )
    crowded = {folder: count for folder, count in counts.items() if count > FILES_MAX}
    assert {folder: count for folder, count in crowded.items() if folder not in CROWDED} == {}
