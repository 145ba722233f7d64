"""Rules over streams: what is decided about them, and who makes it real on the disk."""
