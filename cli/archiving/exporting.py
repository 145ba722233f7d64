"""A log into an archive: part by part, so that whoever is interrupted goes on behind the last."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cli import exit_codes
from cli.archiving import archive, lines
from cli.archiving.archive import PartWriter
from cli.archiving.manifest import NAME, Manifest
from cli.failure import Failed
from girih import __version__
from girih.client.blocking.client import Client
from girih.client.blocking.transfer import Transfer
from girih.events.v1 import events_pb2, transfer_pb2

PART_COUNT_MAX: Final = 50_000
"""Events of a part."""
PART_BYTES_MAX: Final = 64 * 2**20
"""Of its lines, before they are packed; it ends with the event that reaches them."""
_ATTEMPTS_MAX: Final = 5


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where an archive is made, and how."""

    folder: Path
    key: bytes | None = None
    """Seals it."""
    part_count_max: int = PART_COUNT_MAX
    on_part: Callable[[Manifest], None] = lambda _manifest: None


def export(girih: Client, to: Destination) -> Manifest:
    """Have all of the log in the archive that was there when this began, and the snapshots.

    What the folder holds already is not read again: it is looked at whether the log still has it.
    Raises Failed when it has not, or when the folder is another archive's, and GirihError.
    """
    archive.prepared(to.folder)
    manifest = _begun(to)
    log, transfer = girih.log(), Transfer.of(girih)
    _check_same(manifest, log.incarnation, transfer)
    manifest = replace(manifest, incarnation=log.incarnation)
    while manifest.head < log.head:
        manifest = _with_next_part(manifest, transfer, log.head, to)
        to.on_part(manifest)
    manifest = replace(_with_snapshots(manifest, transfer, to), exported_at=_now())
    manifest.write(to.folder, to.key)
    return manifest


def _begun(to: Destination) -> Manifest:
    if (to.folder / NAME).exists():
        manifest = Manifest.read(to.folder, to.key)
        if manifest.is_sealed != (to.key is not None):
            message = f"{to.folder} holds an archive that is not sealed: do not say --key"
            raise Failed(message, exit_codes.USAGE)
        return manifest
    if any(to.folder.glob("[!.]*.gz*")):
        raise Failed(f"{to.folder} holds parts without a manifest", exit_codes.CANTCREAT)
    return Manifest(archive_id=str(uuid.uuid4()), girih=__version__, is_sealed=to.key is not None)


def _check_same(manifest: Manifest, incarnation: str, transfer: Transfer) -> None:
    """See that the archive's last event is the log's: then all before it are, by their digests."""
    if not manifest.parts:
        return
    if manifest.incarnation == incarnation:
        return
    page = transfer.digests(1)
    tree = manifest.tree
    copied = type(tree)()
    while page.events and copied.leaf_count < manifest.head:
        for event in page.events:
            if copied.leaf_count < manifest.head:
                copied.add(event.leaf_digest)
        page = transfer.digests(copied.leaf_count + 1)
    if copied.root() != tree.root():
        message = "the log does not hold what the archive has of it: it was restored, or is another"
        raise Failed(f"{message} one. Export into another folder.", exit_codes.DATAERR)


def _with_next_part(manifest: Manifest, transfer: Transfer, head: int, to: Destination) -> Manifest:
    first = manifest.head + 1
    name = f"events-{first:012}.jsonl.gz{'.sealed' if to.key else ''}"
    tree = manifest.tree
    with PartWriter(to.folder, name, first, to.key) as part:
        for recorded, digests in _events(transfer, manifest, head):
            part.add(lines.line_of(recorded, digests))
            tree.add(digests.leaf_digest)
            if part.count >= to.part_count_max or part.line_bytes >= PART_BYTES_MAX:
                break
        manifest = replace(manifest.with_part(part.finished(), tree), exported_at=_now())
    manifest.write(to.folder, to.key)
    return manifest


def _events(
    transfer: Transfer, manifest: Manifest, head: int
) -> Iterator[tuple[events_pb2.RecordedEvent, transfer_pb2.EventDigests]]:
    """The events behind the archive's last, up to `head`, with their digests."""
    after = manifest.head
    reading = transfer.records(after, head - after, incarnation=manifest.incarnation)
    digests: dict[int, transfer_pb2.EventDigests] = {}
    for response in reading:
        for recorded in response.events:
            if recorded.position not in digests:
                page = transfer.digests(recorded.position, incarnation=manifest.incarnation)
                digests = {one.position: one for one in page.events}
            yield _settled(transfer, recorded, digests[recorded.position])


def _settled(
    transfer: Transfer, recorded: events_pb2.RecordedEvent, digests: transfer_pb2.EventDigests
) -> tuple[events_pb2.RecordedEvent, transfer_pb2.EventDigests]:
    """Both as of one moment: rules may hide an event, or show it again, between the two."""
    for _ in range(_ATTEMPTS_MAX):
        if recorded.HasField("gone") == bool(digests.payload_digest):
            return recorded, digests
        (response,) = transfer.records(recorded.position - 1, 1)
        recorded = response.events[0]
        digests = transfer.digests(recorded.position, 1).events[0]
    message = f"the event at position {recorded.position} comes and goes by its stream's rules"
    raise Failed(f"{message}; export again", exit_codes.TEMPFAIL)


def _with_snapshots(manifest: Manifest, transfer: Transfer, to: Destination) -> Manifest:
    name = f"snapshots-{manifest.head:012}.jsonl.gz{'.sealed' if to.key else ''}"
    with PartWriter(to.folder, name, 0, to.key) as part:
        for saved in transfer.snapshots():
            if saved.first_position <= manifest.head:
                part.add(lines.snapshot_line_of(saved))
        finished = part.finished()
    if manifest.snapshots is not None and manifest.snapshots.name != name:
        (to.folder / manifest.snapshots.name).unlink(missing_ok=True)
    return replace(manifest, snapshots=finished)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
