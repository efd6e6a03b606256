"""The gallery file under SIGKILL: whatever a writer does, what it has reported stays, whole, and the next one goes on.

A driver process that has imported everything forks one writer after another and kills each at a random moment. It is
a process of its own (``python -c``), with one thread, since a fork of pytest would carry pytest's state along.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.conftest import PHOTOS, TinyModel, embeddings

from placewise import embed
from placewise.core import FileState, Photo, Position
from placewise.errors import GalleryError
from placewise.gallery_file import GalleryFile
from placewise.housekeeping import gallery_faults
from placewise.indexing import index_source
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from placewise.core import Embeddings

    Report = Callable[[str], None]
    Content = dict[str, tuple[Any, ...]]

KILLS = 200
CARD = TinyModel().card
_SIZE = 12
"""Photos of a batch."""

VERSION_1 = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE photos (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, place TEXT, lat REAL,
        lon REAL, heading REAL, sequence TEXT, frame INTEGER, content BLOB, embedding BLOB NOT NULL);
    PRAGMA application_id = 0x50574741;
    PRAGMA user_version = 1
"""


def write_version_1(path: Path, photos: Sequence[Photo], vectors: Embeddings, *, removed: Sequence[str] = ()) -> Path:
    """A gallery as version 1 wrote it, with ids from 1, of which some photos were removed again."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
        db.execute("INSERT INTO meta VALUES ('card', ?)", (json.dumps(dataclasses.asdict(CARD)),))
        for photo, vector in zip(photos, vectors, strict=True):
            where = (photo.position.lat, photo.position.lon, photo.position.heading) if photo.position else (None,) * 3
            row = (str(photo.path), photo.place, *where, photo.sequence, photo.frame, _digest(photo), vector.tobytes())
            db.execute(f"INSERT INTO photos VALUES (NULL{', ?' * 9})", row)
        db.executemany("DELETE FROM photos WHERE path = ?", ((name,) for name in removed))
        db.commit()
    return path


def _digest(photo: Photo) -> bytes:
    return hashlib.sha256(str(photo.path).encode()).digest()


def content_of(gallery: GalleryFile) -> Content:
    """Path → id, photo, the embedding's bytes, digest of the photo's file, thumbnail."""
    contents = gallery.contents()
    digests = dict(gallery.store.execute("SELECT id, content FROM photos"))
    thumbnails = dict(gallery.store.execute("SELECT id, jpeg FROM thumbnails"))
    return {
        str(photo.path): (number, photo, row.tobytes(), digests[number], thumbnails.get(number))
        for number, photo, row in zip(contents.ids.tolist(), contents.photos, contents.embeddings, strict=True)
    }


def some_photos(name: str, count: int, *, place: str = "Café") -> list[Photo]:
    """Photos of distinct paths, half of them with a position."""
    where = (Position(48.2, 16.37, 90.0), None)
    return [Photo(PurePosixPath(f"{name}/{i}.jpg"), "gallery", place, where[i % 2], name, i) for i in range(count)]


# ---- one writer's work, step by committed step ----------------------------------------------------------------------


def _upsert(gallery: GalleryFile, name: str, seed: int) -> None:
    photos = some_photos(name, _SIZE)
    states = [FileState(_digest(photo), thumbnail=bytes([seed]) * 4000 if seed % 2 else None) for photo in photos]
    gallery.upsert(photos, embeddings(_SIZE, seed=seed), states)


def _add(gallery: GalleryFile, step: int) -> None:
    """A batch as indexing writes it: new photos and labels that have changed, as one."""
    with gallery.batch():
        _upsert(gallery, f"step{step}", step)
        gallery.relabel(some_photos(f"step{step - 1}", _SIZE, place=f"Kiosk {step}"))


def _replace(gallery: GalleryFile, step: int) -> None:
    _upsert(gallery, f"step{step - 2}", step)


def _remove(gallery: GalleryFile, step: int) -> None:
    gallery.remove([str(photo.path) for photo in some_photos(f"step{step - 1}", _SIZE)[1:]])


_STEPS = (_add, _add, _replace, _add, _remove, _add, _add, _replace, _add, _remove)


def _write(file: Path, done: int, report: Report) -> None:
    """Open the file, or make it, or migrate it; do the steps that are left; close it."""
    report("started")
    with GalleryFile.open_for(file, CARD) as gallery:
        report("opened")
        for step in range(done, len(_STEPS)):
            _STEPS[step](gallery, step)
            report(str(step + 1))
        report("closing")


# ---- the driver -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Life:
    """What one forked writer reported, when, and whether SIGKILL ended it."""

    reports: list[str]
    times_s: list[float]
    killed: bool

    def seconds(self, start: str, end: str) -> float:
        return self.times_s[self.reports.index(end)] - self.times_s[self.reports.index(start)]


def _live(work: Callable[[Report], None], *, after: str | None = None, delay_s: float = 0.0) -> _Life:
    """Fork a writer and kill it ``delay_s`` after it has reported ``after``; None lets it live."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(lambda text: (os.write(write_end, f"{text}\n".encode()), None)[1])
            os.write(write_end, b"ended\n")
            os._exit(0)
        except BaseException:  # noqa: BLE001  # a forked process must not go on into its parent's code
            traceback.print_exc()
            os._exit(1)
    os.close(write_end)
    reports, times_s = [], []
    with os.fdopen(read_end) as lines:
        for line in lines:
            reports.append(line.strip())
            times_s.append(time.perf_counter())
            if reports[-1] == after:
                time.sleep(delay_s)
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, "the writer failed by itself"
    return _Life(reports, times_s, killed)


def _copy(file: Path, folder: Path) -> Path:
    """A copy of a file and its companions, to look at what the next writer would find without doing its work."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for part in file.parent.glob(f"{file.name}*"):
        shutil.copy(part, folder)
    return folder / file.name


def _version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        ((version,),) = db.execute("PRAGMA user_version").fetchall()
        return int(version)


def _tables_of(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def _kept(file: Path) -> Content | None:
    """The content of a killed writer's file, which has no faults; None where no model was committed to it."""
    if not file.exists():
        return None
    try:
        gallery = GalleryFile.open(file)
    except GalleryError:
        with closing(sqlite3.connect(file)) as db:
            if any(db.execute(f"SELECT 1 FROM {table}").fetchone() for table in _tables_of(db)):
                raise  # something was committed to it
        return None
    with gallery:
        assert gallery_faults(gallery) == []
        return content_of(gallery)


def _found(file: Path, states: list[Content], life: _Life) -> int:
    """How many steps the killed writer's file holds. It opens, is one of the states that steps end in, without faults.

    A step may be there that was committed and not yet reported; one that was reported must be.
    """
    content = _kept(file)
    if content is None:  # nothing was committed
        assert "opened" not in life.reports
        return 0
    reported = max((int(text) for text in life.reports if text.isdecimal()), default=0)
    found = next((step for step, state in enumerate(states) if state == content), -1)
    assert reported <= found <= len(_STEPS), f"{reported} batches reported, the content is that of {found}"
    return found


def _states(file: Path) -> list[Content]:
    """The content of an undisturbed writer's file after each step."""
    with GalleryFile.open_for(file, CARD) as gallery:
        states = [content_of(gallery)]
        for step, change in enumerate(_STEPS):
            change(gallery, step)
            states.append(content_of(gallery))
    return states


class _Killer:
    """Kills writers of one kind of file, one after another, until each file is complete all the same."""

    def __init__(self, folder: Path, old: Path | None, rng: random.Random) -> None:
        folder.mkdir()
        self._folder, self._old, self._rng = folder, old, rng
        self._states = _states(self._new("undisturbed"))
        file = self._new("timed")
        life = _live(partial(_write, file, 0))
        self._seconds = {
            stage: life.seconds(stage, end)
            for stage, end in (("started", "opened"), ("opened", "closing"), ("closing", "ended"))
        }
        self.landed: Counter[str] = Counter()
        self.files = 0

    def _new(self, name: str) -> Path:
        file = self._folder / name
        if self._old:
            shutil.copy(self._old, file)
        return file

    def one_file(self) -> None:
        """Begin a file and kill its writers until one of them comes to its end."""
        file, done, begun, past = self._new(f"{self.files}.gallery"), 0, False, False
        while not past:
            after = self._rng.choices(list(self._seconds), (3, 5, 2) if begun else (8, 1, 1))[0]
            left = 1 - done / len(_STEPS) if after == "opened" else 1
            delay_s = self._rng.uniform(0, 1.1 * self._seconds[after] * left)
            life = _live(partial(_write, file, done), after=after, delay_s=delay_s)
            past = not life.killed
            if life.killed:
                self.landed[self._stage(life, begun=begun)] += 1
            copy = _copy(file, self._folder / "looked at")
            begun = copy.exists() and _version(copy) == 2
            done = _found(copy, self._states, life)
        with GalleryFile.open_for(file, CARD) as gallery, gallery.batch():  # a write, so that closing tidies up
            assert content_of(gallery) == self._states[-1]
        assert [part.name for part in self._folder.glob(f"{file.name}*")] == [file.name]
        self.files += 1

    def _stage(self, life: _Life, *, begun: bool) -> str:
        last = life.reports[-1]
        if last == "started":
            return "opening" if begun else "migration" if self._old else "creation"
        return last if last in {"closing", "ended"} else "batches"


def kill_writers(folder: Path, seed: int) -> None:
    """Kill writers until `KILLS` kills came inside a run; print how many came in each stage. Fails by exception."""
    old = write_version_1(folder / "old", some_photos("old", 300), embeddings(300))
    killers = [_Killer(folder / kind, file, random.Random(seed)) for kind, file in (("1", old), ("2", None))]
    landed: Counter[str] = Counter()
    while landed.total() - landed["ended"] < KILLS:
        for killer in killers:
            killer.one_file()
        landed = killers[0].landed + killers[1].landed
    print(json.dumps({**landed, "files": sum(killer.files for killer in killers)}))  # noqa: T201  # read by the test


def _drive(call: str) -> Any:
    """What a function of this module prints, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; import tests.test_durability as t; t.{call}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process that forks must have one thread
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_hundred_kills_lose_no_committed_batch(tmp_path: Path) -> None:
    """SIGKILL at random moments of creation, migration, batches and closing never loses or halves a reported batch.

    After each kill the file opens, has no faults and is exactly the state that a step ends in; continued to the end,
    its content is an undisturbed writer's, ids included.
    """
    landed = _drive(f"kill_writers(Path({str(tmp_path)!r}), seed=1)")

    assert sum(landed[stage] for stage in ("creation", "migration", "opening", "batches", "closing")) >= KILLS, landed
    # How many land in a short stage depends on how busy the machine is; each must be hit.
    assert min(landed[stage] for stage in ("creation", "migration", "batches", "closing")) >= 5, landed


# ---- the same through indexing --------------------------------------------------------------------------------------


class _Telling(TinyModel):
    """Reports which inputs it is run for."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def infer(self, inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        """Inputs → embeddings."""
        for item in inputs:
            self._report(f"input {_input_digest(item)}")
        return super().infer(inputs)


def _input_digest(item: NDArray[np.uint8]) -> str:
    return hashlib.sha256(item.tobytes()).hexdigest()


def _index(manifest: Path, file: Path, report: Report) -> None:
    model = _Telling(report)
    report("started")
    with GalleryFile.open_for(file, model.card, thumbnails=True) as gallery:
        index_source(read_source(manifest), gallery, model, on_progress=lambda done, _: report(f"done {done}"))


def kill_indexing(manifest: Path, folder: Path, seed: int) -> None:
    """Kill runs of indexing, continue each gallery to its end; print the kills and galleries. Fails by exception."""
    embed.BATCH = 6
    rng = random.Random(seed)  # moments to kill at are no secret
    source, model = read_source(manifest), TinyModel()
    names = {_input_digest(model.read(source.file(photo).read_bytes())): str(photo.path) for photo in source.photos}
    assert len(names) == len(source.photos), "the inputs must differ, to be told apart"
    life = _live(partial(_index, manifest, folder / "undisturbed"))
    seconds = life.seconds("started", "ended")
    with GalleryFile.open(folder / "undisturbed") as gallery:
        expected = content_of(gallery)
    kills = galleries = 0
    while kills < 24:
        file, held, done = folder / f"{galleries}.gallery", dict[str, Any](), False
        while not done:
            delay_s = rng.uniform(0, seconds / 2)
            life = _live(partial(_index, manifest, file), after="started", delay_s=delay_s)
            kills, done = kills + life.killed, not life.killed
            again = {names[text.split()[1]] for text in life.reports if text.startswith("input")} & held.keys()
            assert not again, f"embedded although it was committed: {again}"
            held = _kept(_copy(file, folder / "looked at")) or held
            assert held.items() <= expected.items(), "a photo is not what it is in an undisturbed run"
            # A batch is told of before it is committed, and after the one before it was.
            reported = max([0, *(int(text.split()[1]) for text in life.reports if text.startswith("done"))])
            assert len(held) >= reported - embed.BATCH, f"{reported} reported, {len(held)} kept"
            assert done or len(held) % embed.BATCH == 0 or len(held) == len(expected), "half a batch"
        assert held == expected
        galleries += 1
    print(json.dumps({"kills": kills, "galleries": galleries}))  # noqa: T201  # read by the test


def test_killed_indexing_goes_on_where_it_was(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """However often indexing is killed, what was committed is not embedded again, and the end is an undisturbed run's.

    Ids, labels, embeddings, digests and thumbnails are compared; every kill leaves whole batches.
    """
    rows = ["path,place,split"]
    for number in range(150):
        save_photo(tmp_path / "data" / f"{number}.png", place=number)
        rows.append(f"{number}.png,place {number % 40},gallery")
    manifest = tmp_path / "data" / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")

    told = _drive(f"kill_indexing(Path({str(manifest)!r}), Path({str(tmp_path)!r}), seed=1)")

    assert told["kills"] >= 24, told
    assert told["galleries"] >= 1, told


# ---- files of version 1 ---------------------------------------------------------------------------------------------


def test_a_gallery_of_version_1_becomes_one_of_version_2(tmp_path: Path) -> None:
    """Opening it keeps photos with all fields, ids, embeddings to the bit and digests; removed ids stay removed."""
    photos = [*PHOTOS, *some_photos("more", 5)]
    gone = [str(photo.path) for photo in (photos[1], photos[-1])]
    file = write_version_1(tmp_path / "old", photos, embeddings(8), removed=gone)

    with GalleryFile.open(file) as gallery:
        assert content_of(gallery) == {
            str(photo.path): (number, photo, row.tobytes(), _digest(photo), None)
            for number, (photo, row) in enumerate(zip(photos, embeddings(8), strict=True), 1)
            if str(photo.path) not in gone
        }
        assert (gallery.card, gallery.storage) == (CARD, "float32")
        assert gallery_faults(gallery) == []
    with GalleryFile.open_for(file, CARD) as gallery:
        gallery.upsert(photos[1:2], embeddings(1))
        assert gallery.ids().tolist() == [1, 3, 4, 5, 6, 7, 9]
    assert _version(file) == 2
    assert [part.name for part in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("removed", [0, 3])
def test_an_empty_gallery_of_version_1_keeps_its_count_of_ids(tmp_path: Path, removed: int) -> None:
    """Where every photo was removed, or none ever came, the next one gets an id that none ever had."""
    photos = PHOTOS[:removed]
    names = [str(photo.path) for photo in photos]
    file = write_version_1(tmp_path / "old", photos, embeddings(removed), removed=names)

    with GalleryFile.open_for(file, CARD) as gallery:
        assert len(gallery) == 0
        gallery.upsert(PHOTOS[:1], embeddings(1))
        assert gallery.ids().tolist() == [removed + 1]
        assert gallery_faults(gallery) == []


def test_a_migrated_gallery_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    """The tables, columns and indexes are those of a gallery that was made in the present version."""
    with (
        GalleryFile.open(write_version_1(tmp_path / "old", PHOTOS, embeddings(3))) as old,
        GalleryFile.open_for(tmp_path / "new", CARD) as new,
    ):
        assert _tables(old) == _tables(new)


def _tables(gallery: GalleryFile) -> list[tuple[str, ...]]:
    rows = gallery.store.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
    return [tuple(" ".join(str(text).split()) for text in row) for row in rows]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """An embedding of version 1 that is no embedding is one line, and the file stays of version 1, to the byte."""
    file = write_version_1(tmp_path / "old", PHOTOS, embeddings(3))
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE photos SET embedding = 'text' WHERE id = 2")
        db.commit()
    before = file.read_bytes()

    with pytest.raises(GalleryError) as caught:
        GalleryFile.open(file)

    assert file.read_bytes() == before
    assert "\n" not in str(caught.value)
    assert "damaged" in str(caught.value)
    assert [part.name for part in tmp_path.iterdir()] == ["old"]
