"""The stubs of the contract, generated from `protos/`, never edited and never committed.

Importing this package compares them with the protos they came from and makes them anew
when they differ, so that no process can run on stale or missing ones. Where the protos
are not beside the package (an installed wheel), the stubs came with it.
"""

from girih.generate import DESCRIPTOR_SET, ensure

__all__ = ["DESCRIPTOR_SET"]

ensure()
