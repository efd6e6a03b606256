"""The gallery file: round trips, refusals that lose nothing, kills."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import PHOTOS, embeddings

from placewise.core import FileState, Photo
from placewise.errors import GalleryError, ModelMismatchError
from placewise.gallery_file import FileRecord, GalleryFile, Origin

if TYPE_CHECKING:
    from tests.conftest import TinyModel


def test_what_goes_in_comes_out(path: Path, tiny_model: TinyModel) -> None:
    """Photos with every field, embeddings to the bit, digests and the card survive closing; one file is left."""
    with GalleryFile.open(path) as gallery:
        contents = gallery.contents()

        assert contents.photos == PHOTOS
        assert contents.ids.tolist() == [1, 2, 3]
        np.testing.assert_array_equal(contents.embeddings, embeddings(3))
        assert gallery.files() == {
            "a/1.jpg": FileRecord(FileState(b"1" * 32, (11, 12, 13)), None, has_thumbnail=False),
            "a/2.jpg": FileRecord(FileState(b"2" * 32), None, has_thumbnail=True),
            "b.jpg": FileRecord(FileState(), None, has_thumbnail=False),
        }
        assert [gallery.thumbnail(number) for number in (1, 2, 3)] == [None, b"jpeg", None]
        assert gallery.card == tiny_model.card
        assert len(gallery) == 3
    assert [file.name for file in path.parent.iterdir()] == ["city.gallery"]


def test_upsert_replaces_by_path_under_a_new_id(path: Path, tiny_model: TinyModel) -> None:
    """A photo of a path that is there gets the new embedding and label; its id changes, since an id is one embedding's.

    Nothing of the old photo is left behind.
    """
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        gallery.upsert([Photo(PurePosixPath("a/2.jpg"), "gallery", "Kiosk")], embeddings(1, seed=9))
        contents = gallery.contents()

        assert contents.ids.tolist() == [1, 3, 4]
        assert contents.photos[2] == Photo(PurePosixPath("a/2.jpg"), "gallery", "Kiosk")
        np.testing.assert_array_equal(contents.embeddings[2], embeddings(1, seed=9)[0])
        assert gallery.store.execute("SELECT count(*) FROM thumbnails") == [(0,)]
        assert gallery.store.execute("SELECT count(*) FROM embeddings") == [(3,)]


def test_removed_ids_never_come_back(path: Path, tiny_model: TinyModel) -> None:
    """Removing counts what was there; a later photo gets a new id, so no stale index can mistake it."""
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        assert gallery.remove(["b.jpg", "never.jpg"]) == 1
        gallery.upsert([Photo(PurePosixPath("c.jpg"), "gallery")], embeddings(1))

        assert gallery.contents().ids.tolist() == [1, 2, 4]


def test_relabel_changes_only_what_differs(path: Path, tiny_model: TinyModel) -> None:
    """A new place or position of the same photo is stored without embedding, and counted."""
    renamed = Photo(PurePosixPath("b.jpg"), "gallery", "Kiosk", None, "walk", 7)
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        assert gallery.relabel([*PHOTOS[:2], renamed]) == 1
        assert gallery.contents().photos == (*PHOTOS[:2], renamed)


def test_another_models_embeddings_are_refused(path: Path, tiny_model: TinyModel) -> None:
    """Opening with another model names both models, says what to do, and leaves the file as it was."""
    other = type(tiny_model)("other").card
    before = path.read_bytes()

    with pytest.raises(ModelMismatchError) as caught:
        GalleryFile.open_for(path, other)

    assert str(caught.value) == (
        f"gallery {path} must be used with the model it was made with, tiny with no weights, 4 px crop, "
        f"none ({tiny_model.card.fingerprint[:8]}), got other with no weights, 4 px crop, none "
        f"({other.fingerprint[:8]}); "
        f"leave model and weights out to go on with its own, or index into another file"
    )
    assert path.read_bytes() == before


def test_relabel_can_rename(path: Path, tiny_model: TinyModel) -> None:
    """A photo that has moved keeps its id and embedding under its new path."""
    moved = Photo(PurePosixPath("c/new.jpg"), "gallery", "Kiosk")
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        assert gallery.relabel([moved], paths=["b.jpg"]) == 1

        assert gallery.contents().photos == (*PHOTOS[:2], moved)
        assert gallery.contents().ids.tolist() == [1, 2, 3]


def test_what_is_seen_of_files_is_kept_without_a_new_revision(path: Path, tiny_model: TinyModel) -> None:
    """New times, a source folder and a thumbnail change neither labels nor embeddings, so nothing becomes stale."""
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        before, home = gallery.revision, Origin("/photos")
        gallery.note(["a/1.jpg", "b.jpg"], [FileState(b"1" * 32, (1, 2, 3)), FileState(b"3" * 32)], origin=home)
        gallery.note(["a/1.jpg"], [FileState(b"1" * 32, (1, 2, 4), b"small")], origin=home)

        assert gallery.files()["a/1.jpg"] == FileRecord(FileState(b"1" * 32, (1, 2, 4)), home, has_thumbnail=True)
        assert gallery.files()["b.jpg"] == FileRecord(FileState(b"3" * 32), home, has_thumbnail=False)
        assert gallery.thumbnail(1) == b"small"
        assert gallery.revision == before


def test_revisions_tell_what_has_changed(path: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Each change of a label or an embedding is a new revision, and the embeddings changed since one are counted.

    A copy that goes its own way is known to be none of the gallery's states.
    """
    copy = Path(shutil.copy(path, tmp_path / "copy.gallery"))
    new = Photo(PurePosixPath("c.jpg"), "gallery")
    with GalleryFile.open_for(path, tiny_model.card) as gallery, GalleryFile.open_for(copy, tiny_model.card) as other:
        start = gallery.revision
        assert other.revision == start
        gallery.upsert([new, PHOTOS[0]], embeddings(2))
        second = gallery.revision
        gallery.relabel([Photo(PurePosixPath("c.jpg"), "gallery", "Kiosk")])
        gallery.remove(["c.jpg", "never.jpg"])
        other.upsert([new, PHOTOS[0]], embeddings(2, seed=1))

        assert len({start, second, gallery.revision, other.revision}) == 4
        assert [gallery.changes_since(token) for token in (start, second, gallery.revision)] == [4, 1, 0]
        assert gallery.changes_since(other.revision) is None
        assert other.changes_since(start) == 3


def test_old_revisions_are_forgotten(path: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of revisions does not grow for ever; one that has left it is like one that never was."""
    monkeypatch.setattr("placewise.gallery_file._REVISIONS_KEPT", 3)
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        start = gallery.revision
        for number in range(5):
            gallery.upsert([PHOTOS[0]], embeddings(1, seed=number))

        assert gallery.store.execute("SELECT count(*) FROM revisions") == [(3,)]
        assert gallery.changes_since(start) is None


def test_float16_halves_the_embeddings(tmp_path: Path, tiny_model: TinyModel) -> None:
    """In float16 each value is the nearest one, reading gives float32, and the storage cannot change later."""
    with GalleryFile.open_for(tmp_path / "half", tiny_model.card, storage="float16") as gallery:
        gallery.upsert(PHOTOS, embeddings(3))

        ids, half = gallery.matrix(np.float16)
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half, embeddings(3).astype(np.float16))
        np.testing.assert_array_equal(gallery.contents().embeddings, half.astype(np.float32))
        found, vectors = gallery.vectors(np.array([3, 99, 1]))
        assert found.tolist() == [1, 3]
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors, half[[0, 2]].astype(np.float32))
        assert ids.tolist() == [1, 2, 3]
        assert gallery.store.execute("SELECT max(length(vector)) FROM embeddings") == [(2 * 48,)]
    with GalleryFile.open_for(tmp_path / "half", tiny_model.card) as gallery:
        assert gallery.storage == "float16"
    with pytest.raises(GalleryError, match=r"must be written as it was begun, in float16, got float32; leave"):
        GalleryFile.open_for(tmp_path / "half", tiny_model.card, storage="float32")


def test_features_are_kept_beside_their_photos(path: Path, tiny_model: TinyModel) -> None:
    """Local features of several kinds come back by kind and id, are replaced, and go with their photo."""
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        gallery.put_features("sift", {1: b"one", 2: b"two"})
        gallery.put_features("sift", {2: b"TWO"})
        gallery.put_features("orb", {2: b"orb"})

        assert gallery.features("sift", [1, 2, 3]) == {1: b"one", 2: b"TWO"}
        gallery.remove(["a/2.jpg"])
        assert gallery.features("sift", [1, 2, 3]) == {1: b"one"}
        assert gallery.features("orb", [2]) == {}
        with pytest.raises(GalleryError, match="FOREIGN KEY"):
            gallery.put_features("sift", {77: b"nobody's"})


def test_photos_are_found_by_path_place_and_pattern(path: Path) -> None:
    """A path is taken as it stands, also with brackets in it; a pattern spans folders; unknown names find nothing."""
    with GalleryFile.open(path) as gallery:
        assert gallery.matching(paths=["a/2.jpg", "a/*"]) == ["a/2.jpg"]
        assert gallery.matching(places=["Café"]) == ["a/1.jpg", "a/2.jpg"]
        assert gallery.matching(globs=["*.jpg"]) == ["a/1.jpg", "a/2.jpg", "b.jpg"]
        assert gallery.matching(globs=["a/[2-9].jpg"], paths=["b.jpg"]) == ["a/2.jpg", "b.jpg"]
        assert gallery.matching(places=["nowhere"], globs=["z*"]) == []


def test_a_gallery_shrinks_when_photos_are_removed(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Removing nine tenths of the photos gives more than half of the file back to the file system at once."""
    photos = [Photo(PurePosixPath(f"{number}.jpg"), "gallery") for number in range(2000)]
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        gallery.upsert(photos, embeddings(2000))
        full = gallery.path.stat().st_size
        assert gallery.remove([str(photo.path) for photo in photos[200:]]) == 1800

        assert gallery.path.stat().st_size < full / 2
        np.testing.assert_array_equal(gallery.contents().embeddings, embeddings(2000)[:200])


def test_a_path_twice_in_a_batch_is_refused(path: Path, tiny_model: TinyModel) -> None:
    """One batch cannot hold two photos of one name: the second would replace the first unseen."""
    with GalleryFile.open_for(path, tiny_model.card) as gallery, pytest.raises(GalleryError, match="distinct paths"):
        gallery.upsert([PHOTOS[0], PHOTOS[0]], embeddings(2))


def test_one_state_is_read_while_another_is_written(path: Path, tiny_model: TinyModel) -> None:
    """What is read inside ``reading`` is of one moment, whatever a writer commits between two reads."""
    with GalleryFile.open_for(path, tiny_model.card) as writer, GalleryFile.open(path) as reader:
        writer.upsert([Photo(PurePosixPath("c.jpg"), "gallery")], embeddings(1))
        with reader.reading():
            before = reader.revision, len(reader)
            writer.remove(["a/1.jpg"])
            assert (reader.revision, len(reader), len(reader.table())) == (*before, 4)
        assert len(reader) == 3


def test_bad_embeddings_are_refused_and_nothing_is_written(path: Path, tiny_model: TinyModel) -> None:
    """Wrong shapes, NaN and rows of another length never get in."""
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        with pytest.raises(GalleryError, match=r"^embeddings must have the shape \(1, 48\), got \(1, 47\)$"):
            gallery.upsert(PHOTOS[:1], embeddings(1)[:, :47])
        for rows in (embeddings(1) * 2, embeddings(1) * np.float32(np.nan)):
            with pytest.raises(GalleryError, match=r"^embeddings must be finite rows of unit length, got others; "):
                gallery.upsert(PHOTOS[:1], rows)

        np.testing.assert_array_equal(gallery.contents().embeddings, embeddings(3))


def test_a_failing_batch_leaves_nothing_behind(path: Path, tiny_model: TinyModel) -> None:
    """A batch whose second row cannot be written is not there at all."""
    bad = Photo(PurePosixPath("d.jpg"), "gallery", frame=2**70)
    with GalleryFile.open_for(path, tiny_model.card) as gallery:
        with pytest.raises(OverflowError):
            gallery.upsert([Photo(PurePosixPath("c.jpg"), "gallery"), bad], embeddings(2))

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
        newer: f"{newer} must have format 2, got format 99; use the version of placewise that wrote it",
    }
    for file, message in expected.items():
        before = file.read_bytes() if file.exists() else None
        with pytest.raises(GalleryError) as caught:
            GalleryFile.open(file)
        assert str(caught.value) == message
        if before is not None:
            with pytest.raises(GalleryError):
                GalleryFile.open_for(file, tiny_model.card)
            assert file.read_bytes() == before


def test_a_truncated_gallery_is_refused(path: Path) -> None:
    """Half a file is an error of one line, never a short answer."""
    path.write_bytes(path.read_bytes()[:6000])

    with (
        pytest.raises(GalleryError, match=r"cannot be used: .*(malformed|not a database|disk image)"),
        GalleryFile.open(path) as gallery,
    ):
        gallery.contents()


def test_a_gallery_opens_in_a_read_only_folder(path: Path) -> None:
    """A gallery at rest needs no companion files, so that it can be read where nothing can be written."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with GalleryFile.open(path) as gallery:
            assert len(gallery.contents().photos) == 3
    finally:
        path.parent.chmod(0o755)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Making a gallery in a missing folder says to check the folder."""
    with pytest.raises(GalleryError, match=r"unable to open database file; check the folder, its permissions"):
        GalleryFile.open_for(tmp_path / "none" / "city.gallery", tiny_model.card)


def test_readers_work_while_a_writer_writes(path: Path, tiny_model: TinyModel) -> None:
    """A reader opened beside a writer sees the committed photos, then the new ones."""
    with GalleryFile.open_for(path, tiny_model.card) as writer, GalleryFile.open(path) as reader:
        writer.upsert([Photo(PurePosixPath("c.jpg"), "gallery")], embeddings(1))

        assert len(reader.contents().photos) == 4


def test_a_copy_of_a_killed_writers_file_holds_its_batches(path: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Each batch goes into the file itself: a copy without SQLite's companions opens with all that was committed."""
    writer = GalleryFile.open_for(path, tiny_model.card)
    writer.upsert([Photo(PurePosixPath("c.jpg"), "gallery")], embeddings(1))
    shutil.copy(path, tmp_path / "copy.gallery")
    writer.close()

    with GalleryFile.open(tmp_path / "copy.gallery") as copy:
        assert len(copy) == 4


def test_exact_and_fast_embeddings_are_not_mixed(path: Path, tiny_model: TinyModel) -> None:
    """Writing with another precision or decoding than the gallery was begun with is refused; reading is not."""
    exact = dataclasses.replace(tiny_model.card, precision="float32", decode="full")

    with pytest.raises(ModelMismatchError) as caught:
        GalleryFile.open_for(path, exact)

    assert str(caught.value) == (
        f"gallery {path} must be written as it was begun, with --precision auto --decode fast, "
        f"got float32 and full; use these or another file"
    )
    with GalleryFile.open(path) as gallery:
        gallery.check_model(exact)


def test_processes_that_make_the_same_gallery_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Four processes that create one file and write to it at once all succeed, and all their photos are there."""
    script = """
        import sys
        from pathlib import PurePosixPath
        import numpy as np
        from placewise.core import FileState, Photo
        from placewise.gallery_file import FileRecord, GalleryFile, Origin
        from tests.conftest import TinyModel
        row = np.zeros((1, 48), np.float32)
        row[:, 0] = 1
        with GalleryFile.open_for(sys.argv[1], TinyModel().card) as gallery:
            for number in range(10):
                gallery.upsert([Photo(PurePosixPath(f"{sys.argv[2]}/{number}.jpg"), "gallery")], row)
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
    with GalleryFile.open(tmp_path / "g") as gallery:
        assert len(gallery) == 40


@pytest.mark.parametrize("damage", ["substr(vector, 2)", "'text'", "zeroblob(192)", "NULL || ''"])
def test_damaged_rows_are_found_when_they_are_read(path: Path, damage: str) -> None:
    """An embedding that was cut, replaced or zeroed is an error of one line, never a wrong similarity."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute(f"UPDATE embeddings SET vector = coalesce({damage}, '') WHERE id = 2")
    db.close()

    with (
        GalleryFile.open(path) as gallery,
        pytest.raises(GalleryError, match=r"it is damaged; restore a copy or make it"),
    ):
        gallery.contents()


def test_a_kill_keeps_every_committed_batch(path: Path, tiny_model: TinyModel) -> None:
    """After SIGKILL in the middle of writing, the file opens and holds whole batches only, all that were reported."""
    script = """
        import sys
        from pathlib import PurePosixPath
        import numpy as np
        from placewise.core import FileState, Photo
        from placewise.gallery_file import FileRecord, GalleryFile, Origin
        card = GalleryFile.open(sys.argv[1]).card
        gallery = GalleryFile.open_for(sys.argv[1], card)
        row = np.zeros((10, 48), np.float32)
        row[:, 0] = 1
        for batch in range(100000):
            photos = [Photo(PurePosixPath(f"{batch}/{i}.jpg"), "gallery") for i in range(10)]
            gallery.upsert(photos, row)
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

        with GalleryFile.open_for(path, tiny_model.card) as gallery:
            batches: dict[str, int] = {}
            for photo in gallery.contents().photos[3:]:
                batches[photo.path.parts[0]] = batches.get(photo.path.parts[0], 0) + 1
        assert set(batches.values()) == {10}
        assert {str(batch) for batch in reported} <= batches.keys()


def test_closing_waits_for_those_who_read(path: Path) -> None:
    """A gallery that one thread reads is closed by another one only when that has ended; then it says so."""
    inside, leave = threading.Event(), threading.Event()
    gallery = GalleryFile.open(path)

    def read() -> None:
        with gallery.reading():
            inside.set()
            leave.wait(10)

    reader, closer = threading.Thread(target=read), threading.Thread(target=gallery.close)
    reader.start()
    inside.wait(10)
    closer.start()
    closer.join(0.2)

    assert closer.is_alive()
    leave.set()
    reader.join()
    closer.join()
    with pytest.raises(GalleryError, match="closed"):
        len(gallery)
