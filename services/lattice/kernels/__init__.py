"""Loops over arrays, compiled: counting, searching and measuring lattices with blocked sites.

Arrays in, arrays out. Nothing here validates: someone else has.
"""
