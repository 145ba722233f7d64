"""The exit codes of `girih`, named as in sysexits.h where it has them."""

FAILED = 1
USAGE = 2
DATAERR = 65
UNAVAILABLE = 69
CONFIG = 78
INTERRUPTED = 130
