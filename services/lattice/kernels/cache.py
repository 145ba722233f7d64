"""Where the compiler keeps what it made of a kernel, whichever folder its source lies in."""

from pathlib import Path

from numba.core.caching import UserProvidedCacheLocator


class KernelCacheLocator(UserProvidedCacheLocator):
    """For the files of this folder and of those in it.

    The directory that the compiler is told is named after the text of all kernels already. Its own
    locator adds where they lie, so that every environment would compile for itself: each new
    one of `uvx` or `pipx`, and each checkout. The compiler still compares the text of the file.
    """

    @classmethod
    def from_function(cls, py_func: object, py_file: str) -> "KernelCacheLocator | None":
        if not Path(py_file).is_relative_to(Path(__file__).parent):
            return None
        located: KernelCacheLocator | None = super().from_function(py_func, py_file)  # type: ignore[no-untyped-call] # numba has no types
        return located

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        return Path(py_file).parent.name
