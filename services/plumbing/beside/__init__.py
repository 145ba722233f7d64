"""Work that would hold up every call, in a process of its own."""
