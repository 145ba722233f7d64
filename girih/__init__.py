"""The contract of girih as Python has it: messages, stubs, and the client (`girih.client`).

Stubs are generated from `protos/`, never edited and never committed. In a checkout, importing
this package compares them with the protos they came from and makes them anew when they differ,
so that no process can run on stale or missing ones. A wheel comes with them.
"""

from pathlib import Path

__all__ = ["DESCRIPTOR_SET", "PROTO_PATH", "__version__"]

__version__ = "0.1.0"
"""The one place of the version: both distributions take it from here."""

_PACKAGE = Path(__file__).resolve().parent

DESCRIPTOR_SET = _PACKAGE / "descriptors.binpb"
"""A serialized FileDescriptorSet of the contract and its imports, with all comments."""

PROTO_PATH = _PACKAGE.parent
"""Where protoc finds `girih/events/v1/events.proto` and the others that contracts may import."""

# What makes them is not part of the wheel.
if (_PACKAGE / "generate.py").is_file():
    from girih.generate import ensure

    ensure()
