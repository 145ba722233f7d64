"""Whether a version of a schema keeps to what it promises of the one before it."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from jsonschema_rs import canonical

from services.events.schemas.compiled import CompiledSchema
from services.events.schemas.registry import Compatibility


class Broken(NamedTuple):
    """A promise that does not hold, or that nobody could prove."""

    compatibility: Compatibility
    """`BACKWARD` or `FORWARD`."""
    is_certain: bool
    """There is a value that one version takes and the other does not. Else it is not known."""


_PROMISES: Final = {
    Compatibility.NONE: (),
    Compatibility.BACKWARD: (Compatibility.BACKWARD,),
    Compatibility.FORWARD: (Compatibility.FORWARD,),
    Compatibility.FULL: (Compatibility.BACKWARD, Compatibility.FORWARD),
}


def broken(new: CompiledSchema, old: CompiledSchema, promised: Compatibility) -> Iterator[Broken]:
    """What `new` does not keep of what it promises of `old`.

    What it keeps is proven: each value that one takes is taken by the other. May take long.
    """
    for promise in _PROMISES[promised]:
        wide, narrow = (new, old) if promise is Compatibility.BACKWARD else (old, new)
        answer = _covers(wide, narrow)
        if answer is not canonical.Containment.YES:
            yield Broken(promise, answer is canonical.Containment.NO)


def _covers(wide: CompiledSchema, narrow: CompiledSchema) -> canonical.Containment:
    try:
        return wide.canonical.covers(narrow.canonical)
    except canonical.CanonicalizationError:
        return canonical.Containment.UNKNOWN
