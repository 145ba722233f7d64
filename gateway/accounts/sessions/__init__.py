"""Sessions of users: opened and kept up, listed and ended, and which have ended."""
