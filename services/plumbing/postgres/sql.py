"""Statements live in files of their own. This reads them and knows nothing of their meaning."""

from functools import cache
from importlib.resources import files


@cache
def load(package: str, name: str) -> str:
    """The statement in `name`.sql of `package`, which is a dotted name."""
    return files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")
