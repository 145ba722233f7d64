"""The part of the pages that makes calls, kept as data of a package so that a wheel carries it."""
