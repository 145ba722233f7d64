"""Which girih this is, and what it stands on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import girih
from cli.terminal import output
from cli.terminal.formats import Format

_PACKAGES = ("grpcio", "protobuf", "asyncpg", "numba", "numpy", "starlette", "uvloop")


def installed() -> dict[str, str]:
    """Versions by name; "missing" for what is not installed."""
    ours = {"girih": girih.__version__, "python": platform.python_version()}
    return ours | {name: _version(name) for name in _PACKAGES}


def show(output_format: Format) -> None:
    versions = installed()
    output.thing(versions, output_format, name=versions["girih"], pairs=versions.items())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
