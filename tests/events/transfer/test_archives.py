"""A log that was exported and imported elsewhere is the same: by its digests and by reading."""

from pathlib import Path

import pytest

from cli.archiving import exporting, restoring, verifying
from cli.archiving.exporting import Destination
from cli.archiving.manifest import Manifest, WrongManifest
from cli.archiving.restoring import Source
from cli.archiving.sealing import KEY_BYTES, Damaged
from cli.failure import Failed
from girih.client import (
    LogReplaced,
    NewEvent,
    Retention,
    SchemaViolated,
    StreamTombstoned,
)
from girih.client.blocking.client import Client
from girih.client.blocking.transfer import Transfer
from girih.events.v1 import events_pb2 as pb
from tests.events.transfer.conftest import Open

KEY = bytes(range(KEY_BYTES))


def counted(number: int) -> NewEvent:
    stream, text = f"counter-{number % 3}", f'{{"n": {number}.50}}'
    return NewEvent(stream=stream, type="counted", json=text, schema_version=1)


def written(girih: Client, count: int = 30) -> None:
    """A log with all that a log may have: rules of each kind, schemas, snapshots, odd payloads."""
    girih.register_schema("counted", 1, {"type": "object", "required": ["n"]})
    girih.append([counted(number) for number in range(count)])
    girih.append(
        [
            NewEvent(
                stream="odd-1",
                type="bytes",
                binary=b"\x00\xff",
                content_type="a/b",
                tags=("x", "y"),
            ),
            NewEvent(stream="odd-1", type="empty", metadata={"b": "2", "a": "1"}),
            NewEvent(stream="odd-2", type="text", json='{ "ä" : 1e3, "a": "\\u00e9" }'),
            NewEvent(stream="closed-1", type="text", json="1"),
            NewEvent(stream="deleted-1", type="text", json="2"),
        ]
    )
    girih.save_snapshot("counter-0", 0, b"\x01state", schema_version=2, content_type="c/d")
    girih.set_metadata("odd-2", {"owner": "us", "long": 12345678901234567890123})
    girih.set_retention("counter-1", Retention(max_count=2))
    girih.redact(girih.head() - 6, "an address")
    girih.delete_stream("deleted-1")
    girih.append([NewEvent(stream="deleted-1", type="text", json="3")])
    girih.tombstone_stream("closed-1")


def records_of(girih: Client) -> list[pb.RecordedEvent]:
    return [event for response in Transfer.of(girih).records() for event in response.events]


def leaves_of(girih: Client) -> list[bytes]:
    return [event.leaf_digest for event in Transfer.of(girih).digests(1).events]


def exported(girih: Client, folder: Path, key: bytes | None = None) -> Manifest:
    return exporting.export(girih, Destination(folder=folder, key=key, part_count_max=10))


def test_a_log_is_the_same_in_another_tenant(opened: Open, tmp_path: Path) -> None:
    def carried() -> tuple[Client, Client]:
        source, target = opened("source"), opened("target")
        written(source)
        exported(source, tmp_path, KEY)
        verifying.verify(tmp_path, KEY)
        restoring.restore(target, Source(folder=tmp_path, key=KEY))
        return source, target

    source, target = carried()

    def seen(girih: Client) -> tuple[object, ...]:
        streams = list(girih.streams())
        return (
            records_of(girih),
            leaves_of(girih),
            [event.position for event in girih.read()],
            [girih.get_stream(one.stream) for one in streams],
            [(one.stream, one.snapshot.binary) for one in Transfer.of(girih).snapshots()],
            [one.version for one in girih.schemas()],
        )

    assert seen(source) == seen(target)


def test_what_was_ruled_and_registered_holds_in_the_other_tenant(
    opened: Open, tmp_path: Path
) -> None:
    def refused() -> None:
        source, target = opened("source"), opened("target")
        written(source)
        exported(source, tmp_path)
        restoring.restore(target, Source(folder=tmp_path))
        with pytest.raises(StreamTombstoned):
            target.append([NewEvent(stream="closed-1", type="text", json="1")])
        with pytest.raises(SchemaViolated):
            target.append([NewEvent(stream="s", type="counted", json="{}", schema_version=1)])

    refused()


def test_whoever_read_the_first_log_is_refused_by_the_second(opened: Open, tmp_path: Path) -> None:
    def refused() -> None:
        source, target = opened("source"), opened("target")
        written(source)
        exported(source, tmp_path)
        restoring.restore(target, Source(folder=tmp_path))
        checkpoint = source.log()
        with pytest.raises(LogReplaced):
            list(target.read(from_position=checkpoint.head - 3, incarnation=checkpoint.incarnation))

    refused()


def test_an_interrupted_export_and_import_go_on_where_they_ended(
    opened: Open, tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(_progress: object) -> None:
        raise Interrupted

    def carried() -> tuple[Client, Client]:
        source, target = opened("source"), opened("target")
        written(source)
        with pytest.raises(Interrupted):
            exporting.export(
                source, Destination(folder=tmp_path, part_count_max=10, on_part=interrupt)
            )
        exported(source, tmp_path)
        with pytest.raises(Interrupted):
            restoring.restore(target, Source(folder=tmp_path, on_head=interrupt))
        source.append([NewEvent(stream="later-1", type="text", json="4")])
        exported(source, tmp_path)
        restoring.restore(target, Source(folder=tmp_path))
        return source, target

    source, target = carried()

    source_leaves = leaves_of(source)
    assert source_leaves == leaves_of(target)


def test_nothing_is_imported_where_somebody_has_appended(opened: Open, tmp_path: Path) -> None:
    def refused() -> int:
        source, target = opened("source"), opened("target")
        written(source)
        exported(source, tmp_path)
        target.append([NewEvent(stream="own-1", type="text", json="1")])
        with pytest.raises(Exception, match="LOG_NOT_EMPTY"):
            restoring.restore(target, Source(folder=tmp_path))
        return target.head()

    assert refused() == 1


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_a_flipped_byte_anywhere_in_a_part_is_found_and_its_file_named(
    opened: Open, tmp_path: Path, key: bytes | None
) -> None:
    def flipped() -> None:
        source = opened("source")
        written(source, 3)
        manifest = exported(source, tmp_path, key)
        path = tmp_path / manifest.parts[0].name
        whole = path.read_bytes()
        for at in range(0, len(whole), 97):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(Damaged, match=path.name):
                verifying.checked(tmp_path, key)

    flipped()


def test_a_changed_manifest_and_a_foreign_key_are_refused(opened: Open, tmp_path: Path) -> None:
    def refused() -> None:
        source = opened("source")
        written(source, 3)
        exported(source, tmp_path, KEY)
        with pytest.raises(WrongManifest):
            verifying.verify(tmp_path, bytes(KEY_BYTES))
        path = tmp_path / "manifest.json"
        path.write_text(path.read_text().replace('"count": 10', '"count": 11'))
        with pytest.raises(WrongManifest):
            verifying.verify(tmp_path, KEY)

    refused()


def test_another_log_is_not_exported_into_the_same_archive(opened: Open, tmp_path: Path) -> None:
    def refused() -> None:
        source, other = opened("source"), opened("other")
        written(source, 3)
        written(other, 3)
        exported(source, tmp_path)
        with pytest.raises(Failed, match="does not hold"):
            exported(other, tmp_path)

    refused()
