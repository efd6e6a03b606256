"""Local features and rankings that a gallery keeps and that are damaged: seen, named, passed over and mended."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import TinyModel
from tests.test_cli import placewise, refused

from placewise import indexing
from placewise.calibrating import calibrate_gallery, calibrate_labelled
from placewise.checking import features_of
from placewise.core import Photo, Source
from placewise.entries import Upload, add_photo
from placewise.errors import FeaturesDamagedError, GalleryError, OptionError
from placewise.features import KIND
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.housekeeping import gallery_faults, gallery_info
from placewise.indexing import index_source
from placewise.kept_features import KeptFeatures
from placewise.locate import Locator
from placewise.rank import Stack, Verify, stack_from_json
from placewise.renewal import renew_calibration

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.features import Features

STACK = Stack((Verify(6),))
BUILDINGS = ("castle-P19", "Herz-Jesus-P8")
NAME = "castle-P19/0003.jpg"
"""The photo whose features are damaged: the best hit of the query, if they were whole."""

DAMAGE = {
    "a changed byte": "CAST(substr(data, 1, 99) || x'00ff' || substr(data, 102) AS BLOB)",
    "another width": "CAST(substr(data, 1, 4) || x'01' || substr(data, 6) AS BLOB)",
    "cut": "substr(data, 1, 5000)",
    "empty": "x''",
    "of another version": "CAST('PWF9' || substr(data, 5) AS BLOB)",
    "text": "'text'",
    "text that is none": "CAST(x'ff80' AS TEXT)",
    "a number": "7",
}
"""Ways to damage a row."""


@pytest.fixture(scope="session")
def buildings(photos_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few real photos of two buildings, and a gallery of them that verifies."""
    root = tmp_path_factory.mktemp("buildings")
    for place in BUILDINGS:
        (root / place).mkdir()
        for number in (2, 3, 4):
            shutil.copy(photos_root / "buildings" / place / f"{number:04}.jpg", root / place)
    model = TinyModel()
    with GalleryFile.open_for(root / "town.gallery", model.card) as gallery:
        gallery.keep(features=True)
        gallery.put_ranking(STACK.to_json(), preset="accurate")
        index_source(source_of(root), gallery, model)
    return root


@pytest.fixture
def town(buildings: Path, tmp_path: Path) -> Path:
    """A copy of that gallery."""
    return Path(shutil.copy(buildings / "town.gallery", tmp_path / "town.gallery"))


def source_of(root: Path) -> Source:
    """The first and the last photo of each building are the gallery's, and the one between asks as well."""
    names = [f"{place}/{number:04}.jpg" for place in BUILDINGS for number in (2, 3, 4)]
    gallery = [Photo(PurePosixPath(name), "gallery", name.partition("/")[0]) for name in names]
    return Source(root, tuple(gallery))


def damage(path: Path, value: str = DAMAGE["a changed byte"], names: tuple[str, ...] = (NAME,)) -> None:
    """Put something else in the place of some photos' features."""
    with closing(sqlite3.connect(path)) as db, db:
        for name in names:
            done = db.execute(
                f"UPDATE features SET data = {value} WHERE id = (SELECT id FROM photos WHERE path = ?)", [name]
            )
            assert done.rowcount == 1


def rank_by(path: Path, text: str | bytes, preset: str = "accurate") -> None:
    """Put something else in the place of a gallery's ranking."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany("UPDATE meta SET value = ? WHERE key = ?", [(text, "ranking"), (preset, "preset")])


def said(path: Path, names: str = NAME) -> str:
    """The line about damaged features."""
    return (
        f"the local features of {names} in gallery {path} are not what was written; "
        f"'placewise index SOURCE --gallery {path} --rehash' extracts them again"
    )


# ---- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", DAMAGE.values(), ids=DAMAGE)
def test_every_damage_is_seen_and_passed_over(buildings: Path, town: Path, value: str) -> None:
    """A check names the photo; a query is answered as if its features had never been kept, and a note names it."""
    model, query = TinyModel(), buildings / "castle-P19" / "0002.jpg"
    with GalleryFile.open(town) as gallery:
        whole = Locator(gallery, model).locate(query)
        assert gallery_faults(gallery) == []
        gallery.store.execute("DELETE FROM features WHERE id = ?", (gallery.id_of(NAME),))
        without = Locator(gallery, model).locate(query)
        gallery.put_features(KIND, {gallery.id_of(NAME): b"anything"})
    damage(town, value)
    with GalleryFile.open(town) as gallery:
        locator = Locator(gallery, model)
        answer = locator.locate(query)

        assert gallery_faults(gallery) == [said(town)]
        assert answer == without != whole
        assert {str(hit.photo.path) for hit in answer.hits if hit.inliers is None} == {NAME}
        assert locator.notes == (f"not verified: {said(town)}",)
        with pytest.raises(FeaturesDamagedError) as caught:
            locator.verification(query, NAME)
        assert str(caught.value) == said(town)


@given(data=st.binary(max_size=100))
@settings(max_examples=25)
def test_no_bytes_stop_a_query(buildings: Path, data: bytes) -> None:
    """Whatever stands in the place of a photo's features, a check and a locator say the same of it."""
    path = buildings / "any.gallery"
    shutil.copy(buildings / "town.gallery", path)
    with GalleryFile.open(path) as gallery:
        kept, number = KeptFeatures(gallery), gallery.id_of(NAME)
        gallery.put_features(KIND, {number: data})

        assert kept.usable(number) is None
        assert gallery_faults(gallery) == [kept.damage]


def test_many_damaged_photos_are_counted(buildings: Path, town: Path) -> None:
    """A note is one line however many photos it is about: five are named."""
    names = [str(photo.path) for photo in source_of(buildings).photos]
    damage(town, "x''", tuple(names))
    with GalleryFile.open(town) as gallery:
        kept = KeptFeatures(gallery)
        for name in names:
            kept.usable(gallery.id_of(name))

        assert len(gallery_faults(gallery)) == 6
        assert kept.damage == said(town, f"{', '.join(names[:5])} and 1 more")


def test_rehash_extracts_what_is_damaged_and_nothing_else(
    buildings: Path, town: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the damaged photo's features are extracted, nothing is embedded; then all is as it was, and no note is left.

    Without it, files that look untouched are not read.
    """
    model, query = TinyModel(), buildings / "castle-P19" / "0002.jpg"
    extracted: list[bytes] = []

    def extract(data: bytes) -> Features:
        extracted.append(data)
        return features_of(data)

    monkeypatch.setattr(indexing, "features_of", extract)
    monkeypatch.setattr(indexing, "_SETTLED_NS", 0)
    with GalleryFile.open(town) as gallery:
        before, number = gallery.features(KIND, gallery.ids()), gallery.id_of(NAME)
        whole, revision = Locator(gallery, model).locate(query), gallery.revision
    with GalleryFile.open(town) as gallery:
        index_source(source_of(buildings), gallery, model)  # what was indexed a moment ago is read once more
        assert gallery.features(KIND, gallery.ids()) == before
        assert extracted == []
    damage(town)
    with GalleryFile.open(town) as gallery:
        locator = Locator(gallery, model)
        locator.locate(query)
        plain = index_source(source_of(buildings), gallery, model)
        assert (plain.unchanged, plain.mended, extracted) == (6, 0, [])
        mended = index_source(source_of(buildings), gallery, model, rehash=True)

        assert (mended.computed, mended.updated, mended.unchanged, mended.mended) == (0, 0, 6, 1)
        assert extracted == [(buildings / NAME).read_bytes()]
        assert gallery.features(KIND, gallery.ids()) == before
        assert (gallery.id_of(NAME), gallery.revision) == (number, revision)
        assert gallery_faults(gallery) == []
        assert locator.locate(query) == whole
        assert locator.notes == ()


def test_features_are_mended_also_where_no_more_are_kept(buildings: Path, town: Path) -> None:
    """What a gallery has and verifies by is mended, whatever it keeps of photos that come."""
    damage(town)
    with GalleryFile.open(town) as gallery:
        gallery.keep(features=False)

        assert index_source(source_of(buildings), gallery, TinyModel(), rehash=True).mended == 1
        assert gallery_faults(gallery) == []


def test_a_photo_that_is_sent_again_is_mended(buildings: Path, town: Path) -> None:
    """Of a photo that came as bytes there is no file to read again: the same bytes mend it, and embed nothing anew."""
    damage(town, "x''")
    data = (buildings / NAME).read_bytes()
    with GalleryFile.open(town) as gallery:
        number, photo = gallery.id_of(NAME), Photo(PurePosixPath(NAME), "gallery", "castle-P19")
        row = gallery.vectors(gallery.ids())[1][0]
        found, is_new = add_photo(gallery, photo, Upload.of(data, features=True), row)

        assert (found.id, is_new) == (number, False)
        assert gallery_faults(gallery) == []


def test_nothing_is_promised_on_damaged_features(buildings: Path, town: Path) -> None:
    """What is compared must be whole: one line names the photo, also when nobody asked, and what was kept stays."""
    photos, model = source_of(buildings).photos, TinyModel()
    asking = [
        dataclasses.replace(photo, split="query", place=f"{photo.place}{n % 2}") for n, photo in enumerate(photos)
    ]
    labelled = Source(buildings, (*asking, *(dataclasses.replace(photo, split="query") for photo in photos)))
    with GalleryFile.open(town) as gallery:
        calibrate_gallery(gallery)
        before = gallery.calibration
    damage(town)
    with GalleryFile.open(town) as gallery:
        with pytest.raises(FeaturesDamagedError, match=f"^{re.escape(said(town))}$"):
            calibrate_gallery(gallery)
        with pytest.raises(FeaturesDamagedError, match=f"^{re.escape(said(town))}$"):
            calibrate_labelled(gallery, labelled, model)
        gallery.remove(["Herz-Jesus-P8/0002.jpg"])
        renewed = renew_calibration(gallery)

        assert renewed.says == f"not calibrated: {said(town)}; the earlier calibration goes on to decide"
        assert gallery.calibration == before


def test_a_service_goes_on_and_logs_whose_features_are_damaged(
    served: Callable[..., str], tmp_path: Path, textures: Path, tiny_model: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers come without the one hit's geometry, and one line of the log says why; its match is a problem."""
    path, photo = tmp_path / "served.gallery", (textures / "0-4.jpg").read_bytes()
    path.unlink()
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery.add(textures / "manifest.csv")
    with GalleryFile.open(path) as file:
        file.put_ranking(STACK.to_json())
        number = file.id_of("0-0.jpg")
    damage(path, names=("0-0.jpg",))
    url = served(allow_anyone="write")
    with caplog.at_level(logging.ERROR, logger="placewise.service"):
        answers = [httpx.post(f"{url}/v1/locate", content=photo, params={"k": 6}) for _ in range(2)]
        match = httpx.post(f"{url}/v1/photos/{number}/match", content=photo)
        calibrated = httpx.post(f"{url}/v1/calibrate")
    hits = {hit["path"]: hit["inliers"] for hit in answers[1].json()["answers"][0]["hits"]}

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [name for name, inliers in hits.items() if inliers is None] == ["0-0.jpg"]
    told = [record.fields for record in caplog.records if record.message == "stored features are damaged"]  # type: ignore[attr-defined]  # as the service gives it
    assert told == [{"reason": f"not verified: {said(path, '0-0.jpg')}"}]
    for refusal in (match, calibrated):
        assert (refusal.status_code, refusal.json()["kind"]) == (500, "features")
        assert str(tmp_path) not in refusal.text
    assert sum(said(path, "0-0.jpg") in str(getattr(record, "fields", "")) for record in caplog.records) == 3


def test_on_the_command_line(buildings: Path, tmp_path: Path) -> None:
    """Found by a check, noted by locate, refused by calibrate, mended by what the line says, as a user types it."""
    path, folder, query = tmp_path / "town.gallery", tmp_path / "photos", buildings / "castle-P19" / "0002.jpg"
    for place in BUILDINGS:
        shutil.copytree(buildings / place, folder / place)
    indexed = placewise("index", folder, "--gallery", path, "--preset", "fast", "--features", "--no-cache")
    with GalleryFile.open(path) as gallery:
        gallery.put_ranking(STACK.to_json())
    damage(path)
    checked = placewise("gallery", "info", path, "--check", "--json")
    located = placewise("locate", query, "--gallery", path, "--json")

    assert indexed.returncode == 0, indexed.stderr
    assert (checked.returncode, json.loads(checked.stdout)["faults"]) == (1, [said(path)])
    assert located.returncode == 0
    (answer,) = json.loads(located.stdout)
    assert answer["notes"] == [f"not verified: {said(path)}"]
    assert f"note: not verified: {said(path)}\n" in located.stderr
    assert refused("calibrate", "--gallery", path) == said(path)
    mended = placewise("index", folder, "--gallery", path, "--rehash", "--no-cache")
    assert "6 unchanged" in mended.stdout
    assert "damaged local features of 1 extracted again; nothing had to be embedded" in mended.stdout
    assert placewise("gallery", "info", path, "--check").returncode == 0


# ---- rankings -------------------------------------------------------------------------------------------------------

RANKINGS = [
    ("{", "steps with their parameters, got JSONDecodeError('Expecting property name enclosed in double quotes"),
    ('{"version": 9, "steps": []}', "of version 1, got 9; "),
    ('{"version": 1, "steps": [{"step": "magic"}]}', "steps with their parameters, got KeyError('magic'); "),
    (json.dumps({"version": 1, "steps": [{"step": "x" * 10**6}]}), "steps with their parameters, got KeyError('xxx"),
    (b"\x00\xffbytes", "steps with their parameters, got JSONDecodeError("),
]


@pytest.mark.parametrize(("text", "what"), RANKINGS, ids=["cut", "newer", "unknown", "long", "bytes"])
def test_a_damaged_ranking_is_named_with_what_mends_it(
    buildings: Path, town: Path, text: str | bytes, what: str
) -> None:
    """A check, a locator and a calibration say the same line; what is known of the gallery is still said."""
    with GalleryFile.open(town) as gallery:
        gallery.put_ranking(Stack().to_json(), preset="accurate")  # to calibrate that is quick
        calibrate_gallery(gallery)
    rank_by(town, text)
    with GalleryFile.open(town) as gallery:
        (fault,) = gallery_faults(gallery)
        info = gallery_info(gallery)
        for read in (lambda: Locator(gallery, TinyModel()), lambda: calibrate_gallery(gallery)):
            with pytest.raises(GalleryError) as caught:
                read()
            assert str(caught.value) == fault

        assert fault.startswith(
            f"the ranking of gallery {town} is damaged or of another version: a stack must be {what}"
        )
        assert fault.endswith(f"; 'placewise index SOURCE --gallery {town} --preset accurate' writes it again")
        assert len(fault) < 400 + 2 * len(str(town))
        assert info["calibration"] == {**info["calibration"], "stale": True}  # type: ignore[dict-item]
    with Gallery.open_for(town, TinyModel(), preset="accurate") as gallery:
        gallery.add(source_of(buildings))
        assert gallery.faults() == []
        assert gallery.locate(buildings / "castle-P19" / "0002.jpg").hits[0].inliers


def test_a_preset_that_there_is_not_is_named(town: Path) -> None:
    """Damaged or of a later version, it is a fault; locating, and going on as the gallery ranks, do not need it."""
    rank_by(town, STACK.to_json(), "acurate\n")
    line = (
        f"the preset of gallery {town} must be one of fast, balanced, accurate, got 'acurate\\n'; "
        f"'placewise index SOURCE --gallery {town} --preset NAME' writes it again"
    )
    with GalleryFile.open(town) as gallery:
        assert gallery_faults(gallery) == [line]
        assert Locator(gallery, TinyModel()).verified == 6


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_steps = st.fixed_dictionaries(
    {"step": st.sampled_from(["centre", "whiten", "augment", "place", "expand", "verify", "island"]) | _values},
    optional=dict.fromkeys(["share", "dims", "neighbours", "power", "mutual", "rounds", "hits", "x"], _values),
)


@given(
    text=st.text(max_size=30)
    | _values.map(json.dumps)
    | st.lists(_steps | _values, max_size=3).map(lambda steps: json.dumps({"version": 1, "steps": steps}))
)
def test_any_text_is_a_stack_or_one_line(text: str) -> None:
    """Whatever a gallery holds in the place of its ranking is read as it was written, or refused in one short line."""
    stack = None
    with suppress(OptionError):
        stack = stack_from_json(text)
    if stack is None:
        with pytest.raises(OptionError) as caught:
            stack_from_json(text)
        line = str(caught.value)
        assert line.isprintable()
        assert len(line) < 250
    else:
        assert stack_from_json(stack.to_json()) == stack
