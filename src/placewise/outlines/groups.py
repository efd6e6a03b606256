"""Which things belong together, when pairs of them are told one after the other?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Groups:
    """Things ``0 … count - 1``, each in a group of its own at first.

    >>> groups = Groups(4)
    >>> groups.join(np.array([[0, 2], [3, 2]]))
    >>> [groups.first(thing) for thing in range(4)]
    [0, 1, 0, 0]
    """

    __slots__ = ("_towards_first",)

    def __init__(self, count: int) -> None:
        self._towards_first = list(range(count))

    def first(self, thing: int) -> int:
        """The first thing of the group that a thing belongs to."""
        towards = self._towards_first
        while towards[thing] != thing:
            towards[thing] = thing = towards[towards[thing]]
        return thing

    def join(self, pairs: NDArray[np.int64]) -> None:
        """Make one group of the groups of each pair ``(P, 2)``."""
        for one, other in pairs.tolist():
            low, high = sorted((self.first(one), self.first(other)))
            self._towards_first[high] = low

    def apart(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each pair ``(P, 2)`` belongs to two groups."""
        return np.array([self.first(one) != self.first(other) for one, other in pairs.tolist()], dtype=bool)
