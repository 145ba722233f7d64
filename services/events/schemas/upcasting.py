"""Makes the JSON of one version of an event that of another, step by step, as data says.

A step names a place by a JSON Pointer that leads through objects. Where the objects around the
place are not there, or are none, the step does nothing. Knows no schema and no event.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

STEP_COUNT_MAX: Final = 64
POINTER_DEPTH_MAX: Final = 32

Pointer = tuple[str, ...]


class StepFailed(ValueError):
    """A step would lose something: what it is to write is there already."""


@dataclass(frozen=True)
class Add:
    """Puts a value where there is none."""

    path: Pointer
    value: object

    def apply(self, root: dict[str, object]) -> None:
        parent = _parent(root, self.path)
        if parent is not None and self.path[-1] not in parent:
            parent[self.path[-1]] = _copy(self.value)


@dataclass(frozen=True)
class Constant:
    """Puts a value, whatever there was."""

    path: Pointer
    value: object

    def apply(self, root: dict[str, object]) -> None:
        parent = _parent(root, self.path)
        if parent is not None:
            parent[self.path[-1]] = _copy(self.value)


@dataclass(frozen=True)
class Drop:
    """Takes a value away."""

    path: Pointer

    def apply(self, root: dict[str, object]) -> None:
        parent = _parent(root, self.path)
        if parent is not None:
            parent.pop(self.path[-1], None)


@dataclass(frozen=True)
class Move:
    """Takes a value away and puts it elsewhere. Raises `StepFailed` where something is."""

    path: Pointer
    to: Pointer

    def apply(self, root: dict[str, object]) -> None:
        parent = _parent(root, self.path)
        if parent is None or self.path[-1] not in parent:
            return
        target = _parent(root, self.to)
        if target is None or self.to[: len(self.path)] == self.path:
            raise StepFailed(f"there is no object to move {pointer_text(self.path)} into")
        if self.to[-1] in target:
            raise StepFailed(f"{pointer_text(self.to)} is there already")
        target[self.to[-1]] = parent.pop(self.path[-1])


Step = Add | Constant | Drop | Move
"""To rename is to move within the same object."""


@dataclass(frozen=True)
class Upcaster:
    """Leads from one version of a type to the next."""

    from_version: int
    to_version: int
    steps: Sequence[Step]
    byte_count: int = field(default=0, compare=False)
    """Of the steps as they were registered."""


def upcast(value: object, upcasters: Sequence[Upcaster]) -> object:
    """A new value, led through all of them; what is given is left as it is. Raises `StepFailed`.

    What is no object has no places, and stays.
    """
    changed = _copy(value)
    if isinstance(changed, dict):
        for upcaster in upcasters:
            for step in upcaster.steps:
                step.apply(changed)
    return changed


def upcast_text(
    json: bytes,
    upcasters: Sequence[Upcaster],
    problem_of: Callable[[object, int], tuple[str, str] | None],
) -> tuple[bytes, str]:
    """A JSON text led through all of them, and nothing; or the text as it was, and why: a step
    failed, or `problem_of` found something wrong with what came of it, which has so many bytes.
    """
    try:
        value = upcast(orjson.loads(json), upcasters)
    except StepFailed as failed:
        return json, str(failed)
    text = orjson.dumps(value)
    if problem := problem_of(value, len(text)):
        return json, ": ".join(filter(None, problem))
    return text, ""


def chain(upcasters: Mapping[int, Upcaster], version: int) -> list[Upcaster]:
    """What leads on from a version, one behind the other, as far as it goes."""
    steps: list[Upcaster] = []
    while (upcaster := upcasters.get(version)) is not None and upcaster.to_version > version:
        steps.append(upcaster)
        version = upcaster.to_version
    return steps


def pointer_of(text: str) -> Pointer:
    """The tokens of a JSON Pointer (RFC 6901). Raises ValueError for none, and for the whole."""
    if not text.startswith("/"):
        raise ValueError("must be a JSON Pointer such as /address/city")
    tokens = text.split("/")[1:]
    if len(tokens) > POINTER_DEPTH_MAX:
        raise ValueError(f"must lead at most {POINTER_DEPTH_MAX} levels deep")
    if any("~" in token.replace("~0", "").replace("~1", "") for token in tokens):
        raise ValueError("must have ~ only as ~0 and /, within a name, as ~1")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def pointer_text(pointer: Pointer) -> str:
    return "".join(f"/{token.replace('~', '~0').replace('/', '~1')}" for token in pointer)


def _parent(root: dict[str, object], path: Pointer) -> dict[str, object] | None:
    """The object that a place is in; None when it is not there."""
    here: object = root
    for token in path[:-1]:
        if not isinstance(here, dict):
            return None
        here = here.get(token)
    return here if isinstance(here, dict) else None


def _copy(value: object) -> object:
    """The objects of a value anew; its lists are shared, as no step leads into one."""
    if not isinstance(value, dict):
        return value
    return {name: _copy(member) for name, member in value.items()}
