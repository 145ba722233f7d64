"""Writes what the product consists of as CycloneDX 1.6: `python -m release.sbom FILE`.

The same for one commit, byte for byte: it tells no time, and its number is made of its content.
"""

import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from release.components import Component, components, named
from release.product import VERSION, needed

Json = dict[str, Any]

_NUMBERS: Final = uuid.UUID("5d7c2e0a-4b0e-5c36-9d55-3c1f1e0d9b61")
_TYPES: Final = {"PyPI": "pypi", "npm": "npm"}


def document(parts: Sequence[Component], direct: Sequence[str]) -> Json:
    """All parts, what each needs, and that the product needs `direct` and what browsers load."""
    own = {name: f"pkg:pypi/{name}@{VERSION}" for name in ("girih-server", "girih")}
    places = {(one.ecosystem, one.name): _place(one) for one in parts}
    loaded = [places[key] for key in places if key[0] == "npm"]
    top = sorted({places["PyPI", name] for name in direct}) + loaded
    needs = [
        {"ref": own["girih-server"], "dependsOn": [own["girih"], *top]},
        {"ref": own["girih"]},
        *(
            {"ref": _place(one), "dependsOn": [places[one.ecosystem, name] for name in one.needs]}
            for one in parts
        ),
    ]
    content: Json = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _own("girih-server", "application", own)},
        "components": [_own("girih", "library", own), *map(_component, parts)],
        "dependencies": needs,
    }
    number = uuid.uuid5(_NUMBERS, json.dumps(content, sort_keys=True))
    return {"serialNumber": f"urn:uuid:{number}", **content}


def _own(name: str, kind: str, own: dict[str, str]) -> Json:
    return {
        "type": kind,
        "bom-ref": own[name],
        "name": name,
        "version": VERSION,
        "licenses": [{"license": {"id": "MIT"}}],
        "purl": own[name],
    }


def _component(one: Component) -> Json:
    return {
        "type": "library",
        "bom-ref": _place(one),
        "name": one.name,
        "version": one.version,
        "licenses": [{"expression": one.licence}],
        "purl": _place(one),
        **({"externalReferences": [_files(one)]} if one.hashes else {}),
    }


def _files(one: Component) -> Json:
    """The hashes of all files that the lock allows: a wheel for each platform, and the source."""
    return {
        "type": "distribution",
        "url": _place(one),
        "hashes": [{"alg": "SHA-256", "content": value} for value in one.hashes],
    }


def _place(one: Component) -> str:
    return f"pkg:{_TYPES[one.ecosystem]}/{one.name}@{one.version}"


def main(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = document(components(needed()), named(needed()))
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
