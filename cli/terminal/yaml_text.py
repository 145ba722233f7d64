"""JSON as a text of YAML, which reads as the same by parsers of either version of YAML."""

import re
from typing import Final

import yaml

from cli.terminal.formats import Json

_TEXT: Final = "tag:yaml.org,2002:str"
_reads_differently = re.compile(
    "[\x85\u2028\u2029]"
    r"|\A(?:0o[0-7]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)\Z"
).search
"""What ends a line in YAML 1.1 alone, and what is a number in YAML 1.2 though it need not be one in
1.1, such as 08 or 12e3."""


def yaml_of(value: Json) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
    return text.rstrip("\n")


class _Dumper(yaml.SafeDumper):
    """Texts that versions of YAML read differently stand in double quotes, which escape that."""

    def represent_scalar(self, tag: str, value: str, style: str | None = None) -> yaml.ScalarNode:
        is_quoted = tag == _TEXT and _reads_differently(value)
        return super().represent_scalar(tag, value, '"' if is_quoted else style)
