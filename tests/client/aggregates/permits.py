"""An aggregate as users write them: a permit that is submitted, noted on, and granted once."""

from dataclasses import dataclass, replace

from girih.client import Aggregate, Fold


class NotAllowed(Exception):
    """A rule of permits says no."""


@dataclass(frozen=True)
class Submitted:
    by: str


@dataclass(frozen=True)
class Noted:
    text: str


@dataclass(frozen=True)
class Granted:
    by: str


@dataclass(frozen=True)
class Permit:
    submitted_by: str = ""
    granted_by: str = ""
    notes: tuple[str, ...] = ()


FOLD = Fold(Permit())


@FOLD.on("submitted", Submitted)
def submitted(permit: Permit, event: Submitted) -> Permit:
    return replace(permit, submitted_by=event.by)


@FOLD.on("noted", Noted)
def noted(permit: Permit, event: Noted) -> Permit:
    return replace(permit, notes=(*permit.notes, event.text))


@FOLD.on("granted", Granted)
def granted(permit: Permit, event: Granted) -> Permit:
    return replace(permit, granted_by=event.by)


class PermitAggregate(Aggregate[Permit]):
    category = "permit"
    fold = FOLD
    snapshot_every = 4

    def submit(self, by: str) -> None:
        if self.exists:
            raise NotAllowed("it is submitted already")
        self.record(Submitted(by))

    def note(self, *texts: str) -> None:
        for text in texts:
            self.record(Noted(text))

    def grant(self, by: str) -> None:
        if self.state.granted_by:
            raise NotAllowed(f"it is granted by {self.state.granted_by}")
        self.record(Granted(by), tags=(f"by:{by}",))
