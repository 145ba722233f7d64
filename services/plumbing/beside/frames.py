"""What two processes that belong together send each other: values with numbers, either way.

Pickled, as the standard library does between processes: what is read was written by the same
program, over a pair of sockets that no file names, so that nobody else can speak on it.
"""

import pickle
import struct
from typing import Any, Final

HEAD: Final = struct.Struct("!QQ")
"""The number of a value, and how many bytes it takes."""


def frame(number: int, value: object) -> bytes:
    """A value as it is sent. Takes a copy of what it holds."""
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(number, len(content)) + content


def value_of(content: bytes) -> Any:  # noqa: ANN401 - what was sent
    """The value that comes behind a head."""
    return pickle.loads(content)  # noqa: S301 - see above
