"""An archive into a log that holds nothing else, at the places where its events were."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli import exit_codes
from cli.archiving import archive, lines, verifying
from cli.archiving.lines import ArchivedEvent
from cli.archiving.manifest import Manifest
from cli.archiving.merkle import MerkleTree
from cli.failure import Failed
from girih.client.blocking.client import Client
from girih.client.blocking.transfer import Transfer
from girih.client.errors import Conflict, NotFound

_BATCH_COUNT_MAX: Final = 1_000
_BATCH_BYTES_MAX: Final = 4 * 2**20
"""Of events together, but for the first: one has at most 4 MiB, and a request twice as much."""
_MISPLACED: Final = "RESTORE_MISPLACED"


@dataclass(frozen=True, kw_only=True)
class Source:
    """An archive, and who is told how far it is."""

    folder: Path
    key: bytes | None = None
    on_head: Callable[[int], None] = lambda _head: None


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What came of it."""

    manifest: Manifest
    incarnation: str
    """The new one of the log."""
    present_count: int
    """Events that were there already, of an import before."""
    snapshot_count: int
    snapshots_passed_over: int
    """Of events behind the archive's last."""


def restore(girih: Client, source: Source) -> Restored:
    """Have the archive in the log, and prove that it is: the log's digests have the archive's root.

    Begun again it goes on where it ended. Raises WrongManifest and Damaged, both before anything
    is sent, GirihError, and Failed when the log is not the archive's.
    """
    manifest = verifying.checked(source.folder, source.key)
    own_key = source.key if manifest.is_sealed else None
    transfer, present_count = Transfer.of(girih), girih.log().head
    if present_count > manifest.head:
        raise _other(f"the log has {present_count:,} events, and the archive {manifest.head:,}")
    head = 0
    for batch in _batches(_archived(source.folder, manifest, own_key)):
        head = _put_down(transfer, batch, head, present_count)
        source.on_head(head)
    _prove(transfer, manifest)
    count, passed_over = _restore_snapshots(transfer, source.folder, manifest, own_key)
    return Restored(
        manifest=manifest,
        incarnation=girih.log().incarnation,
        present_count=present_count,
        snapshot_count=count,
        snapshots_passed_over=passed_over,
    )


def _archived(folder: Path, manifest: Manifest, key: bytes | None) -> Iterator[ArchivedEvent]:
    for part in manifest.parts:
        for line, where in archive.lines(folder, part, key):
            yield lines.event_of(line, where)


def _batches(events: Iterator[ArchivedEvent]) -> Iterator[list[ArchivedEvent]]:
    batch: list[ArchivedEvent] = []
    byte_count = 0
    for one in events:
        size = one.event.ByteSize()
        is_full = len(batch) == _BATCH_COUNT_MAX or byte_count + size > _BATCH_BYTES_MAX
        if batch and is_full:
            yield batch
            batch, byte_count = [], 0
        batch.append(one)
        byte_count += size
    if batch:
        yield batch


def _put_down(
    transfer: Transfer, batch: Sequence[ArchivedEvent], head: int, present_count: int
) -> int:
    """The head behind a batch, of which some or all may be there already."""
    last = head + len(batch)
    left = batch[max(0, present_count - head) :]
    if not left:
        return last
    after = last - len(left)
    try:
        transfer.restore(after, [one.event for one in left])
    except Conflict as error:
        # A call whose answer was lost has done it all the same.
        if error.reason != _MISPLACED or int(error.metadata.get("head_position", "0")) < last:
            raise
    return last


def _prove(transfer: Transfer, manifest: Manifest) -> None:
    tree = root_of(transfer, manifest.head)
    if tree.root() != manifest.tree.root():
        raise _other("the digests of the log have another root than the archive")


def root_of(transfer: Transfer, head: int) -> MerkleTree:
    """The tree over the log up to a position, of digests that the server computes."""
    tree = MerkleTree()
    while tree.leaf_count < head:
        page = transfer.digests(tree.leaf_count + 1)
        if not page.events:
            break
        for event in page.events:
            if tree.leaf_count < head:
                tree.add(event.leaf_digest)
    return tree


def _restore_snapshots(
    transfer: Transfer, folder: Path, manifest: Manifest, key: bytes | None
) -> tuple[int, int]:
    """How many were saved, and how many have no event here."""
    count = passed_over = 0
    if manifest.snapshots is None:
        return 0, 0
    for line, where in archive.lines(folder, manifest.snapshots, key):
        saved = lines.snapshot_of(line, where)
        try:
            transfer.save_snapshot(saved, manifest.head)
            count += 1
        except NotFound:
            passed_over += 1
    return count, passed_over


def _other(message: str) -> Failed:
    return Failed(f"{message}: it is not the log of this archive", exit_codes.DATAERR)
