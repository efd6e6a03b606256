"""``evaluate`` by protocols, ``score`` and ``compare`` as a user types them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.conftest import TinyModel

from placewise import cli
from placewise.cli import app
from placewise.errors import PlacewiseError


def placewise(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one command."""
    command = [sys.executable, "-m", "placewise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def refused(*arguments: object) -> str:
    """Run one command that must be refused, in this process; the line of complaint."""
    with pytest.raises(PlacewiseError) as info:
        app.main(list(map(str, arguments)), standalone_mode=False)
    return str(info.value)


def test_evaluate_score_compare(tiny_dataset: Path, tmp_path: Path) -> None:
    """Predictions that are saved score the same without a model, and a comparison with itself finds nothing."""
    predictions, numbers, document = tmp_path / "p.csv", tmp_path / "numbers.csv", tmp_path / "a.json"
    evaluated = placewise(
        *("evaluate", tiny_dataset, "--no-cache", "--predictions", predictions, "--csv", numbers, "--json")
    )
    document.write_text(evaluated.stdout, encoding="utf-8")
    scored = placewise("score", predictions, "--truth", tiny_dataset, "--protocol", "place", "--json")
    shown = placewise("score", predictions, "--truth", tiny_dataset)
    compared = placewise("compare", document, document)

    first, second = json.loads(evaluated.stdout), json.loads(scored.stdout)
    for key in ("protocol", "right", "counts", "groups", "retrieval", "queries"):
        assert first[key] == second[key]
    assert first["intervals"]["map"] == second["intervals"]["map"]
    assert first["protocol"] == "place"
    rows = {row["metric"]: row for row in csv.DictReader(numbers.read_text(encoding="utf-8").splitlines())}
    assert float(rows["map"]["value"]) == first["retrieval"]["map"]
    assert [float(rows["map"][limit]) for limit in ("low", "high")] == first["intervals"]["map"]
    protocol, counts = shown.stdout.splitlines()[:2]
    assert protocol.startswith("protocol place: ")
    kinds = "places, 4 with known queries and 2 with open-set ones"
    assert counts == f"6 queries: 4 evaluated, 2 open-set; 95 % intervals over {kinds}"
    assert compared.stdout.startswith("Both answered alike: none of 4 queries in 4 places differs in Recall@1.")


def test_models_are_compared_in_one_run(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of both, the difference in words, one document and one page; a model by name comes as itself."""
    monkeypatch.setattr(cli, "_load", lambda name, *_options: TinyModel(name))
    arguments = ["evaluate", str(tiny_dataset), "--no-cache", "--models", "one, other"]

    app.main([*arguments, "--report", str(tmp_path / "out.html"), "--no-intervals"], standalone_mode=False)
    shown = capsys.readouterr().out.splitlines()
    app.main([*arguments, "--json", "--tau", "0.5"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)

    assert [line.split()[0] for line in shown if line.startswith(("one  ", "other  "))] == ["one", "other"]
    assert document["comparisons"][0]["sentence"] in shown
    assert len(document["models"]) == 2
    assert document["comparisons"][0]["differences"]["recall@1"]["difference"] == 0
    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "2 models on the same photos" in html
    assert "http" not in html.replace("http-equiv", "")
    assert "Only other is right: none" in html
    assert 'id="dataset"' in html
    for each in document["models"]:
        assert each["curves"]["recall"]["recall"][0] == each["retrieval"]["recall@1"]


def test_a_report_shows_what_the_doctor_finds_unless_it_is_not_wanted(tiny_dataset: Path, tmp_path: Path) -> None:
    """Only a report pays for it; the document counts the same findings, and is null where nobody looked."""
    arguments = ("evaluate", tiny_dataset, "--no-cache", "--json", "--no-intervals")

    seen = json.loads(placewise(*arguments, "--report", tmp_path / "seen.html").stdout)
    unseen = json.loads(placewise(*arguments, "--report", tmp_path / "unseen.html", "--no-validate").stdout)
    bare = json.loads(placewise(*arguments).stdout)

    assert seen["findings"]["query_without_positives"] == 1
    assert seen["seconds"]["validate"] >= 0
    assert unseen["findings"] is bare["findings"] is None
    assert "validate" not in unseen["seconds"]
    assert 'id="dataset"' in (tmp_path / "seen.html").read_text(encoding="utf-8")
    assert 'id="dataset"' not in (tmp_path / "unseen.html").read_text(encoding="utf-8")


def test_scoring_loads_no_model(tiny_dataset: Path, tmp_path: Path) -> None:
    """Neither an engine nor a decoder is imported, and no photo is opened: the folder of photos may be empty."""
    (tmp_path / "p.csv").write_text("query,path,rank\np0/3.png,p0/0.png,1\n", encoding="utf-8")
    for photo in tiny_dataset.parent.rglob("*.png"):
        photo.unlink()
    script = f"""
        import sys
        from placewise import cli
        try:
            cli.main(["score", {str(tmp_path / "p.csv")!r}, "--truth", {str(tiny_dataset)!r}])
        finally:
            print([name for name in ("openvino", "onnx", "faiss", "PIL") if name in sys.modules], file=sys.stderr)
    """

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)

    assert "6 queries: 4 evaluated, 2 open-set, 3 without a prediction: misses" in done.stdout
    assert done.stderr == "[]\n"


def test_what_cannot_be_evaluated_is_refused_in_one_line(tiny_dataset: Path, tmp_path: Path) -> None:
    """Each refusal comes before any photo is embedded, and names what to type instead."""
    (tmp_path / "p.csv").write_text("query,path,rank\nx,y,1\n", encoding="utf-8")
    cases = (
        (("evaluate", tiny_dataset, "--protocol", "radio"), "a protocol must be one of place, radius:25m[:drop], "),
        (("evaluate", tiny_dataset, "--protocol", "radius"), "there must be a gallery photo with a position, got none"),
        (
            ("evaluate", tiny_dataset, "--exclude-last", 3),
            "exclude_last must be 0 or more and come with the ",
        ),
        (("evaluate", tiny_dataset, "--top", "x"), "--top must be a number of hits or all, got 'x'"),
        (("evaluate", tiny_dataset, "--top", "3"), "top must be at least 10 or all, got 3"),
        (
            ("evaluate", tiny_dataset, "--csv", tmp_path),
            "an output file must be new or end in .csv to be ",
        ),
        (
            ("evaluate", tiny_dataset, "--predictions", "."),
            "an output file must be new or end in .csv to be ",
        ),
        (("evaluate", tiny_dataset, "--models", "a,b,a"), "--models must name each model once, got 'a,b,a'; "),
        (("evaluate", tiny_dataset, "--models", "a, "), "--models must name each model once, got 'a, '; "),
        (("evaluate", tiny_dataset, "--models", "a,b", "--model", "c"), "--models must come without --model, got both"),
        (
            ("evaluate", tiny_dataset, "--protocol", "frames:1", "--false-accept-rate", 0.1),
            "a gallery calibrates itself by labels, got the protocol frames:±1; name a tau instead",
        ),
        (("score", tmp_path / "p.csv", "--truth", tiny_dataset), f"the predictions '{tmp_path / 'p.csv'}' must name "),
        (("score", tmp_path / "p.csv", "--truth", tmp_path / "none"), "a source must be a manifest that ends in .csv "),
        (
            ("compare", tmp_path / "p.csv", tmp_path / "p.csv"),
            "an evaluation must be what 'placewise evaluate",
        ),
    )
    for arguments, line in cases:
        assert refused(*arguments).startswith(line)


def test_a_loop_is_closed_from_the_command_line(photos_root: Path, tmp_path: Path) -> None:
    """Some frames of the city's loop against their own past: two revisit and find it, for others UNKNOWN is right."""
    folder = tmp_path / "loop"
    (folder / "frames").mkdir(parents=True)
    source = photos_root / "city-centre"
    for number in [*range(3), *range(150, 156), *range(664, 668)]:
        (folder / "frames" / f"{number:04}.jpg").symlink_to(source / "frames" / f"{number:04}.jpg")
    kept = [f"frames/{path.name},{int(path.stem)}" for path in sorted((folder / "frames").iterdir())]
    (folder / "frames.csv").write_text("\n".join(["path,frame", *kept]) + "\n", encoding="utf-8")
    (folder / "positives.csv").write_text("frame,earlier_frame\n665,154\n665,155\n666,154\n", encoding="utf-8")

    done = placewise("evaluate", folder, "--protocol", "pairs", "--exclude-last", 100, "--no-cache", "--json")

    document = json.loads(done.stdout)
    assert document["counts"]["evaluated"] == 2
    assert document["counts"]["open_set"] == 8
    assert document["counts"]["excluded"] == 3
    assert document["right"].endswith("asks its own past but for the last 100 frames")
    assert document["open_set"]["tau"] is None
    assert document["retrieval"]["recall@10"] == 1


@pytest.mark.parametrize("option", ["--intervals", "--no-intervals"])
def test_text_shows_intervals_unless_they_are_not_wanted(tiny_dataset: Path, option: str) -> None:
    """A number and its interval, on one line."""
    done = placewise("evaluate", tiny_dataset, "--no-cache", "--tau", 0.5, option)

    (line,) = (line for line in done.stdout.splitlines() if line.startswith("Recall@10"))
    assert line.split()[1] == "1.0000"
    assert (line.endswith(" to 1.00)")) == (option == "--intervals")
