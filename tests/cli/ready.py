"""The command with all of its nouns and verbs made: what each command line begins with.

For the process that commands are forked from, which can do nothing but import.
"""

from cli.main import app

READY = app.tree
