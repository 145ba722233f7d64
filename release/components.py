"""What the product consists of: the packages in its lock, and the libraries of the console.

What a package says of itself is read where it is installed, in the environment of developers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final, Literal

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.expressions import spelled

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements.txt"
_NODE_LOCK: Final = ROOT / "gateway" / "site" / "package-lock.json"
_VENDORED: Final = ROOT / "gateway" / "site" / "console" / "vendor"

_PIN: Final = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]+?))?"
    r"(?P<hashes>(?: \\\n +--hash=sha256:[0-9a-f]{64})+)",
    re.MULTILINE,
)
_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """A line of a lock."""

    name: str
    version: str
    marker: str
    """For which machines, as in PEP 508; empty for all."""
    hashes: tuple[str, ...]
    """SHA-256 of each file that may be installed, in hexadecimal."""

    @property
    def is_for_here(self) -> bool:
        return not self.marker or Marker(self.marker).evaluate()


@dataclass(frozen=True)
class Component:
    """A part of the product that others made."""

    ecosystem: Literal["PyPI", "npm"]
    name: str
    version: str
    licence: str
    """An SPDX expression, or what the package says; empty when it says nothing."""
    hashes: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """The names of components of the same ecosystem."""


def pins(lock: Path) -> list[Pin]:
    """All of a lock, for whichever machine."""
    return [
        Pin(
            canonicalize_name(match["name"]),
            match["version"],
            (match["marker"] or "").strip(),
            tuple(_HASH.findall(match["hashes"])),
        )
        for match in _PIN.finditer(lock.read_text(encoding="utf-8"))
    ]


def components(needed: list[str]) -> list[Component]:
    """What a product consists of that needs these: packages as they are locked for this machine,
    with all that they need in turn, and the libraries of the console. Ordered by name.

    Raises LookupError for what is installed in another version than is locked, or not at all.
    """
    locked = {pin.name: pin for pin in pins(LOCK) if pin.is_for_here}
    components_by_name: dict[str, Component] = {}
    waiting = named(needed)
    while waiting:
        name = waiting.pop()
        if name not in components_by_name:
            components_by_name[name] = _installed(locked, name)
            waiting += components_by_name[name].needs
    return [*(components_by_name[name] for name in sorted(components_by_name)), *vendored()]


def named(needed: list[str]) -> list[str]:
    """The names of what these requirements ask for on this machine, extras included."""
    return [name for text in needed for name in _names(Requirement(text), "")]


def _installed(locked: Mapping[str, Pin], name: str) -> Component:
    pin, package = locked.get(name), distribution(name)
    if pin is None or package.version != pin.version:
        raise LookupError(
            f"{name} {package.version} is installed, and locked is {pin}: `make test`"
        )
    stated = map(Requirement, package.requires or ())
    needs = sorted({one for requirement in stated for one in _names(requirement, "")})
    return Component(
        "PyPI",
        name,
        pin.version,
        _licence(package),
        pin.hashes,
        tuple(one for one in needs if one in locked),
    )


def _names(requirement: Requirement, extra: str) -> Iterator[str]:
    """The package and, as its extras have it, others."""
    if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
        return
    yield canonicalize_name(requirement.name)
    for one in sorted(requirement.extras):
        for text in distribution(requirement.name).requires or ():
            inner = Requirement(text)
            if inner.marker and not inner.marker.evaluate({"extra": ""}):
                yield from _names(inner, one)


def _licence(package: Distribution) -> str:
    stated = package.metadata.json
    classifiers = (
        one.rpartition(" :: ")[2]
        for one in stated.get("classifier", [])
        if one.startswith("License ::")
    )
    licences = (stated.get("license_expression"), stated.get("license"), *classifiers)
    return next(
        (
            licence
            for one in map(str, filter(None, licences))
            if (licence := spelled(package.name, one))
        ),
        "",
    )


def vendored() -> list[Component]:
    """The libraries in the wheel of the server that browsers load."""
    packages = json.loads(_NODE_LOCK.read_text(encoding="utf-8"))["packages"]
    names = sorted(path.suffix.removeprefix(".") for path in _VENDORED.glob("LICENSE.*"))
    return [
        Component("npm", name, one["version"], one.get("license", ""), ())
        for name in names
        for one in [packages[f"node_modules/{name}"]]
    ]
