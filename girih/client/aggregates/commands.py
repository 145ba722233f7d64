"""What is decided about a command: the ids of its events, whether it was carried out, and when a
race that was lost is run again. For both stacks of gRPC; waits for nothing, and makes no call.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from girih.backoff import Backoff
from girih.client.errors import LogReplaced, PreconditionFailed, RevisionConflict
from girih.client.events import Query
from girih.ids import uuid7, uuid7_at

PAUSES_S: Final = (0.05, 0.1, 0.2)
"""After each race that was lost, before the aggregate is loaded and decided on again."""
SNAPSHOT_TIMEOUT_S: Final = 5.0
"""How long saving a snapshot may take, which is done after the events are stored."""

_UUID_VERSION: Final = 7


class Command:
    """A command on one stream, and the races for it."""

    def __init__(
        self, stream: str, command_id: str | None, is_repeatable: bool, pauses_s: Sequence[float]
    ) -> None:
        """Without an id it gets one. It can be repeated when its caller knows it."""
        if command_id is not None and not 1 <= len(command_id) <= 128:
            raise ValueError("command_id must have 1 to 128 characters")
        self.stream: Final = stream
        self.id: Final = str(uuid7()) if command_id is None else command_id
        self.is_repeatable: Final = is_repeatable
        self._pauses_s = pauses_s
        self._backoff = Backoff(min(pauses_s, default=1.0), max(pauses_s, default=1.0))
        self._lost_count = 0

    @property
    def tags(self) -> tuple[str, ...]:
        """Of its first event: by which it is found again where a snapshot holds it."""
        return (f"command:{self.id}",) if self.is_repeatable else ()

    @property
    def query(self) -> Query:
        """Means its first event. Others that it means are of streams with longer names."""
        return Query(tags=self.tags, stream_prefix=self.stream)

    def event_id(self, ordinal: int) -> str:
        """The id of one of its events, the same whenever it is carried out. Where the command's is
        a UUID of version 7 it is one of the same moment, which the log likes."""
        text = f"{self.id}\n{self.stream}\n{ordinal}"
        try:
            moment = UUID(self.id)
        except ValueError:
            return str(uuid5(NAMESPACE_URL, text))
        if moment.version != _UUID_VERSION:
            return str(uuid5(NAMESPACE_URL, text))
        return str(uuid7_at(moment.int >> 80, sha256(text.encode()).digest()[:10]))

    def event_ids(self, count: int) -> list[str]:
        """Of as many events."""
        return [self.event_id(ordinal) for ordinal in range(count)]

    def lost(self, error: PreconditionFailed | LogReplaced, expected_revision: int) -> float:
        """How long to pause before it is decided again; raises RevisionConflict when it is not, or
        the error that says that the log was replaced.
        """
        self._lost_count += 1
        if self._lost_count > len(self._pauses_s):
            if isinstance(error, LogReplaced):
                raise error
            actual = next((one.actual_revision for one in error.violations), None)
            raise RevisionConflict.of(self.stream, expected_revision, actual, self._lost_count)
        # Up to a quarter more, so that those who lost together return apart.
        return self._backoff.next_s(self._pauses_s[self._lost_count - 1])
