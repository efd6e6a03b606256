"""Galleries and their presets: what a gallery is begun with, keeps, and can be given later."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import TinyModel

from placewise.cli import app
from placewise.errors import ModelMismatchError
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile, begun_card
from placewise.housekeeping import gallery_info
from placewise.models import DEFAULT_MODEL, Look, find_card, load_model
from placewise.models.looks import seen_with
from placewise.presets import PRESETS
from placewise.rank import stack_from_json
from placewise.store import Store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from placewise.core import Embedder


class Killed(BaseException):
    """What nobody catches."""


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery that was begun without saying anything; not to be changed."""
    path = tmp_path_factory.mktemp("balanced") / "city.gallery"
    Gallery.open_for(path).close()
    return path


def index(*arguments: object) -> None:
    """Run 'placewise index' in this process; its refusals are errors."""
    app.main(["index", *map(str, arguments), "--no-cache"], standalone_mode=False)


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_gallery_killed_at_its_beginning_is_begun_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Whichever transaction was the last, it has its preset, look and ranking once it is opened again."""
    path, transaction = tmp_path / "g", Store.transaction
    path.touch()  # as SQLite leaves it before the first transaction
    left = iter(range(moment))

    def killing(store: Store) -> AbstractContextManager[None]:
        if next(left, None) is None:
            raise Killed
        return transaction(store)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "transaction", killing)
        try:
            Gallery.open_for(path, preset="accurate").close()
        except Killed:
            assert moment < 2
    begun = begun_card(path) is not None
    Gallery.open_for(path).close()

    assert begun is (moment > 1)
    wanted = PRESETS["accurate" if begun else "balanced"]
    with GalleryFile.open(path) as file:
        assert (file.preset, file.card.sight) == (wanted.name, seen_with(find_card(DEFAULT_MODEL), wanted.look).sight)
        assert stack_from_json(file.ranking or "") == wanted.stack
        assert file.keeps_features is begun


def test_every_preset_is_recorded(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Also the one that ranks by nothing but the cosine; naming that for a gallery which does is no change."""
    for name in PRESETS:
        with Gallery.open_for(tmp_path / name, tiny_model, preset=name) as gallery:
            assert gallery.info()["preset"] == name
    with GalleryFile.open_for(tmp_path / "former", tiny_model.card) as file:
        file.new_revision(0)
        before = file.revision
    Gallery.open_for(tmp_path / "former", tiny_model, preset="fast").close()

    with GalleryFile.open(tmp_path / "former") as file:
        assert (gallery_info(file)["preset"], file.ranking, file.revision) == ("fast", None, before)


def test_features_come_and_go_with_a_preset(tmp_path: Path, tiny_model: TinyModel) -> None:
    """One that verifies keeps them for as long as it is there; those that were asked for stay, or stay away."""
    path = tmp_path / "g"
    steps: list[tuple[str | None, bool | None, bool]] = [
        ("accurate", None, True),
        (None, None, True),
        ("balanced", None, False),
        ("accurate", False, False),
        (None, None, False),
        ("accurate", None, True),
        (None, True, True),
        ("balanced", None, True),
        ("fast", False, False),
        ("accurate", True, True),
        ("balanced", None, True),
    ]
    for preset, features, kept in steps:
        with Gallery.open_for(path, tiny_model, preset=preset, features=features):
            pass
        with GalleryFile.open(path) as file:
            assert file.keeps_features is kept, (preset, features)


def test_hits_that_nothing_verifies_are_said(tiny_dataset: Path, tmp_path: Path, tiny_model: TinyModel) -> None:
    """A ranking that verifies leaves that out where no photo has local features, as after an import, and says so."""
    note = "step verify is left out: the gallery keeps no local features; index its photos again with --features"
    for features in (False, True):
        with Gallery.open_for(tmp_path / "g", tiny_model, preset="accurate", features=features) as gallery:
            assert not any("verify" in one for one in gallery.notes)
            gallery.add(tiny_dataset)
            told = (gallery.notes, gallery._ready().notes)
            assert [note in notes for notes in told] == [not features] * 2
            gallery.remove(globs=["*"])


def test_a_gallery_without_a_preset_is_seen_as_it_was(tiny_dataset: Path, tmp_path: Path) -> None:
    """Whoever made it: its own card says how photos are seen, in Python and on the command line."""
    for number, look in enumerate((PRESETS["balanced"].look, Look(sizes=(96,), fit="whole", flip=True))):
        path = tmp_path / f"{number}.gallery"
        GalleryFile.open_for(path, load_model(look=look).card).close()

        index(tiny_dataset, "--gallery", path)
        with Gallery.open_for(path, tau=0.5) as gallery:
            assert gallery.add(tiny_dataset).unchanged == 12
            assert gallery.locate(tiny_dataset.parent / "p1" / "3.png").hits
            assert gallery.info()["preset"] is None


def test_a_look_of_ones_own_is_kept(tiny_dataset: Path, tmp_path: Path) -> None:
    """What was said of size and fit when the gallery was begun need not be said again."""
    path = tmp_path / "g"
    index(tiny_dataset, "--gallery", path, "--input-size", 96, "--fit", "whole")
    index(tiny_dataset, "--gallery", path)

    with GalleryFile.open(path) as file:
        assert (file.card.sight, file.preset) == ("96 px whole, average", "balanced")


def test_another_look_is_refused_with_what_to_do(tiny_dataset: Path, balanced: Path, tmp_path: Path) -> None:
    """A preset or look that is not the gallery's is called that, not another model; the file stays as it was."""
    path = Path(shutil.copy(balanced, tmp_path / "city.gallery"))
    before = path.read_bytes()

    def refused(preset: str | None = None, embedder: Embedder | None = None) -> str:
        with pytest.raises(ModelMismatchError) as caught:
            Gallery.open_for(path, embedder, preset=preset)
        return str(caught.value)

    wanted = (
        f"gallery {path} must be used with the look that it was embedded with, 224 px crop, gem2, also 160 px whole, "
        "got {}; leave look and preset out to go on as it was begun, or index into another file"
    )
    large = "224 px crop, gem2, also 320 px whole"
    assert refused("accurate") == wanted.format(large)
    assert refused("accurate", load_model(look=PRESETS["accurate"].look)) == wanted.format(large)
    assert refused("fast") == wanted.format("224 px crop, average")
    assert refused(embedder=load_model(look=Look(flip=True))) == wanted.format("224 px crop, average, flip")
    with pytest.raises(ModelMismatchError) as caught:
        index(tiny_dataset, "--gallery", path, "--preset", "accurate")
    assert str(caught.value) == wanted.format(large)
    with pytest.raises(ModelMismatchError, match="must be used with the model it was made with"):
        Gallery.open_for(path, TinyModel())
    assert path.read_bytes() == before


def test_a_preset_of_the_same_look_replaces_the_ranking(tmp_path: Path, balanced: Path) -> None:
    """Naming the one that it has is no change; a model that sees alike by all presets takes any."""
    path = Path(shutil.copy(balanced, tmp_path / "city.gallery"))
    with Gallery.open_for(path, preset="balanced") as gallery:
        gallery.close()
    with GalleryFile.open(path) as file, GalleryFile.open(balanced) as other:
        assert file.revision == other.revision
    tiny = tmp_path / "tiny.gallery"
    for name in ("balanced", "fast", "accurate"):
        Gallery.open_for(tiny, TinyModel(), preset=name).close()
        Gallery.open_for(tiny, preset=name).close()
        with GalleryFile.open(tiny) as file:
            assert (file.preset, bool(file.ranking)) == (name, name != "fast")


def test_the_commands_say_how_a_gallery_goes_on_to_rank(
    balanced: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy by an archive has the preset; of an older archive it is named; merging says what stays."""
    path, copy, former = Path(shutil.copy(balanced, tmp_path / "city.gallery")), tmp_path / "copy", tmp_path / "former"
    index(tiny_dataset, "--gallery", path)

    def say(*arguments: object) -> tuple[str, str]:
        app.main(["gallery", *map(str, arguments)], standalone_mode=False)
        return capsys.readouterr()

    capsys.readouterr()
    assert say("export", path, tmp_path / "x.npz") == (f"{tmp_path / 'x.npz'}: 12 photos\n", "")
    assert say("import", copy, tmp_path / "x.npz") == (f"{copy}: 12 photos imported\n", "")
    with np.load(tmp_path / "x.npz") as arrays:
        np.savez(tmp_path / "y.npz", **{name: arrays[name] for name in arrays if name not in {"ranking", "preset"}})
    assert say("import", former, tmp_path / "y.npz")[1] == (
        "note: it ranks by plain similarity; photos are seen as by balanced: "
        "'placewise index --preset balanced' ranks so\n"
    )
    assert say("merge", copy, former)[1] == f"note: {former} ranks in another way; {copy} goes on in its own\n"
    for made in (copy, former):
        index(tiny_dataset, "--gallery", made)
    index(tiny_dataset, "--gallery", former, "--preset", "balanced")

    with GalleryFile.open(former) as file:
        assert (file.preset, stack_from_json(file.ranking or "")) == ("balanced", PRESETS["balanced"].stack)
