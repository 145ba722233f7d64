"""Where compiled kernels are kept and how they run, set before the compiler is imported.

Imports neither the compiler nor the kernels.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from services.lattice.kernels.sources import digest

_LOCATORS = "services.lattice.kernels.cache.KernelCacheLocator,UserProvidedCacheLocator"


def configure_compiler(cache_dir: Path | None, environ: MutableMapping[str, str]) -> Path:
    """Choose a directory for compiled kernels and tell the compiler; answer which.

    `cache_dir`, or without it the user's cache directory, gets one directory per version of
    the kernels. Where that cannot be written, a private temporary one is used and removed
    at the end of the process: never one that others can write, since the compiler runs
    what it finds there.
    """
    chosen = _writable((cache_dir or _user_cache_dir(environ)) / f"kernels-{digest()}")
    environ["NUMBA_CACHE_DIR"] = str(chosen)
    environ["NUMBA_CACHE_LOCATOR_CLASSES"] = _LOCATORS
    # Threads that wait actively take the cores of other processes for milliseconds.
    environ["OMP_WAIT_POLICY"] = "passive"
    environ["NUMBA_THREADING_LAYER"] = "omp"
    return chosen


def _user_cache_dir(environ: MutableMapping[str, str]) -> Path:
    stated = environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(stated) if stated else Path.home() / ".cache") / "girih"
    except RuntimeError:  # a user without a home
        return Path(os.devnull)


def _writable(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError:
        temporary = tempfile.mkdtemp(prefix="girih-kernels-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return Path(temporary)
