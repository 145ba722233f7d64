"""The client is light: whoever imports it gets nothing of the servers with it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import {module}
print(*sorted({{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)))
"""

# Python's own start, and what Cython leaves.
START = {"sitecustomize", "cython_runtime"}


@pytest.mark.parametrize("module", ["girih.client", "girih.testing"])
def test_importing_it_brings_grpc_and_protobuf_and_nothing_else(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    brought = {name for name in done.stdout.split() if not name.startswith("_")} - START
    # gRPC brings those of its own that are installed.
    ours = {name for name in brought if not name.startswith("grpc")}
    assert ours <= {"girih", "google", "typing_extensions"}
