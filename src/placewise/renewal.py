"""A gallery that nobody asked to calibrate does it by itself, where it can and where it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from placewise.calibrating import calibrate_gallery, read_calibration, read_stack, staleness
from placewise.errors import CalibrationError, FeaturesDamagedError
from placewise.openset import DEFAULT_AIM, DEFAULT_TAU, FEW_PLACES, SAMPLED_PHOTOS, Calibration, percent
from placewise.rank import Verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.gallery_file import GalleryFile


LITTLE = 100
"""A change of fewer than 1 in so many photos does not make a gallery calibrate itself unasked."""

VERIFIED_UNASKED = 400
"""Photos that ask where hits are verified and nobody asked for a calibration: each costs 10 to 20 matches of 5 ms."""


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

    A calibration on labelled queries is left as it is: these are not at hand. So is one since which less than 1 in
    `LITTLE` photos changed. A gallery that never was calibrated is not where it has fewer than `FEW_PLACES` places: so
    few promise next to nothing, and tau lies above whatever they have in common.

    Raises:
        GalleryError: if it is damaged.
    """
    before = _readable(gallery)
    if before and not staleness(gallery, before):
        return Renewed(before, f"calibrated: {before.promise}")
    if before and before.basis != "gallery":
        return Renewed(before, staleness(gallery, before))
    changes = gallery.changes_since(before.revision) if before else None
    if before and changes and changes * LITTLE < len(gallery) and not gallery.is_reread_since(before.revision):
        return Renewed(before, f"calibrated before: {changes} embeddings added or removed since are too few to matter")
    most = VERIFIED_UNASKED if read_stack(gallery).step(Verify) else SAMPLED_PHOTOS
    try:
        count = gallery.table().places().count
        if not before and count < FEW_PLACES:
            message = f"a gallery calibrates itself unasked from {FEW_PLACES} places on, got {count}"
            raise CalibrationError(message)
        aim = before.aim if before else DEFAULT_AIM
        calibration = calibrate_gallery(gallery, aim=aim, most=most, on_progress=on_progress)
    except (CalibrationError, FeaturesDamagedError) as error:
        return Renewed(before, f"not calibrated: {error}; {_fallback(before)}")
    wanted = percent(calibration.false_accept_rate)
    return Renewed(calibration, f"calibrated for a false-accept rate of {wanted}: {calibration.promise}", done=True)


def _readable(gallery: GalleryFile) -> Calibration | None:
    """The calibration that a gallery holds; a damaged one is none, and will be replaced."""
    try:
        return read_calibration(gallery)
    except CalibrationError:
        return None


def _fallback(before: Calibration | None) -> str:
    if before:
        return "the earlier calibration goes on to decide"
    return f"until then tau {DEFAULT_TAU:.2f} on the plain similarity decides, which promises nothing"
