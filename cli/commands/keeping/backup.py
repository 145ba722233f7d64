"""`girih backup`: whole logs in files, and the database as a whole."""

from cli.commands.keeping import archives, databases
from cli.terminal.help import Commands

app = Commands("Archives of logs, and backups of the database.")

archives.add_to(app)
databases.add_to(app)
