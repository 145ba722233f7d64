"""A process from its settings to its exit code. Knows no service."""

import asyncio
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from services.plumbing import logging
from services.plumbing.errors import CannotRun, ServiceError
from services.plumbing.settings import ProcessSettings
from services.plumbing.telemetry import tracing

S = TypeVar("S", bound=ProcessSettings)

_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter from the event loop, which asks for it after every
wait. With Python's own 5 ms each thread at work costs every call that much, several times."""

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
"""Of glibc's malloc.h."""

LARGE_BYTES: Final = 256 * 2**10

_LOOK_S: Final = 3.0
_PAUSE_S_MAX: Final = 10.0
_KEPT_BYTES_MAX: Final = 32 * 2**20
"""How often it is looked for what glibc keeps, and from how much on it is taken from it."""

_OPEN_FILE_COUNT_MAX: Final = 2**17
"""More than all limits on connections need. Some systems allow a billion, and some programs
that we start look at each."""

_EXIT_OK = 0
_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130

_log = logging.get_logger("process")


def run_process(
    settings_class: type[S],
    environ: Mapping[str, str],
    main: Callable[[S], Coroutine[Any, Any, None]],
) -> NoReturn:
    """Read the settings, start the log, run `main`, write the last lines, and exit.

    The code is 0 after an orderly end, 78 for wrong settings or a setup that no retry will
    mend, and 1 when the process could not start or go on; the last line of the log says why.
    """
    settings = settings_class.load(environ)
    logging.configure(settings)
    _trace(settings)
    for warning in settings.warnings():
        _log.warning(warning)
    _open_all_files_allowed()
    spare_collector()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    code = _exit_code(lambda: _run(main(settings)))
    tracing.close()
    logging.flush()
    raise SystemExit(code)


def _trace(settings: ProcessSettings) -> None:
    """Record traces from now on, where the settings say so. What does is imported then alone."""
    if settings.otlp_endpoint is None:
        return
    from services.plumbing.telemetry.otlp import OtlpRecorder

    prefix = str(settings.model_config.get("env_prefix", ""))
    name = prefix.strip("_").lower() or "process"
    recorder = OtlpRecorder(
        settings.otlp_endpoint,
        f"girih-{name}",
        version("girih"),
        settings.trace_ratio,
        # Strangers call the gateway, and nobody else does.
        believes_callers=name != "gateway",
    )
    tracing.install(recorder)


def spare_collector() -> None:
    """Look for cycles less often, and never among what was imported until now.

    Calls make many objects that live until they are answered and next to no cycles. With
    Python's own thresholds a third of the time of a large append went into looking. Imports
    leave some hundred objects that nobody refers to: to find them takes longer than it is worth.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def give_back_freed_memory(large_bytes: int = LARGE_BYTES) -> None:
    """From now on what is large goes back to the system when it is freed. For glibc alone.

    Left to itself glibc takes the first large block that is freed as a sign that more will
    come, and from then on keeps all of them: of requests of some MiB, whatever was held at
    the worst moment. What it costs is the page faults of large blocks, a quarter of a
    millisecond a MiB, so what a process makes all the time should be no larger than
    `large_bytes`. Two arenas, since one a thread would keep as much each.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, large_bytes)
    mallopt(_TRIM_THRESHOLD, large_bytes)
    mallopt(_ARENA_MAX, 2)


async def keep_memory_trimmed(look_s: float = _LOOK_S) -> None:
    """Give back the pages of what was freed in small pieces, for ever; the work of a task.

    What comes over gRPC comes in pieces of some KiB, which are no large blocks. Freed, they stay
    with glibc for as long as anything between them and the end of the heap is in use: 8 MB sent
    a few hundred times to an rpc that takes 64 KiB left half a GiB. So whenever the process
    holds 32 MiB more than it once did, all of the heap is looked through. That takes a tenth of a
    millisecond or two a MiB, in a thread, during which others may have to wait for the heap: it
    happens every three seconds at most, and every ten while it finds nothing.
    """
    trim = _of_glibc("malloc_trim")
    if trim is None:
        await asyncio.Event().wait()
        return
    least, pause_s = _resident_bytes(), look_s
    while True:
        await asyncio.sleep(pause_s)
        before = _resident_bytes()
        least = min(least, before)
        if before - least < _KEPT_BYTES_MAX:
            pause_s = look_s
            continue
        await asyncio.to_thread(trim, 0)
        has_gained = before - _resident_bytes() > _KEPT_BYTES_MAX // 4
        pause_s = look_s if has_gained else min(2 * pause_s, _PAUSE_S_MAX)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where there is another library, or none of the kind."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)


def _resident_bytes() -> int:
    """What the process holds. Takes some microseconds, as no disk is read."""
    resident_pages = Path("/proc/self/statm").read_text().split()[1]
    return int(resident_pages) * os.sysconf("SC_PAGE_SIZE")


def _exit_code(run: Callable[[], None]) -> int:
    try:
        run()
    except (CannotRun, ServiceError) as error:
        _log.error("cannot run", problem=str(error), exc_info=error.__cause__)
        return error.exit_code if isinstance(error, CannotRun) else _EXIT_FAILED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place that can tell
        _log.error("died unexpectedly", exc_info=error)
        return _EXIT_FAILED
    return _EXIT_OK


def _open_all_files_allowed() -> None:
    """Raise the limit that a process may raise by itself, which is often 1024.

    It is kept so low for programs that call `select`, which we do not. A server would run
    out of descriptors long before its own limit on connections, and could open none to others.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FILE_COUNT_MAX if hard == resource.RLIM_INFINITY else hard
    wanted = min(allowed, _OPEN_FILE_COUNT_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        _log.warning("may open few files at once", open_file_count_max=soft, problem=str(error))


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
