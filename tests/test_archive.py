"""Galleries as NumPy archives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import PHOTOS, embeddings

from placewise.archive import export_npz, import_npz
from placewise.errors import GalleryError, OptionError
from placewise.gallery_file import GalleryFile

if TYPE_CHECKING:
    from tests.conftest import TinyModel


def test_export_and_import_are_a_round_trip(path: Path, tmp_path: Path) -> None:
    """An exported archive holds embeddings and paths as plain arrays, and makes an equal gallery."""
    archive, copy = tmp_path / "city.npz", tmp_path / "copy.gallery"

    with GalleryFile.open(path) as gallery:
        assert export_npz(gallery, archive) == 3
    assert import_npz(archive, copy) == 3

    with np.load(archive, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["embeddings"], embeddings(3))
        assert arrays["paths"].tolist() == ["a/1.jpg", "a/2.jpg", "b.jpg"]
    with GalleryFile.open(copy) as gallery, GalleryFile.open(path) as original:
        assert gallery.contents().photos == PHOTOS
        assert gallery.card == original.card


def test_an_empty_gallery_is_exported_and_imported(tmp_path: Path, tiny_model: TinyModel) -> None:
    """No photos are no special case."""
    with GalleryFile.open_for(tmp_path / "empty.gallery", tiny_model.card) as gallery:
        assert export_npz(gallery, tmp_path / "empty.npz") == 0
    assert import_npz(tmp_path / "empty.npz", tmp_path / "again.gallery") == 0
    with GalleryFile.open(tmp_path / "again.gallery") as gallery:
        assert gallery.contents().embeddings.shape == (0, 48)


def test_a_bare_archive_needs_its_models_card(tmp_path: Path, tiny_model: TinyModel) -> None:
    """An archive of embeddings and paths alone, as other scripts write it, is taken once the model is named."""
    bare, file = tmp_path / "bare.npz", tmp_path / "bare.gallery"
    np.savez(bare, embeddings=embeddings(2), paths=np.array(["x.jpg", "y.jpg"]))

    with pytest.raises(GalleryError) as caught:
        import_npz(bare, file)
    assert str(caught.value) == (
        f"{bare} must name its model in an array 'card', got none; say which model made it with --model"
    )
    assert not file.exists()
    assert import_npz(bare, file, card=tiny_model.card) == 2


def test_an_export_replaces_nothing_but_archives(path: Path, tmp_path: Path) -> None:
    """A gallery, a photo or a folder in the way is refused and left as it is; an older archive is replaced."""
    photo, folder = tmp_path / "photo.jpg", tmp_path / "folder.npz"
    photo.write_bytes(b"precious")
    folder.mkdir()
    before = path.read_bytes()
    with GalleryFile.open(path) as gallery:
        for out in (path, photo, folder):
            with pytest.raises(OptionError, match=r"^an output file must be new or end in \.npz to be replaced, got "):
                export_npz(gallery, out)
        with pytest.raises(OptionError, match=r"^an output file must lie in a folder that exists, got "):
            export_npz(gallery, tmp_path / "none" / "x.npz")
        assert export_npz(gallery, tmp_path / "x.npz") == export_npz(gallery, tmp_path / "x.npz") == 3

    assert photo.read_bytes() == b"precious"
    assert path.read_bytes() == before


GOOD: dict[str, np.ndarray] = {"embeddings": embeddings(2), "paths": np.array(["x.jpg", "y.jpg"])}
FAULTS: dict[str, dict[str, np.ndarray]] = {
    "objects": {**GOOD, "embeddings": np.array([{}], dtype=object)},
    "no embeddings": {"paths": GOOD["paths"]},
    "text embeddings": {**GOOD, "embeddings": np.array([["a"], ["b"]])},
    "complex embeddings": {**GOOD, "embeddings": embeddings(2).astype(np.complex64)},
    "flat embeddings": {**GOOD, "embeddings": embeddings(2).ravel()},
    "long rows": {**GOOD, "embeddings": embeddings(2) * 3},
    "one path": {**GOOD, "paths": np.array("x.jpg")},
    "doubled path": {**GOOD, "paths": np.array(["x.jpg", "x.jpg"])},
    "empty path": {**GOOD, "paths": np.array(["x.jpg", ""])},
    "path that leaves": {**GOOD, "paths": np.array(["x.jpg", "../y.jpg"])},
    "absolute path": {**GOOD, "paths": np.array(["x.jpg", "/y.jpg"])},
    "surrogate": {**GOOD, "paths": np.array(["x.jpg", "\ud800.jpg"])},
    "bytes paths": {**GOOD, "paths": np.array([b"x.jpg", b"y.jpg"])},
    "fewer places": {**GOOD, "places": np.array(["only one"])},
    "unsigned frames": {**GOOD, "frames": np.array([2**63, 1], dtype=np.uint64)},
    "real frames": {**GOOD, "frames": np.array([np.inf, 1])},
    "flat positions": {**GOOD, "positions": np.zeros(2)},
    "position off Earth": {**GOOD, "positions": np.full((2, 3), 500.0)},
    "card that is none": {**GOOD, "card": np.array("[" * 100_000)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_archives_that_cannot_be_used_are_refused(fault: str, tmp_path: Path, tiny_model: TinyModel) -> None:
    """Each is one line, and makes no gallery."""
    archive = tmp_path / "bad.npz"
    np.savez(archive, **FAULTS[fault])  # type: ignore[arg-type]  # numpy's stub mistakes the names

    with pytest.raises(GalleryError) as caught:
        import_npz(archive, tmp_path / "out.gallery", card=tiny_model.card)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.gallery").exists()


def test_damaged_archives_are_refused(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Missing, cut and bit-flipped archives, a bare array and a pipe: one line each, no hang."""
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, **GOOD)  # type: ignore[arg-type]  # numpy's stub mistakes the names
    data = whole.read_bytes()
    cut, flipped, bare, pipe = (tmp_path / name for name in ("cut.npz", "flipped.npz", "bare.npy", "pipe.npz"))
    cut.write_bytes(data[: len(data) // 2])
    flipped.write_bytes(data[:100] + bytes(byte ^ 255 for byte in data[100:140]) + data[140:])
    np.save(bare, embeddings(2))
    os.mkfifo(pipe)

    for archive in (tmp_path / "none.npz", cut, flipped, bare, pipe):
        with pytest.raises(GalleryError):
            import_npz(archive, tmp_path / "out.gallery", card=tiny_model.card)
    assert not (tmp_path / "out.gallery").exists()


def test_an_archive_that_names_its_model_is_not_taken_for_another(path: Path, tmp_path: Path) -> None:
    """A card that contradicts the archive's own is refused."""
    from tests.conftest import TinyModel

    with GalleryFile.open(path) as gallery:
        export_npz(gallery, tmp_path / "x.npz")

    with pytest.raises(GalleryError, match=r"must be imported as tiny, which made it, got other; leave the model out$"):
        import_npz(tmp_path / "x.npz", tmp_path / "out.gallery", card=TinyModel("other").card)
