"""The servers that logs are on, each with what is kept of it: below one folder, for all places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.backups.repository import Repository
from cli.backups.tools import Tools

DEFAULT: Final = "default"
_PLACES: Final = "places"
_SERVER: Final = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True)
class Server:
    """One that runs."""

    name: str
    """Of the first place that is on it."""
    url: str
    databases: Mapping[str, str]
    """The URLs of all places that are on it, by their names."""


def servers(tools: Tools, urls: Mapping[str, str]) -> Sequence[Server]:
    """The servers that places are on, by their names: a backup of one has all that are on it.

    Raises Failed for one that does not answer.
    """
    urls_of: dict[str, dict[str, str]] = {}
    for name, url in urls.items():
        urls_of.setdefault(tools.query(url, _SERVER), {})[name] = url
    return [Server(next(iter(one)), next(iter(one.values())), one) for one in urls_of.values()]


def repository(folder: Path, name: str) -> Repository:
    """Where backups are of the server that is called after a place."""
    return Repository(folder if name == DEFAULT else folder / _PLACES / name)


def repositories(folder: Path) -> Mapping[str, Repository]:
    """All that are below a folder, by the place that each is called after, `default` first."""
    names = sorted(path.name for path in (folder / _PLACES).glob("*") if path.is_dir())
    return {name: repository(folder, name) for name in (DEFAULT, *names)}


def data(into: Path, name: str) -> Path:
    """Where the server is restored that is called after a place."""
    return (into if name == DEFAULT else into / _PLACES / name) / "postgres"
