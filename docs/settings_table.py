"""Writes docs/reference/settings.md from the settings classes: `python -m docs.settings_table`."""

import ast
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from annotated_types import BaseMetadata
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.settings import Settings as GatewaySettings
from services.events.settings import Settings as EventsSettings
from services.lattice.settings import Settings as LatticeSettings
from services.plumbing.settings import InDevelopment
from services.projections.settings import Settings as ProjectionsSettings

PAGE = Path(__file__).parent / "reference" / "settings.md"
PROCESSES: dict[str, type[BaseModel]] = {
    "events": EventsSettings,
    "lattice": LatticeSettings,
    "projections": ProjectionsSettings,
    "gateway": GatewaySettings,
}

_HEAD = """\
# Settings

Every setting is an environment variable. A process reads them once, lists everything that is wrong
with them at once, and exits with 78 before it opens a port. `make docs` writes this page from the
classes, so it cannot be out of date.

A secret, such as `DATABASE_URL`, may lie in a file: `DATABASE_URL_FILE` names it then. White space
around it does not count. What keys, certificates and trusted keys are in are files anyway.
"""


_COMMAND = """
## The command `girih`

An option of the same meaning wins over its variable. Which girih a command calls, and
`girih.client` with it, is the first that is said: an option, then these from the top, the
`girih up` of the folder or of one above it, the last login.

| Variable | Meaning |
|---|---|
"""
_COMMAND_VARIABLES = {
    "GIRIH_URL": "The URL of a gateway.",
    "GIRIH_PROFILE": "The name of a login, as `girih login --profile NAME` gave it.",
    "GATEWAY_ADDRESS": "Where `girih up` serves REST, and so where commands call it.",
    "GIRIH_DATA": "The data directory of a `girih up`. Unset means the nearest `.girih`, in this"
    " folder or above.",
    "GIRIH_CREDENTIALS": "The file of the logins. Unset means `girih/credentials.json` in"
    " `XDG_CONFIG_HOME` or `~/.config`.",
    "GIRIH_API_KEY": "An API key in place of a login.",
    "GIRIH_EVENTS_ADDRESS": "Where `girih.client` finds events, as `host:port`. Unset means what"
    " `girih up` says, or port 50051 of the gateway's host.",
    "GIRIH_LATTICE_ADDRESS": "The same for lattice; port 50052.",
    "GIRIH_PASSWORD": "The password, which is asked for on a terminal otherwise.",
    "GIRIH_NEW_PASSWORD": "The one to change to, for `girih password`.",
    "GIRIH_BACKUP_DATABASE_URL": "The server that `girih backup` copies, by a login that may"
    " replicate. Unset means DATABASE_URL, or the server that `girih up` started.",
    "GIRIH_BACKUP_PLACES": "The databases of further places that it copies, as EVENTS_PLACES has"
    " them, by such logins; or `GIRIH_BACKUP_PLACES_FILE`. Unset means EVENTS_PLACES.",
    "GIRIH_INVITATION": "The token that `girih members accept` takes.",
}


def page() -> str:
    """The whole page."""
    shared = [name for name in _rows(EventsSettings) if name.startswith("GIRIH_")]
    parts = [_HEAD, "## All processes\n", *_table(EventsSettings, lambda name: name in shared)]
    for process, settings in PROCESSES.items():
        parts += [
            f"\n## {process}\n",
            *_table(settings, lambda name: name not in shared),
        ]
    command = (f"| `{name}` | {meaning} |\n" for name, meaning in _COMMAND_VARIABLES.items())
    return "\n".join(parts) + "\n" + _COMMAND + "".join(command)


def _table(settings: type[BaseModel], wanted: Callable[[str], bool]) -> Iterator[str]:
    yield "| Variable | Default | Bounds | Meaning |"
    yield "|---|---|---|---|"
    meanings = meanings_of(settings)
    for variable, (name, field) in _rows(settings).items():
        if wanted(variable):
            meaning = " ".join(meanings.get(name, "").split())
            yield f"| `{variable}` | {_default(field)} | {_bounds(field)} | {meaning} |"


def _rows(settings: type[BaseModel]) -> dict[str, tuple[str, FieldInfo]]:
    """The fields and their names, by variable."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    rows = {}
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        variable = alias if isinstance(alias, str) else f"{prefix}{name}".upper()
        rows[variable] = name, field
    return rows


def meanings_of(settings: type[BaseModel]) -> dict[str, str]:
    """The texts below the fields, by their names. Read here and not by pydantic, with which
    every process would read its own source at each start."""
    meanings: dict[str, str] = {}
    for one in reversed(settings.__mro__):
        if not issubclass(one, BaseModel) or one.__module__.startswith("pydantic"):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(definition, ast.ClassDef), "it is a class"
        for statement, below in itertools.pairwise(definition.body):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(text))):
                    meanings[name] = text
    return meanings


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    default = "unset" if field.default is None else f"`{field.default}`"
    for marker in field.metadata:
        if isinstance(marker, InDevelopment):
            return f"{default}, in development `{marker.default}`"
    return default


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(bound, name):,}"
        for bound in field.metadata
        if isinstance(bound, BaseMetadata)
        for name, sign in signs.items()
        if hasattr(bound, name)
    )


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
