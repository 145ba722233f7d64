"""What an archive says of itself: its parts, what each must be, and the root of the log in it."""

import hmac
import json
import os
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from cli import exit_codes
from cli.archiving.merkle import MerkleTree, Peak
from cli.failure import Failed

NAME: Final = "manifest.json"
FORMAT: Final = 1


class WrongManifest(Failed):
    """It is not there, was changed, or is another version's."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_codes.DATAERR)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of an archive."""

    name: str
    first_position: int
    """Of its events; 0 of snapshots."""
    count: int
    byte_count: int
    sha256: str
    """Of the file as it lies there."""

    @property
    def last_position(self) -> int:
        return self.first_position + self.count - 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An archive, as far as it goes."""

    archive_id: str
    girih: str
    """The version that made it."""
    incarnation: str = ""
    """That the log was in."""
    is_sealed: bool = False
    exported_at: str = ""
    """When the last part was written."""
    parts: tuple[Part, ...] = ()
    """Of events, without gaps."""
    snapshots: Part | None = None
    peaks: tuple[Peak, ...] = field(default=())

    @property
    def head(self) -> int:
        """The position of the last event in it."""
        return self.parts[-1].last_position if self.parts else 0

    @property
    def tree(self) -> MerkleTree:
        return MerkleTree(self.peaks)

    @property
    def root(self) -> str:
        return self.tree.root().hex()

    def with_part(self, part: Part, tree: MerkleTree) -> Self:
        return replace(self, parts=(*self.parts, part), peaks=tuple(tree.peaks))

    @classmethod
    def read(cls, folder: Path, key: bytes | None) -> Self:
        """Raises `WrongManifest`."""
        path = folder / NAME
        try:
            document = json.loads(path.read_text())
            checksum = document.pop("checksum")
            if document["format"] != FORMAT:
                raise WrongManifest(f"{path} is of format {document['format']}, not {FORMAT}")
            if document["isSealed"] and key is None:
                raise WrongManifest(f"{path}: the archive is sealed; say --key")
            own_key = key if document["isSealed"] else None
            if not hmac.compare_digest(checksum, _checksum(document, own_key)):
                raise WrongManifest(f"{path} was changed, or the key is another one")
            return cls._of(document)
        except FileNotFoundError as error:
            raise WrongManifest(f"{folder} holds no archive") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WrongManifest(f"{path} is damaged: {error}") from error

    def write(self, folder: Path, key: bytes | None) -> None:
        """In the place of what was there, whole or not at all."""
        document = self._document()
        document["checksum"] = _checksum(document, key if self.is_sealed else None)
        new = folder / f"{NAME}.new"
        with new.open("w") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / NAME)

    def _document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "archiveId": self.archive_id,
            "girih": self.girih,
            "incarnation": self.incarnation,
            "isSealed": self.is_sealed,
            "exportedAt": self.exported_at,
            "head": self.head,
            "root": self.root,
            "peaks": [[peak.leaf_count, peak.digest.hex()] for peak in self.peaks],
            "parts": [asdict(part) for part in self.parts],
            "snapshots": asdict(self.snapshots) if self.snapshots else None,
        }

    @classmethod
    def _of(cls, document: dict[str, Any]) -> Self:
        snapshots = document["snapshots"]
        return cls(
            archive_id=document["archiveId"],
            girih=document["girih"],
            incarnation=document["incarnation"],
            is_sealed=document["isSealed"],
            exported_at=document["exportedAt"],
            parts=tuple(Part(**part) for part in document["parts"]),
            snapshots=Part(**snapshots) if snapshots else None,
            peaks=tuple(Peak(count, bytes.fromhex(digest)) for count, digest in document["peaks"]),
        )


def _checksum(document: dict[str, Any], key: bytes | None) -> str:
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    if key is None:
        return sha256(content).hexdigest()
    return hmac.new(key, b"girih manifest " + content, sha256).hexdigest()
