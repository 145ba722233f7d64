"""The events service with its protection removed, to see the checker fail.

The guard that lets a write happen only on the head it was decided on is taken out of the
statement, and the unique constraints behind it are dropped. Nothing of this is importable
from the product.
"""
