"""`placewise validate` and `placewise split` as they are typed: what is printed, what is written, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from placewise.core import Finding
from placewise.doctor import KINDS, Examination, examine
from placewise.doctor.kinds import listed
from placewise.show_findings import examination_text, next_line
from placewise.sources import read_source


def placewise(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "placewise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def leaking(tmp_path: Path, save_photo: Callable[..., Path]) -> Path:
    """A folder with 4 places, of which one photo is on both sides, one is broken, and one is there twice."""
    folder = tmp_path / "my photos"
    for place in range(4):
        for view in range(4):
            split = "query" if view == 3 else "gallery"
            save_photo(folder / split / f"p{place}" / f"{view}.png", place=10 * place + view)
    (folder / "query" / "p0" / "same.png").write_bytes((folder / "gallery" / "p0" / "0.png").read_bytes())
    (folder / "gallery" / "p1" / "again.png").write_bytes((folder / "gallery" / "p1" / "0.png").read_bytes())
    (folder / "gallery" / "p2" / "0.png").write_bytes(b"no photo")
    return folder


def finding(kind: str, severity: str, *photos: str, detail: str = "what and what to do") -> Finding:
    """One of any kind."""
    return Finding(kind, severity, photos, detail)  # type: ignore[arg-type]  # severities are few words


def test_the_table_has_the_worst_first_and_names_below() -> None:
    """A row for each kind and severity, then the first findings; what all of a kind say is said once."""
    findings = (
        finding("gps_present", "info", "a", "b"),
        finding("near_duplicate", "info", *"abcdef", detail="6 frames"),
        *(finding("near_duplicate", "warning", f"{n}", f"{n}'") for n in range(7)),
        finding("missing", "error", "c", detail="gone"),
        finding("missing", "error", "d", detail="gone too"),
        finding("bad_row", "error", detail="line 3"),
    )

    lines = examination_text(Examination(9, 8, 1, findings), Path("photos")).split("\n\n")

    assert lines[0] == "9 records: 8 gallery, 1 query"
    assert [row.split()[:4] for row in lines[1].splitlines()] == [
        ["severity", "kind", "findings", "photos"],
        ["error", "bad_row", "1", "0"],
        ["error", "missing", "2", "2"],
        ["warning", "near_duplicate", "7", "14"],
        ["info", "gps_present", "1", "2"],
        ["info", "near_duplicate", "1", "6"],
    ]
    absent = lines[2].removeprefix("not found: ").replace(",", " ").split()
    assert {*absent} == {*KINDS} - {"bad_row", "missing", "near_duplicate", "gps_present"}
    assert lines[3:] == [
        "error: bad_row: line 3",
        "error: missing\n  c: gone\n  d: gone too",
        "warning: near_duplicate: what and what to do\n"
        + "\n".join(f"  {n}, {n}'" for n in range(5))
        + "\n  … and 2 more: --json lists them all",
        "info: gps_present: what and what to do\n  a, b",
        "info: near_duplicate: 6 frames\n  a, b, c, d and 2 more",
        "not fit for use, 3 errors: type placewise validate photos --fix clean.csv",
    ]


def test_the_last_line_says_what_to_type(tiny_dataset: Path) -> None:
    """Mend, divide, evaluate or index: whichever the data are ready for."""
    examination = examine(read_source(tiny_dataset))
    folder = tiny_dataset.parent

    assert next_line(examination, tiny_dataset) == (
        f"fit for use, 4 warnings to look at: type placewise evaluate {tiny_dataset}"
    )
    gallery_only = Examination(2, 2, 0, (finding("blank", "warning", "a"),))
    assert next_line(gallery_only, folder) == (
        f"fit for use, 1 warning to look at: type placewise index {folder} --gallery my.gallery"
    )
    assert next_line(Examination(2, 0, 2, ()), folder) == f"fit for use: type placewise split {folder}"
    broken = Examination(1, 0, 1, (finding("missing", "error", "a"),))
    assert next_line(broken, Path("a b.csv")) == (
        "not fit for use, 1 error: type placewise validate 'a b.csv' --fix clean.csv"
    )
    (folder / "clean-dropped.csv").touch()
    assert next_line(broken, folder).endswith(f" --fix {folder / 'clean-2.csv'}")
    assert next_line(Examination(1, 0, 0, (finding("bad_row", "error"),)), Path("t.csv")) == (
        "not fit for use, 1 error, and no photo without one: correct the source, then type placewise validate t.csv"
    )


def test_the_last_line_keeps_the_names_of_columns() -> None:
    """A table that is only read with them is only mended with them."""
    broken = Examination(1, 0, 1, (finding("missing", "error", "a"),))

    line = next_line(broken, Path("t.csv"), columns="path=file,place=my label")

    assert line.endswith("validate t.csv --columns 'path=file,place=my label' --fix clean.csv")


def test_names_do_not_command_the_terminal() -> None:
    """A line break or an escape sequence in a name is shown, not obeyed; letters of any script are left alone."""
    found = (finding("missing", "error", "a\nb\x1b[2J.jpg", "Łódź/日本.jpg", detail="gone from \x07"),)

    text = examination_text(Examination(1, 1, 0, found), Path("photos"))

    assert "\n  a\\nb\\x1b[2J.jpg, Łódź/日本.jpg\n" in text
    assert "gone from \\x07\n" in text


def test_fix_writes_what_validates(leaking: Path) -> None:
    """Exit code 1 without --fix, 0 with it; the manifest has no error, and can be used as it is."""
    out = leaking / "clean.csv"

    before = placewise("validate", leaking)
    fixed = placewise("validate", leaking, "--fix", out)
    after = placewise("validate", out, "--json")

    assert (before.returncode, fixed.returncode, after.returncode) == (1, 0, 0)
    assert before.stdout.splitlines()[-1].endswith(f"type placewise validate '{leaking}' --fix '{out}'")
    assert fixed.stdout.splitlines()[-1] == (
        f"{out}: 11 gallery, 4 query, 3 left out ({leaking / 'clean-dropped.csv'} says why); "
        f"type placewise validate '{out}'"
    )
    document = json.loads(after.stdout)
    assert (document["records"], document["gallery"], document["query"]) == (15, 11, 4)
    assert [found for found in document["findings"] if found["severity"] != "info"] == []


def test_fix_in_json(leaking: Path) -> None:
    """What was written is in the document, and what was found as well."""
    out = leaking / "clean.csv"

    done = placewise("validate", leaking, "--fix", out, "--json")

    document = json.loads(done.stdout)
    assert document["fixed"] == {
        "manifest": str(out),
        "gallery": 11,
        "query": 4,
        "changed": 0,
        "dropped": 3,
        "dropped_rows": str(leaking / "clean-dropped.csv"),
        "matches_lost": 0,
    }
    assert document["counts"]["cross_split_duplicate"] == 1
    assert sorted(map(len, document["groups"])) == [2, 2]


def test_fix_refuses_before_the_work(tiny_dataset: Path) -> None:
    """In one line, with exit code 2; the manifest is untouched."""
    text = tiny_dataset.read_bytes()

    done = placewise("validate", tiny_dataset, "--fix", tiny_dataset)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: a manifest must not replace the source that it is made from, got ")
    assert tiny_dataset.read_bytes() == text


def test_fix_of_rows_of_which_none_is_left(tmp_path: Path) -> None:
    """The report comes first, also in JSON and as a page; --fix is not what it says to type."""
    table = tmp_path / "t.csv"
    table.write_text("path,place,split\na.jpg,x,train\n", encoding="utf-8")

    for arguments in ([], ["--json"], ["--report", tmp_path / "out.html"]):
        done = placewise("validate", table, "--fix", tmp_path / "clean.csv", *arguments)

        assert done.returncode == 2
        assert "split must be gallery or query, got 'train'" in done.stdout
        assert done.stderr.splitlines()[-1].startswith("error: a clean manifest must have a photo left, got none of 1;")
    assert "--fix" not in placewise("validate", table).stdout.splitlines()[-1]
    assert (tmp_path / "out.html").exists()
    assert not (tmp_path / "clean.csv").exists()


def test_fix_says_when_no_query_is_left(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """A manifest without queries cannot be evaluated: it is to be divided anew."""
    save_photo(tmp_path / "gallery" / "p" / "a.png", place=0)
    (tmp_path / "query" / "p").mkdir(parents=True)
    (tmp_path / "query" / "p" / "b.png").write_bytes((tmp_path / "gallery" / "p" / "a.png").read_bytes())

    done = placewise("validate", tmp_path, "--fix", tmp_path / "clean.csv")

    assert done.stdout.splitlines()[-1].endswith(f"; no query is left; type placewise split {tmp_path / 'clean.csv'}")


def test_known_matches_that_are_lost_are_said(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """By --fix and by split, in the line that names the manifest."""
    for name in ("0", "1", "2"):
        save_photo(tmp_path / f"{name}.png", place=int(name))
    (tmp_path / "frames.csv").write_text("path,frame\n0.png,0\n1.png,1\n2.png,2\n", encoding="utf-8")
    (tmp_path / "positives.csv").write_text("frame,earlier_frame\n2,0\n", encoding="utf-8")

    done = placewise("validate", tmp_path, "--fix", tmp_path / "clean.csv")

    assert "; without the known matches of 1 photo, which a manifest cannot hold; " in done.stdout.splitlines()[-1]


def test_names_of_files_do_not_command_the_terminal(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """Neither what to type next nor an error obeys an escape sequence in the name of a source."""
    folder = tmp_path / "a\x1b[2Jb"
    for place in range(3):
        for view in range(3):
            save_photo(folder / f"p{place}" / f"{view}.png", place=10 * place + view)

    for arguments in (
        ["validate", folder],
        ["validate", folder, "--fix", folder / "clean.csv"],
        ["split", folder],
        ["split", folder],
        ["validate", folder / "none"],
    ):
        done = placewise(*arguments)

        assert "\x1b" not in done.stdout + done.stderr
        assert "\\x1b[2J" in done.stdout + done.stderr


def test_split_without_a_name(leaking: Path) -> None:
    """The manifest is split.csv in the folder, or beside the table with its name; it is made again only on request."""
    first = placewise("split", leaking, "--open-set", "0.2", "--seed", "0")
    written = (leaking / "split.csv").read_bytes()
    again = placewise("split", leaking, "--seed", "1")
    kept = (leaking / "split.csv").read_bytes()
    forced = placewise("split", leaking, "--seed", "1", "--force")
    of_table = placewise("split", leaking / "split.csv")

    assert (first.returncode, again.returncode, forced.returncode, of_table.returncode) == (0, 2, 0, 0)
    assert again.stderr.startswith("error: a table must be new, got ")
    assert written == kept
    assert first.stdout.splitlines()[-1].startswith(f"{leaking / 'split.csv'}: ")
    assert "1 left out; type placewise evaluate" in first.stdout
    assert placewise("validate", leaking / "split.csv").returncode == 0
    assert placewise("validate", leaking / "split-split.csv").returncode == 0


def test_a_seed_below_zero_is_refused(leaking: Path) -> None:
    """In one line that is no bug."""
    done = placewise("split", leaking, "--seed", "-1")

    assert done.returncode == 2
    assert done.stderr.startswith("error: Invalid value for '--seed': -1 is not in the range x>=0.")


def test_split_does_not_replace_its_source(tiny_dataset: Path) -> None:
    """A user's manifest holds splits that somebody chose."""
    text = tiny_dataset.read_bytes()

    done = placewise("split", tiny_dataset, tiny_dataset)

    assert done.returncode == 2
    assert tiny_dataset.read_bytes() == text


def test_the_example_of_the_readme_is_what_is_printed(photos_root: Path) -> None:
    """Line by line, down to the table."""
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    example = readme.split("$ placewise validate leaky\n")[1].split("```")[0]

    done = subprocess.run(
        [sys.executable, "-m", "placewise", "validate", "leaky"],
        capture_output=True,
        text=True,
        check=False,
        cwd=photos_root,
    )

    assert done.stdout.startswith(example)


def test_a_column_is_named_once(tmp_path: Path) -> None:
    """Of two columns for one of ours neither would be meant for certain."""
    done = placewise("validate", tmp_path, "--columns", "path=file,path=lab")

    assert done.returncode == 2
    assert done.stderr == "error: --columns must name each of our columns once, got 'path=file,path=lab'\n"


def test_a_long_label_is_not_printed_at_length() -> None:
    """Neither in a list of places nor as the name of a photo nor in what a finding says of itself."""
    long = "x" * 100_000
    found = (finding("bad_row", "error", long, detail=f"got {long}"), finding("missing", "error", "a", detail=long))

    assert len(examination_text(Examination(2, 2, 0, found), Path("photos"))) < 5000
    assert len(listed([long] * 9)) < 500
