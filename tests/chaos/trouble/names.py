"""Names of hosts that are what we say, for this process and those that it starts.

For that it goes into a mount namespace of its own, in which /etc/hosts is another file. That takes
a right which root has, and not in every container.
"""

import ctypes
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_HOSTS = "/etc/hosts"
_CLONE_NEWNS = 0x00020000


class NotAllowed(Exception):
    """What a proof needs of the machine it may not have here; the message says what that is."""


@dataclass(frozen=True)
class Names:
    """The file that says what names mean."""

    file: Path

    def say(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """Have each name mean its addresses, and the machine's own names what they did."""
        lines = [f"{one} {name}" for name, ones in addresses.items() for one in ones]
        # Written over in its place: another file would not be where it is mounted.
        self.file.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))


def own_names(folder: Path) -> Names:
    """Names of our own from now on, for good: call it before there are other threads.

    Raises NotAllowed.
    """
    names = Names(folder / "hosts")
    names.say({})
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise NotAllowed(f"names of our own need a mount namespace: {reason}")
    _mount("--make-rprivate", "/")
    _mount("--bind", str(names.file), _HOSTS)
    return names


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.CalledProcessError) as error:
        problem = getattr(error, "stderr", None) or str(error).encode()
        raise NotAllowed(f"mount {' '.join(arguments)}: {problem.decode().strip()}") from error
