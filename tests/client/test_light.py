"""The client is light: whoever imports it gets nothing of the servers with it."""

import subprocess
import sys

PROGRAM = """
import sys
import girih.client
print(*sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""

# Python's own start, and what Cython leaves.
START = {"sitecustomize", "cython_runtime"}


def test_importing_the_client_brings_grpc_and_protobuf_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )

    brought = {name for name in done.stdout.split() if not name.startswith("_")} - START
    # gRPC brings those of its own that are installed.
    ours = {name for name in brought if not name.startswith("grpc")}
    assert ours <= {"girih", "google", "typing_extensions"}
