"""The newest records of one log, ready to be sent. Knows neither tasks nor storage.

Records are kept as the bytes of responses that many followers share: what all of them are
sent is not made, and not held, once for each.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from girih.ids import NO_POSITION, Position, Revision, StreamName
from services.events.matching.queries import Filter, Labels, Query
from services.events.reading.subscriptions import Key, keys_of, leading_keys

RESPONSE_BYTES_MAX = 2**16
"""What a response holds at most, a single larger record apart. A follower that does not
read has one of them on its way."""

_ROW_BYTES = 700
"""What Python takes for a row beside its record, the name of its stream and its tags, with some
slack."""
_TAG_BYTES = 80
"""The same for a tag."""

_JOINED_COUNT_MAX = 4

Frame = Callable[[Sequence[bytes], str], bytes]
"""Makes the bytes of a response of records, and of the incarnation that they are from unless that
is empty, so that two of them joined are one as well: the incarnation is that of the second."""


class TailRecord(NamedTuple):
    """A record with what it can be told apart by."""

    position: Position
    record: bytes
    revision: Revision
    labels: Labels


class Batch(NamedTuple):
    """What a follower is sent next, and where it is then."""

    response: bytes
    """Empty when nothing is for it."""
    record_count: int
    position: Position
    """Everything before it has been looked at."""
    revision: Revision
    """Of the next record of the stream that is followed."""
    reported: Position
    """Everything before it was looked at, as the reader learns from the response."""


class FollowCursor(NamedTuple):
    """Where a follower is in a log, or in one stream of it."""

    position: Position
    """Everything before it has been looked at."""
    left: int
    """So many more records are wanted."""
    stream: StreamName | None = None
    """None for the log."""
    revision: Revision = Revision(0)
    """Records of the stream before it have been sent."""
    position_min: Position = NO_POSITION
    """Records of the stream before it are not wanted."""
    filter: Filter | None = None
    """Other records of the log are not wanted."""

    def behind(self, taken: Batch) -> "FollowCursor":
        """The cursor after it has been given `taken`."""
        return self._replace(
            position=taken.position,
            revision=taken.revision,
            left=self.left - taken.record_count,
        )


class Window:
    """The records of a log from `first` on, up to before `end`."""

    def __init__(self, frame: Frame) -> None:
        self.incarnation = ""
        """Of the log that the records are from; set with `begin`."""
        self.end = NO_POSITION
        """Nothing is known of the log before `begin`."""
        self.byte_count = 0
        self._frame = frame
        self._tag = b""
        self._pieces: list[_Piece] = []
        self._joined: dict[Position, Batch] = {}
        self._shared_ends: dict[str, Position] = {}
        self._lapses = False
        """Some record had an age at which it is gone."""

    @property
    def first(self) -> Position:
        """The position of the oldest record held; that behind the end when there is none."""
        return self._pieces[0].first if self._pieces else self.end

    @property
    def piece_count(self) -> int:
        return len(self._pieces)

    def begin(self, end: Position, incarnation: str) -> None:
        """The next record is the one at `end`, in that incarnation of the log.

        Records that are there already are the same in this one.
        """
        self._shared_ends[self.incarnation] = self.end
        self.end = end
        self.incarnation = incarnation
        self._tag = self._frame((), incarnation)

    def shared_end(self, incarnation: str) -> Position:
        """What lies before it was read in that incarnation, and is the same in this one; 0 when
        nothing was.
        """
        return self._shared_ends.get(incarnation, NO_POSITION)

    def add(self, records: Sequence[TailRecord], lapses_at: datetime | None = None) -> None:
        """Take records that begin at `end`, without a gap, the first of which is gone at that time.

        Records without bytes are gone, and passed over.
        """
        self._lapses = self._lapses or lapses_at is not None
        start = byte_count = 0
        for index, record in enumerate(records):
            if index > start and byte_count + len(record.record) > RESPONSE_BYTES_MAX:
                self._add(records[start:index], lapses_at)
                start, byte_count = index, 0
            byte_count += len(record.record)
        self._add(records[start:], lapses_at)
        self._joined.clear()

    def drop_oldest(self, count: int = 1) -> None:
        """Let go of the oldest pieces."""
        self.byte_count -= sum([piece.byte_count for piece in self._pieces[:count]])
        del self._pieces[:count]
        self._joined.clear()

    def drop_all(self) -> None:
        """Keep nothing: a rule may say that some of it is gone."""
        self.drop_oldest(len(self._pieces))

    def drop_gone(self, below: Mapping[StreamName, Revision]) -> None:
        """Let go of what those streams do not keep any longer, and of what is older."""
        for index in range(len(self._pieces), 0, -1):
            if self._pieces[index - 1].has_below(below):
                self.drop_oldest(index)
                return

    def _drop_lapsed(self) -> None:
        """Let go of what is too old by now for the rules of its stream, and of what is older."""
        now = datetime.now(UTC)
        for index in range(len(self._pieces), 0, -1):
            lapses_at = self._pieces[index - 1].lapses_at
            if lapses_at is not None and lapses_at <= now:
                self.drop_oldest(index)
                return

    def take(self, at: FollowCursor) -> Batch | None:
        """What is next for a follower; None when the window begins
        behind it. An empty response says that it is up to date with `position`.
        """
        if self._lapses:
            self._drop_lapsed()
        if at.position < self.first:
            return None
        if at.filter is not None:
            return self._of_filter(at, at.filter)
        return self._of_log(at) if at.stream is None else self._of_stream(at, at.stream)

    def _add(self, records: Sequence[TailRecord], lapses_at: datetime | None) -> None:
        piece = _Piece(records, self._frame, self._tag, lapses_at)
        self._pieces.append(piece)
        self.byte_count += piece.byte_count
        self.end = piece.end

    def _of_log(self, at: FollowCursor) -> Batch:
        """Whole pieces from a position on, the same object for all who are there."""
        position = at.position
        known = self._joined.get(position)
        if known is None:
            known = self._join(position)
            if len(self._joined) < _JOINED_COUNT_MAX:
                self._joined[position] = known
        if known.record_count <= at.left:
            return known
        end = self._end_of(position, at.left)
        return Batch(self._cut(position, end), at.left, end, Revision(0), end)

    def _join(self, position: Position) -> Batch:
        responses: list[bytes] = []
        byte_count, record_count, end = 0, 0, position
        for piece in self._from(position):
            response = piece.response_from(end)
            if responses and byte_count + len(response) > RESPONSE_BYTES_MAX:
                break
            there = piece.count_from(end)
            if there:
                responses.append(response)
                byte_count += len(response)
                record_count += there
            end = piece.end
        return Batch(_one(responses) if responses else b"", record_count, end, Revision(0), end)

    def _end_of(self, position: int, count: int) -> Position:
        """What is behind so many records from `position` on, which are there."""
        for piece in self._from(position):
            there = piece.count_from(position)
            if there >= count:
                return piece.end_of(position, count)
            count -= there
            position = piece.end
        raise AssertionError("fewer records than were counted")

    def _cut(self, position: int, end: int) -> bytes:
        return b"".join(
            piece.response_between(max(position, piece.first), min(end, piece.end))
            for piece in self._from(position)
            if piece.first < end
        )

    def _of_stream(self, at: FollowCursor, stream: StreamName) -> Batch:
        """The records of one stream, as many as fit into a response."""
        responses: list[bytes] = []
        byte_count = 0
        position: int = at.position
        reported: int = at.position
        revision: int = at.revision
        position_min = max(at.position, at.position_min)
        for piece in self._from(position):
            for row in piece.rows_of(stream):
                if row.revision < revision or row.position < position_min:
                    continue
                if row.start == row.end:
                    position, revision = row.position + 1, row.revision + 1
                    continue
                byte_count += row.end - row.start
                is_full = responses and byte_count > RESPONSE_BYTES_MAX
                if is_full or len(responses) == at.left:
                    return self._batch(responses, position, revision, reported)
                responses.append(piece.response[row.start : row.end])
                reported = position = row.position + 1
                revision = row.revision + 1
            position = piece.end
        return self._batch(responses, position, revision, reported)

    def _of_filter(self, at: FollowCursor, wanted: Filter) -> Batch:
        """The records that are meant, as many as fit into a response."""
        responses: list[bytes] = []
        byte_count = 0
        position: int = at.position
        reported: int = at.position
        for piece in self._from(position):
            for row in piece.rows_meant(wanted):
                if row.position < at.position:
                    continue
                byte_count += row.end - row.start
                is_full = responses and byte_count > RESPONSE_BYTES_MAX
                if is_full or len(responses) == at.left:
                    return self._batch(responses, row.position, Revision(0), reported)
                responses.append(piece.response[row.start : row.end])
                reported = row.position + 1
            position = piece.end
        return self._batch(responses, position, Revision(0), reported)

    def _batch(
        self, responses: Sequence[bytes], position: int, revision: int, reported: int
    ) -> Batch:
        """A response of single records, and where a follower of them is then."""
        response = b"".join((self._tag, *responses)) if responses else b""
        return Batch(
            response,
            len(responses),
            Position(position),
            Revision(revision),
            Position(reported),
        )

    def _from(self, position: int) -> Sequence["_Piece"]:
        """The pieces that hold what is at `position` or behind it."""
        index = bisect_right(self._pieces, position, key=attrgetter("first"))
        pieces = self._pieces[max(0, index - 1) :]
        return pieces if pieces and position < pieces[0].end else pieces[1:]


class _Row(NamedTuple):
    """Where a record is, in its stream and in the bytes of its piece."""

    position: Position
    labels: Labels
    revision: Revision
    start: int
    end: int


class _Piece:
    """Records next to each other, and the response that holds them all."""

    __slots__ = (
        "_by_key",
        "_by_stream",
        "_gone_count",
        "_rows",
        "_tag",
        "byte_count",
        "first",
        "lapses_at",
        "response",
    )

    def __init__(
        self,
        records: Sequence[TailRecord],
        frame: Frame,
        tag: bytes,
        lapses_at: datetime | None = None,
    ) -> None:
        """`tag` is the response without records that stands before them."""
        framed = [frame([record.record], "") if record.record else b"" for record in records]
        self._gone_count = framed.count(b"")
        self.lapses_at = lapses_at
        self.response = b"".join((tag, *framed))
        self.first = records[0].position
        self._tag = tag
        self._rows: list[_Row] = []
        start = len(tag)
        for record, response in zip(records, framed, strict=True):
            position, _, revision, labels = record
            self._rows.append(_Row(position, labels, revision, start, start + len(response)))
            start += len(response)
        self.byte_count = start + sum([_label_bytes(record.labels) for record in records])
        self._by_stream: dict[StreamName, list[_Row]] | None = None
        self._by_key: dict[Key, list[_Row]] | None = None

    @property
    def end(self) -> Position:
        return Position(self.first + len(self._rows))

    def count_from(self, position: int) -> int:
        """How many records from a position on are not gone."""
        first = max(0, position - self.first)
        if not self._gone_count:
            return len(self._rows) - first
        return sum(1 for row in self._rows[first:] if row.start < row.end)

    def end_of(self, position: int, count: int) -> Position:
        """What is behind so many of them."""
        there = (row for row in self._rows[max(0, position - self.first) :] if row.start < row.end)
        return Position(next(islice(there, count - 1, None)).position + 1)

    def has_below(self, below: Mapping[StreamName, Revision]) -> bool:
        """Whether a record that is there is of one of the streams, and below that revision."""
        return any(
            row.revision < revision and row.start < row.end
            for stream, revision in below.items()
            for row in self.rows_of(stream)
        )

    def response_from(self, position: int) -> bytes:
        if position <= self.first:
            return self.response
        return self._tag + self.response[self._rows[position - self.first].start :]

    def response_between(self, position: int, end: int) -> bytes:
        rows = self._rows
        start, stop = rows[position - self.first].start, rows[end - self.first - 1].end
        return self._tag + self.response[start:stop]

    def rows_of(self, stream: StreamName) -> Sequence[_Row]:
        """Put in order once, when the first follower of a stream asks."""
        if self._by_stream is None:
            self._by_stream = {}
            for row in self._rows:
                self._by_stream.setdefault(row.labels.stream, []).append(row)
        return self._by_stream.get(stream, ())

    def rows_meant(self, wanted: Filter) -> Sequence[_Row]:
        """In their order. Looks at those alone that have something of what is asked for."""
        meant = {
            row.position: row
            for query in wanted.queries
            for row in self._rows_with(query)
            if row.start < row.end and query.matches(row.labels)
        }
        return [meant[position] for position in sorted(meant)]

    def _rows_with(self, query: Query) -> Sequence[_Row]:
        """Put in order once, when the first follower with a filter asks."""
        if self._by_key is None:
            self._by_key = {}
            for row in self._rows:
                for key in keys_of(row.labels):
                    self._by_key.setdefault(key, []).append(row)
        by_key = self._by_key
        return [row for key in leading_keys(query) for row in by_key.get(key, ())]


def _label_bytes(labels: Labels) -> int:
    tags = sum([_TAG_BYTES + len(tag) for tag in labels.tags])
    return _ROW_BYTES + len(labels.stream) + tags


def _one(responses: Sequence[bytes]) -> bytes:
    return responses[0] if len(responses) == 1 else b"".join(responses)
