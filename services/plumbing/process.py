"""A process from its settings to its exit code. Knows no service."""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NoReturn, TypeVar

from services.plumbing import logging
from services.plumbing.errors import CannotRun, ServiceError
from services.plumbing.settings import ProcessSettings

S = TypeVar("S", bound=ProcessSettings)

_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter from the event loop, which asks for it after every
wait. With Python's own 5 ms each thread at work costs every call that much, several times."""

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
"""Of glibc's malloc.h."""

_LARGE_BYTES: Final = 256 * 2**10

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
    for warning in settings.warnings():
        _log.warning(warning)
    _open_all_files_allowed()
    _spare_collector()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    code = _exit_code(lambda: _run(main(settings)))
    logging.flush()
    raise SystemExit(code)


def give_back_freed_memory() -> None:
    """From now on what is large goes back to the system when it is freed. For glibc alone.

    Left to itself glibc takes the first large block that is freed as a sign that more will
    come, and from then on keeps all of them: of requests of some MiB, whatever was held at
    the worst moment. What it costs is the page faults of large blocks, a quarter of a
    millisecond a MiB. Two arenas, since one a thread would keep as much each.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_TRIM_THRESHOLD, _LARGE_BYTES)
    mallopt(_ARENA_MAX, 2)


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


def _spare_collector() -> None:
    """Look for cycles less often, and never among what the imports made.

    Calls make many objects that live until they are answered and next to no cycles. With
    Python's own thresholds a third of the time of a large append went into looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
