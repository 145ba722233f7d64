"""The console as people have it: in a real browser, with a real girih behind it."""
