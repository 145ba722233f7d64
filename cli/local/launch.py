"""Becomes another program: as an identity PostgreSQL accepts, tied to the life of its parent.

Run as a script by `cli.local.process`, never imported by it. A program of its own rather than a
`preexec_fn`, because code between fork and exec can deadlock in a parent that has threads,
and because this way a refusal comes with its reason. Only the standard library's fastest
parts, since every start pays for it.

    launch.py PARENT_PID DEATH_SIGNAL IDENTITY DIRECTORY COMMAND...

IDENTITY is `self`, `user:UID:GID` (give up root for that user), or `namespace:UID:GID` (stay
the same user outside, be UID in a user namespace of one's own).
"""

import ctypes
import os
import sys
from collections.abc import Callable
from typing import NoReturn

REFUSED = 97
"""The exit code that says: not started, and the reason is the last line on stderr."""

# Opened at once: another identity may not be able to read Python's own files.
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_SIGINT, _SIGQUIT, _DEFAULT = 2, 3, 0


def launch(arguments: list[str]) -> NoReturn:
    parent_pid, death_signal, identity, directory, *command = arguments
    # What a script starts in the background ignores them, and so would all that is started by it.
    for number in (_SIGINT, _SIGQUIT):
        _LIBC.signal(number, _DEFAULT)
    _step(f"becoming {identity}", lambda: _become(identity))
    _step(f"working in {directory}", lambda: _enter(directory, identity))
    # After the change of identity, which clears it.
    _step("tying to the parent", lambda: _die_with_parent(int(parent_pid), int(death_signal)))
    _step(f"running {command[0]}", lambda: os.execv(command[0], command))  # noqa: S606 - no shell is the point
    raise AssertionError("exec returned")


def _step(name: str, act: Callable[[], None]) -> None:
    try:
        act()
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(REFUSED)


def _become(identity: str) -> None:
    way, _, numbers = identity.partition(":")
    if way == "self":
        return
    uid, gid = (int(number) for number in numbers.split(":"))
    if way == "user":
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    else:
        _enter_user_namespace(uid, gid)


def _enter_user_namespace(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", _CLONE_NEWUSER)
    # A process may map its own ids without privileges once it has given up setgroups.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1")


def _enter(directory: str, identity: str) -> None:
    os.chdir(directory)
    # Another identity is for a directory of its own.
    if identity != "self" and not os.access(".", os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"uid {os.getuid()} may not write there")


def _die_with_parent(parent_pid: int, death_signal: int) -> None:
    if not death_signal or not sys.platform.startswith("linux"):
        return
    _call("prctl", _PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    # The parent may have died before the kernel was told.
    if os.getppid() != parent_pid:
        raise ProcessLookupError("the parent is gone")


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    # Not buffered: the kernel judges the very write.
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


if __name__ == "__main__":
    launch(sys.argv[1:])
