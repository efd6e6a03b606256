"""Galleries as NumPy archives."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import PHOTOS, embeddings

from placewise.archive import export_npz, import_npz, left_behind
from placewise.calibrating import calibrate_gallery, read_calibration, staleness
from placewise.core import Photo
from placewise.errors import GalleryError, OptionError
from placewise.gallery_file import GalleryFile
from placewise.locate import Locator
from placewise.openset import Aim, Calibration, calibration_to_json
from placewise.presets import PRESETS

if TYPE_CHECKING:
    from tests.conftest import TinyModel

    from placewise.core import Embeddings


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


# ---- how a gallery ranks and decides


def rows(places: int, each: int, *, seed: int = 0) -> Embeddings:
    """Embeddings of so many photos of each place in turn."""
    made = np.random.default_rng(0).normal(size=(places, 48)).repeat(each, axis=0)
    made += 0.6 * np.random.default_rng((seed, 1)).normal(size=made.shape)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def deciding(tmp_path: Path, tiny_model: TinyModel) -> GalleryFile:
    """An open gallery of 12 places with 6 photos each, ranked by a preset and calibrated; ids begin at 7."""
    opened = GalleryFile.open_for(tmp_path / "town.gallery", tiny_model.card, ranking=PRESETS["balanced"].ranking)
    photos = [Photo(PurePosixPath(f"{number}.jpg"), "gallery", f"place {number // 6}") for number in range(78)]
    opened.upsert(photos, rows(13, 6))
    opened.remove([str(photo.path) for photo in photos[:6]])
    calibrate_gallery(opened, aim=Aim(0.1))
    return opened


def verdicts(gallery: GalleryFile, model: TinyModel) -> list[tuple[object, ...]]:
    """What a gallery says of new photos of its places, and of others."""
    answers = Locator(gallery, model).answers(np.concatenate([rows(13, 2, seed=5), rows(13, 2, seed=6)[::-1]]))
    return [(answer.known, answer.place, answer.confidence, answer.tau, answer.hits) for answer in answers]


def test_a_copy_by_an_archive_answers_alike(deciding: GalleryFile, tmp_path: Path, tiny_model: TinyModel) -> None:
    """It has the ranking, the preset and the calibration, in terms of its own photos; nothing is left behind."""
    export_npz(deciding, tmp_path / "x.npz")
    import_npz(tmp_path / "x.npz", tmp_path / "copy.gallery")

    assert left_behind(deciding) == ()
    with GalleryFile.open(tmp_path / "copy.gallery") as copy:
        assert (copy.preset, copy.ranking) == ("balanced", deciding.ranking)
        mine, its = read_calibration(deciding), read_calibration(copy)
        assert mine is not None
        assert its is not None
        assert {number - 6 for number in mine.cohort} == set(its.cohort) != set()
        assert its == dataclasses.replace(mine, cohort=its.cohort, revision=copy.revision)
        assert staleness(copy, its) == ""
        assert verdicts(copy, tiny_model) == verdicts(deciding, tiny_model)
        assert {known for known, *_ in verdicts(copy, tiny_model)} == {True, False}


def test_a_stale_calibration_stays_stale(deciding: GalleryFile, tmp_path: Path) -> None:
    """What has changed since a gallery was calibrated has changed since in its copy, which keeps the wanted rate."""
    deciding.remove(["77.jpg"])
    export_npz(deciding, tmp_path / "x.npz")
    import_npz(tmp_path / "x.npz", tmp_path / "copy.gallery")

    with GalleryFile.open(tmp_path / "copy.gallery") as copy:
        its = read_calibration(copy)
        assert its is not None
        assert its.false_accept_rate == 0.1
        assert "has changed since it was calibrated" in staleness(copy, its)


def test_a_gallery_that_is_there_goes_on_as_it_does(
    deciding: GalleryFile, path: Path, tmp_path: Path, tiny_model: TinyModel
) -> None:
    """An archive brings its photos to it, and neither ranking nor calibration; to one without photos, too."""
    export_npz(deciding, tmp_path / "x.npz")
    empty = tmp_path / "empty.gallery"
    GalleryFile.open_for(empty, tiny_model.card, ranking=PRESETS["fast"].ranking).close()
    for file, preset, held in ((path, "", 75), (empty, "fast", 72)):
        import_npz(tmp_path / "x.npz", file)
        with GalleryFile.open(file) as gallery:
            assert (gallery.preset, gallery.ranking, gallery.calibration, len(gallery)) == (preset, None, None, held)


def test_what_rests_on_local_features_is_left_behind(deciding: GalleryFile, tmp_path: Path) -> None:
    """Without them a calibration of verified hits would promise what is not so; that is said."""
    deciding.keep(ranking=PRESETS["accurate"].ranking)
    calibrate_gallery(deciding)
    export_npz(deciding, tmp_path / "x.npz")
    import_npz(tmp_path / "x.npz", tmp_path / "copy.gallery")

    (note,) = left_behind(deciding)
    assert note == (
        "local features are not in the archive: a gallery made from it verifies no hits and is not calibrated; "
        "index its photos again to have that"
    )
    with GalleryFile.open(tmp_path / "copy.gallery") as copy:
        assert (copy.preset, copy.ranking, copy.calibration) == ("accurate", deciding.ranking, None)
        assert copy.keeps_features


@pytest.mark.parametrize("fault", ["damaged", "gone"])
def test_a_calibration_that_cannot_decide_is_left_behind(deciding: GalleryFile, tmp_path: Path, fault: str) -> None:
    """One that is damaged, or of photos that are no more; the rest is exported."""
    if fault == "damaged":
        deciding.put_calibration("{}")
    else:
        deciding.remove([f"{number}.jpg" for number in range(78)])
    export_npz(deciding, tmp_path / "x.npz")

    (note,) = left_behind(deciding)
    assert note == "the calibration is not in the archive: it is damaged, or the photos that it rests on are gone"
    with np.load(tmp_path / "x.npz") as arrays:
        assert "calibration" not in arrays
        assert str(arrays["preset"]) == "balanced"


def test_an_archive_of_an_earlier_version_is_taken(deciding: GalleryFile, tmp_path: Path) -> None:
    """One that says nothing of a ranking makes a gallery that ranks by plain similarity."""
    export_npz(deciding, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        former = {name: arrays[name] for name in arrays if name not in {"ranking", "preset", "calibration"}}
    np.savez(tmp_path / "former.npz", **former)

    assert import_npz(tmp_path / "former.npz", tmp_path / "copy.gallery") == 72
    with GalleryFile.open(tmp_path / "copy.gallery") as copy:
        assert (copy.preset, copy.ranking, copy.calibration) == ("", None, None)


# ---- refusals

GOOD: dict[str, np.ndarray] = {"embeddings": embeddings(2), "paths": np.array(["x.jpg", "y.jpg"])}
CALIBRATION = Calibration(
    false_accept_rate=0.05,
    tau=0.5,
    confidence=None,
    learned=False,
    expected_rate=0.04,
    interval=(0.0, 0.1),
    new_places=10,
    known_accepted=0.9,
    known_wrong=0.0,
    rate_at_95=0.1,
    oscr=None,
    oscr_similarity=None,
    won=None,
    places=10,
    known_questions=20,
    open_set_questions=20,
    effective_size=10.0,
    intraclass=0.1,
    unit="place",
    choices=(),
    confusions=(),
    cohort=(0, 2),
)
"""It rests on the third photo of two."""
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
    "ranking of numbers": {**GOOD, "ranking": np.zeros(2)},
    "ranking that is none": {**GOOD, "ranking": np.array("[" * 100_000)},
    "ranking by magic": {**GOOD, "ranking": np.array('{"version": 1, "steps": [{"step": "magic"}]}')},
    "preset of lines": {**GOOD, "preset": np.array("fast\nbalanced")},
    "presets": {**GOOD, "preset": np.array(["fast", "balanced"])},
    "calibration that is none": {**GOOD, "calibration": np.array("{}")},
    "calibration by others": {**GOOD, "calibration": np.array(calibration_to_json(CALIBRATION))},
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
