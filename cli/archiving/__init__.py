"""Archives: whole logs in files, out of a log and into another."""
