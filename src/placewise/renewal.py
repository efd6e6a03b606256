"""A gallery that nobody asked to calibrate does it by itself, where it can and where it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from placewise.calibrating import (
    calibrate_gallery,
    has_cohort,
    how_again,
    is_of,
    read_calibration,
    staleness,
)
from placewise.errors import CalibrationError
from placewise.gallery_ranking import current_ranking
from placewise.openset import DEFAULT_AIM, FALLBACK, Calibration, calibrated_unasked, percent
from placewise.rank import Verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.gallery_file import GalleryFile


LITTLE = 100
"""A change of fewer than 1 in so many photos does not make a gallery calibrate itself unasked."""


class Renewed(NamedTuple):
    """What came of calibrating a gallery unasked.

    Attributes:
        calibration: what decides from now on; None where a fixed tau does.
        says: what was done, or why it was not, in one line.
        done: whether a calibration was made.
    """

    calibration: Calibration | None
    says: str
    done: bool = False


def renew_calibration(gallery: GalleryFile, *, on_progress: Callable[[int, int], None] | None = None) -> Renewed:
    """Calibrate a gallery on its own photos if it is not calibrated, or has changed since, as it was wanted before.

    A calibration on labelled queries is left as it is while it decides: these are not at hand. So is one since which
    less than 1 in `LITTLE` photos changed. One that never was calibrated does what `openset.calibrated_unasked` says.
    What can neither decide again nor be replaced is dropped: it would only be refused.

    Raises:
        GalleryError: if it is damaged.
    """
    before, stack = _readable(gallery), current_ranking(gallery).stack
    lasting = before if before and has_cohort(before, gallery.ids()) else None
    still = lasting if lasting and is_of(lasting, stack) else None
    if still:
        left = _left(gallery, still, staleness(gallery, still, stack))
        if left:
            return Renewed(still, left)
    aim = before.aim if before else DEFAULT_AIM
    calibration, why = calibrated_unasked(
        lambda most: calibrate_gallery(gallery, aim=aim, most=most, on_progress=on_progress),
        verifies=stack.step(Verify) is not None,
    )
    if calibration is None:
        if lasting is None and gallery.calibration is not None:
            gallery.put_calibration(None)
        return Renewed(still, f"{why}; {'the earlier calibration goes on to decide' if still else FALLBACK}")
    says = f"calibrated for a false-accept rate of {percent(calibration.false_accept_rate)}: {calibration.promise}"
    return Renewed(calibration, says + _in_the_stead_of(before), done=True)


def _left(gallery: GalleryFile, still: Calibration, stale: str) -> str:
    """Why a calibration that decides is left as it is, in words; empty if it is to be replaced."""
    if not stale:
        return f"calibrated: {still.promise}"
    if still.basis != "gallery":
        return stale
    changes = _few_changes(gallery, still)
    return f"calibrated before: {changes} embeddings added or removed since are too few to matter" if changes else ""


def _in_the_stead_of(before: Calibration | None) -> str:
    """What became of a calibration on labelled queries that did not decide any more, in words."""
    if before is None or before.basis == "gallery":
        return ""
    return (
        f"; on the gallery's own photos, since what was learned from {before.basis} decides no more; "
        f"{how_again(before)}"
    )


def _few_changes(gallery: GalleryFile, before: Calibration) -> int | None:
    """How many embeddings came or went since a calibration; None where that is many, or not known."""
    changes = gallery.changes_since(before.revision)
    if not changes or changes * LITTLE >= len(gallery) or gallery.is_reread_since(before.revision):
        return None
    return changes


def _readable(gallery: GalleryFile) -> Calibration | None:
    """The calibration that a gallery holds; a damaged one is none."""
    try:
        return read_calibration(gallery)
    except CalibrationError:
        return None
