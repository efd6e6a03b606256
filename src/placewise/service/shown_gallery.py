"""What the API says of the gallery: what it holds, how it decides; no path of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from placewise.evaluation import calibration_json
from placewise.features import KIND
from placewise.housekeeping import gallery_info
from placewise.service.documents import GalleryDocument, LimitsDocument, MayDocument, ModelDocument

if TYPE_CHECKING:
    from placewise.openset import Calibration
    from placewise.service.access import Caller
    from placewise.service.state import State


def shown_gallery(service: State, caller: Caller) -> GalleryDocument:
    """The gallery as a caller may see it."""
    file, settings = service.desk.file, service.settings
    info = cast("dict[str, Any]", gallery_info(file))
    calibration = service.desk.calibration
    return GalleryDocument(
        name=file.path.name,
        photos=info["photos"],
        places=info["places"],
        with_position=info["with_position"],
        thumbnails=info["thumbnails"],
        features=info["features"].get(KIND, 0),
        verified=service.desk.verified,
        model=ModelDocument(
            name=file.card.name, dim=file.card.dim, fingerprint=file.card.fingerprint, licence=file.card.licence
        ),
        calibration=shown_calibration(calibration) if calibration else None,
        caution=service.desk.caution,
        may=MayDocument(read=True, write=caller.scope == "write"),
        limits=LimitsDocument(
            max_body_bytes=settings.max_body_bytes,
            max_pixels=settings.max_pixels,
            max_images=settings.max_images,
        ),
    )


def shown_calibration(calibration: Calibration) -> dict[str, Any]:
    """A calibration as the command line shows it, but without the path of the photos that it was learned from.

    ``confidence`` says what is compared with tau: a ``probability``, or the best ``similarity`` itself.
    """
    document = calibration_json(calibration)
    basis = "gallery" if document["basis"] == "gallery" else "labelled"
    return {**document, "basis": basis, "confidence": "similarity" if calibration.confidence is None else "probability"}
