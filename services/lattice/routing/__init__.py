"""More than one way at once: routes, how many there are, all of them, and what is near."""
