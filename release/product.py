"""The two distributions: their version, and what they say that they need."""

import tomllib
from typing import Final

from girih import __version__
from release.components import ROOT

VERSION: Final = __version__


def needed() -> list[str]:
    """What both need directly, as requirements; one the other's version aside."""
    server = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    light = tomllib.loads((ROOT / "girih" / "pyproject.toml").read_text(encoding="utf-8"))
    return [*server["dependency-groups"]["server"], *light["project"]["dependencies"]]
