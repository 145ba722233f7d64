"""The command `girih` as pages: what each verb says of itself, a page a noun."""

from collections.abc import Iterator
from typing import Final

import click

from cli.main import app
from docs.site.prose import inline, joined, table

FOLDER: Final = "reference/commands"
WIDTH: Final = 84
"""Of what a command says, in characters."""

_HEAD = """\
# The command `girih`

What each command says of itself with `-h`. Which girih a command calls, and the variables that
stand for options, are in [settings](../settings.md#the-command-girih).
"""


def pages() -> Iterator[tuple[str, str]]:
    """The first with the verbs that have no noun, then each noun."""
    tree = app.tree
    assert isinstance(tree, click.Group), "girih has verbs"
    nouns = {name: one for name, one in _shown(tree) if isinstance(one, click.Group)}
    verbs = {name: one for name, one in _shown(tree) if name not in nouns}
    rows = [(f"[`girih {name}`]({name}.md)", _short(one)) for name, one in nouns.items()]
    rows += [(f"[`girih {name}`](#girih-{name})", _short(one)) for name, one in verbs.items()]
    yield (
        f"{FOLDER}/README.md",
        joined(
            _HEAD,
            table(("Command", "What it does"), rows),
            _help(tree, "girih"),
            *(_section(one, f"girih {name}") for name, one in verbs.items()),
        ),
    )
    for name, noun in nouns.items():
        sections = (_section(one, words) for words, one in _below(noun, f"girih {name}"))
        yield f"{FOLDER}/{name}.md", joined(f"# girih {name}", _short(noun), *sections)


def _shown(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    return ((name, one) for name, one in group.commands.items() if not one.hidden)


def _below(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    for name, one in _shown(group):
        if isinstance(one, click.Group):
            yield from _below(one, f"{words} {name}")
        else:
            yield f"{words} {name}", one


def _section(command: click.Command, words: str) -> str:
    return joined(f"## {words}", _help(command, words))


def _help(command: click.Command, words: str) -> str:
    context = click.Context(
        command, info_name=words, terminal_width=WIDTH, help_option_names=["-h", "--help"]
    )
    return f"```text\n{command.get_help(context)}\n```"


def _short(command: click.Command) -> str:
    return inline(command.get_short_help_str(WIDTH))
