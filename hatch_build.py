"""A hook of the build: what the distribution of the server needs. Nothing imports it."""

import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ServerMetadata(MetadataHookInterface):
    """The requirements of the server, and the contract and the client of the very same version."""

    def update(self, metadata: dict[str, Any]) -> None:
        project = tomllib.loads((Path(self.root) / "pyproject.toml").read_text(encoding="utf-8"))
        girih = f"girih=={metadata['version']}"
        metadata["dependencies"] = [girih, *project["dependency-groups"]["server"]]
