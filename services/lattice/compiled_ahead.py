"""Compiles all kernels into LATTICE_KERNEL_CACHE_DIR, and ends: for images that never change.

LATTICE_KERNEL_CACHE_DIR=/opt/kernels python -m services.lattice.compiled_ahead
"""

import os
import sys
from pathlib import Path

from services.lattice.compiler import configure_compiler

_EX_CONFIG = 78


def main() -> int:
    """The exit code: 78 where nothing can be kept there."""
    directory = os.environ.get("LATTICE_KERNEL_CACHE_DIR")
    cache = configure_compiler(Path(directory) if directory else None, os.environ)
    if not cache.is_writable:
        sys.stderr.write(f"{directory or 'the cache directory'} cannot be written\n")
        return _EX_CONFIG
    from services.lattice.kernels import warm  # behind the choice: it imports the compiler

    warm.compile_all()
    sys.stdout.write(f"kernels are in {cache.directory}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
