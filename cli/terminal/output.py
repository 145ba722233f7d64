"""How answers are printed: tables for people, documents for programs. stdout has nothing else.

A command hands over what it was answered and says what people see of it; the form is the
caller's choice.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import table
from cli.terminal.formats import Format, Json, with_numbers
from cli.terminal.pager import paged
from cli.terminal.table import Column

Pairs = Iterable[tuple[str, object]]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a list of things looks like."""

    columns: Sequence[Column]
    name: Callable[[Json], str]
    """What a thing is named by in other commands: its id."""
    nothing: str = ""
    """The sentence for a list without any."""

    def lines(
        self, rows: Iterable[Json], output_format: Format, *, live: bool = False
    ) -> Iterator[str]:
        """The rows as text, as they come; `live`, at once, without waiting for others."""
        if output_format is Format.name:
            return map(self.name, rows)
        if not output_format.is_for_people:
            return documents(map(dumped, rows), output_format)
        is_wide = output_format is Format.wide
        columns = [column for column in self.columns if is_wide or not column.is_wide]
        if sys.stdout.isatty():
            # Who wants everything gets it, as far as the terminal can show it.
            width = 10_000 if is_wide else _width()
            return table.fitted(columns, rows, width, looked_at=0 if live else table.LOOKED_AT)
        return table.separated(columns, rows)


def listing(
    rows: Iterable[Json],
    what: Listing,
    output_format: Format,
    *,
    limit: int = 0,
    pager: bool,
    live: bool = False,
) -> None:
    """Print a list, or a sentence beside stdout when it is empty."""
    shown = iter(islice(rows, limit or None))
    first = next(shown, None)
    if first is None and (output_format.is_for_people or output_format is Format.name):
        if what.nothing:
            message(what.nothing)
        return
    rest = shown if first is None else chain([first], shown)
    print_lines(what.lines(rest, output_format, live=live), pager=pager, live=live)


def thing(value: Json, output_format: Format, *, name: str, pairs: Pairs) -> None:
    """Print one thing: `pairs` of it for people, its `name`, or all of it."""
    if output_format.is_document:
        document(value, output_format)
    elif output_format is Format.name:
        print(name)
    else:
        record(pairs)


def document(value: Json, output_format: Format = Format.json) -> None:
    """One document; JSON in lines where somebody looks at it."""
    value = with_numbers(value)
    if output_format is Format.yaml:
        print(yaml_of(value))
    else:
        is_looked_at = output_format is Format.json and sys.stdout.isatty()
        print(json.dumps(value, ensure_ascii=False, indent=2 if is_looked_at else None))


def documents(texts: Iterable[str], output_format: Format) -> Iterator[str]:
    """JSON texts as lines, as one array with an element a line, or as a list of YAML."""
    if output_format is Format.jsonl:
        yield from texts
    elif output_format is Format.yaml:
        first = True
        for text in texts:
            first = False
            yield yaml_of([json.loads(text)])
        if first:
            yield "[]"
    else:
        before = ""
        yield "["
        for text in texts:
            if before:
                yield f"{before},"
            before = text
        if before:
            yield before
        yield "]"


def print_lines(lines: Iterable[str], *, pager: bool, live: bool = False) -> None:
    """Print lines as they come, a long list in a pager where somebody looks at it.

    `live` ones are on their way before the next is waited for.
    """
    with paged(wanted=pager) as stream:
        for line in lines:
            print(line, file=stream, flush=live)


def record(pairs: Pairs, *, beside: bool = False) -> None:
    """Names and values below each other, without those that are empty; `beside` stdout when
    that is for something else."""
    stream = sys.stderr if beside else sys.stdout
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "")]
    names_width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text = table.printable(value)
        if stream.isatty():
            print(*folded(f"{name:<{names_width}}  ", text), sep="\n", file=stream)
        else:
            print(f"{name}\t{text}", file=stream)


@contextmanager
def printed() -> Iterator[None]:
    """All is printed when it ends. Raises Failed for what cannot be written, or read."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        _forget_stdout()
        raise Failed("who read the output went away", exit_codes.READER_GONE) from error
    except OSError as error:
        _forget_stdout()
        where = error.filename or "stdout"
        raise Failed(f"{where}: {error.strerror or error}", exit_codes.IOERR) from error


def sentence(text: str) -> None:
    """A sentence that is the answer, its words broken where the terminal ends."""
    print(*folded("", text) if sys.stdout.isatty() else (text,), sep="\n")


def message(sentence: str) -> None:
    """A sentence for people, beside stdout."""
    print(sentence, file=sys.stderr)


def dumped(value: Json) -> str:
    """One line of JSON."""
    return json.dumps(with_numbers(value), ensure_ascii=False)


def moment(timestamp: str) -> str:
    """A timestamp of the contract in UTC, to the second; empty for none."""
    if not timestamp:
        return ""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return timestamp
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def word(name: str) -> str:
    """An enum value for people: ROLE_OWNER as owner, METHOD_CLOSED_FORM as closed form."""
    return " ".join(name.lower().split("_")[1:])


def size(byte_count: int) -> str:
    """A number of bytes in the unit in which it has at most four digits."""
    if byte_count < 10_000:
        return f"{byte_count:,} bytes"
    amount, units = byte_count / 1024, iter(("KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = next(units)
    while amount >= 10_000 and (larger := next(units, "")):
        amount, unit = amount / 1024, larger
    return f"{amount:,.1f} {unit}"


def yaml_of(value: Json) -> str:
    # Here, since what reads and writes YAML takes longer to import than most commands.
    from cli.terminal.yaml_text import yaml_of

    return yaml_of(value)


def _forget_stdout() -> None:
    """What is left in its buffer goes nowhere, instead of failing once more at the exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _width() -> int:
    return shutil.get_terminal_size().columns


def folded(head: str, text: str) -> Iterator[str]:
    """The words of a value, broken where the terminal ends, below where they began. A word that is
    longer than a line begins one."""
    room = max(20, _width() - len(head))
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > room:
            yield head + line
            head, line = " " * len(head), ""
        line = f"{line} {word}" if line else word
        while len(line) > room:
            yield head + line[:room]
            head, line = " " * len(head), line[room:]
    yield head + line
