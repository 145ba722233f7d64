"""What workers are asked for that has to do with their processes alone."""

import os
import signal


def pid_of(_number: int) -> int:
    """Of the worker that does it."""
    return os.getpid()


def die(_number: int) -> None:
    """Kills whoever does it."""
    os.kill(os.getpid(), signal.SIGKILL)
