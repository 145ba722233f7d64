"""What a process beside the service does: checks that may take long, and nothing else.

The validator keeps the interpreter while it runs, so that a thread would hold up every call.
"""

import functools
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import orjson

from services.events.schemas import compatibility, examples, upcasting
from services.events.schemas.compatibility import Broken
from services.events.schemas.compiled import CompiledSchema, Problem, RefusedSchema
from services.events.schemas.registry import Compatibility
from services.events.schemas.upcasting import StepFailed, Upcaster, upcast

_NICER = 10
"""What others wait for comes before a check that takes long."""
_MEMORY_BYTES = 2**30


def serve(connection: Connection) -> None:
    """Answer what is asked through `connection`, one after the other, until it is closed."""
    # A terminal tells all of its processes to stop: when this one ends says the service.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICER)
    _bound_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, arguments, work_s = connection.recv()
        except EOFError:
            return
        _bound_work(work_s)
        answer = _answer(function, arguments)
        _bound_work(0)
        connection.send(answer)
        gc.collect()


def _bound_work(work_s: float) -> None:
    """The process ends once it has had so many seconds of a core from now on; 0 takes the bound
    away. By the system's own hand: the validator lets no thread of Python have its turn."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, work_s)


def _bound_memory() -> None:
    """What needs more is ended like what takes too long. Where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    except (ImportError, ValueError, OSError):
        return


def _answer(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - what was asked for
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - told to who asks, and raised there
        return error


def examine(
    text: bytes, before: bytes | None, promised: Compatibility
) -> tuple[Sequence[Problem], Sequence[Broken], int, int]:
    """What is wrong with a schema, what it breaks of the version before, and what it costs."""
    try:
        schema = CompiledSchema.examined(text)
    except RefusedSchema as refused:
        return refused.problems, (), 0, 0
    broken = compatibility.broken(schema, CompiledSchema(before, 0, 0), promised) if before else ()
    return (), list(broken), schema.weight, schema.pattern_count


def problem(text: bytes, json: bytes, weight: int) -> Problem | None:
    """What is wrong with a JSON text by a schema of that weight."""
    return compiled(text, weight).problem(json)


def counterexample(
    before: bytes, behind: bytes, upcaster: Upcaster, given: Sequence[bytes]
) -> tuple[bytes, str] | None:
    """A value of the schema `before` that the upcaster makes one that the schema `behind`
    refuses, or that it fails at, and why; None where none is found.
    """
    first, second = compiled(before), compiled(behind)
    values = [*map(orjson.loads, given), *examples.proposed(orjson.loads(before))]
    for value in values:
        if not first.validator.is_valid(value):
            continue
        try:
            problem = second.problem_of(upcast(value, [upcaster]), 0)
        except StepFailed as failed:
            problem = ("", str(failed))
        if problem is not None:
            return orjson.dumps(value), ": ".join(filter(None, problem))
    return None


def upcast_text(
    json: bytes, upcasters: Sequence[Upcaster], schema: bytes, weight: int
) -> tuple[bytes, str]:
    """As `upcasting.upcast_text` has it, with what the schema, of that weight, says of it."""
    return upcasting.upcast_text(json, upcasters, compiled(schema, weight).problem_of)


@functools.lru_cache(maxsize=64)
def compiled(text: bytes, weight: int = 0) -> CompiledSchema:
    """A schema that was examined before."""
    return CompiledSchema(text, weight, 0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
