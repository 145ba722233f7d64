"""What a worker runs: a function and its argument, which come pickled by the service.

Imports nothing that compiles: what is asked for imports it, once the compiler knows where it may
write.
"""

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOOK_S = 0.2
_flag: ContextVar[NDArray[np.uint8]] = ContextVar("flag")


def perform(payload: bytes) -> Any:  # noqa: ANN401 - whatever the function answers
    """Call a function with its argument.

    The payload is from the service, over the connection that Dask secures: who may send to a
    worker may run anything there.
    """
    function, argument = pickle.loads(payload)  # noqa: S301 - see above
    flag = np.zeros(1, np.uint8)
    token = _flag.set(flag)
    try:
        with _watched(flag):
            return function(argument)
    finally:
        _flag.reset(token)


def cancel_flag() -> NDArray[np.uint8]:
    """Becomes 1 when nobody waits any more for what is done in this thread: for kernels."""
    return _flag.get(np.zeros(1, np.uint8))


@contextmanager
def _watched(flag: NDArray[np.uint8]) -> Iterator[None]:
    """Look now and then whether the work was cancelled, which Dask tells nobody who works."""
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):  # not in a worker
        yield
        return
    key, done = worker.get_current_task(), threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":
                flag[0] = 1
                return

    watching = threading.Thread(target=watch, name="watch work", daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()
