"""Shares the parts of a step among threads, which kernels run in without the interpreter's lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Threads:
    """So many threads, of which the caller's is one. What comes out never depends on how many."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._others = ThreadPoolExecutor(self.count - 1) if self.count > 1 else None

    def share(self, parts: int, work: Callable[[int, int, int], None]) -> None:
        """Call `work(first, last, thread)` for stretches that make up the parts, at once."""
        if self._others is None or parts < 2:
            work(0, parts, 0)
            return
        count = min(self.count, parts)
        bounds = [parts * each // count for each in range(count + 1)]
        working = [
            self._others.submit(work, bounds[each], bounds[each + 1], each)
            for each in range(1, count)
        ]
        work(bounds[0], bounds[1], 0)
        for each in working:
            each.result()

    def close(self) -> None:
        if self._others is not None:
            self._others.shutdown()
