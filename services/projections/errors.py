"""What can go wrong with projections, by name. Knows no transport and no storage."""


class WrongProjection(Exception):
    """A projection that cannot be run as it is written, or as it was plugged in."""
