"""Statements live in files of their own. This reads them and knows nothing of their meaning."""

from functools import cache
from importlib.resources import files
from typing import Final

TRANSACTION: Final = "transaction"
"""What begins, ends, or marks a place in a transaction."""
OTHER: Final = "other"
"""A statement that is in no file: there are few, and none is asked often."""

_names: dict[str, str] = {}


@cache
def load(package: str, name: str) -> str:
    """The statement in `name`.sql of `package`, which is a dotted name.

    Raises RuntimeError when the file is not there: that is no fault of the database, which is
    what errors of the system mean to whoever asks for a statement.
    """
    try:
        text = files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    except OSError as error:
        raise RuntimeError(f"the statement {name} of {package} cannot be read: {error}") from None
    _names[text] = name
    return text


def name_of(text: str) -> str:
    """What a statement is called in numbers and lines: as its file, or one of two words."""
    name = _names.get(text)
    if name is not None:
        return name
    return TRANSACTION if text.startswith(_OF_TRANSACTIONS) else OTHER


_OF_TRANSACTIONS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
