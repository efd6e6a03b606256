"""A gallery keeps where its UNKNOWN begins, decides by it, and says when it has become stale."""

from __future__ import annotations

import dataclasses
import re
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest

from placewise.calibrating import _labelled_exam, calibrate_gallery, calibrate_labelled, read_calibration, staleness
from placewise.core import Filter, Photo, Position
from placewise.errors import CalibrationError, GalleryError, ModelMismatchError, OptionError
from placewise.evaluate import evaluate_source
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.housekeeping import gallery_faults, gallery_info
from placewise.indexing import index_source
from placewise.locate import Locator
from placewise.models import load_model
from placewise.openset import FALLBACK, Aim, calibrate, calibration_to_json
from placewise.presets import find_preset
from placewise.renewal import renew_calibration
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conftest import TinyModel

    from placewise.core import Embeddings
    from placewise.openset import Calibration


def rows_of(places: int, photos: int, *, seed: int = 0) -> Embeddings:
    """Embeddings of 48 dimensions: places that differ, photos of each with some noise."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(places, 48)), photos, axis=0)
    rows = rows + rng.normal(size=rows.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def photos_of(places: int, photos: int, make: Callable[[int], Photo] | None = None) -> list[Photo]:
    """Photos for `rows_of`: labelled, unless something else is made of the number of a place."""
    made = make or (lambda number: Photo(PurePosixPath("x"), "gallery", f"place {number}"))
    return [
        Photo(PurePosixPath(f"{n}.jpg"), "gallery", photo.place, photo.position, photo.sequence)
        for n in range(places * photos)
        for photo in [made(n // photos)]
    ]


def too_few(places: int) -> str:
    """What is said of a gallery in which so many places are told apart."""
    return (
        f"a gallery that examines itself must hold photos of two or more places, got {places}; "
        "label their places, or add photos of others"
    )


@pytest.fixture
def gallery(tmp_path: Path, tiny_model: TinyModel) -> GalleryFile:
    """An open gallery of 12 places with 6 photos each."""
    opened = GalleryFile.open_for(tmp_path / "city.gallery", tiny_model.card)
    opened.upsert(photos_of(12, 6), rows_of(12, 6))
    return opened


def test_a_calibration_is_kept_in_the_file(gallery: GalleryFile) -> None:
    """It is there when the file is opened again, with where it came from, and does not make itself stale."""
    assert read_calibration(gallery) is None

    made = calibrate_gallery(gallery, aim=Aim(0.1))
    gallery.close()

    with GalleryFile.open(gallery.path) as again:
        kept = read_calibration(again)
        assert kept == made
        assert (made.basis, made.revision, made.false_accept_rate) == ("gallery", again.revision, 0.1)
        assert made.made.endswith("+00:00")
        assert staleness(again, made) == ""


def test_changes_make_it_stale_and_say_what_changed(gallery: GalleryFile) -> None:
    """Photos added and labels changed are both said, and a calibration of another file's history too."""
    made = calibrate_gallery(gallery)
    extra = Photo(PurePosixPath("new.jpg"), "gallery", "elsewhere")

    gallery.upsert([extra], rows_of(1, 1, seed=5))
    assert staleness(gallery, made) == (
        "the gallery has changed since it was calibrated: embeddings added or removed: 1; "
        "run 'placewise calibrate' again"
    )
    made = calibrate_gallery(gallery)
    gallery.relabel([Photo(PurePosixPath("new.jpg"), "gallery", "another place")])
    assert "its labels, photos or local features are others" in staleness(gallery, made)


def test_a_locator_decides_by_the_calibration(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """Photos of known places are KNOWN with a probability and a reason, photos of new ones UNKNOWN, as calibrated."""
    made = calibrate_gallery(gallery, aim=Aim(0.1))
    unknown = rows_of(40, 1, seed=9)

    locator = Locator(gallery, tiny_model)
    answers = locator.answers(np.concatenate([gallery.contents().embeddings[::6], unknown]), k=3)

    assert made.learned
    for number, answer in enumerate(answers):
        assert answer.tau == made.tau
        assert answer.confidence is not None
        assert 0 <= answer.confidence <= 1
        assert answer.known is (answer.confidence >= made.tau)
        if number < 12:
            assert (answer.known, answer.place) == (True, f"place {number}")
        assert answer.known or answer.place is None
        assert answer.reason.startswith("confidence ")
        assert len(answer.hits) == 3
    assert np.mean([bool(answer.known) for answer in answers[12:]]) <= 0.2
    assert locator.caution == ""


def test_the_answer_does_not_depend_on_the_hits_shown(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """One hit or thirty: the confidence and the verdict are the same."""
    calibrate_gallery(gallery)
    locator = Locator(gallery, tiny_model)

    for query in rows_of(60, 1, seed=3)[:, None]:
        (one,), (many,) = locator.answers(query, k=1), locator.answers(query, k=60)
        assert (one.known, one.confidence, one.reason) == (many.known, many.confidence, many.reason)
        assert (len(one.hits), len(many.hits)) == (1, 60)


def test_without_a_calibration_the_locator_says_so(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """The convention decides, with a caution; a fixed tau needs none, and overrides a calibration."""
    plain = Locator(gallery, tiny_model)
    (answer,) = plain.answers(rows_of(12, 6)[:1])
    assert answer.tau == 0.5
    assert plain.caution.startswith("the gallery is not calibrated: tau 0.50 on the plain similarity is a convention")

    calibrate_gallery(gallery)
    fixed = Locator(gallery, tiny_model, tau=0.7)
    (answer,) = fixed.answers(rows_of(12, 6)[:1])
    assert (answer.tau, answer.confidence) == (0.7, answer.hits[0].similarity)
    assert fixed.caution == ""


def test_a_locator_sees_a_new_calibration_when_refreshed(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """Another process calibrates: the photos have not changed, but the answers do."""
    locator = Locator(gallery, tiny_model)
    assert locator.answers(rows_of(12, 6)[:1])[0].tau == 0.5

    with GalleryFile.open(gallery.path) as other:
        made = calibrate_gallery(other)

    assert locator.refresh()
    assert locator.answers(rows_of(12, 6)[:1])[0].tau == made.tau
    assert not locator.refresh()


def test_a_stale_calibration_still_decides(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """After photos were removed, some of the cohort among them, answers are given and the caution is too."""
    calibrate_gallery(gallery)
    gallery.remove([f"{number}.jpg" for number in range(0, 72, 2)])

    locator = Locator(gallery, tiny_model)

    assert locator.answers(rows_of(12, 6)[:1])[0].confidence is not None
    assert "embeddings added or removed: 36" in locator.caution


def test_photos_without_a_place_are_passed_over(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """The best hit has no label: the place and the confidence come from the best one that has."""
    calibrate_gallery(gallery)
    query = rows_of(12, 6)[:1]
    (before,) = Locator(gallery, tiny_model).answers(query)

    gallery.upsert([Photo(PurePosixPath("unlabelled.jpg"), "gallery")], query)
    (after,) = Locator(gallery, tiny_model).answers(query, k=1)

    assert after.place == before.place == "place 0"
    assert after.confidence == pytest.approx(before.confidence)


def test_photos_without_a_place_do_not_crowd_out_those_that_have_one(
    gallery: GalleryFile, tiny_model: TinyModel
) -> None:
    """Hundreds of unlabelled frames around a query change neither the verdict nor the confidence."""
    calibrate_gallery(gallery)
    query = rows_of(12, 6)[:1]
    (before,) = Locator(gallery, tiny_model).answers(query)
    noise = np.random.default_rng(0).normal(size=(200, 48)) * 0.02
    crowd = query + noise
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)

    frames = [Photo(PurePosixPath(f"walk/{number}.jpg"), "gallery") for number in range(200)]
    gallery.upsert(frames, crowd.astype(np.float32))
    (after,) = Locator(gallery, tiny_model).answers(query)

    assert all(hit.photo.place is None for hit in after.hits[1:])
    assert (after.known, after.place) == (before.known, before.place)
    assert after.confidence == pytest.approx(before.confidence)
    (among,) = Locator(gallery, tiny_model).answers(query, among=Filter(places=("place 3",)))
    assert among.hits[0].photo.place == "place 3"


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_filter_that_leaves_nothing_is_unknown(
    gallery: GalleryFile, tiny_model: TinyModel, *, calibrated: bool
) -> None:
    """No photo to compare with: UNKNOWN, without a confidence, whatever decides."""
    if calibrated:
        calibrate_gallery(gallery)

    (answer,) = Locator(gallery, tiny_model).answers(rows_of(1, 1), among=Filter(box=(0, 0, 1, 1)))

    assert (answer.known, answer.place, answer.confidence, answer.hits) == (False, None, None, ())


def test_removing_places_never_breaks_a_calibrated_gallery(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """Down to one place, and to none: it answers on, from photos that are there, and an empty one says UNKNOWN."""
    gallery.close()
    with Gallery.open(gallery.path, embedder=tiny_model) as opened:
        opened.calibrate()
        locator = opened._ready()
        opened.remove(places=[f"place {number}" for number in range(1, 12)])
        (answer,) = locator.answers(rows_of(12, 6)[:1])
        assert {hit.photo.place for hit in answer.hits} == {"place 0"}
        assert answer.confidence is not None
        assert Locator(opened._file, tiny_model).answers(rows_of(12, 6)[:1]) == (answer,)

        opened.remove(places=["place 0"])
        assert locator.answers(rows_of(1, 1))[0].known is False
        assert Locator(opened._file, tiny_model).answers(rows_of(1, 1))[0].known is False


def test_a_gallery_that_lost_its_cohort_says_so_and_keeps_what_was_written(
    gallery: GalleryFile, tiny_model: TinyModel
) -> None:
    """All calibrated photos are replaced by others: the removal stands, and locating says what to do."""
    gallery.close()
    with Gallery.open(gallery.path, embedder=tiny_model) as opened:
        opened.calibrate()
        opened._ready()
        opened._file.upsert([Photo(PurePosixPath("new.jpg"), "gallery", "new")], rows_of(1, 1, seed=4))
        with pytest.warns(UserWarning, match="the photos that a calibration rests on must be in the gallery, got 0"):
            opened.remove(places=[f"place {number}" for number in range(12)])

        assert len(opened) == 1
        with pytest.raises(CalibrationError, match=r"run 'placewise calibrate' again$"):
            opened.locate(b"")


def test_a_failed_refresh_changes_nothing_and_is_tried_again(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """A calibration that becomes damaged is refused each time; the locator goes on as it was."""
    calibrate_gallery(gallery)
    locator = Locator(gallery, tiny_model)
    before = locator.answers(rows_of(12, 6)[:1])
    gallery.put_calibration("{}")

    for _ in range(2):
        with pytest.raises(CalibrationError):
            locator.refresh()
    assert locator.answers(rows_of(12, 6)[:1]) == before


def test_the_caution_is_of_the_rule_in_use(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """Another process calibrates: until the refresh, tau is still the convention, and the caution says so."""
    locator = Locator(gallery, tiny_model)
    calibrate_gallery(gallery)

    assert "not calibrated" in locator.caution
    locator.refresh()
    assert locator.caution == ""


def test_a_typo_in_tau_is_refused(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """It is neither the calibration nor a number."""
    with pytest.raises(OptionError, match=r"^tau must be a number, None or 'calibrated', got 'calibratd'$"):
        Locator(gallery, tiny_model, tau="calibratd")  # type: ignore[arg-type]


def test_a_damaged_calibration_is_a_fault_of_the_gallery(gallery: GalleryFile) -> None:
    """`gallery info` still says what is there, and the check names the damage."""
    gallery.put_calibration("{}")

    calibration = gallery_info(gallery)["calibration"]
    assert isinstance(calibration, dict)
    assert "must be readable" in calibration["damaged"]
    (fault,) = gallery_faults(gallery)
    assert "must be readable" in fault


def test_labelled_queries_calibrate_a_gallery_of_one_place(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """What was calibrated so can be located with."""
    gallery.remove([f"{number}.jpg" for number in range(6, 72)])
    made = calibrate(
        _labelled_exam(
            gallery.contents().embeddings,
            gallery.table(),
            [Photo(PurePosixPath(f"{n}.jpg"), "query", f"place {n // 3}") for n in range(30)],
            rows_of(10, 3, seed=2),
            0,
        )[0],
        names=[f"place {number}" for number in range(10)],
        ids=gallery.ids(),
    )
    gallery.put_calibration(calibration_to_json(made))

    assert Locator(gallery, tiny_model).answers(rows_of(1, 1))[0].tau == made.tau


@pytest.mark.parametrize(
    ("make", "unit"),
    [
        (lambda number: Photo(PurePosixPath("x"), "gallery", position=Position(48 + number / 100, 16)), "position"),
        (lambda number: Photo(PurePosixPath("x"), "gallery", sequence=f"walk {number}"), "sequence"),
    ],
)
def test_positions_or_sequences_stand_for_places(
    tmp_path: Path, tiny_model: TinyModel, make: Callable[[int], Photo], unit: str
) -> None:
    """Without labels, a gallery calibrates by where its photos were taken, or by their sequences, to the same tau."""
    with GalleryFile.open_for(tmp_path / "other.gallery", tiny_model.card) as gallery:
        gallery.upsert(photos_of(12, 6, make), rows_of(12, 6))

        made = calibrate_gallery(gallery, aim=Aim(0.1, "similarity"))
        (answer,) = Locator(gallery, tiny_model).answers(rows_of(12, 6)[:1])

    assert made.unit == unit
    assert made.places == 12
    assert answer.known
    assert answer.place is None


def _number(photo: Photo) -> int:
    return int(photo.path.stem)


@pytest.mark.parametrize("unit", ["position", "sequence"])
def test_one_label_does_not_keep_a_gallery_from_calibrating(tmp_path: Path, tiny_model: TinyModel, unit: str) -> None:
    """With one photo labelled, or those of one spot or sequence, positions or sequences still stand for places."""
    for labelled in (1, 6):
        with GalleryFile.open_for(tmp_path / f"{labelled}.gallery", tiny_model.card) as gallery:
            for photo, row in zip(photos_of(12, 6), rows_of(12, 6), strict=True):
                spot = _number(photo) // 6
                told = Photo(photo.path, "gallery", "here" if _number(photo) < labelled else None)
                where = {"position": Position(48 + spot / 100, 16)} if unit == "position" else {"sequence": f"w{spot}"}
                gallery.upsert([dataclasses.replace(told, **where)], row[None])
            renewed = renew_calibration(gallery)
            (answer,) = Locator(gallery, tiny_model).answers(rows_of(12, 6)[:1])

        assert renewed.calibration is not None, renewed.says
        assert (renewed.calibration.unit, renewed.calibration.places) == (unit, 12)
        assert (answer.known, answer.place, answer.tau) == (True, "here", renewed.calibration.tau)


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (lambda _: Photo(PurePosixPath("x"), "gallery"), 0),
        (lambda number: Photo(PurePosixPath("x"), "gallery", None if number else "here"), 1),
        (lambda number: Photo(PurePosixPath("x"), "gallery", "here", sequence=f"walk {number}"), 1),
        (lambda n: Photo(PurePosixPath("x"), "gallery", None, Position(48, 16 + n / 1e5), f"walk {n}"), 1),
    ],
    ids=["nothing", "one label", "sequences of one label", "sequences of one spot"],
)
def test_a_gallery_without_two_places_is_refused(
    tmp_path: Path, tiny_model: TinyModel, make: Callable[[int], Photo], places: int
) -> None:
    """Nothing tells one place from another, sequences of one place or spot do not, and the line says what would."""
    with GalleryFile.open_for(tmp_path / "none.gallery", tiny_model.card) as gallery:
        gallery.upsert(photos_of(3, 2, make), rows_of(3, 2))

        with pytest.raises(CalibrationError, match=f"^{re.escape(too_few(places))}$"):
            calibrate_gallery(gallery)


def test_a_damaged_calibration_is_refused(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """It never decides; a fixed tau still does."""
    gallery.put_calibration("{}")

    with pytest.raises(CalibrationError, match="must be readable"):
        Locator(gallery, tiny_model)
    assert Locator(gallery, tiny_model, tau=0.5).answers(rows_of(1, 1))


def test_labelled_queries_calibrate_instead(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """Real known and open-set queries give the threshold, and the calibration says where it comes from."""
    rows = tiny_dataset.read_text(encoding="utf-8").splitlines()
    for place in range(6, 20):
        save_photo(tiny_dataset.parent / f"q{place}.png", place=place)
        rows.append(f"q{place}.png,place {place},query")
    tiny_dataset.write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = read_source(tiny_dataset)
    with GalleryFile.open_for(tmp_path / "city.gallery", tiny_model.card) as gallery:
        index_source(source, gallery, tiny_model)

        made = calibrate_labelled(gallery, source, tiny_model, aim=Aim(0.2))

        assert (made.known_questions, made.open_set_questions, made.places) == (4, 16, 4)
        assert made.basis == str(source.root)
        assert made.expected_rate <= 0.2
        assert read_calibration(gallery) == made


def test_labelled_queries_must_hold_open_set_ones(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Known queries alone say nothing of a false-accept rate; another model's gallery is refused too."""
    lines = tiny_dataset.read_text(encoding="utf-8").splitlines()
    tiny_dataset.write_text("\n".join(line for line in lines if "p4/" not in line and "p5/" not in line), "utf-8")
    source = read_source(tiny_dataset)
    with GalleryFile.open_for(tmp_path / "city.gallery", tiny_model.card) as gallery:
        index_source(source, gallery, tiny_model)

        with pytest.raises(CalibrationError, match=r"^labelled queries must hold open-set queries, .* got none of 4;"):
            calibrate_labelled(gallery, source, tiny_model)
        other = type(tiny_model)("another")
        with pytest.raises(ModelMismatchError):
            calibrate_labelled(gallery, source, other)


def test_the_gallery_class_calibrates_while_others_locate(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """`Gallery.calibrate` changes the decisions of its own answers at once; threads that locate meanwhile go on."""
    gallery.close()
    photo = np.zeros((8, 8, 3), np.uint8)
    photo[:4] = 255
    from placewise.images import thumbnail

    data = thumbnail(photo, longer_side=8)
    with Gallery.open(gallery.path, embedder=tiny_model) as opened:
        errors: list[BaseException] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    opened.locate(data)
                except BaseException as error:  # noqa: BLE001
                    errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert opened.calibration is None
        made = opened.calibrate(false_accept_rate=0.1)
        stop.set()
        for thread in threads:
            thread.join()

        assert errors == []
        assert opened.calibration == made
        assert opened.locate(data).tau == made.tau
        assert opened.caution == ""


def test_a_read_only_gallery_is_not_calibrated(gallery: GalleryFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file cannot be written, the error is the gallery's, and no half calibration is left."""

    def refuse(*_: object) -> None:
        message = "disk full"
        raise GalleryError(message)

    monkeypatch.setattr(type(gallery.store), "execute", _but_writes(type(gallery.store).execute, refuse))

    with pytest.raises(GalleryError, match="disk full"):
        calibrate_gallery(gallery)
    monkeypatch.undo()
    assert read_calibration(gallery) is None


def _but_writes(execute: Callable[..., object], refuse: Callable[..., None]) -> Callable[..., object]:
    def guarded(store: object, statement: str, values: Sequence[object] = ()) -> object:
        if "calibration" in statement and statement.startswith("INSERT"):
            refuse()
        return execute(store, statement, values)

    return guarded


# ---- on real photos -------------------------------------------------------------------------------------------------


def test_66_landmarks_find_every_unknown_by_themselves(photos_root: Path) -> None:
    """The original experiment, calibrated on its 37 gallery photos alone: UNKNOWN recall 1."""
    source = read_source(photos_root / "landmarks" / "manifest-66.csv")

    evaluation = evaluate_source(source, load_model())

    assert evaluation.counts.unknown_recall == 1
    assert evaluation.counts.unknown_precision >= 0.5
    assert evaluation.calibration is not None
    assert any("so few places (5)" in note for note in evaluation.calibration.notes)


def test_the_learned_confidence_is_better_on_the_landmarks(photos_root: Path) -> None:
    """AUROC and OSCR are above those of the best similarity, and the achieved rate lies in the printed interval."""
    source = read_source(photos_root / "landmarks" / "manifest.csv")
    embedder = load_model()

    learned, plain = (evaluate_source(source, embedder, tau=Aim(0.05, method)) for method in ("auto", "similarity"))

    assert learned.calibration is not None
    assert plain.open_set["auroc"] == pytest.approx(0.917, abs=0.005)
    assert learned.open_set["auroc"] > plain.open_set["auroc"] + 0.005
    assert learned.open_set["oscr"] > plain.open_set["oscr"] + 0.005
    low, high = learned.calibration.interval
    assert low <= learned.counts.false_accept_rate <= high
    assert learned.open_set["known_accepted_right"] > plain.open_set["known_accepted_right"]
    assert learned.open_set["ece"] < 0.1


def test_floors_that_look_alike_are_said_to(photos_root: Path) -> None:
    """In the tower nearly no known query can be accepted at a rate of 5 %, and the hallways are named as the reason."""
    source = read_source(photos_root / "tower" / "manifest.csv")

    evaluation = evaluate_source(source, load_model())

    calibration = evaluation.calibration
    assert calibration is not None
    assert calibration.known_accepted is not None
    assert calibration.known_accepted < 0.2
    assert any(note.startswith("at this rate only") for note in calibration.notes)
    first, second = calibration.confusions[0].places
    assert first.endswith("hallway")
    assert second.endswith("hallway")
    assert first != second
    assert evaluation.open_set["known_accepted_right"] == pytest.approx(calibration.known_accepted, abs=0.05)


def test_a_gallery_calibrates_itself_once_and_again_when_it_has_changed(gallery: GalleryFile) -> None:
    """Unasked it takes the default aim; what was wanted before is wanted again; nothing is done twice."""
    first = renew_calibration(gallery)
    again = renew_calibration(gallery)
    assert first.calibration == again.calibration == read_calibration(gallery)
    assert (first.done, again.done) == (True, False)
    assert first.says.startswith("calibrated for a false-accept rate of 5.0 %: ")

    wanted = Aim(0.1, "similarity")
    calibrate_gallery(gallery, aim=wanted)
    gallery.upsert([Photo(PurePosixPath("new.jpg"), "gallery", "place 3")], rows_of(1, 1, seed=5))
    renewed = renew_calibration(gallery)
    assert renewed.done
    assert renewed.calibration is not None
    assert renewed.calibration.aim == wanted
    assert staleness(gallery, renewed.calibration) == ""


def test_a_large_gallery_does_not_calibrate_itself_for_a_photo(tmp_path: Path, tiny_model: TinyModel) -> None:
    """One photo of hundreds changes nothing that matters; another way to rank does."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        gallery.upsert(photos_of(20, 10), rows_of(20, 10))
        made = renew_calibration(gallery).calibration
        gallery.upsert([Photo(PurePosixPath("new.jpg"), "gallery", "place 3")], rows_of(1, 1, seed=5))
        kept = renew_calibration(gallery)
        gallery.put_ranking(find_preset("balanced").stack.to_json())

        assert (kept.calibration, kept.done) == (made, False)
        assert "embeddings added or removed since are too few to matter" in kept.says
        assert renew_calibration(gallery).done


def test_a_photo_with_which_a_step_comes_in_makes_a_gallery_calibrate_itself(
    tmp_path: Path, tiny_model: TinyModel
) -> None:
    """However few have changed: what was learned is of other similarities, and decides nothing."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        gallery.put_ranking(find_preset("balanced").stack.to_json())
        gallery.upsert(photos_of(150, 1), rows_of(150, 1))
        without = renew_calibration(gallery).calibration
        gallery.upsert([Photo(PurePosixPath("new.jpg"), "gallery", "place 3")], rows_of(1, 1, seed=5))
        with_it = renew_calibration(gallery)

    assert without is not None
    assert with_it.done
    assert with_it.calibration is not None
    assert with_it.calibration.ranking != without.ranking


@pytest.mark.parametrize(("places", "preset"), [(4, "fast"), (4, "accurate"), (1, "balanced")])
def test_evaluate_decides_as_a_gallery_that_index_has_made(
    tiny_dataset: Path, tmp_path: Path, tiny_model: TinyModel, places: int, preset: str
) -> None:
    """The same confidences, tau and decisions, with few places, verified or not, and with one that teaches nothing."""
    whole, stack = read_source(tiny_dataset), find_preset(preset).stack
    kept = [photo for photo in whole.photos if photo.split == "query" or int(str(photo.path)[1]) < places]
    source = dataclasses.replace(whole, photos=tuple(kept))
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        gallery.keep(features=True)
        gallery.put_ranking(stack.to_json())
        index_source(source, gallery, tiny_model)
        renewed = renew_calibration(gallery)
        locator = Locator(gallery, tiny_model)
        asked = [locator.locate(source.file(photo)) for photo in source.of("query")]
    evaluation = evaluate_source(source, tiny_model, stack=stack, intervals=False)

    assert (renewed.calibration is None) == (evaluation.calibration is None) == (places == 1)
    assert [answer.confidence for answer in asked] == pytest.approx([one.confidence for one in evaluation.results])
    assert [answer.tau for answer in asked] == pytest.approx([evaluation.tau] * len(asked))
    counts = evaluation.counts
    assert sum(answer.known is False for answer in asked) == counts.true_positives + counts.false_positives
    assert evaluation.uncalibrated.endswith("; " + FALLBACK if places == 1 else "")
    assert evaluation.notes == locator.notes


def test_two_places_are_enough_to_calibrate_unasked(tmp_path: Path, tiny_model: TinyModel) -> None:
    """They promise little, which is said, but more than a fixed tau."""
    with GalleryFile.open_for(tmp_path / "few", tiny_model.card) as gallery:
        gallery.upsert(photos_of(2, 3), rows_of(2, 3))
        renewed = renew_calibration(gallery)

    assert renewed.done
    assert renewed.calibration is not None
    assert renewed.calibration.notes[0].startswith("so few places (2) say little")


@pytest.mark.parametrize(("places", "photos"), [(1, 3), (0, 4)])
def test_what_cannot_calibrate_itself_says_why_and_what_decides(
    tmp_path: Path, tiny_model: TinyModel, places: int, photos: int
) -> None:
    """One place, no places: one line each, and the fixed tau."""
    held = photos_of(1, photos, None if places else lambda _: Photo(PurePosixPath("x"), "gallery"))
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        gallery.upsert(held, rows_of(1, photos))

        assert renew_calibration(gallery) == (None, f"not calibrated: {too_few(places)}; {FALLBACK}", False)


def test_a_damaged_calibration_is_replaced(gallery: GalleryFile) -> None:
    """Nobody asked to calibrate, but what cannot be read cannot decide."""
    gallery.put_calibration("{}")

    assert renew_calibration(gallery).calibration == read_calibration(gallery) is not None


@pytest.mark.parametrize("why", ["damaged", "of photos that are gone"])
def test_what_can_neither_decide_nor_be_replaced_is_dropped(
    gallery: GalleryFile, tiny_model: TinyModel, why: str
) -> None:
    """`locate` then does what is said: it answers by the fixed tau, instead of asking for a calibration in vain."""
    calibrate_gallery(gallery)
    gallery.upsert([Photo(PurePosixPath("new.jpg"), "gallery", "place 0")], rows_of(1, 1))
    gallery.remove([f"{number}.jpg" for number in range(72)])
    if why == "damaged":
        gallery.put_calibration("{}")
    with pytest.raises(CalibrationError, match=r"run 'placewise calibrate' again$"):
        Locator(gallery, tiny_model)

    renewed = renew_calibration(gallery)

    assert renewed == (None, f"not calibrated: {too_few(1)}; {FALLBACK}", False)
    assert gallery.calibration is None
    assert Locator(gallery, tiny_model).answers(rows_of(1, 1))[0].tau == 0.5


def test_a_gallery_in_use_decides_as_it_says_after_a_calibration_was_dropped(
    gallery: GalleryFile, tiny_model: TinyModel
) -> None:
    """Answers follow what `Gallery.renew_calibration` did, whatever that was."""
    calibrate_gallery(gallery)
    gallery.close()
    with Gallery.open(gallery.path, embedder=tiny_model) as opened:
        opened.remove(places=[f"place {number}" for number in range(1, 12)])
        locator = opened._ready()
        opened._file.put_calibration("{}")

        assert opened.renew_calibration().calibration is None
        assert locator.answers(rows_of(1, 1))[0].tau == 0.5


def test_a_calibration_of_other_steps_does_not_go_on_to_decide(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Where too few photos are left for a step, and of one place: a fixed tau decides, and that is said; it is kept."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        gallery.put_ranking(find_preset("balanced").stack.to_json())
        gallery.upsert(photos_of(2, 12), rows_of(2, 12))
        made = calibrate_gallery(gallery)
        gallery.remove([f"{number}.jpg" for number in range(12, 24)])

        assert renew_calibration(gallery) == (None, f"not calibrated: {too_few(1)}; {FALLBACK}", False)
        assert Locator(gallery, tiny_model).answers(rows_of(1, 1))[0].tau == 0.5
        assert read_calibration(gallery) == made


def test_a_calibration_that_decides_goes_on_to(gallery: GalleryFile, tiny_model: TinyModel) -> None:
    """One place is left, and the same steps: nothing better can be had, and that is said."""
    made = calibrate_gallery(gallery)
    gallery.remove([f"{number}.jpg" for number in range(6, 72)])

    says = f"not calibrated: {too_few(1)}; the earlier calibration goes on to decide"
    assert renew_calibration(gallery) == (made, says, False)
    assert Locator(gallery, tiny_model).answers(rows_of(1, 1))[0].tau == made.tau


def labelled(gallery: GalleryFile) -> Calibration:
    """A calibration as if on labelled queries, kept in the gallery."""
    made = dataclasses.replace(calibrate_gallery(gallery, aim=Aim(0.1)), basis="my queries")
    gallery.put_calibration(calibration_to_json(made))
    return made


def test_a_calibration_on_labelled_queries_is_not_replaced_unasked(gallery: GalleryFile) -> None:
    """What it was learned from is not at hand: it goes on to decide, and the line says how to learn from that again."""
    made = labelled(gallery)
    gallery.remove(["0.jpg"])

    assert renew_calibration(gallery) == (made, staleness(gallery, made), False)
    assert staleness(gallery, made) == (
        "the gallery has changed since it was calibrated: embeddings added or removed: 1; "
        "run 'placewise calibrate --labelled SOURCE' again, with the queries of my queries"
    )


@pytest.mark.parametrize("why", ["other steps", "photos that are gone"])
def test_a_calibration_on_labelled_queries_that_does_not_decide_is_replaced(gallery: GalleryFile, why: str) -> None:
    """It is in nobody's way: the gallery calibrates itself for the same rate, and says what became of the other."""
    labelled(gallery)
    if why == "other steps":
        gallery.put_ranking(find_preset("balanced").stack.to_json())
    else:
        again = [dataclasses.replace(photo, path=PurePosixPath("new", photo.path)) for photo in photos_of(12, 6)]
        gallery.upsert(again, rows_of(12, 6))
        gallery.remove([f"{number}.jpg" for number in range(72)])

    renewed = renew_calibration(gallery)

    assert renewed.done
    assert renewed.calibration is not None
    assert (renewed.calibration.basis, renewed.calibration.aim) == ("gallery", Aim(0.1))
    assert renewed.says == (
        f"calibrated for a false-accept rate of 10.0 %: {renewed.calibration.promise}; on the gallery's own photos, "
        f"since what was learned from my queries decides no more; run 'placewise calibrate --labelled SOURCE' again, "
        f"with the queries of my queries"
    )
