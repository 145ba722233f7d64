"""Mistakes to plant in the database of the service, to see the model find them.

Each is one that a store of this kind may well have. Everything else is the product.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

import asyncpg

from tests.chaos.unprotected import change_function, remove_protection

Fault = Callable[[str], Coroutine[None, None, None]]
"""Plants a mistake in the migrated database that a URL leads to."""


async def _written_otherwise(url: str, *, function: str, written: str, instead: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await change_function(connection, function, written, instead)
    finally:
        await connection.close()


FAULTS: Final[dict[str, Fault]] = {
    # What was decided on one head is written on another.
    "two-winners": remove_protection,
    # An event with several tags is found by the first alone.
    "tags-unlabelled": partial(
        _written_otherwise,
        function="label_new_records",
        written="CROSS JOIN unnest(tags) AS tag",
        instead="CROSS JOIN unnest(tags[:1]) AS tag",
    ),
    # The last event of a deleted stream is still read.
    "last-not-deleted": partial(
        _written_otherwise,
        function="change_stream",
        written="deleted_below = below,",
        instead="deleted_below = greatest(below - 1, 0),",
    ),
    # What was redacted is still read.
    "redacted-still-read": partial(
        _written_otherwise,
        function="change_stream",
        written="IF redacted IS NOT NULL THEN",
        instead="IF redacted < 0 THEN",
    ),
    # An event that lies where counting went on is never counted.
    "miscounted": partial(
        _written_otherwise,
        function="tally",
        written="position > counted AND position <= upto",
        instead="position > counted + sign(counted) AND position <= upto",
    ),
}
