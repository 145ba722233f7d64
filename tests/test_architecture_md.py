"""What docs/architecture.md says of the repository is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

LINKS = sorted(set(re.findall(r"\]\(\.\./([\w/.]+)\)", TEXT)))


@pytest.mark.parametrize("link", LINKS)
def test_every_file_that_is_linked_exists(link: str) -> None:
    assert (ROOT / link).is_file()


def test_every_room_is_on_the_page() -> None:
    rooms = {
        folder.name
        for top in ("services/events", "services/lattice", "services/plumbing", "gateway", "cli")
        for folder in (ROOT / top).iterdir()
        if (folder / "__init__.py").is_file()
    }

    missing = sorted(room for room in rooms if f"{room}/" not in TEXT)
    assert missing == []
