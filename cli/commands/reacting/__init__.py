"""Commands for what is built on the log: what reads it and keeps something of it."""
