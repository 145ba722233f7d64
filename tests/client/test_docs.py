"""The programs of the documentation run as they stand, one after the other, in a folder."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.processes import ROOT, signed_in

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def programs(page: str, section: str = "") -> list[str]:
    """Those of a page, or of one section of it."""
    text = (ROOT / page).read_text()
    if section:
        text = re.split(r"^## ", text.partition(f"## {section}\n")[2], flags=re.MULTILINE)[0]
    return BLOCK.findall(text)


@pytest.fixture
def environ(
    address: str, lattice_address: str, authority: Authority, tenant: str, tmp_path: Path
) -> dict[str, str]:
    """Of somebody who is logged in."""
    return {
        **signed_in(authority, tenant, tmp_path / "sessions.json"),
        "GIRIH_EVENTS_ADDRESS": address,
        "GIRIH_LATTICE_ADDRESS": lattice_address,
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }


async def run(program: str, environ: dict[str, str], folder: Path) -> list[str]:
    """What it prints."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


async def test_the_programs_of_the_clients_page_run(
    environ: dict[str, str], tmp_path: Path
) -> None:
    printed = [await run(one, environ, tmp_path) for one in programs("docs/how-to/client.md")]

    licenses = {"license-submitted": 1, "license-granted": 1}
    once = {"submitted": 1, "approved": 1, "registered": 1, **licenses, "written": 1}
    counts = {"subscribed": 2, "invited": 2, **once}
    assert printed == [
        ["0 submitted {'by': 'Ada'}"],
        ["0 submitted {'by': 'Ada'}"],
        ["{'by': 'Omar'}"],
        ["ada is registered", "ada was taken at position 3"],
        ["[True, False, True, False]"],
        [
            "nobody grants what is their own",
            "License(submitted_by='Ada', granted_by='Omar') at revision 1",
        ],
        ["1 permit-1 submitted", "2 permit-1 approved"],
        ["['a', 'b'] 8"],
        ["{'to': 'Ada'} 1"],
        [f"Counter({counts}) as of 0.0 seconds ago"],
        ["99"],
        ["20 (21, 2) [9 0]", "(10, 10) True"],
        ["(2, 3) True 10 [19 29]"],
        ["True ['CREATED', 'WRITTEN', 'TRANSFORMED', 'UNDONE'] True", "succeeded (100, 4) energy"],
        ["True [[[9 9]]]"],
        ["passed"],
    ]


async def test_the_programs_of_the_readme_run(environ: dict[str, str], tmp_path: Path) -> None:
    printed = [
        await run(one, environ, tmp_path) for one in programs("README.md", "Use it from Python")
    ]

    assert [len(lines) for lines in printed] == [1, 1, 1, 2]


async def test_the_programs_of_the_packages_page_run(
    environ: dict[str, str], tmp_path: Path
) -> None:
    printed = [await run(one, environ, tmp_path) for one in programs("girih/README.md")]

    assert printed == [["1 submitted {'by': 'Ada'}"]]
