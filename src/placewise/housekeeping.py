"""Housekeeping of gallery files: what they hold, whether they are whole, and two becoming one."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placewise.calibrating import read_calibration, staleness
from placewise.errors import CalibrationError, GalleryError
from placewise.gallery_file import GalleryFile, convert_vector
from placewise.gallery_ranking import read_preset, read_stack
from placewise.gallery_schema import GALLERY_FORMAT
from placewise.kept_features import damage_of, damaged_features
from placewise.models.cards import LEARNED
from placewise.search.sidecar import ann_info

if TYPE_CHECKING:
    from placewise.openset import Calibration

_ROWS = 4096
_NAMED = 5
"""Photos named in a message about more of them."""


def gallery_info(gallery: GalleryFile) -> dict[str, object]:
    """What a person wants to know of a gallery, JSON-ready; ``ann`` is None where no ANN index lies beside it."""
    store, card = gallery.store, gallery.card
    with store.reading():
        ((photos, places, positions),) = store.execute("SELECT count(*), count(DISTINCT place), count(lat) FROM photos")
        ((thumbnails,),) = store.execute("SELECT count(*) FROM thumbnails")
        features = store.execute("SELECT kind, count(*) FROM features GROUP BY kind ORDER BY kind")
        sources = store.execute(
            "SELECT DISTINCT root FROM sources WHERE id IN (SELECT source FROM photos) ORDER BY root"
        )
    return {
        "photos": photos,
        "places": places,
        "with_position": positions,
        "model": card.name,
        "sight": card.sight,
        "dim": card.dim,
        "storage": gallery.storage,
        "fingerprint": card.fingerprint,
        "weights": card.weights_file,
        "licence": card.licence,
        "thumbnails": thumbnails,
        "features": dict(features),
        "sources": [root for (root,) in sources],
        "format": GALLERY_FORMAT.version,
        "size_bytes": gallery.path.stat().st_size,
        "preset": gallery.preset or None,
        "calibration": _calibration_info(gallery),
        "ann": ann_info(gallery),
    }


def _calibration_info(gallery: GalleryFile) -> dict[str, object] | None:
    try:
        calibration = read_calibration(gallery)
    except CalibrationError as error:
        return {"damaged": str(error)}
    if calibration is None:
        return None
    return {
        "false_accept_rate": calibration.false_accept_rate,
        "tau": calibration.tau,
        "expected_rate": calibration.expected_rate,
        "known_accepted": calibration.known_accepted,
        "basis": calibration.basis,
        "made": calibration.made,
        "stale": _is_stale(gallery, calibration),
    }


def _is_stale(gallery: GalleryFile, calibration: Calibration) -> bool:
    try:
        return bool(staleness(gallery, calibration))
    except GalleryError:  # what it was calibrated for is damaged; `gallery_faults` says so
        return True


def gallery_faults(gallery: GalleryFile) -> list[str]:
    """What is wrong with a gallery, a line each; empty if nothing is.

    The structure of the file is checked, its references, its ranking and calibration, and every single embedding and
    photo's local features against their checksums.
    """
    store = gallery.store
    faults = store.faults()
    for read in (read_calibration, read_stack, read_preset):
        try:
            read(gallery)
        except (CalibrationError, GalleryError) as error:
            faults.append(str(error))
    if gallery.card.architecture in LEARNED:
        digest = hashlib.sha256(gallery.vocabulary or b"").hexdigest()
        faults += ["the vocabulary is not what was written"] if digest != gallery.card.weights_sha256 else []
    with store.reading():
        ((lacking,),) = store.execute("SELECT count(*) FROM photos WHERE id NOT IN (SELECT id FROM embeddings)")
        if lacking:
            faults.append(f"{lacking} photos have no embedding")
        query = "SELECT path, vector, crc32 FROM embeddings JOIN photos USING (id) ORDER BY id"
        for rows in store.blocks(query, _ROWS):
            faults += [f"the embedding of {path} is not what was written" for path, *row in rows if not _is_whole(*row)]
        faults += [damage_of(gallery, [path]) for path in damaged_features(gallery)]
    return faults


def _is_whole(vector: Any, checksum: Any) -> bool:
    return isinstance(vector, bytes) and zlib.crc32(vector) == checksum


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge` did.

    Attributes:
        added: photos added.
        present: photos that were there already with the same content.
        ranked_otherwise: whether the other gallery ranks in another way, in which these are not ranked any more.
    """

    added: int
    present: int
    ranked_otherwise: bool = False


def merge(gallery: GalleryFile, other: GalleryFile, *, prefix: str = "") -> Merged:
    """Add the photos of another gallery, with embeddings, thumbnails and local features, in one transaction.

    A photo that is there under the same path with the same content is left as it is. So is how the gallery ranks, and
    what it keeps of photos, whatever the other one does; its calibration is stale if photos were added.

    Args:
        gallery: where they go.
        other: the gallery that they come from; it stays as it is.
        prefix: a folder to put before the other gallery's paths.

    Raises:
        ModelMismatchError: if the two are of different models or settings.
        GalleryError: if a path stands for different photos in the two; then nothing is changed.
    """
    gallery.check_model(other.card)
    gallery.check_settings(other.card)
    if gallery.path.samefile(other.path):
        message = f"a gallery must be merged with another one, got {other.path} twice; name two files"
        raise GalleryError(message)
    store = gallery.store
    store.function("converted", 1, lambda blob: convert_vector(blob, other.storage, gallery.storage))
    store.function("crc32", 1, zlib.crc32)
    with store.attached(other.path, "other"), store.transaction():
        before = f"{prefix.rstrip('/')}/" if prefix else ""
        _refuse_conflicts(gallery, other, before)
        offset = gallery.next_id() - 1
        for statement, values in _statements(offset, before):
            store.execute(statement, values)
        ((added,),) = store.execute("SELECT count(*) FROM photos WHERE id > ?", (offset,))
        if added:
            gallery.new_revision(added)
        ((total,),) = store.execute("SELECT count(*) FROM other.photos")
    return Merged(added, total - added, ranked_otherwise=read_stack(gallery) != read_stack(other))


def _refuse_conflicts(gallery: GalleryFile, other: GalleryFile, before: str) -> None:
    rows = gallery.store.execute(
        "SELECT mine.path FROM other.photos AS theirs JOIN photos AS mine ON mine.path = ? || theirs.path "
        "JOIN embeddings AS my ON my.id = mine.id JOIN other.embeddings AS their ON their.id = theirs.id "
        "WHERE CASE WHEN mine.content IS NULL OR theirs.content IS NULL THEN my.vector <> converted(their.vector) "
        "ELSE mine.content <> theirs.content END ORDER BY mine.path",
        (before,),
    )
    if rows:
        names = ", ".join(path for (path,) in rows[:_NAMED])
        message = (
            f"a path must stand for one photo, got {len(rows)} that differ between {gallery.path} and {other.path} "
            f"({names}{', …' if len(rows) > _NAMED else ''}); give the other gallery's photos a --prefix"
        )
        raise GalleryError(message)


def _statements(offset: int, before: str) -> Sequence[tuple[str, tuple[object, ...]]]:
    """What copies the rows. An id becomes itself plus ``offset``, so that the order of the photos is kept."""
    fields = "place, lat, lon, heading, sequence, frame, content, size, mtime_ns, ctime_ns"
    new = "SELECT id - ? FROM main.photos WHERE id > ?"
    return (
        ("INSERT OR IGNORE INTO sources (root, prefix) SELECT root, prefix FROM other.sources", ()),
        (
            f"""
            INSERT INTO photos (id, path, {fields}, source)
            SELECT id + ?, ? || path, {fields},
                (SELECT mine.id FROM other.sources AS theirs JOIN main.sources AS mine USING (root, prefix)
                 WHERE theirs.id = other.photos.source)
            FROM other.photos WHERE ? || path NOT IN (SELECT path FROM main.photos) ORDER BY id
            """,
            (offset, before, before),
        ),
        (
            f"""
            INSERT INTO embeddings SELECT id + ?, vector, crc32(vector)
            FROM (SELECT id, converted(vector) AS vector FROM other.embeddings WHERE id IN ({new}) ORDER BY id)
            """,
            (offset, offset, offset),
        ),
        (
            f"INSERT INTO thumbnails SELECT id + ?, jpeg FROM other.thumbnails WHERE id IN ({new})",
            (offset, offset, offset),
        ),
        (
            f"INSERT INTO features SELECT id + ?, kind, data FROM other.features WHERE id IN ({new})",
            (offset, offset, offset),
        ),
    )
