"""The exit codes of `girih`, named as in sysexits.h where it has them."""

FAILED = 1
USAGE = 2
DATAERR = 65
NOINPUT = 66
UNAVAILABLE = 69
CANTCREAT = 73
IOERR = 74
TEMPFAIL = 75
NOPERM = 77
CONFIG = 78
INTERRUPTED = 130
READER_GONE = 141

MEANINGS = {
    0: "well",
    FAILED: "failed",
    USAGE: "wrong usage",
    DATAERR: "bad data",
    NOINPUT: "no such thing",
    UNAVAILABLE: "a server is not there",
    CANTCREAT: "it is there already",
    IOERR: "a file, or what is printed, cannot be written",
    TEMPFAIL: "not now: too many calls, or a race was lost; try again",
    NOPERM: "not logged in, or not allowed",
    CONFIG: "wrong settings",
    INTERRUPTED: "interrupted",
    READER_GONE: "who read the output went away",
}
"""For the help, in few words."""


def name(exit_code: int) -> str:
    """For programs, where there is no code of the gateway's: UNAVAILABLE of 69."""
    names = (name for name, code in globals().items() if name.isupper() and code == exit_code)
    return next(names, "FAILED")
