"""The exit codes of `girih`, named as in sysexits.h where it has them."""

FAILED = 1
USAGE = 2
DATAERR = 65
NOINPUT = 66
UNAVAILABLE = 69
CANTCREAT = 73
TEMPFAIL = 75
NOPERM = 77
CONFIG = 78
INTERRUPTED = 130

MEANINGS = {
    0: "well",
    FAILED: "failed",
    USAGE: "wrong usage",
    DATAERR: "bad data",
    NOINPUT: "no such thing",
    UNAVAILABLE: "a server is not there",
    CANTCREAT: "it is there already",
    TEMPFAIL: "not now: too many calls, or a race was lost; try again",
    NOPERM: "not logged in, or not allowed",
    CONFIG: "wrong settings",
    INTERRUPTED: "interrupted",
}
"""For the help, in few words."""
