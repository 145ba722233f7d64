"""Which girih this is, and what it stands on."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version

import girih

_PACKAGES = ("grpcio", "protobuf", "asyncpg", "numba", "numpy", "starlette", "uvloop")


def installed() -> dict[str, str]:
    """Versions by name; "missing" for what is not installed."""
    ours = {"girih": girih.__version__, "python": platform.python_version()}
    return ours | {name: _version(name) for name in _PACKAGES}


def show(*, is_json: bool) -> None:
    if is_json:
        print(json.dumps(installed()))
    else:
        for name, value in installed().items():
            print(f"{name:<10} {value}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
