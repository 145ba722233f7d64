"""docs/reference/metrics.md against what the processes register."""

import pytest

from docs import metrics_table
from docs.metrics_table import LABELS, Registered, page, registered


@pytest.fixture(scope="module")
def all_registered() -> Registered:
    return registered()


def test_the_page_of_metrics_fits_what_the_processes_register(all_registered: Registered) -> None:
    assert metrics_table.PAGE.read_text(encoding="utf-8") == page(all_registered), "run `make docs`"


def test_the_page_says_where_the_values_of_every_label_come_from(
    all_registered: Registered,
) -> None:
    families = [family for process in all_registered.families.values() for family in process]

    used = {label for family in families for label in family.labels} | {"process"}
    assert used == LABELS.keys()


def test_every_metric_says_what_it_is(all_registered: Registered) -> None:
    families = [family for process in all_registered.families.values() for family in process]

    assert [family.name for family in families if not family.help.endswith(".")] == []
