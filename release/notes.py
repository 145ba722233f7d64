"""Prints what a version changed, from CHANGELOG.md: `python -m release.notes VERSION`."""

import re
import sys
from typing import Final

from release.components import ROOT

_HEADING: Final = re.compile(r"^## ", re.MULTILINE)


def notes(changelog: str, version: str) -> str:
    """What stands below the heading of a version. Raises LookupError when there is none."""
    for section in _HEADING.split(changelog)[1:]:
        heading, _, text = section.partition("\n")
        if heading.split()[0] == version:
            return text.strip() + "\n"
    raise LookupError(f"CHANGELOG.md has no section of version {version}")


def main(version: str) -> int:
    try:
        print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version), end="")
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
