"""What somebody waits for who opens the console."""

import pytest

from tests.browser.console import Console
from tests.e2e.chromium import in_full

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), in_full]

TRANSFERRED_BYTES_MAX = 300_000


def test_the_first_page_takes_little_to_transfer(console: Console) -> None:
    console.page.open(f"{console.url}/console/")
    console.page.wait_for("!!document.querySelector('.login form')")

    transferred = console.page.run(
        "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
        ".map((one) => one.transferSize)"
    )
    painted_ms = console.page.run(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    print(
        f"first contentful paint after {painted_ms:.0f} ms, {sum(transferred):,} bytes transferred"
    )
    assert len(transferred) > 10
    assert sum(transferred) < TRANSFERRED_BYTES_MAX
