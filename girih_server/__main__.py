"""`python -m girih_server` is the `girih` command."""

from girih_server import girih

girih()
