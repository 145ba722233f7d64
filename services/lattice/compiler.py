"""Where compiled kernels are kept and how they run, set before the compiler is imported.

Imports neither the compiler nor the kernels.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from services.lattice.kernels.sources import digest

_LOCATORS = "services.lattice.kernels.cache.KernelCacheLocator,UserProvidedCacheLocator"


@dataclass(frozen=True)
class KernelCache:
    """Where compiled kernels of this version are kept, and how that looks now."""

    directory: Path
    is_writable: bool
    """Where it is not, each process has a copy of its own, and compiles what is missing anew."""
    is_filled: bool
    """Kernels were compiled there before."""

    @classmethod
    def of(cls, cache_dir: Path | None, environ: Mapping[str, str]) -> Self:
        """That of `cache_dir`, or without it of the user's cache directory. Makes the directory."""
        directory = (cache_dir or _user_cache_dir(environ)) / f"kernels-{digest()}"
        is_filled = any(directory.glob("*/*.nbc"))
        return cls(directory, _is_writable(directory), is_filled)


def configure_compiler(cache_dir: Path | None, environ: MutableMapping[str, str]) -> KernelCache:
    """Choose a directory for compiled kernels and tell the compiler; answer which.

    `cache_dir`, or without it the user's cache directory, gets one directory per version of
    the kernels. Where that cannot be written, as in an image whose files cannot change, a private
    temporary copy of it is used and removed at the end of the process: never a directory that
    others can write, since the compiler runs what it finds there.
    """
    cache = KernelCache.of(cache_dir, environ)
    chosen = cache if cache.is_writable else replace(cache, directory=_temporary(cache))
    environ["NUMBA_CACHE_DIR"] = str(chosen.directory)
    environ["NUMBA_CACHE_LOCATOR_CLASSES"] = _LOCATORS
    # Threads that wait actively take the cores of other processes for milliseconds.
    environ["OMP_WAIT_POLICY"] = "passive"
    environ["NUMBA_THREADING_LAYER"] = "omp"
    return chosen


def _user_cache_dir(environ: Mapping[str, str]) -> Path:
    stated = environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(stated) if stated else Path.home() / ".cache") / "girih"
    except RuntimeError:  # a user without a home
        return Path(os.devnull)


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _temporary(cache: KernelCache) -> Path:
    temporary = tempfile.mkdtemp(prefix="girih-kernels-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    if cache.is_filled:
        shutil.copytree(cache.directory, temporary, dirs_exist_ok=True)
    return Path(temporary)
