"""What a girih stands on, made so that it may give way: its disk, its clock, its names of hosts.

Each takes something of the machine that may not be there: the right to mount, a C compiler. What is
not there is told, and what needs it left out.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.trouble.names import Names, NotAllowed, own_names

DISK_MIB = 160
"""Of a database, its log, arrays, and what processes write down."""
_SOURCE = Path(__file__).with_name("moved_clock.c")
_FILL_BYTES = 2**20


@dataclass(frozen=True)
class Disk:
    """A small file system in memory."""

    folder: Path

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.folder / "filler").open("ab", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(_FILL_BYTES)):
                pass

    def empty(self) -> None:
        """Give the room back."""
        (self.folder / "filler").unlink(missing_ok=True)


@dataclass(frozen=True)
class Clock:
    """The wall clock of every process that is started with `environ`."""

    file: Path
    library: Path

    @property
    def environ(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self.library), "MOVED_CLOCK": str(self.file)}

    def move(self, by_s: float) -> None:
        """Say how far it is from the right time from now on."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", int(by_s * 1e9)))


@dataclass(frozen=True)
class Ground:
    """What there is; None for what may not be had here."""

    names: Names | None
    disk: Disk | None
    clock: Clock | None
    problems: Mapping[str, str]
    """Why what is not there is not, by the name of its field."""


@contextmanager
def ground_in(folder: Path, *, has_disk: bool = True) -> Iterator[Ground]:
    """As much of it as there is. Call it before there are other threads."""
    problems: dict[str, str] = {}
    with ExitStack() as stack:
        names = disk = clock = None
        try:
            names = own_names(folder)
            disk = stack.enter_context(_disk(folder / "disk")) if has_disk else None
        except NotAllowed as error:
            problems |= {"names": str(error), "disk": str(error)}
        try:
            clock = _clock(folder)
        except NotAllowed as error:
            problems["clock"] = str(error)
        yield Ground(names, disk, clock, problems)


@contextmanager
def _disk(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "girih", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotAllowed(f"a small disk needs to be mounted: {error}") from error
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, timeout=30)


def _clock(folder: Path) -> Clock:
    clock = Clock(folder / "moved", folder / "moved_clock.so")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise NotAllowed("a clock that is moved needs a C compiler")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(clock.library), str(_SOURCE)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except subprocess.CalledProcessError as error:
        raise NotAllowed(f"{error.stderr.decode()}") from error
    clock.file.write_bytes(bytes(8))
    # Whoever the database runs as reads them.
    clock.library.chmod(0o755)
    return clock
