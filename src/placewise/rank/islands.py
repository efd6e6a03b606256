"""Frames of a sequence → how far the frames beside a hit speak for it.

A camera on its way sees a place in several frames: what really shows the query's place has neighbours that show it,
too, and what does so by accident, or only just still does, has not. D. Gálvez-López and J. D. Tardós, "Bags of binary
words for fast place recognition in image sequences", IEEE Transactions on Robotics 2012, let such an island of frames
count as one match and name its best frame; here each frame is supported by the one before and the one after it.
Accepted hits are ordered by geometry · support². Geometry alone grows with how near and how large what is seen is, and
so prefers the last frame before a place is passed; between two frames that both are certain, the support decides.

The law of this module: only hits of the same query support one another. No other query, and nothing of the gallery
that a query is not compared with, has a part in its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placewise.stack import Island, Stack

if TYPE_CHECKING:
    from placewise.photo_table import PhotoTable


@dataclass(frozen=True, slots=True, eq=False)
class Islands:
    """Which of a gallery's photos are beside one another in a sequence, and how much that counts.

    Attributes:
        lines: ``(N,)`` see `PhotoTable.lines`.
        share: what the two frames beside a hit weigh.
    """

    lines: NDArray[np.int64]
    share: float

    def support(self, rows: NDArray[np.int64], similarities: NDArray[Any], first: int) -> NDArray[np.float64]:
        """How far each of the first hits of one query is supported, ``(min(H, first),)``.

        That is (1 - share) · its own similarity + share · the mean of those of the frames before and after it. The last
        of these hits stands in for a frame that is not among them, since that cannot be more similar. A photo that is
        no frame has its own similarity.

        Args:
            rows: ``(H,)`` the hits, best first.
            similarities: ``(H,)``.
            first: so many of them support one another: those that are verified.
        """
        lines, near = self.lines[rows[:first]].tolist(), np.asarray(similarities[:first], dtype=np.float64)
        best: dict[int, float] = {}
        for line, similarity in zip(lines, near.tolist(), strict=True):
            best[line] = max(similarity, best.get(line, similarity))
        last = near.min(initial=1.0)
        beside = [(best.get(line - 1, last) + best.get(line + 1, last)) / 2 for line in lines]
        supported = (1 - self.share) * near + self.share * np.array(beside)
        return np.where(np.array(lines) > 0, supported, near)


def islands_of(stack: Stack, table: PhotoTable) -> Islands | None:
    """What a gallery's sequences teach, if the stack has that step, which the gallery must be able to take."""
    island = stack.step(Island)
    return Islands(table.lines, island.share) if island else None
