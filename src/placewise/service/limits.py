"""What is bounded: photos that are worked on, bytes of bodies in memory, and requests a second of one caller."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from placewise.service.problems import Problem, busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CALLERS = 10_000
"""Callers whose requests are counted at a time."""


class Share:
    """A part of something limited, taken at once or not at all. For one thread, that of the event loop."""

    def __init__(self, limit: int, *, detail: str) -> None:
        """``detail`` says what is used up."""
        self.limit, self._detail = limit, detail
        self.taken = 0

    def check(self, count: int) -> None:
        """Look whether a part is left.

        Raises:
            Problem: 503, if there is less.
        """
        if self.taken + count > self.limit:
            raise busy(self._detail)

    def take(self, count: int) -> None:
        """Take a part; refused as by `check`."""
        self.check(count)
        self.taken += count

    def give(self, count: int) -> None:
        """Give a part back."""
        self.taken -= count

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Hold a part inside."""
        self.take(count)
        try:
            yield
        finally:
            self.give(count)


class Rates:
    """Requests a second of each caller: a bucket that holds twice as many fills at that rate."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``per_s`` 0 sets no limit."""
        self._per_s, self._clock = per_s, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def count(self, caller: str) -> None:
        """Count one request.

        Raises:
            Problem: 429, if the caller has had its share.
        """
        if not self._per_s:
            return
        now, most = self._clock(), max(1.0, 2 * self._per_s)
        left, since = self._buckets.pop(caller, (most, now))
        left = min(most, left + (now - since) * self._per_s)
        self._buckets[caller] = (max(0.0, left - 1) if left >= 1 else left, now)
        if len(self._buckets) > _CALLERS:
            del self._buckets[next(iter(self._buckets))]
        if left < 1:
            wait_s = max(1, round((1 - left) / self._per_s + 0.5))
            message = f"requests of one key must be at most {self._per_s:g} a second, got more; wait {wait_s} s"
            raise Problem(429, "rate", message, {"Retry-After": str(wait_s)})
