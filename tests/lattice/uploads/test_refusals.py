"""The short form of `tests.acceptance.refusals` for lattice."""

import asyncio

import pytest

from tests.acceptance import refusals


@pytest.mark.timeout(600)
def test_what_is_refused_leaves_nothing_behind_in_memory() -> None:
    # What forty leave behind would be seen: each is of 4 MiB.
    assert asyncio.run(refusals.main(count=40, mib=4, services=["lattice"])) == 0
