"""JSON as a text of YAML, which reads as the same by parsers of either version of YAML."""

import re
from typing import Final

import yaml

from cli.terminal.formats import Json

_TEXT: Final = "tag:yaml.org,2002:str"
_has_old_breaks = re.compile("[\x85\u2028\u2029]").search
"""What ends a line in YAML 1.1, and is a character as any other in YAML 1.2."""


def yaml_of(value: Json) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
    return text.rstrip("\n")


class _Dumper(yaml.SafeDumper):
    """Texts that versions of YAML read differently stand in double quotes, which escape that."""

    def represent_scalar(self, tag: str, value: str, style: str | None = None) -> yaml.ScalarNode:
        is_quoted = tag == _TEXT and _has_old_breaks(value)
        return super().represent_scalar(tag, value, '"' if is_quoted else style)
