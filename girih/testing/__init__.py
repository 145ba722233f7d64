"""An event store in memory, for the tests of those who use girih: gRPC in their own process.

    from girih.testing import MemoryServer

    with MemoryServer() as server, server.client() as girih:
        girih.append([NewEvent.with_data("permit-1", "submitted", {"by": "Ada"})])

It serves the contract as the event store does, and its tests are the same. What it does not serve
is told as not implemented: schemas, the database's status and everything of lattices.
"""

from girih.testing.server import MemoryServer

__all__ = ["MemoryServer"]
