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


class Ties:
    """Groups of things of which some are frames of sequences, which are alike by nature.

    A pair within a sequence tells that they are alike, but connects nothing else: what hung together only by such pairs
    would be lost to whoever leaves them out.

    Attributes:
        groups: what belongs together by any pair.
        across: what belongs together by pairs that are not within a sequence.
    """

    __slots__ = ("_sequences", "across", "groups")

    def __init__(self, sequences: NDArray[np.int64]) -> None:
        """Number the sequences of N things, ``(N,)``; -1 for what is no frame."""
        self._sequences = sequences
        self.groups = Groups(len(sequences))
        self.across = Groups(len(sequences))

    def join(self, pairs: NDArray[np.int64]) -> None:
        """Make one group of the groups of each pair ``(P, 2)``."""
        self.groups.join(pairs)
        self.across.join(pairs[~self.within(pairs)])

    def apart(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each pair ``(P, 2)`` would connect what is not connected yet."""
        return np.where(self.within(pairs), self.groups.apart(pairs), self.across.apart(pairs))

    def within(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each pair ``(P, 2)`` is of one sequence."""
        one, other = self._sequences[pairs].T
        within: NDArray[np.bool_] = (one == other) & (one >= 0)
        return within

    def firsts(self, in_gallery: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Of the groups that hold several frames of a sequence and more: the first of each sequence in each split."""
        members: dict[int, dict[tuple[int, bool], list[int]]] = {}
        for thing, sequence in enumerate(self._sequences.tolist()):
            key = (sequence, bool(in_gallery[thing])) if sequence >= 0 else (-1 - thing, True)
            members.setdefault(self.groups.first(thing), {}).setdefault(key, []).append(thing)
        mixed = [parts for parts in members.values() if len({key for key, _ in parts}) > 1]
        found = [things[0] for parts in mixed if any(key >= 0 for key, _ in parts) for things in parts.values()]
        return np.array(sorted(found), dtype=np.int64)
