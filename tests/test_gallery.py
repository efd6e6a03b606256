"""The gallery file: round trips, refusals that lose nothing, kills."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import PHOTOS, embeddings

from placewise.core import Photo
from placewise.errors import GalleryError, ModelMismatchError
from placewise.gallery import Gallery

if TYPE_CHECKING:
    from tests.conftest import TinyModel


def test_what_goes_in_comes_out(path: Path, tiny_model: TinyModel) -> None:
    """Photos with every field, embeddings to the bit, digests and the card survive closing; one file is left."""
    with Gallery.open(path) as gallery:
        contents = gallery.contents()

        assert contents.photos == PHOTOS
        assert contents.ids.tolist() == [1, 2, 3]
        np.testing.assert_array_equal(contents.embeddings, embeddings(3))
        assert gallery.digests() == {"a/1.jpg": b"1" * 32, "a/2.jpg": b"2" * 32, "b.jpg": None}
        assert gallery.card == tiny_model.card
        assert len(gallery) == 3
    assert [file.name for file in path.parent.iterdir()] == ["city.gallery"]


def test_upsert_replaces_by_path_and_keeps_the_id(path: Path, tiny_model: TinyModel) -> None:
    """A photo of a path that is there gets the new embedding and label under its old id."""
    with Gallery.open_for(path, tiny_model.card) as gallery:
        gallery.upsert([Photo(PurePosixPath("b.jpg"), "gallery", "Kiosk")], [b"3" * 32], embeddings(1, seed=9))
        contents = gallery.contents()

    assert contents.ids.tolist() == [1, 2, 3]
    assert contents.photos[2] == Photo(PurePosixPath("b.jpg"), "gallery", "Kiosk")
    np.testing.assert_array_equal(contents.embeddings[2], embeddings(1, seed=9)[0])


def test_removed_ids_never_come_back(path: Path, tiny_model: TinyModel) -> None:
    """Removing counts what was there; a later photo gets a new id, so no stale index can mistake it."""
    with Gallery.open_for(path, tiny_model.card) as gallery:
        assert gallery.remove(["b.jpg", "never.jpg"]) == 1
        gallery.upsert([Photo(PurePosixPath("c.jpg"), "gallery")], [None], embeddings(1))

        assert gallery.contents().ids.tolist() == [1, 2, 4]


def test_relabel_changes_only_what_differs(path: Path, tiny_model: TinyModel) -> None:
    """A new place or position of the same photo is stored without embedding, and counted."""
    renamed = Photo(PurePosixPath("b.jpg"), "gallery", "Kiosk", None, "walk", 7)
    with Gallery.open_for(path, tiny_model.card) as gallery:
        assert gallery.relabel([*PHOTOS[:2], renamed]) == 1
        assert gallery.contents().photos == (*PHOTOS[:2], renamed)


def test_another_models_embeddings_are_refused(path: Path, tiny_model: TinyModel) -> None:
    """Opening with another model names both models, says what to do, and leaves the file as it was."""
    other = type(tiny_model)("other").card
    before = path.read_bytes()

    with pytest.raises(ModelMismatchError) as caught:
        Gallery.open_for(path, other)

    assert str(caught.value) == (
        f"gallery {path} must be used with the model it was made with, tiny with no weights "
        f"({tiny_model.card.fingerprint[:8]}), got other with no weights ({other.fingerprint[:8]}); "
        f"use that model and its weights, or index into another file"
    )
    assert path.read_bytes() == before


def test_bad_embeddings_are_refused_and_nothing_is_written(path: Path, tiny_model: TinyModel) -> None:
    """Wrong shapes, NaN and rows of another length never get in."""
    with Gallery.open_for(path, tiny_model.card) as gallery:
        with pytest.raises(GalleryError, match=r"^embeddings must have the shape \(1, 48\), got \(1, 47\)$"):
            gallery.upsert(PHOTOS[:1], [None], embeddings(1)[:, :47])
        for rows in (embeddings(1) * 2, embeddings(1) * np.float32(np.nan)):
            with pytest.raises(GalleryError, match=r"^embeddings must be finite rows of unit length, got others; "):
                gallery.upsert(PHOTOS[:1], [None], rows)

        np.testing.assert_array_equal(gallery.contents().embeddings, embeddings(3))


def test_a_failing_batch_leaves_nothing_behind(path: Path, tiny_model: TinyModel) -> None:
    """A batch whose second row cannot be written is not there at all."""
    bad = Photo(PurePosixPath("d.jpg"), "gallery", frame=2**70)
    with Gallery.open_for(path, tiny_model.card) as gallery:
        with pytest.raises(OverflowError):
            gallery.upsert([Photo(PurePosixPath("c.jpg"), "gallery"), bad], [None, None], embeddings(2))

        assert len(gallery) == 3


def test_files_that_are_no_gallery_are_refused(tmp_path: Path, path: Path, tiny_model: TinyModel) -> None:
    """Missing, foreign, damaged, newer and empty files each get one line, and are left as they were."""
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    text = tmp_path / "notes.txt"
    text.write_text("no database, but long enough to be one " * 50, encoding="utf-8")
    newer = Path(shutil.copy(path, tmp_path / "newer.gallery"))
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    expected = {
        tmp_path
        / "none": f"a gallery must exist, got no file at {tmp_path / 'none'}; correct the path or make it first",
        foreign: f"{foreign} must be a gallery, got another program's file; name another one",
        text: f"a gallery {text} cannot be used: file is not a database; "
        "the file is damaged or of another kind; restore a copy or make it anew",
        newer: f"{newer} must have format 1, got format 99; use the version of placewise that wrote it",
    }
    for file, message in expected.items():
        before = file.read_bytes() if file.exists() else None
        with pytest.raises(GalleryError) as caught:
            Gallery.open(file)
        assert str(caught.value) == message
        if before is not None:
            with pytest.raises(GalleryError):
                Gallery.open_for(file, tiny_model.card)
            assert file.read_bytes() == before


def test_a_truncated_gallery_is_refused(path: Path) -> None:
    """Half a file is an error of one line, never a short answer."""
    path.write_bytes(path.read_bytes()[:6000])

    with (
        pytest.raises(GalleryError, match=r"cannot be used: .*(malformed|not a database|disk image)"),
        Gallery.open(path) as gallery,
    ):
        gallery.contents()


def test_a_gallery_opens_in_a_read_only_folder(path: Path) -> None:
    """A gallery at rest needs no companion files, so that it can be read where nothing can be written."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with Gallery.open(path) as gallery:
            assert len(gallery.contents().photos) == 3
    finally:
        path.parent.chmod(0o755)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Making a gallery in a missing folder says to check the folder."""
    with pytest.raises(GalleryError, match=r"unable to open database file; check the folder, its permissions"):
        Gallery.open_for(tmp_path / "none" / "city.gallery", tiny_model.card)


def test_readers_work_while_a_writer_writes(path: Path, tiny_model: TinyModel) -> None:
    """A reader opened beside a writer sees the committed photos, then the new ones."""
    with Gallery.open_for(path, tiny_model.card) as writer, Gallery.open(path) as reader:
        writer.upsert([Photo(PurePosixPath("c.jpg"), "gallery")], [None], embeddings(1))

        assert len(reader.contents().photos) == 4


def test_a_copy_of_a_killed_writers_file_holds_its_batches(path: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Each batch goes into the file itself: a copy without SQLite's companions opens with all that was committed."""
    writer = Gallery.open_for(path, tiny_model.card)
    writer.upsert([Photo(PurePosixPath("c.jpg"), "gallery")], [None], embeddings(1))
    shutil.copy(path, tmp_path / "copy.gallery")
    writer.close()

    with Gallery.open(tmp_path / "copy.gallery") as copy:
        assert len(copy) == 4


def test_exact_and_fast_embeddings_are_not_mixed(path: Path, tiny_model: TinyModel) -> None:
    """Writing with another precision or decoding than the gallery was begun with is refused; reading is not."""
    exact = dataclasses.replace(tiny_model.card, precision="float32", decode="full")

    with pytest.raises(ModelMismatchError) as caught:
        Gallery.open_for(path, exact)

    assert str(caught.value) == (
        f"gallery {path} must be written as it was begun, with --precision auto --decode fast, "
        f"got float32 and full; use these or another file"
    )
    with Gallery.open(path) as gallery:
        gallery.check_model(exact)


def test_processes_that_make_the_same_gallery_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Four processes that create one file and write to it at once all succeed, and all their photos are there."""
    script = """
        import sys
        from pathlib import PurePosixPath
        import numpy as np
        from placewise.core import Photo
        from placewise.gallery import Gallery
        from tests.conftest import TinyModel
        row = np.zeros((1, 48), np.float32)
        row[:, 0] = 1
        with Gallery.open_for(sys.argv[1], TinyModel().card) as gallery:
            for number in range(10):
                gallery.upsert([Photo(PurePosixPath(f"{sys.argv[2]}/{number}.jpg"), "gallery")], [None], row)
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "g"), str(number)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for number in range(4)
    ]
    complaints = [process.communicate()[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, complaints
    with Gallery.open(tmp_path / "g") as gallery:
        assert len(gallery) == 40


@pytest.mark.parametrize("damage", ["substr(embedding, 2)", "'text'", "zeroblob(192)", "NULL || ''"])
def test_damaged_rows_are_found_when_they_are_read(path: Path, damage: str) -> None:
    """An embedding that was cut, replaced or zeroed is an error of one line, never a wrong similarity."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute(f"UPDATE photos SET embedding = coalesce({damage}, '') WHERE id = 2")
    db.close()

    with Gallery.open(path) as gallery, pytest.raises(GalleryError, match=r"it is damaged; restore a copy or make it"):
        gallery.contents()


def test_a_kill_keeps_every_committed_batch(path: Path, tiny_model: TinyModel) -> None:
    """After SIGKILL in the middle of writing, the file opens and holds whole batches only, all that were reported."""
    script = """
        import sys
        from pathlib import PurePosixPath
        import numpy as np
        from placewise.core import Photo
        from placewise.gallery import Gallery
        card = Gallery.open(sys.argv[1]).card
        gallery = Gallery.open_for(sys.argv[1], card)
        row = np.zeros((10, 48), np.float32)
        row[:, 0] = 1
        for batch in range(100000):
            photos = [Photo(PurePosixPath(f"{batch}/{i}.jpg"), "gallery") for i in range(10)]
            gallery.upsert(photos, [None] * 10, row)
            print(batch, flush=True)
    """
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        reported = [0, *(int(line) for line in process.stdout.read().split())]
        process.wait()
        process.stdout.close()

        with Gallery.open_for(path, tiny_model.card) as gallery:
            batches: dict[str, int] = {}
            for photo in gallery.contents().photos[3:]:
                batches[photo.path.parts[0]] = batches.get(photo.path.parts[0], 0) + 1
        assert set(batches.values()) == {10}
        assert {str(batch) for batch in reported} <= batches.keys()
