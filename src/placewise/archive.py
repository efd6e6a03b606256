"""Galleries as NumPy archives: embeddings and paths for other programs, and back with how they rank and decide."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placewise.calibrating import has_cohort, read_calibration, staleness
from placewise.core import Photo, Position
from placewise.errors import CalibrationError, GalleryError, OptionError
from placewise.files import check_output, write_atomically
from placewise.gallery_file import GalleryFile, begun_card, check_embeddings
from placewise.gallery_ranking import read_stack
from placewise.gallery_schema import Ranking, card_from_json, card_to_json
from placewise.openset import calibration_from_json, calibration_to_json
from placewise.rank import Verify, stack_from_json

if TYPE_CHECKING:
    from placewise.core import Embeddings, ModelCard
    from placewise.openset import Calibration

_COLUMNS = {
    "paths": ("U", ()),
    "places": ("U", ()),
    "positions": ("f", (3,)),
    "sequences": ("U", ()),
    "frames": ("i", ()),
}
"""Array → kind of its values and shape of a row."""


def export_npz(gallery: GalleryFile, path: Path) -> int:
    """Write embeddings, paths, places, the model card and the ranking to a NumPy archive; returns the number of photos.

    Arrays: ``embeddings`` ``(N, dim)`` float32, ``paths`` ``(N,)`` str, ``places`` ``(N,)`` str (empty where
    unknown), ``positions`` ``(N, 3)`` float64 (lat, lon, heading; NaN where unknown), ``sequences`` ``(N,)`` str,
    ``frames`` ``(N,)`` int64 (-1 where unknown), ``card`` a JSON text, ``vocabulary`` ``(B,)`` uint8 where the model
    learned from photos. Where the gallery has them, texts: ``ranking``, ``preset`` and ``calibration``, whose cohort
    is rows of the arrays; but see `left_behind`. None needs pickle to be read.

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.npz``.
        GalleryError: if the gallery is damaged.
    """
    check_output(path, ".npz")
    with gallery.reading():
        contents, vocabulary, decides = gallery.contents(), gallery.vocabulary, _ranks_and_decides(gallery)
    photos = contents.photos
    buffer = io.BytesIO()
    learned = {} if vocabulary is None else {"vocabulary": np.frombuffer(vocabulary, np.uint8)}
    np.savez(
        buffer,
        embeddings=contents.embeddings,
        paths=np.array([str(photo.path) for photo in photos], dtype=str),
        places=np.array([photo.place or "" for photo in photos], dtype=str),
        positions=np.array([_position_row(photo.position) for photo in photos], dtype=np.float64).reshape(-1, 3),
        sequences=np.array([photo.sequence or "" for photo in photos], dtype=str),
        frames=np.array([-1 if photo.frame is None else photo.frame for photo in photos], dtype=np.int64),
        card=np.array(card_to_json(gallery.card)),
        **learned,  # type: ignore[arg-type]  # allow_pickle is no array
        **{name: np.array(text) for name, text in decides.items() if text},  # type: ignore[arg-type]
    )
    write_atomically(path, buffer.getvalue())
    return len(photos)


def left_behind(gallery: GalleryFile) -> tuple[str, ...]:
    """What a gallery ranks or decides by and does not give to an archive, a line each.

    Raises:
        GalleryError: if the gallery is damaged.
    """
    if read_stack(gallery).step(Verify):
        note = (
            "local features are not in the archive: a gallery made from it verifies no hits and is not calibrated; "
            "index its photos again to have that"
        )
    elif gallery.calibration and not _ranks_and_decides(gallery)["calibration"]:
        note = "the calibration is not in the archive: it is damaged, or the photos that it rests on are gone"
    else:
        return ()
    return (note,)


def _ranks_and_decides(gallery: GalleryFile) -> dict[str, str | None]:
    """The texts of an archive, None for those that it does not have."""
    stack = read_stack(gallery)
    calibration = None if stack.step(Verify) else _travelling(gallery)
    return {
        "ranking": gallery.ranking,
        "preset": gallery.preset or None,
        "calibration": calibration_to_json(calibration) if calibration else None,
    }


def _travelling(gallery: GalleryFile) -> Calibration | None:
    """The calibration in terms of rows instead of ids, without a revision if it is stale; None where it is unsound."""
    with suppress(CalibrationError):
        calibration = read_calibration(gallery)
        if calibration is None:
            return None
        ids, fresh = gallery.ids(), not staleness(gallery, calibration)
        if not has_cohort(calibration, ids):
            return None
        there = np.flatnonzero(np.isin(ids, calibration.cohort))
        return replace(calibration, cohort=tuple(there.tolist()), revision=calibration.revision if fresh else "")
    return None


def import_npz(path: Path, gallery_path: Path, *, card: ModelCard | None = None) -> int:
    """Read an archive of `export_npz` into a gallery file, in one transaction; returns the number of photos.

    Archives with only ``embeddings`` and ``paths`` are taken too, given the ``card`` of the model that made them. A
    gallery that is made ranks and decides as the archive says; one that is there goes on as it does.

    Raises:
        GalleryError: if the archive is damaged or incomplete, or its embeddings are not of unit length.
        ModelMismatchError: if the gallery, or the ``card``, is another model's.
    """
    arrays = _load(path)
    if "card" in arrays:
        own = card_from_json(str(arrays["card"]), path)
        if card is not None and card.fingerprint != own.fingerprint:
            message = f"{path} must be imported as {own.name}, which made it, got {card.name}; leave the model out"
            raise GalleryError(message)
        card = own
    elif card is None:
        message = f"{path} must name its model in an array 'card', got none; say which model made it with --model"
        raise GalleryError(message)
    photos, embeddings = _rows(arrays, path)
    check_embeddings(embeddings, (len(photos), card.dim))
    ranking, calibration = _ranking(arrays, path), _calibration(arrays, path)
    vocabulary = arrays["vocabulary"].tobytes() if "vocabulary" in arrays else None
    begun = begun_card(gallery_path) is not None
    with (
        GalleryFile.open_for(gallery_path, card, vocabulary=vocabulary, ranking=None if begun else ranking) as gallery,
        gallery.batch(),
    ):
        fresh = calibration is not None and not (len(gallery) or gallery.calibration)
        gallery.upsert(photos, embeddings)
        if calibration and fresh and gallery.ranking == ranking.stack:
            _keep(gallery, calibration)
    return len(photos)


def _keep(gallery: GalleryFile, calibration: Calibration) -> None:
    """Keep a calibration in terms of rows as one in terms of this gallery's ids, stale if it was."""
    cohort = gallery.ids()[np.array(calibration.cohort, dtype=np.int64)]
    revision = gallery.revision if calibration.revision else ""
    kept = replace(calibration, cohort=tuple(cohort.tolist()), revision=revision)
    gallery.put_calibration(calibration_to_json(kept))


def _ranking(arrays: dict[str, NDArray[Any]], path: Path) -> Ranking:
    """How an archive says that hits are ranked; by plain similarity if it does not say."""
    text, preset = _text(arrays, "ranking", path), _text(arrays, "preset", path)
    if not preset.isprintable():
        message = f"{path} must hold the name of a preset in preset, got {preset!r}; export it again"
        raise GalleryError(message)
    try:
        if text:
            stack_from_json(text)
    except OptionError as error:
        message = f"{path} must hold a ranking that can be read, got: {error}"
        raise GalleryError(message) from error
    return Ranking(text or None, preset)


def _calibration(arrays: dict[str, NDArray[Any]], path: Path) -> Calibration | None:
    text = _text(arrays, "calibration", path)
    try:
        calibration = calibration_from_json(text) if text else None
    except CalibrationError as error:
        message = f"{path} must hold a calibration that can be read, got: {error}"
        raise GalleryError(message) from error
    if calibration and max(calibration.cohort, default=-1) >= arrays["paths"].size:
        message = f"{path} must hold the {arrays['paths'].size} photos that its calibration rests on, got others"
        raise GalleryError(message)
    return calibration


def _text(arrays: dict[str, NDArray[Any]], name: str, path: Path) -> str:
    """One text of an archive; empty where it does not have it."""
    array = arrays.get(name, np.array(""))
    if array.dtype.kind != "U" or array.shape:
        message = f"{path} must hold one text in {name}, got {array.dtype} {array.shape}; export it again"
        raise GalleryError(message)
    return str(array)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        message = f"{path} must be an .npz archive, got no such file; correct the path"
        raise GalleryError(message)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, TypeError, AttributeError, MemoryError) as error:
        raise _unreadable(path, error) from error
    except (zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError, NotImplementedError) as error:
        raise _unreadable(path, error) from error
    missing = sorted({"embeddings", "paths"} - arrays.keys())
    if missing:
        message = f"{path} must hold the arrays embeddings and paths, got none named {' or '.join(missing)}"
        raise GalleryError(message)
    return arrays


def _unreadable(path: Path, error: Exception) -> GalleryError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return GalleryError(f"{path} must be a readable .npz archive of plain arrays, got {reason}; export it again")


def _rows(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[list[Photo], Embeddings]:
    """Photos and embeddings, checked: dtypes, shapes, and names that stand for one photo each."""
    count = arrays["paths"].size
    embeddings = arrays["embeddings"]
    if embeddings.dtype.kind != "f" or embeddings.ndim != 2:
        message = f"{path} must hold real embeddings (N, dim), got {embeddings.dtype} {embeddings.shape}"
        raise GalleryError(message)
    for name, (kind, row) in _COLUMNS.items():
        if name in arrays and (arrays[name].dtype.kind, arrays[name].shape) != (kind, (count, *row)):
            wanted = {"U": "text", "f": "real numbers", "i": "signed integers"}[kind]
            message = (
                f"{path} must hold {wanted} of shape {(count, *row)} in {name}, "
                f"got {arrays[name].dtype} {arrays[name].shape}"
            )
            raise GalleryError(message)
    names = arrays["paths"].tolist()
    if len(set(names)) < count or not all(_is_name(name) for name in names):
        message = f"{path} must hold distinct relative paths, got doubled, empty, absolute or damaged ones"
        raise GalleryError(message)
    return _photos(arrays, path), embeddings.astype(np.float32, copy=False)


def _is_name(name: str) -> bool:
    """Whether a text can name a photo: relative, without a way out, and encodable."""
    parts = PurePosixPath(name).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and name.isprintable()


def _photos(arrays: dict[str, NDArray[Any]], path: Path) -> list[Photo]:
    count = arrays["paths"].size
    places = arrays.get("places", np.full(count, ""))
    positions = arrays.get("positions", np.full((count, 3), np.nan))
    sequences = arrays.get("sequences", np.full(count, ""))
    frames = arrays.get("frames", np.full(count, -1))
    try:
        return [
            Photo(
                path=PurePosixPath(str(name)),
                split="gallery",
                place=str(place) or None,
                position=None if np.isnan(lat) else Position(float(lat), float(lon), _none_if_nan(heading)),
                sequence=str(sequence) or None,
                frame=None if frame < 0 else int(frame),
            )
            for name, place, (lat, lon, heading), sequence, frame in zip(
                arrays["paths"], places, positions, sequences, frames, strict=True
            )
        ]
    except OptionError as error:
        message = f"{path} must hold positions on Earth, got {error}"
        raise GalleryError(message) from error


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _position_row(position: Position | None) -> tuple[float, float, float]:
    if position is None:
        return (np.nan, np.nan, np.nan)
    return (position.lat, position.lon, np.nan if position.heading is None else position.heading)
