"""The folders of workers are left by nobody for ever, and taken from nobody."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.lattice.distributed.folders import WorkersFolder
from tests.authority import Authority
from tests.lattice.serving import replica
from tests.processes import Process

BEGIN = """
import time
from services.lattice.distributed.folders import WorkersFolder

folder = WorkersFolder()
print(folder.path, flush=True)
time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def killed(temporary: Path) -> Iterator[str]:
    """The folder of a process that was killed -9."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        left = process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
        process.wait()
        yield left


def there(*folders: str) -> list[bool]:
    return [Path(folder).is_dir() for folder in folders]


async def test_a_folder_that_was_left_is_removed_at_the_next_start_and_one_in_use_is_not(
    killed: str, event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    used = WorkersFolder()
    before = there(killed, used.path)

    async with replica(event_store[1], authority, tenant):
        behind = there(killed, used.path)

    used.remove()
    assert (before, behind) == ([True, True], [False, True])
    assert there(used.path) == [False]
