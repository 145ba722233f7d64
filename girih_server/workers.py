"""What a worker of Dask loads before it works for the lattice service, as that is installed:

    dask worker tls://scheduler:8786 --nthreads 1 --memory-limit 2GiB --preload girih_server.workers

It reads LATTICE_KERNEL_CACHE_DIR, as the service does, and nothing else: where arrays are kept it
is told with its work.
"""

import os
from pathlib import Path

from girih_server import find_packages


def dask_setup(_worker: object) -> None:
    """Called by Dask when a worker begins, before anything imports the compiler."""
    find_packages()
    from services.lattice.compiler import configure_compiler

    directory = os.environ.get("LATTICE_KERNEL_CACHE_DIR")
    configure_compiler(Path(directory) if directory else None, os.environ)
