"""Asks a database of vulnerabilities for all that is locked: `python -m release.audit`.

The database is OSV (OSV_URL, or https://api.osv.dev), which has those of PyPI and of npm. Ends
with 1 when it knows one that ACCEPTED does not have, and with 69 when it cannot be asked: then
nothing was checked. Whether it knows anything is seen by a version that is known to be bad.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import httpx

from release.components import ROOT, pins, vendored

UNAVAILABLE: Final = 69
"""As in sysexits.h."""

ACCEPTED: Final[Mapping[str, str]] = {}
"""Vulnerabilities that are known and do not concern girih, by their id: why not."""

_LOCKS: Final = "requirements*.txt"
_TIMEOUT_S: Final = 30.0
_BATCH: Final = 500
_PAGES_MAX: Final = 20


class Part(NamedTuple):
    ecosystem: str
    name: str
    version: str


KNOWN_BAD: Final = Part("PyPI", "pyyaml", "5.3")
"""CVE-2020-1747, of 2020: a database that does not know it knows nothing."""


class NothingWasChecked(Exception):
    """The database could not be asked, or does not answer as it should."""


def locked() -> list[Part]:
    """All packages of all locks, for whichever machine, and what browsers load."""
    packages = {
        Part("PyPI", pin.name, pin.version)
        for lock in sorted(ROOT.glob(_LOCKS))
        for pin in pins(lock)
    }
    return sorted({*packages, *(Part(one.ecosystem, one.name, one.version) for one in vendored())})


def known(url: str, parts: Sequence[Part]) -> dict[Part, list[str]]:
    """The ids of what is known of each part of which something is. Raises NothingWasChecked."""
    ids_of: dict[Part, list[str]] = {}
    asked = [KNOWN_BAD, *parts]
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:
        for begin in range(0, len(asked), _BATCH):
            _ask(client, asked[begin : begin + _BATCH], ids_of)
    if not ids_of.get(KNOWN_BAD):
        raise NothingWasChecked(f"{url} knows nothing of {KNOWN_BAD.name} {KNOWN_BAD.version}")
    return {part: ids for part, ids in ids_of.items() if ids and part in parts}


def _ask(client: httpx.Client, parts: Sequence[Part], ids_of: dict[Part, list[str]]) -> None:
    """Add what is known of parts, page by page."""
    waiting: list[tuple[Part, str]] = [(part, "") for part in parts]
    for _ in range(_PAGES_MAX):
        if not waiting:
            return
        answers = _answers(client, waiting)
        pages = list(zip((part for part, _ in waiting), answers, strict=True))
        for part, answer in pages:
            ids_of.setdefault(part, []).extend(one["id"] for one in answer.get("vulns", ()))
        waiting = [
            (part, token) for part, answer in pages if (token := answer.get("next_page_token"))
        ]
    raise NothingWasChecked("the answers have no end")


def _answers(client: httpx.Client, asked: Iterable[tuple[Part, str]]) -> list[dict[str, Any]]:
    queries = [
        {
            "package": {"ecosystem": part.ecosystem, "name": part.name},
            "version": part.version,
            **({"page_token": token} if token else {}),
        }
        for part, token in asked
    ]
    try:
        answer = client.post("/v1/querybatch", json={"queries": queries}).raise_for_status()
        results = answer.json()["results"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise NothingWasChecked(f"{client.base_url} cannot be asked: {error!r}") from error
    if not isinstance(results, list) or len(results) != len(queries):
        raise NothingWasChecked(f"{client.base_url} does not answer each question")
    return results


def main(url: str) -> int:
    parts = locked()
    try:
        bad = known(url, parts)
    except (NothingWasChecked, httpx.InvalidURL) as error:
        print(f"nothing was checked: {error}", file=sys.stderr)
        return UNAVAILABLE
    reported = {one for ids in bad.values() for one in ids}
    refused = {part: ids for part, ids in bad.items() if set(ids) - set(ACCEPTED)}
    for part, ids in refused.items():
        print(f"{part.name} {part.version}: {', '.join(ids)}", file=sys.stderr)
    for one in set(ACCEPTED) - reported:
        print(f"{one} is accepted, and nobody tells of it any more", file=sys.stderr)
    if refused or set(ACCEPTED) - reported:
        return 1
    print(f"nothing is known of {len(parts)} packages, but for {len(ACCEPTED)} that are accepted")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("OSV_URL", "https://api.osv.dev")))
