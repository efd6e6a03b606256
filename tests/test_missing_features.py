"""Local features that come, go or are missing: what is stale, what is said, what is refused."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from tests.conftest import PHOTOS, TinyModel, embeddings
from tests.test_cli import placewise

from placewise.archive import export_npz, import_npz
from placewise.calibrating import calibrate_gallery, staleness
from placewise.core import FileState
from placewise.errors import FeaturesMissingError, OptionError
from placewise.features import KIND
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile, Origin
from placewise.gallery_schema import Ranking
from placewise.housekeeping import merge
from placewise.presets import PRESETS
from placewise.rank import Place, Stack, Verify
from placewise.sources import read_source

if TYPE_CHECKING:
    from pathlib import Path

    from placewise.core import Source

VERIFYING, PLAIN = Stack((Verify(6),)), Stack((Place(0.3),))


@pytest.fixture
def halves(tiny_dataset: Path) -> tuple[Source, Source]:
    """The gallery photos of two places, and of the two others."""
    whole = read_source(tiny_dataset)
    photos = whole.of("gallery")
    first, second = (tuple(photo for photo in photos if int(str(photo.path)[1]) // 2 == half) for half in (0, 1))
    return dataclasses.replace(whole, photos=first), dataclasses.replace(whole, photos=second)


def said(path: Path, lacking: int, photos: int) -> str:
    """The line about photos without local features."""
    return (
        f"{lacking} of {photos} photos have no local features and are not verified; "
        f"'placewise index SOURCE --gallery {path} --features' extracts them"
    )


# ---- what is stale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [VERIFYING, PLAIN], ids=["verifying", "plain"])
def test_features_that_come_are_a_change_where_hits_are_verified(path: Path, stack: Stack) -> None:
    """A photo that had none gets some: a new revision, in which no embedding came or went. Mending is none."""
    with GalleryFile.open(path) as gallery:
        gallery.put_ranking(stack.to_json())
        revisions = [gallery.revision]
        for name, data in (("b.jpg", b"some"), ("b.jpg", b"mended")):
            gallery.note([name], [FileState(features=data)], origin=Origin("/there"))
            revisions.append(gallery.revision)
        for kind, name in ((KIND, "a/1.jpg"), (KIND, "a/1.jpg"), ("other", "a/2.jpg")):
            gallery.put_features(kind, {gallery.id_of(name): name.encode()})
            revisions.append(gallery.revision)
        came = [later != earlier for earlier, later in pairwise(revisions)]

        assert came == ([True, False, True, False, False] if stack == VERIFYING else [False] * 5)
        assert gallery.changes_since(revisions[0]) == 0
        assert gallery.is_reread_since(revisions[0]) == (stack == VERIFYING)
        assert gallery.features(KIND, gallery.ids()) == {1: b"a/1.jpg", 3: b"mended"}


def test_photos_that_come_with_features_are_counted_as_photos_only(path: Path) -> None:
    """A few photos more do not count as others, whatever they keep."""
    with GalleryFile.open(path) as gallery:
        gallery.put_ranking(VERIFYING.to_json())
        before = gallery.revision
        gallery.upsert(PHOTOS[:1], embeddings(1), [FileState(features=b"some")])

        assert (gallery.changes_since(before), gallery.is_reread_since(before)) == (2, False)


def test_a_calibration_is_renewed_when_more_photos_can_be_verified(
    halves: tuple[Source, Source], tmp_path: Path, tiny_model: TinyModel
) -> None:
    """From none to all and from some to all: hits are in another order from then on, so that nothing old decides."""
    for name, first_has in (("none", False), ("some", True)):
        with Gallery.open_for(tmp_path / name, tiny_model, preset="accurate", features=first_has) as gallery:
            gallery.add(halves[0])
        with Gallery.open_for(tmp_path / name, tiny_model, features=False) as gallery:
            gallery.add(halves[1])
            assert gallery.renew_calibration().done
            assert gallery.staleness == ""
        with Gallery.open_for(tmp_path / name, tiny_model, features=True) as gallery:
            for half in halves:
                assert gallery.add(half).computed == 0

            assert gallery.staleness.startswith("the gallery has changed since it was calibrated: ")
            assert gallery.renew_calibration().done
            assert gallery.staleness == ""


def test_what_changes_nothing_makes_nothing_stale(path: Path, tmp_path: Path, tiny_model: TinyModel) -> None:
    """To merge what is there already, to remove what is not there and to add nothing leave the revision as it is."""
    with GalleryFile.open_for(tmp_path / "same", tiny_model.card) as other:
        other.upsert(PHOTOS[:1], embeddings(3)[:1])
        with Gallery.open(path, embedder=tiny_model) as gallery:
            before = gallery._file.revision
            merged = merge(gallery._file, other)
            assert (merged.added, merged.present) == (0, 1)
            assert gallery.remove(["no such photo"]) == ()
            gallery._file.remove(["no such photo"])
            gallery._file.upsert([], embeddings(0))

            assert gallery._file.revision == before


def test_the_reason_names_features_that_have_come(path: Path) -> None:
    """It is neither a label nor a photo that is another."""
    with GalleryFile.open(path) as gallery:
        gallery.relabel([dataclasses.replace(PHOTOS[2], place="another")])
        calibration = calibrate_gallery(gallery)
        gallery.put_ranking(VERIFYING.to_json())
        gallery.put_features(KIND, {1: b"some"})
        calibration = dataclasses.replace(calibration, ranking=VERIFYING.to_json(), revision=gallery.revision)
        gallery.put_features(KIND, {2: b"some"})

        assert staleness(gallery, calibration) == (
            "the gallery has changed since it was calibrated: its labels, photos or local features are others; "
            "run 'placewise calibrate' again"
        )


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_a_stack_of_ones_own_keeps_what_it_verifies_by(path: Path, tmp_path: Path, tiny_model: TinyModel) -> None:
    """Whichever way a ranking comes, photos keep local features as long as it verifies; one that is none is refused."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card, ranking=PRESETS["accurate"].ranking) as gallery:
        for stack, kept in ((VERIFYING, True), (PLAIN, False), (VERIFYING, True)):
            gallery.put_ranking(stack.to_json())
            assert gallery.keeps_features is kept
        gallery.put_ranking(None)
        assert not gallery.keeps_features
    with (
        GalleryFile.open(path) as gallery,
        pytest.raises(OptionError, match=r"^a stack must be steps with their param"),
    ):
        gallery.put_ranking("{}")
    with GalleryFile.open(path) as gallery:
        assert gallery.ranking is None


# ---- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [VERIFYING, PLAIN], ids=["verifying", "plain"])
def test_photos_that_cannot_be_verified_are_counted(
    halves: tuple[Source, Source], tmp_path: Path, tiny_model: TinyModel, stack: Stack
) -> None:
    """One note where hits are verified, as the gallery ranks or as is asked; none where all photos have features."""
    path, query = tmp_path / "g", halves[0].root / "p0" / "3.png"
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery._file.put_ranking(stack.to_json())
        gallery.add(halves[0])
        gallery.locate(query, verify=5)
        assert gallery.notes == gallery._ready().notes == ()
    with Gallery.open_for(path, tiny_model, features=False) as gallery:
        gallery.add(halves[1])
        assert gallery.notes == gallery._ready().notes == ((said(path, 6, 12),) if stack == VERIFYING else ())
        for _ in range(2):
            gallery.locate(query, verify=5)
            assert gallery.notes == gallery._ready().notes == (said(path, 6, 12),)
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery.locate(query, verify=5)
        gallery.add(halves[1])
        assert gallery.notes == gallery._ready().notes == ()


def test_a_mixture_is_said_once_by_index_and_locate(tiny_dataset: Path, tmp_path: Path) -> None:
    """Half of the photos were indexed with local features, half without: a line, also in the JSON of each answer."""
    path, query = tmp_path / "g", tiny_dataset.parent / "p0" / "3.png"
    half = tiny_dataset.with_name("half.csv")
    half.write_text("".join(tiny_dataset.read_text(encoding="utf-8").splitlines(keepends=True)[:9]), encoding="utf-8")
    options = ("--gallery", path, "--no-calibrate")
    first = placewise("index", half, *options, "--preset", "accurate")
    second = placewise("index", tiny_dataset, *options, "--no-features", "--json")
    located = placewise("locate", query, query, "--gallery", path, "--json")
    note = said(path, 6, 12)

    assert first.returncode == 0
    assert "local features" not in first.stderr
    assert note in json.loads(second.stdout)["notes"]
    assert [note in answer["notes"] for answer in json.loads(located.stdout)] == [True, True]
    for done in (second, located):
        assert [line for line in done.stderr.splitlines() if "local features" in line] == [f"note: {note}"]


def test_photos_that_come_from_other_galleries_without_features_are_said(
    path: Path, tmp_path: Path, tiny_model: TinyModel
) -> None:
    """Merged or imported into a gallery that verifies, or the other way round: what that leaves is a note."""
    with GalleryFile.open(path) as gallery:
        export_npz(gallery, tmp_path / "x.npz")
    for name, lacking in (("merged", 3), ("imported", 3)):
        with GalleryFile.open_for(tmp_path / name, tiny_model.card, ranking=Ranking(VERIFYING.to_json())) as gallery:
            photo = dataclasses.replace(PHOTOS[0], path=PurePosixPath("own.jpg"))
            gallery.upsert([photo], embeddings(1), [FileState(features=b"some")])
        source = (
            ("merge", tmp_path / name, path) if name == "merged" else ("import", tmp_path / name, tmp_path / "x.npz")
        )
        done = placewise("gallery", *source)

        assert done.returncode == 0, done.stderr
        assert f"note: {said(tmp_path / name, lacking, 4)}\n" in done.stderr
    with GalleryFile.open(path) as gallery:
        gallery.put_ranking(VERIFYING.to_json())
    done = placewise("gallery", "merge", path, tmp_path / "merged")
    assert f"note: {said(path, 3, 4)}\n" in done.stderr


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_what_is_stored_says_whether_hits_can_be_verified(
    tiny_dataset: Path, tmp_path: Path, tiny_model: TinyModel
) -> None:
    """Not what is kept of photos that come: those that are there may have features, or lack them."""
    path, query = tmp_path / "g", tiny_dataset.parent / "p0" / "3.png"
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        assert gallery.locate(query, verify=5).hits == ()  # an empty gallery lacks nothing
        gallery.add(tiny_dataset)
    with Gallery.open_for(path, tiny_model, features=False) as gallery:
        assert [hit.inliers is None for hit in gallery.locate(query, verify=5).hits] == [False] * 5
    with GalleryFile.open(path) as file:
        export_npz(file, tmp_path / "x.npz")
    import_npz(tmp_path / "x.npz", tmp_path / "copy")
    with Gallery.open_for(tmp_path / "copy", tiny_model, features=True) as gallery:
        with pytest.raises(FeaturesMissingError) as caught:
            gallery.locate(query, verify=5)
        assert gallery.locate(query, verify=0).hits

    assert str(caught.value) == (
        f"a gallery must hold local features to verify 5 hits, got none in {tmp_path / 'copy'}; "
        f"'placewise index SOURCE --gallery {tmp_path / 'copy'} --features' extracts them"
    )
