"""The gallery file in a bad place: full disks, read-only folders, other writers, damaged bytes, other files."""

from __future__ import annotations

import json
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.conftest import PHOTOS, TinyModel, embeddings
from tests.test_durability import content_of, some_photos, write_version_1

from placewise import embed
from placewise.core import FileState
from placewise.errors import GalleryError
from placewise.gallery_file import GalleryFile
from placewise.housekeeping import gallery_faults
from placewise.indexing import index_source
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLIPS = 600
CARD = TinyModel().card


def _add(gallery: GalleryFile, name: str, count: int = 40) -> None:
    gallery.upsert(some_photos(name, count), embeddings(count), [FileState(thumbnail=b"jpeg" * 500)] * count)


# ---- no space -------------------------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_was_committed(path: Path) -> None:
    """At any moment of a batch at which the disk is full, one line says so; then the same gallery goes on."""
    with GalleryFile.open_for(path, CARD) as gallery:
        for free in range(12):
            before = content_of(gallery)
            ((pages,),) = gallery.store.execute("PRAGMA page_count")
            gallery.store.execute(f"PRAGMA max_page_count = {pages + free}")
            with pytest.raises(GalleryError) as caught:
                _add(gallery, f"batch{free}", 120)
            assert str(caught.value) == (
                f"a gallery {path} cannot be used: database or disk is full; "
                f"free some space and start again: what was committed is kept"
            )
            assert content_of(gallery) == before
            gallery.store.execute("PRAGMA max_page_count = 1000000")
            _add(gallery, f"batch{free}", 120)
            assert len(gallery) == len(before) + 120
        assert gallery_faults(gallery) == []
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_indexing_goes_on_after_a_full_disk(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """When there is space again, only what was not committed is embedded."""
    for number in range(100):
        save_photo(tmp_path / "data" / f"{number}.png", place=number)
    source, model = read_source(tmp_path / "data"), TinyModel()
    with GalleryFile.open_for(tmp_path / "g", CARD, thumbnails=True) as gallery:

        def fill(done: int, _: int) -> None:
            if done == 2 * embed.BATCH:
                ((pages,),) = gallery.store.execute("PRAGMA page_count")
                gallery.store.execute(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(GalleryError, match=r"is full; free some space and start again: what was committed is kept"):
            index_source(source, gallery, model, on_progress=fill)
        kept = content_of(gallery)
        gallery.store.execute("PRAGMA max_page_count = 1000000")
        indexed = index_source(source, gallery, model)

        assert len(kept) == embed.BATCH
        assert (indexed.unchanged, indexed.computed, len(gallery)) == (embed.BATCH, 100 - embed.BATCH, 100)
        assert kept.items() <= content_of(gallery).items()


def write_within_limits(folder: Path) -> None:
    """Write galleries under a limit on the size of files, then without it; print the messages. Fails by exception."""
    messages = set()
    for limit in range(0, 400_000, 20_000):
        file = folder / str(limit)
        with _largest_file(limit), suppress(GalleryError):
            GalleryFile.open_for(file, CARD).close()
        with GalleryFile.open_for(file, CARD) as gallery:
            done = 0
            try:
                with _largest_file(limit):
                    while done < 5:
                        _add(gallery, str(done))
                        done += 1
            except GalleryError as error:
                messages.add(str(error).replace(str(file), "FILE"))
            assert len(gallery) == 40 * done, f"{done} batches were reported, {len(gallery) / 40} are in, limit {limit}"
            assert gallery_faults(gallery) == []
            for step in range(done, 6):
                _add(gallery, str(step))
        with GalleryFile.open(file) as gallery:
            assert len(gallery) == 240
            assert gallery_faults(gallery) == []
    print(json.dumps(sorted(messages)))  # noqa: T201  # read by the test


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write beyond this size in bytes, as a file system that is full does."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_a_write_that_the_system_refuses_loses_no_batch(tmp_path: Path) -> None:
    """Wherever the writing of the file or of its log fails, one line says what to check, and the writer goes on."""
    messages = _alone(f"write_within_limits(Path({str(tmp_path)!r}))")

    assert messages == [
        "a gallery FILE cannot be used: disk I/O error; check the folder, its permissions and the free space"
    ]


# ---- read-only ------------------------------------------------------------------------------------------------------


def _alone(call: str, *, unprivileged: bool = False) -> Any:
    """What a function of this module prints, run in a process of its own; there, not even root may write anywhere."""
    script = f"""
        import os
        from pathlib import Path
        import tests.test_damage as t
        if {unprivileged} and os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        t.{call}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def use(file: Path) -> None:
    """Print how many photos the gallery shows, and the message that reading or writing it ends in."""
    told: dict[str, object] = {}
    try:
        with GalleryFile.open(file) as gallery:
            told["photos"] = len(content_of(gallery))
            told["faults"] = gallery_faults(gallery)
            _add(gallery, "new")
    except GalleryError as error:
        told["error"] = str(error)
    print(json.dumps(told))  # noqa: T201  # read by the tests


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose parents anybody may enter, which those of ``tmp_path`` are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _left_by_a_killed_writer(folder: Path, *, companions: bool) -> Path:
    """A gallery of 80 photos as a kill leaves it, of which 40 are in the log only if ``companions`` are left too."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "city.gallery"
        with GalleryFile.open_for(file, CARD) as writer:
            _add(writer, "first")
            with GalleryFile.open(file) as reader, reader.reading() if companions else nullcontext():
                len(reader)  # from here on what the reader sees must stay in the file
                _add(writer, "second")
                for part in Path(name).iterdir():
                    if companions or part == file:
                        shutil.copy(part, folder)
    for part in folder.iterdir():
        part.chmod(0o666)
    return folder / file.name


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555), (0o444, 0o555)])
@pytest.mark.parametrize("kind", ["closed", "left in WAL mode"])
def test_a_read_only_gallery_is_read_and_not_changed(folder: Path, file_mode: int, folder_mode: int, kind: str) -> None:
    """Where nothing may be written a gallery is read, also one whose writer was killed; writing gets one line."""
    if kind == "closed":
        with GalleryFile.open_for(folder / "city.gallery", CARD) as gallery:
            _add(gallery, "first", 80)
    else:
        _left_by_a_killed_writer(folder, companions=False)
    file, before = folder / "city.gallery", _bytes_of(folder)
    file.chmod(file_mode)
    folder.chmod(folder_mode)

    told = _alone(f"use(Path({str(file)!r}))", unprivileged=True)

    assert (told.get("photos"), told.get("faults")) == (80, []), told
    assert told["error"].startswith(f"a gallery {file} cannot be used: "), told
    assert "permissions" in told["error"], told
    assert "\n" not in told["error"], told
    assert _bytes_of(folder)[file.name] == before[file.name]


def test_the_log_of_a_killed_writer_is_read(folder: Path) -> None:
    """With the log beside it, a killed writer's gallery shows the batches that are in the log only."""
    file = _left_by_a_killed_writer(folder, companions=True)
    with GalleryFile.open(file) as gallery:
        assert (len(gallery), gallery_faults(gallery)) == (80, [])


@pytest.mark.parametrize("missing", ["", "-shm"])
def test_a_log_that_cannot_be_read_is_never_passed_over(folder: Path, missing: str) -> None:
    """In a read-only folder a killed writer's log is read, or one line says why not; old content is never shown."""
    file = _left_by_a_killed_writer(folder, companions=True)
    if missing:
        file.with_name(file.name + missing).unlink()
    for part in folder.iterdir():
        part.chmod(0o444)
    folder.chmod(0o555)

    told = _alone(f"use(Path({str(file)!r}))", unprivileged=True)

    assert told.get("photos", 80) == 80, told
    assert told["error"].startswith(f"a gallery {file} cannot be used: "), told
    assert "\n" not in told["error"], told


def test_an_old_gallery_that_cannot_be_written_says_so(folder: Path) -> None:
    """A file of version 1 must be brought to version 2 before it is read: where that cannot be, one line says why."""
    file = write_version_1(folder / "old", PHOTOS, embeddings(3))
    before = _bytes_of(folder)
    file.chmod(0o444)
    folder.chmod(0o555)

    told = _alone(f"use(Path({str(file)!r}))", unprivileged=True)

    assert told.keys() == {"error"}
    assert told["error"].startswith(f"a gallery {file} cannot be used: "), told
    assert "permissions" in told["error"]
    assert _bytes_of(folder) == before


# ---- other writers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_another_writer_is_waited_for_then_named(path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """While another connection holds the file, reading works and writing ends in one line; afterwards it works."""
    monkeypatch.setattr("placewise.store.BUSY_TIMEOUT_S", 0.05)
    locked = (
        f"a gallery {path} cannot be used: database is locked; "
        f"another process is writing it; try again when that has ended"
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        other.execute("BEGIN IMMEDIATE")
        with GalleryFile.open_for(path, CARD) as gallery:
            for change in (
                lambda: _add(gallery, "new"),
                lambda: gallery.remove(["b.jpg"]),
                lambda: gallery.relabel([]),
            ):
                with pytest.raises(GalleryError) as caught:
                    change()
                assert str(caught.value) == locked
            assert len(content_of(gallery)) == 3
            other.execute("ROLLBACK")
            _add(gallery, "new")
            assert len(gallery) == 43
        other.execute("BEGIN EXCLUSIVE")
        if mode == "DELETE":
            with pytest.raises(GalleryError) as caught:
                GalleryFile.open(path)
            assert str(caught.value) == locked


def test_readers_go_on_while_a_batch_is_written(path: Path) -> None:
    """A reader, also one that opens the file meanwhile, sees the state before the batch until it is committed."""
    with GalleryFile.open_for(path, CARD) as writer, GalleryFile.open(path) as reader:
        with writer.batch():
            _add(writer, "new")
            assert len(content_of(reader)) == 3
            with GalleryFile.open(path) as newcomer:
                assert len(content_of(newcomer)) == 3
        assert len(content_of(reader)) == 43


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A gallery with something in every table, and rows that were removed."""
    file = tmp_path / "whole.gallery"
    with GalleryFile.open_for(file, CARD) as gallery:
        gallery.upsert(
            [*PHOTOS, *some_photos("more", 37)], embeddings(40), [FileState(b"1" * 32, (1, 2, 3), b"x")] * 40
        )
        gallery.put_features("sift", dict.fromkeys(range(1, 20), b"features" * 4))
        gallery.remove([f"more/{number}.jpg" for number in range(5)])
    return file


def _reading(file: Path) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    """The content and faults of a file; none and the message where it is refused. Other exceptions pass."""
    try:
        with GalleryFile.open(file) as gallery:
            content = content_of(gallery)
            gallery.files()
            gallery.features("sift", range(1, 41))
            gallery.changes_since(gallery.revision)
            return content, gallery_faults(gallery)
    except GalleryError as error:
        return {}, [_one_line(error)]


def _one_line(error: GalleryError) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_a_shorter_file_is_refused(whole: Path) -> None:
    """However much of a gallery is missing at its end, it is refused or found faulty, unless the content is all there.

    It is where only the zeros at the end of the last page are missing.
    """
    with GalleryFile.open(whole) as gallery:
        expected = content_of(gallery)
    data, copy = whole.read_bytes(), whole.with_name("short")
    lengths = {len(data) * part // 40 for part in range(40)} | {len(data) - 1, 1, 99, 100, 512, 16383, 16384}
    for length in sorted(lengths):
        copy.write_bytes(data[:length])
        content, faults = _reading(copy)
        assert faults or content == expected, length


def test_flipped_bits_give_no_wrong_embedding_unseen(whole: Path) -> None:
    """A flipped bit anywhere is refused in one line, is found as a fault, or leaves every embedding as it was."""
    with GalleryFile.open(whole) as gallery:
        vectors = {row[0]: row[2] for row in content_of(gallery).values()}
    data, copy, rng = whole.read_bytes(), whole.with_name("flipped"), random.Random(1)  # no secret
    used = np.flatnonzero(np.frombuffer(data, np.uint8)).tolist()
    failures = []
    for _ in range(FLIPS):
        damaged, at, bit = bytearray(data), rng.choice(used), rng.randrange(8)
        damaged[at] ^= 1 << bit
        copy.write_bytes(damaged)
        try:
            content, faults = _reading(copy)
        except Exception as error:  # noqa: BLE001  # all flips are tried before any is reported
            failures.append(f"byte {at}, bit {bit}: {error!r}")
            continue
        if not faults and {row[0]: row[2] for row in content.values()} != vectors:
            failures.append(f"byte {at}, bit {bit}: other embeddings, and no fault is found")
    assert not failures, f"{len(failures)} of {FLIPS}:\n" + "\n".join(failures)


def test_a_flipped_bit_of_an_embedding_is_found(whole: Path) -> None:
    """Every embedding has a checksum: one changed bit in any of them is found, and its photo is named."""
    with GalleryFile.open(whole) as gallery:
        content = content_of(gallery)
    data, copy, rng = whole.read_bytes(), whole.with_name("flipped"), random.Random(2)  # no secret
    for path, row in content.items():
        damaged = bytearray(data)
        damaged[data.index(row[2]) + rng.randrange(len(row[2]))] ^= 1 << rng.randrange(8)
        copy.write_bytes(damaged)
        with GalleryFile.open(copy) as gallery:
            assert gallery_faults(gallery) == [f"the embedding of {path} is not what was written"]


def _other_files(folder: Path) -> Iterator[Path]:
    for name, statements in {
        "notes": "CREATE TABLE notes (text)",
        "marked": "PRAGMA user_version = 2; CREATE TABLE photos (id)",
        "newer": "PRAGMA application_id = 0x50574741; PRAGMA user_version = 3; CREATE TABLE meta (key, value)",
        "bare": "PRAGMA application_id = 0x50574741; PRAGMA user_version = 2; CREATE TABLE notes (text)",
        "bare-1": "PRAGMA application_id = 0x50574741; PRAGMA user_version = 1; CREATE TABLE notes (text)",
        "no-tables": "CREATE TABLE notes (text); DROP TABLE notes",
    }.items():
        with closing(sqlite3.connect(folder / name)) as db:
            db.executescript(statements)
        yield folder / name
    for name, data in {"text": b"no database, but long enough to be one " * 50, "short": b"hello", "zero": b""}.items():
        (folder / name).write_bytes(data)
        yield folder / name
    old = write_version_1(folder / "old", some_photos("old", 200), embeddings(200))
    data = old.read_bytes()
    for name, damaged in {
        "old-short": data[: len(data) // 2],
        "old-torn": data[: len(data) // 2] + b"\xff" * 8192 + data[len(data) // 2 + 8192 :],
    }.items():
        (folder / name).write_bytes(damaged)
        yield folder / name


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    """What is no whole gallery of a known version is refused in one line, and stays as it was to the byte."""
    failures = []
    for file in _other_files(tmp_path):
        before = file.read_bytes()
        try:
            GalleryFile.open(file).close()
            failures.append(f"{file.name}: opened")
        except GalleryError as error:
            failures += [f"{file.name}: several lines"] if "\n" in str(error) else []
        except Exception as error:  # noqa: BLE001  # all files are tried before any is reported
            failures.append(f"{file.name}: {error!r}")
        failures += [f"{file.name}: changed"] if file.read_bytes() != before else []
        failures += [f"{part.name} is left" for part in tmp_path.glob(f"{file.name}-[jws]*")]
    assert not failures, "\n".join(failures)


def test_a_folder_is_no_gallery(tmp_path: Path) -> None:
    """The path of a folder is refused in one line, whether it is to be read or to be made."""
    with pytest.raises(GalleryError, match=r"^a gallery must exist, got no file at .*; correct the path"):
        GalleryFile.open(tmp_path)
    with pytest.raises(GalleryError, match=r"^a gallery .* cannot be used: unable to open database file; check the"):
        GalleryFile.open_for(tmp_path, CARD)
