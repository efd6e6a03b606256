"""Text for people: columns aligned by spaces so that it can be cut, pasted and grepped, and numbers as shown."""

from __future__ import annotations

import math
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces, so that the text can be cut, pasted and grepped."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def figure(value: float) -> str:
    """A metric; a dash where it is undefined."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def share(value: float | None) -> str:
    """A share in percent; a dash where it is undefined."""
    from placewise.openset import percent

    return "-" if value is None or math.isnan(value) else percent(value)


def embedded(computed: int) -> str:
    """How many photos the network was run for."""
    return f"embedded {computed} photos" if computed else "nothing had to be embedded"
