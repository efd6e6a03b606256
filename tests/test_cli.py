"""The command line as a user types it: in a process of its own, with exit codes and both outputs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from placewise.gallery_file import GalleryFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import TinyModel


def placewise(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command."""
    command = [sys.executable, "-m", "placewise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


def refused(*arguments: object) -> str:
    """Run one command that must be refused: exit code 2, nothing on standard output, one line of complaint."""
    done = placewise(*arguments)

    assert done.returncode == 2, done.stdout + done.stderr
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Embeddings and weights of a test stay with the test; the compiled network may be shared."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def landmarks(photos_root: Path) -> Path:
    """The manifest of the original experiment's size."""
    return photos_root / "landmarks" / "manifest-66.csv"


def test_validate_index_locate_evaluate(landmarks: Path, tmp_path: Path) -> None:
    """The four commands of the README, one after the other, on real photos."""
    gallery, cache = tmp_path / "city.gallery", tmp_path / "cache"

    validated = placewise("validate", landmarks, "--json")
    first = placewise("index", landmarks, "--gallery", gallery, "--cache", cache, "--json")
    second = placewise("index", landmarks, "--gallery", gallery, "--cache", cache)
    query = landmarks.parent / "tajmahal" / "003.jpg"
    located = placewise("locate", query, "--gallery", gallery, "-k", 3, "--json")
    evaluated = placewise(
        "evaluate", landmarks, "--cache", cache, "--report", tmp_path / "out.html", "--json", "--tau", 0.55
    )

    document = json.loads(validated.stdout)
    assert validated.returncode == 0
    assert (document["records"], document["gallery"], document["query"]) == (66, 37, 29)
    document = json.loads(first.stdout)
    assert document.pop("calibration")["places"] == 5
    assert document.pop("calibrating").startswith("calibrated for a false-accept rate of 5.0 %: 7.")
    assert document == {
        "source": "manifest: 37 gallery photos, 29 queries, 8 places",
        "added": 37,
        "updated": 0,
        "moved": 0,
        "relabelled": 0,
        "unchanged": 0,
        "mended": 0,
        "removed": 0,
        "embedded": 37,
        "failed": [],
        "photos": 37,
        "not_in_source": 0,
        "notes": [],
    }
    assert "37 unchanged" in second.stdout
    assert "nothing had to be embedded" in second.stdout
    (answer,) = json.loads(located.stdout)
    assert answer.keys() == {"query", "known", "place", "confidence", "tau", "reason", "hits", "notes"}
    assert (answer["query"], answer["known"], answer["place"]) == (str(query), True, "tajmahal")
    assert [hit.keys() for hit in answer["hits"]] == [{"path", "place", "similarity", "inliers"}] * 3
    scores = json.loads(evaluated.stdout)
    assert scores["dataset"]["open_set_queries"] == 9
    assert scores["embedded"] == 29  # the gallery's came from the cache
    assert scores["open_set"]["tau"] == 0.55
    assert scores["curves"]["recall"]["recall"][0] == scores["retrieval"]["recall@1"]
    assert sum(row["queries"] for row in scores["places"]) == 29
    report = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert f"placewise evaluate {landmarks} " in report
    assert "data:image/jpeg" in report


def test_text_output_names_the_verdict(landmarks: Path, tmp_path: Path) -> None:
    """Text answers start with the photo and the verdict; hits follow, one a line."""
    placewise("index", landmarks, "--gallery", tmp_path / "g", "--no-cache")

    done = placewise("locate", landmarks.parent / "tajmahal" / "003.jpg", "--gallery", tmp_path / "g", "-k", 2)

    verdict, *hits = done.stdout.splitlines()
    assert ": KNOWN tajmahal (confidence 0." in verdict
    assert len(hits) == 2


def test_evaluate_prints_the_tables(landmarks: Path) -> None:
    """Without --json a person gets the tables of the design: dataset, retrieval, open set, sweep."""
    done = placewise("evaluate", landmarks, "--no-cache")

    assert done.returncode == 0
    assert done.stdout.startswith(
        "manifest: 37 gallery photos, 29 queries, 8 places\n66 records: 37 gallery, 29 queries (9 open-set)\n"
    )
    for words in ("Recall@1              1.0000", "UNKNOWN precision", "AUROC", "tau on similarity  precision  recall"):
        assert words in done.stdout


def test_validation_errors_exit_with_1(tiny_dataset: Path) -> None:
    """Findings of severity error are the data's fault: exit code 1, with the report on standard output."""
    (tiny_dataset.parent / "p0" / "0.png").unlink()

    done = placewise("validate", tiny_dataset)

    assert done.returncode == 1
    assert "missing" in done.stdout
    assert "p0/0.png" in done.stdout


def test_bad_photos_and_rows_are_left_out_and_exit_with_1(tiny_dataset: Path, tmp_path: Path) -> None:
    """The good photos are indexed and answered; the bad ones are named on standard error; the exit code tells."""
    (tiny_dataset.parent / "p0" / "0.png").write_bytes(b"no image")
    with tiny_dataset.open("a", encoding="utf-8") as file:
        file.write("p1/0.png,place 1,train\n")

    indexed = placewise("index", tiny_dataset, "--gallery", tmp_path / "g", "--no-cache", "--json")
    located = placewise(
        "locate", tiny_dataset.parent / "p0/3.png", tiny_dataset.parent / "p0/0.png", "--gallery", tmp_path / "g"
    )

    assert (indexed.returncode, located.returncode) == (1, 1)
    assert json.loads(indexed.stdout)["added"] == 11
    assert [line.split(":")[0] for line in indexed.stderr.splitlines()][:3] == ["left out", "left out", "note"]
    assert "3.png: KNOWN place 0" in located.stdout
    assert "0.png" in located.stderr


def test_calibrate_states_its_promise_and_locate_keeps_it(tiny_dataset: Path, tmp_path: Path) -> None:
    """Before, locate notes that nothing is calibrated; after, it decides by what `calibrate` printed, with a reason."""
    gallery, photo = tmp_path / "city.gallery", tiny_dataset.parent / "p0" / "3.png"
    placewise("index", tiny_dataset, "--gallery", gallery, "--no-cache", "--no-calibrate")
    before = placewise("locate", photo, "--gallery", gallery, "--json")

    text = placewise("calibrate", "--gallery", gallery, "--false-accept-rate", 0.1)
    document = json.loads(placewise("calibrate", "--gallery", gallery, "--false-accept-rate", 0.1, "--json").stdout)
    after = placewise("locate", photo, "--gallery", gallery, "--json")
    fixed = placewise("locate", photo, "--gallery", gallery, "--json", "--tau", 0.3)

    assert "note: the gallery is not calibrated" in before.stderr
    for words in ("wanted false-accept rate  10.0 %", "of the photos of unknown places are expected", "wanted rate"):
        assert words in text.stdout
    assert "note: so few places (4)" in text.stdout
    assert document["places"] == 4
    assert {"tau", "expected_rate", "interval", "known_accepted", "confusions", "choices", "notes"} <= document.keys()
    (answer,) = json.loads(after.stdout)
    assert answer["tau"] == document["tau"]
    assert answer["reason"]
    assert "calibrat" not in after.stderr
    assert json.loads(fixed.stdout)[0]["tau"] == 0.3
    info = json.loads(placewise("gallery", "info", gallery, "--json").stdout)
    assert (info["calibration"]["tau"], info["calibration"]["stale"]) == (document["tau"], False)


def test_a_table_with_other_names_is_read(tiny_dataset: Path) -> None:
    """--columns names them, `validate` shows back what was read, and a typo is refused."""
    text = tiny_dataset.read_text(encoding="utf-8").replace("path,place,split", "file,label,subset")
    table = tiny_dataset.with_name("table.csv")
    table.write_text(text, encoding="utf-8")

    done = placewise("validate", table, "--columns", "path=file,place=label,split=subset", "--json")
    refusal = refused("validate", table, "--columns", "path")

    assert json.loads(done.stdout)["source"] == "table: 12 gallery photos, 6 queries, 6 places"
    assert refusal == "--columns must be pairs like place=landmark_id, separated by commas, got 'path'"


def test_a_stale_calibration_is_said(tiny_dataset: Path, tmp_path: Path) -> None:
    """Photos removed since: locate answers, and notes it."""
    gallery, photo = tmp_path / "city.gallery", tiny_dataset.parent / "p0" / "3.png"
    placewise("index", tiny_dataset, "--gallery", gallery, "--no-cache")
    placewise("calibrate", "--gallery", gallery)
    placewise("gallery", "remove", gallery, "p1/0.png")

    again = placewise("index", tiny_dataset, "--gallery", gallery, "--no-cache", "--no-calibrate")
    assert "note: the gallery has changed since it was calibrated: embeddings added or removed: 2" in again.stderr
    placewise("calibrate", "--gallery", gallery)
    placewise("gallery", "remove", gallery, "p1/0.png")

    done = placewise("locate", photo, "--gallery", gallery)

    assert done.returncode == 0
    assert "note: the gallery has changed since it was calibrated: embeddings added or removed: 1" in done.stderr


def test_index_calibrates_and_says_so(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """Unless refused: a line with the rate, and in the JSON what 'calibrate --json' prints."""
    for place in range(10):
        for view in range(3):
            save_photo(tmp_path / "town" / f"p{place}" / f"{view}.png", place=place, view=view)
    photo, gallery = tmp_path / "town" / "p3" / "1.png", tmp_path / "g"

    without = placewise("index", tmp_path / "town", "--gallery", gallery, "--no-calibrate")
    before = placewise("locate", photo, "--gallery", gallery)
    told = placewise("index", tmp_path / "town", "--gallery", gallery)
    document = json.loads(placewise("index", tmp_path / "town", "--gallery", gallery, "--json").stdout)
    after = placewise("locate", photo, "--gallery", gallery)

    assert "calibrated" not in without.stdout
    assert "note: the gallery is not calibrated: tau 0.50 on the plain similarity" in before.stderr
    assert "\ncalibrated for a false-accept rate of 5.0 %: " in told.stdout
    assert document["calibrating"].startswith("calibrated: ")
    assert document["calibration"]["places"] == 10
    assert after.stderr == ""
    assert "(confidence " in after.stdout


def test_steps_that_are_left_out_are_said(tiny_dataset: Path, tmp_path: Path) -> None:
    """A gallery too small for a step of its ranking: index, locate and evaluate say so, in a line and in the JSON."""
    note, gallery = "step centre is left out: it needs 20 photos or more, got 12", tmp_path / "g"
    for command in (
        ("index", tiny_dataset, "--gallery", gallery),
        ("locate", tiny_dataset.parent / "p0" / "3.png", "--gallery", gallery),
        ("evaluate", tiny_dataset, "--no-intervals"),
    ):
        done = placewise(*command, "--json")

        document = json.loads(done.stdout)
        ranked = document[0] if command[0] == "locate" else document.get("ranking", document)
        assert ranked["notes"] == [note]
        assert f"note: {note}\n" in done.stderr


def test_what_a_preset_cannot_do_is_said_once_by_index_and_locate(tiny_dataset: Path, tmp_path: Path) -> None:
    """Without frames `island` is left out, without local features `verify`, too: each is said, however many photos."""
    query = tiny_dataset.parent / "p0" / "3.png"
    few = "step centre is left out: it needs 20 photos or more, got 12"
    places = "step island is left out: photos have places, which vote in the stead of frames"
    none = (
        "verify is left out: the gallery keeps no local features; index its photos again with --features",
        "island is left out: no geometry is verified",
    )
    for name, options, notes in (
        ("with", (), [few, places]),
        ("without", ("--no-features",), [few, *(f"step {note}" for note in none)]),
    ):
        gallery = tmp_path / name
        indexed = placewise("index", tiny_dataset, "--gallery", gallery, "--preset", "accurate", *options, "--json")
        located = placewise("locate", query, query, "--gallery", gallery, "--json")

        assert json.loads(indexed.stdout)["notes"] == notes
        assert [answer["notes"] for answer in json.loads(located.stdout)] == [notes, notes]
        assert [line for line in indexed.stderr.splitlines() if "left out" in line] == [f"note: {one}" for one in notes]
        assert [line for line in located.stderr.splitlines() if "left out" in line] == [f"note: {one}" for one in notes]


def test_evaluate_takes_a_rate_or_a_tau(tiny_dataset: Path) -> None:
    """By default the gallery calibrates itself; --tau is the rule of the original design."""
    own = json.loads(placewise("evaluate", tiny_dataset, "--no-cache", "--false-accept-rate", 0.2, "--json").stdout)
    fixed = json.loads(placewise("evaluate", tiny_dataset, "--no-cache", "--tau", 0.5, "--json").stdout)

    assert own["calibration"]["false_accept_rate"] == 0.2
    assert own["open_set"]["tau"] == own["calibration"]["tau"]
    assert [row["wanted"] for row in own["rate_sweep"]] == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert (fixed["open_set"]["tau"], fixed["calibration"], fixed["rate_sweep"]) == (0.5, None, [])
    assert fixed["tau_sweep"] == own["tau_sweep"]


def test_an_empty_gallery_answers_unknown(tiny_dataset: Path, tmp_path: Path) -> None:
    """A gallery without photos is no error: the answer is UNKNOWN, and k does not matter."""
    lines = tiny_dataset.read_text(encoding="utf-8").splitlines()
    tiny_dataset.write_text("\n".join(line for line in lines if "gallery" not in line), encoding="utf-8")
    indexed = placewise("index", tiny_dataset, "--gallery", tmp_path / "g", "--no-cache")

    done = placewise("locate", tiny_dataset.parent / "p0" / "3.png", "--gallery", tmp_path / "g", "-k", 1000)

    assert "holds 0 photos" in indexed.stdout
    assert done.returncode == 0
    assert done.stdout.strip().endswith("UNKNOWN (no photo of a place to compare with)")


def test_refusals_are_one_line_each(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Whatever is wrong with what was typed, the answer is one line that says so, and no traceback."""
    foreign, tiny = tmp_path / "foreign.gallery", tmp_path / "tiny.gallery"
    foreign.write_bytes(b"not a gallery at all" * 100)
    GalleryFile.open_for(tiny, tiny_model.card).close()
    photo = tiny_dataset.parent / "p0" / "3.png"
    graph = tmp_path / "theirs.onnx"
    graph.write_bytes(b"no graph")
    hostile = tmp_path / "hostile.pth"
    hostile.write_bytes(b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.")
    cases: list[tuple[list[object], str]] = [
        (["index", tmp_path / "none.csv", "--gallery", tmp_path / "g"], "none.csv"),
        (["index", tiny_dataset], "Missing option '--gallery'. Type 'placewise index --help' for what it takes."),
        (["index", tiny_dataset, "--gallery", foreign], "file is not a database"),
        (["index", tiny_dataset, "--gallery", tiny], "got tiny; use the gallery in Python with the embedder that made"),
        (["index", tiny_dataset, "--gallery", tiny, "--model", "resnet50"], "model it was made with, tiny, got resn"),
        (["index", tiny_dataset, "--gallery", tmp_path / "g", "--model", "resnet51"], "did you mean resnet50?"),
        (["index", tiny_dataset, "--gallery", tmp_path / "g", "--model", "resnet50"], "placewise models pull resnet50"),
        (["index", tiny_dataset, "--gallery", tmp_path / "g", "--weights", hostile], "hostile.pth"),
        (["index", tiny_dataset, "--gallery", tmp_path / "g", "--weights", tmp_path / "none.pth"], "none.pth"),
        (["locate", photo, "--gallery", tmp_path / "none"], "a gallery must exist, got no file at"),
        (["locate", photo, "--gallery", tiny], "lists or an .onnx file, got tiny; use the gallery in"),
        (["locate", photo, "--gallery", tiny, "--model", "vlad"], "leave the model out to go on with the"),
        (
            ["locate", photo, "--gallery", tiny, "--model", tmp_path / "gone.onnx"],
            "must be an .onnx file that is there",
        ),
        (["index", tiny_dataset, "--gallery", tmp_path / "g", "--model", graph], "must have a card beside it, got no"),
        (
            ["index", tiny_dataset, "--gallery", tmp_path / "g", "--input-size", "300"],
            "input size must be a multiple of 32 from 64 to 1024, got 300",
        ),
        (["evaluate", tiny_dataset, "--pooling", "gem"], "pooling must be average, or gem and a power from 1 to 10"),
        (["evaluate", tiny_dataset, "--fit", "whole", "--crops", "3"], "crops must be 1 where only the whole"),
        (["locate", "--gallery", tiny], "Missing argument 'PHOTO...'."),
        (["locate", photo, "--gallery", tiny, "-k", "0"], "'-k'"),
        (["evaluate", tiny_dataset, "--tau", "7"], "tau must be between -1 and 1, got 7.0"),
        (
            ["evaluate", tiny_dataset, "--false-accept-rate", "0"],
            "false_accept_rate must be between 0 and 1, both excl",
        ),
        (
            ["evaluate", tiny_dataset, "--tau", "0.5", "--false-accept-rate", "0.1"],
            "--tau must come without --false-acc",
        ),
        (["calibrate", "--gallery", tiny, "--false-accept-rate", "nan"], "both excluded, got nan"),
        (["calibrate", "--gallery", tiny, "--labelled", tmp_path / "no.csv"], "must be"),
        (["evaluate", tiny_dataset, "--tua", "0.5"], "No such option"),
        (["gallery", "info", foreign], "file is not a database"),
        (["gallery", "import", tmp_path / "g", tmp_path / "none.npz"], "must be an .npz archive, got no such file"),
        (["gallery", "import", tmp_path / "g", tmp_path / "x.npz", "--weights", hostile], "must come with --model"),
        (["evaluate", tiny_dataset, "--report", tmp_path / "none" / "x.html"], "must lie in a folder that exists"),
        (["evaluate", tiny_dataset, "--report", tmp_path], "must be new or end in .html"),
        (["evaluate", tiny_dataset, "--answers", "."], "must be new or end in .jsonl"),
        (["validate", tiny_dataset, "--min-side", "-5"], "'--min-side'"),
        (["models", "pull", "resnet51"], "did you mean resnet50?"),
        (["models", "pull", "vlad"], "type 'placewise index SOURCE --gallery FILE --model vlad'"),
        (["locat", photo], "No such command 'locat'"),
    ]
    for arguments, words in cases:
        assert words in refused(*arguments), arguments
    assert not (tmp_path / "g").exists()


def test_gallery_housekeeping(landmarks: Path, tmp_path: Path) -> None:
    """info, export, import and remove do what they say."""
    gallery, archive, copy = tmp_path / "city.gallery", tmp_path / "city.npz", tmp_path / "copy.gallery"
    placewise("index", landmarks, "--gallery", gallery, "--no-cache")

    info: dict[str, Any] = json.loads(placewise("gallery", "info", gallery, "--json").stdout)
    exported = placewise("gallery", "export", gallery, archive)
    imported = placewise("gallery", "import", copy, archive)
    removed = placewise("gallery", "remove", copy, "tajmahal/000.jpg", "never.jpg")

    assert (info["photos"], info["model"], info["dim"]) == (37, "efficientnet-lite0", 1280)
    assert exported.stdout == f"{archive}: 37 photos\n"
    assert imported.stdout == f"{copy}: 37 photos imported\n"
    assert removed.stdout == f"{copy}: 1 photos removed, 36 held\n"
    assert removed.stderr == "not in the gallery: never.jpg\n"
    with np.load(archive) as arrays, GalleryFile.open(copy) as opened:
        assert arrays["embeddings"].shape == (37, 1280)
        np.testing.assert_array_equal(arrays["embeddings"][1:], opened.contents().embeddings)


def test_a_look_is_typed_once(tiny_dataset: Path, tmp_path: Path) -> None:
    """A gallery made with another look is located with it without being told, and is not mixed with the default."""
    gallery = tmp_path / "city.gallery"
    look = ("--input-size", "96", "--input-size", "64", "--fit", "whole", "--pooling", "gem2", "--flip")

    indexed = placewise("index", tiny_dataset, "--gallery", gallery, *look)
    located = placewise("locate", tiny_dataset.parent / "p0" / "0.png", "--gallery", gallery, "--json")

    assert indexed.returncode == 0, indexed.stderr
    (answer,) = json.loads(located.stdout)
    assert answer["hits"][0]["path"] == "p0/0.png"
    assert answer["hits"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert "12 unchanged" in placewise("index", tiny_dataset, "--gallery", gallery).stdout
    line = refused("index", tiny_dataset, "--gallery", gallery, "--preset", "balanced")
    assert "embedded with, 96 px whole, gem2, flip, also 64 px whole, got 224 px crop, gem2, also 160 px whole;" in line


def writable(manifest: Path, folder: Path) -> Path:
    """The same manifest in a folder of one's own, in which the photos' folders are linked."""
    folder.mkdir()
    for photos in manifest.parent.iterdir():
        if photos.is_dir():
            (folder / photos.name).symlink_to(photos, target_is_directory=True)
    own = folder / manifest.name
    own.write_bytes(manifest.read_bytes())
    return own


def test_galleries_grow_shrink_and_merge(landmarks: Path, tmp_path: Path) -> None:
    """Prefix, prune, remove with a dry run, merge and filters, as a user types them."""
    gallery, other = tmp_path / "city.gallery", tmp_path / "other.gallery"
    landmarks = writable(landmarks, tmp_path / "photos")
    placewise("index", landmarks, "--gallery", gallery)
    placewise("index", landmarks, "--gallery", other, "--prefix", "trip", "--storage", "float16", "--thumbnails")
    merged = placewise("gallery", "merge", gallery, other)
    info: dict[str, Any] = json.loads(placewise("gallery", "info", gallery, "--check", "--json").stdout)
    dry = placewise("gallery", "remove", gallery, "--glob", "trip/*", "--place", "tajmahal", "--dry-run")
    removed = placewise("gallery", "remove", gallery, "--glob", "trip/*")
    manifest = landmarks.with_name("fewer.csv")
    lines = landmarks.read_text(encoding="utf-8").splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if "tajmahal" not in line), encoding="utf-8")
    pruned = placewise("index", manifest, "--gallery", gallery, "--prune")
    nothing = placewise("gallery", "remove", gallery)
    query = next(landmarks.parent.glob("*/*.jpg"))
    place = next(line.split(",")[1] for line in lines[1:] if "tajmahal" not in line and ",gallery" in line)
    among = json.loads(placewise("locate", query, "--gallery", gallery, "--place", place, "-k", 50, "--json").stdout)
    typo = placewise("locate", query, "--gallery", gallery, "--place", "Tajmahal")

    assert merged.stdout == f"{other}: 37 photos added, 0 there already\n{gallery} holds 74 photos\n"
    assert (info["photos"], info["thumbnails"], info["faults"]) == (74, 37, [])
    assert (
        len(dry.stdout.splitlines()) == 37 + 37 - len([x for x in lines if "tajmahal" not in x and ",gallery" in x]) + 1
    )
    assert removed.stdout == f"{gallery}: 37 photos removed, 37 held\n"
    assert " removed, 0 failed; nothing had to be embedded" in pruned.stdout
    assert " 0 removed" not in pruned.stdout
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert {hit["place"] for hit in among[0]["hits"]} == {place}
    assert (typo.returncode, typo.stderr.count("\n")) == (2, 1)


def test_a_damaged_gallery_fails_its_check(landmarks: Path, tmp_path: Path) -> None:
    """``gallery info --check`` names the photo whose embedding is not what was written, and exits with 1."""
    gallery = tmp_path / "city.gallery"
    placewise("index", landmarks, "--gallery", gallery)
    whole = placewise("gallery", "info", gallery, "--check")
    with sqlite3.connect(gallery) as db:
        db.execute("UPDATE embeddings SET crc32 = crc32 + 1 WHERE id = 3")
        ((name,),) = db.execute("SELECT path FROM photos WHERE id = 3").fetchall()
    db.close()
    damaged = placewise("gallery", "info", gallery, "--check")

    assert (whole.returncode, whole.stdout.splitlines()[-1]) == (0, "checked: whole")
    assert damaged.returncode == 1
    assert damaged.stdout.splitlines()[-1] == f"the embedding of {name} is not what was written"


def test_the_index_for_fast_search(landmarks: Path, tmp_path: Path) -> None:
    """``gallery ann`` builds it and says what it finds; ``locate`` can be told to use it, or refuses without."""
    gallery = tmp_path / "city.gallery"
    placewise("index", landmarks, "--gallery", gallery)
    query = next(landmarks.parent.rglob("*.jpg"))
    refused = placewise("locate", query, "--gallery", gallery, "--search", "ann")
    built = json.loads(placewise("gallery", "ann", gallery, "--json").stdout)
    shown = json.loads(placewise("gallery", "info", gallery, "--json").stdout)["ann"]
    answers = [
        placewise("locate", query, "--gallery", gallery, "--search", kind).stdout for kind in ("ann", "exact", "auto")
    ]

    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert f"type 'placewise gallery ann {gallery}'" in refused.stderr
    assert built["recall@10"] == shown["recall@10"] == 1.0
    assert shown["current"] is True
    assert answers[0] == answers[1] == answers[2] != ""


def test_models_are_listed_with_what_is_installed() -> None:
    """Only the default model and the one that needs no weights are installed; each has a line with size and check."""
    rows = json.loads(placewise("models", "list", "--json").stdout)
    head, *lines = placewise("models").stdout.splitlines()

    assert [row["name"] for row in rows if row["installed"]] == ["efficientnet-lite0", "vlad"]
    checks = {"published prefix", "recorded at first pull", "learned by each gallery"}
    assert {row["check"] for row in rows} == checks
    assert head.split() == ["model", "dim", "size", "installed", "check", "licence"]
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]
    (line,) = (line for line in lines if line.startswith("resnet50 "))
    assert line.split()[1:7] == ["2048", "102.5", "MB", "no", "published", "prefix"]
    (line,) = (line for line in lines if line.startswith("cosplace-resnet50-512 "))
    assert line.split()[1:8] == ["512", "?", "no", "recorded", "at", "first", "pull"]


def test_listing_models_brings_nothing_heavy() -> None:
    """The list needs neither an engine nor a decoder nor the pipeline: it is there at once."""
    script = """
        import sys
        from placewise import cli
        try:
            cli.main(["models", "list"])
        finally:
            heavy = ("openvino", "onnx", "PIL", "sqlite3", "urllib.request", "placewise.evaluate", "placewise.gallery")
            print([name for name in heavy if name in sys.modules], file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)

    assert done.stderr == "[]\n"


def test_pulling_what_is_installed_needs_no_network() -> None:
    """A pull of the default model says where its weights are and how they were checked, and downloads nothing."""
    done = placewise("models", "pull", "efficientnet-lite0")

    assert done.returncode == 0
    assert done.stdout.endswith("efficientnet-lite0-57934424.pth\nSHA-256: published prefix\n")


def test_a_file_is_a_model(tiny_dataset: Path, tmp_path: Path) -> None:
    """Somebody's ONNX file indexes, and the gallery finds it again anywhere; once it has gone, a line says so."""
    graph, gallery = tmp_path / "theirs.onnx", tmp_path / "g"
    write_colour_model(graph)
    photo = tiny_dataset.parent / "p0" / "3.png"

    relative = os.path.relpath(graph)
    indexed = placewise("index", tiny_dataset, "--gallery", gallery, "--model", relative, "--no-cache")
    evaluated = placewise("evaluate", tiny_dataset, "--model", graph, "--no-cache", "--json")
    located = placewise("locate", photo, "--gallery", gallery)
    info = json.loads(placewise("gallery", "info", gallery, "--json").stdout)
    grown = placewise("index", tiny_dataset, "--gallery", gallery)
    moved = graph.rename(tmp_path / "moved.onnx")
    graph.with_suffix(".toml").rename(moved.with_suffix(".toml"))

    assert indexed.returncode == 0, indexed.stderr
    assert json.loads(evaluated.stdout)["model"]["name"] == "mean-colour"
    assert "3.png: KNOWN place 0" in located.stdout
    assert (info["model"], info["dim"]) == ("mean-colour", 3)
    assert "12 unchanged" in grown.stdout
    assert refused("locate", photo, "--gallery", gallery) == (
        f"model must be an .onnx file that is there, got none at {graph}; put it back or name it with --model"
    )
    again = placewise("locate", photo, "--gallery", gallery, "--model", moved)
    assert again.stdout == located.stdout


def write_colour_model(path: Path) -> None:
    """A graph whose features are the image itself, averaged by its card, and that card."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, 1, ["N", 3, 8, 8]) for name in ("pixels", "map")]
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["map"])], "colour", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    path.with_suffix(".toml").write_text(
        """
        name = "mean-colour"
        dim = 3
        licence = "Apache-2.0"
        pooling = "average"
        [input]
        resize = 8
        crop = 8
        interpolation = "bilinear"
        mean = [127.5, 127.5, 127.5]
        std = [127.5, 127.5, 127.5]
        """,
        encoding="utf-8",
    )


def test_help_shows_an_example() -> None:
    """Plain 'placewise' and --help explain themselves and exit with 0."""
    for arguments in ([], ["--help"], ["index", "-h"]):
        done = placewise(*arguments)

        assert done.returncode == 0
        assert "placewise index photos/manifest.csv --gallery city.gallery" in done.stdout
        assert not done.stderr


def test_an_interrupt_keeps_what_was_committed(tiny_dataset: Path, tmp_path: Path) -> None:
    """Ctrl-C in the third batch: one line, exit code 130, two batches kept, and the next run does the rest."""
    gallery = tmp_path / "g"
    script = """
        import os, signal, sys
        from placewise import cli, embed

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
        infer, calls = embed._infer, []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return infer(*arguments)

        embed._infer, embed.BATCH = interrupted, 4
        cli.main(sys.argv[1:])
    """
    arguments = ["index", str(tiny_dataset), "--gallery", str(gallery), "--no-cache"]

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True, check=False
    )

    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "interrupted: what was committed is kept; type the same command again to go on"
    with GalleryFile.open(gallery) as opened:
        assert len(opened) == 8
    again = json.loads(placewise(*arguments, "--json").stdout)
    assert (again["unchanged"], again["added"], again["photos"]) == (8, 4, 12)


def test_places_that_a_terminal_cannot_show_are_escaped(tiny_dataset: Path) -> None:
    """Output in a narrow encoding shows the code of a character instead of failing."""
    text = tiny_dataset.read_text(encoding="utf-8").replace("p0/0.png,place 0", "p0/0.png,Łódź").replace("p0/1", "p0/9")
    tiny_dataset.write_text(text.replace("p0/9", "p0/ł"), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "placewise", "validate", str(tiny_dataset)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )

    assert done.returncode == 1
    assert rb"p0/\u0142" in done.stdout


def test_full_output_is_one_line(tiny_dataset: Path) -> None:
    """Standard output on a full disk is refused in one line, and no traceback follows at exit."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "placewise", "validate", str(tiny_dataset)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 2
    assert (
        done.stderr == "error: standard output must be writable, got No space left on device; write to another place\n"
    )


def test_weights_of_ones_own_are_found_again(tiny_dataset: Path, tmp_path: Path) -> None:
    """A gallery made with --weights, whatever the file is called, is located without naming them again."""
    from placewise.models import find_card, installed_weights

    weights = installed_weights(find_card("efficientnet-lite0"))
    assert weights is not None
    mine = tmp_path / "mine-20240101.pth.onnx"
    shutil.copy(weights, mine)
    photo = tiny_dataset.parent / "p0" / "0.png"

    indexed = placewise("index", tiny_dataset, "--gallery", tmp_path / "g", "--weights", mine, "--no-cache")
    located = placewise("locate", photo, "--gallery", tmp_path / "g", "-k", 1)
    info = json.loads(placewise("gallery", "info", tmp_path / "g", "--json").stdout)
    moved = mine.rename(tmp_path / "moved.pth")
    gone = refused("locate", photo, "--gallery", tmp_path / "g")
    named = placewise("locate", photo, "--gallery", tmp_path / "g", "-k", 1, "--weights", moved)

    assert indexed.returncode == 0, indexed.stderr
    assert "KNOWN place 0" in located.stdout
    assert (info["weights"], info["licence"]) == ("mine-20240101.pth.onnx", "that of the file")
    assert "no such file" in gone
    assert named.stdout == located.stdout
