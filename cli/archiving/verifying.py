"""Whether an archive is what was written, without a server."""

from collections.abc import Callable
from pathlib import Path

from cli.archiving import archive, lines
from cli.archiving.manifest import Manifest
from cli.archiving.merkle import MerkleTree
from cli.archiving.sealing import Damaged


def checked(folder: Path, key: bytes | None) -> Manifest:
    """The manifest, once each file was seen to be the one that it names: as fast as it is read.

    Raises WrongManifest and Damaged.
    """
    manifest = Manifest.read(folder, key)
    for part in manifest.parts:
        archive.check(folder, part)
    if manifest.snapshots is not None:
        archive.check(folder, manifest.snapshots)
    return manifest


def verify(
    folder: Path, key: bytes | None, on_part: Callable[[str], None] = lambda _name: None
) -> Manifest:
    """The same, and every line read: positions are dense and the leaf digests have the root.

    Whether events are what their digests say is seen by the server that they are restored into.
    """
    manifest = checked(folder, key)
    tree, own_key = MerkleTree(), key if manifest.is_sealed else None
    for part in manifest.parts:
        for line, where in archive.lines(folder, part, own_key):
            archived = lines.event_of(line, where)
            tree.add(archived.leaf_digest)
            if archived.event.recorded.position != tree.leaf_count:
                position = archived.event.recorded.position
                raise Damaged(f"{where} has position {position}, not {tree.leaf_count}")
        on_part(part.name)
    if tree.root() != manifest.tree.root():
        raise Damaged(f"{folder}: the leaf digests have not the root that the manifest tells")
    if manifest.snapshots is not None:
        for line, where in archive.lines(folder, manifest.snapshots, own_key):
            lines.snapshot_of(line, where)
    return manifest
