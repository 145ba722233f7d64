"""A hook of the build: makes the stubs that the wheel of girih consists of. Nothing imports it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class StubsHook(BuildHookInterface[Any]):
    """Makes them as every import in a checkout does; a source distribution comes with them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's own signature
        package = Path(self.root)
        if (package / "generate.py").is_file():
            subprocess.run([sys.executable, "-m", "girih"], cwd=package.parent, check=True)
