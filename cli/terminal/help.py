"""How commands explain themselves: plain text as wide as the terminal, with examples.

Typer's own pages are drawn with rich, which takes longer to import than most commands take to
run, and cuts the names of options where the terminal is narrow.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cached_property
from inspect import signature
from typing import Any, TypeVar, get_args

import click
import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.main import get_command
from typer.models import ArgumentInfo

from cli.terminal import output

Verb = TypeVar("Verb", bound=Callable[..., object])

_NAMES_WIDTH_MAX = 28
"""Of the column of options. What is longer stands on a line of its own, above its help."""

_PAGE_WIDTH_MAX = 100
_ALIASES = {"--json": "--output=json"}


class Commands(typer.Typer):
    """Where verbs are added. Each comes with its examples: lines that one would type."""

    def __init__(
        self, help_text: str, *, epilog: str | None = None, is_first_meant: bool = False
    ) -> None:
        """`is_first_meant` has words that begin with no verb be for the first one."""
        super().__init__(
            cls=_GroupOfFirst if is_first_meant else _Group,
            help=help_text,
            epilog=epilog,
            no_args_is_help=True,
            suggest_commands=False,  # click does
            add_completion=False,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            context_settings={
                "help_option_names": ["-h", "--help"],
                "max_content_width": _PAGE_WIDTH_MAX,
            },
        )
        # Without it, a noun with a single verb would be that verb.
        self.callback()(_nothing)

    @cached_property
    def tree(self) -> click.Command:
        """All nouns and verbs, as click has them. Takes a tenth of a second, once."""
        return get_command(self)

    def __call__(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as typer
        return self.tree(*args, **options)

    def verb(
        self, name: str | None = None, *, examples: str, panel: str | None = None
    ) -> Callable[[Verb], Verb]:
        """Adds a function as a command; `panel` is the heading it stands under."""
        return self.command(name, cls=_Command, epilog=examples, rich_help_panel=panel)


def _nothing() -> None:
    pass


class _Command(TyperCommand):
    def __init__(self, *args: Any, **attributes: Any) -> None:  # noqa: ANN401 - as typer
        super().__init__(*args, **attributes)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument) and not parameter.help:
                parameter.help = _help_in_signature(self.callback, str(parameter.name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, without_aliases(args))

    def invoke(self, ctx: click.Context) -> object:
        # Within typer's own handling, which has one code for whatever cannot be printed.
        with output.printed():
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = [self.options_metavar or ""]
        for argument in self.get_params(ctx):
            if argument.param_type_name == "argument":
                name = _placeholder(argument)
                pieces.append(name if argument.required else f"[{name}]")
        return pieces

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: click 8.5 and newer tell them here, and they stand before the options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        examples = (self.epilog or "").strip().splitlines()
        with formatter.section("Examples" if len(examples) > 1 else "Example"):
            for line in examples:
                formatter.write(f"  {line.strip()}\n")


class _Group(TyperGroup):
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _write_parameters(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under their headings, each in the order in which it was added."""
        del ctx
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None)
            row = (name, command.get_short_help_str(_PAGE_WIDTH_MAX))
            panels.setdefault(heading if isinstance(heading, str) else "Commands", []).append(row)
        for heading, rows in panels.items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=_NAMES_WIDTH_MAX)


class _GroupOfFirst(_Group):
    """One whose first verb need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = next(iter(self.commands))
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [first, *args]
        return super().parse_args(ctx, args)


def first_meant(command: click.Group, words: Sequence[str]) -> Sequence[str]:
    """The words behind a group with the verb that is meant."""
    if isinstance(command, _GroupOfFirst) and not set(words[:1]) & set(command.commands):
        return [next(iter(command.commands)), *words]
    return words


def _help_in_signature(callback: Callable[..., object] | None, name: str) -> str:
    """What an argument is, where it was said: click 8.5 and newer forget what typer below 0.26
    tells them."""
    assert callback is not None, "a verb is a function"
    _, *annotations = get_args(signature(callback).parameters[name].annotation)
    return next((one.help or "" for one in annotations if isinstance(one, ArgumentInfo)), "")


def without_aliases(words: list[str]) -> list[str]:
    """The words of a command line with `--json` as what it is short for."""
    end = words.index("--") if "--" in words else len(words)
    return [_ALIASES.get(word, word) for word in words[:end]] + words[end:]


def _write_parameters(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    arguments, options = list[tuple[str, str]](), list[tuple[str, str]]()
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        if parameter.param_type_name == "argument":
            arguments.append((_placeholder(parameter), _described(parameter, record[1])))
        else:
            options.append((_spelled(parameter), _described(parameter, record[1])))
    for heading, rows in (("Arguments", arguments), ("Options", options)):
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=_NAMES_WIDTH_MAX)


def _spelled(option: click.Parameter) -> str:
    """The names of an option and what stands behind them, as in `-o, --output FORMAT`."""
    names = ", ".join(sorted(option.opts, key=len))
    if option.secondary_opts:
        names = f"{names} / {', '.join(option.secondary_opts)}"
    return names if getattr(option, "is_flag", False) else f"{names} {_placeholder(option)}"


def _placeholder(parameter: click.Parameter) -> str:
    """What stands for the value: as the parameter says, or the last word of its name."""
    *_, word = str(parameter.name).split("_")
    name = parameter.metavar or {"s": "SECONDS"}.get(word, word.upper())
    return f"{name}..." if parameter.nargs == -1 else name


def _described(parameter: click.Parameter, text: str) -> str:
    """The help of a parameter with its choices, before what stands in brackets."""
    if not isinstance(parameter.type, click.Choice):
        return text
    words, gap, brackets = text.partition("  [")
    return f"{words} One of {', '.join(map(_choice, parameter.type.choices))}.{gap}{brackets}"


def _choice(choice: object) -> str:
    return str(choice.value if isinstance(choice, Enum) else choice)
