"""The demo: one call that runs everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from placewise import demo
from placewise.errors import OptionError
from placewise.models import load_model
from placewise.town import render_town


@pytest.fixture
def small_town(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with a town of a few small photos."""

    def render(folder: Path, *, seed: int, on_progress: object) -> Path:
        del on_progress
        return render_town(
            folder, seed=seed, places=6, unknown_places=2, gallery_views=2, query_views=1, size=(240, 180)
        )

    monkeypatch.setattr(demo, "render_town", render)


@pytest.mark.usefixtures("small_town")
def test_the_demo_runs_every_stage(tmp_path: Path) -> None:
    """It leaves photos, manifest, gallery and report, and shows two known queries and an open-set one."""
    seen: set[str] = set()

    result = demo.run_demo(tmp_path / "demo", load_model(), on_progress=lambda stage, *_: seen.add(stage))

    assert (result.examination.records, result.examination.has_errors) == (6 * 1 + 4 * 2, False)
    assert result.indexed.added == 8
    assert result.evaluation.open_set_queries == 2
    assert result.evaluation.computed == 6  # the gallery's embeddings came from the cache
    assert len(result.answers) == 3
    for file in (result.manifest, result.gallery, result.report):
        assert file.stat().st_size > 0
    assert {"validate", "index", "gallery", "queries"} <= seen


@pytest.mark.usefixtures("small_town")
def test_a_second_demo_embeds_nothing(tmp_path: Path) -> None:
    """The same town again is found in gallery and cache."""
    model = load_model()
    demo.run_demo(tmp_path, model, tau=0.7)

    again = demo.run_demo(tmp_path, model, tau=0.7)

    assert (again.indexed.added, again.indexed.unchanged, again.evaluation.computed) == (0, 8, 0)


def test_the_whole_demo_as_a_user_runs_it(tmp_path: Path) -> None:
    """The full town in a process of its own: clean data, places recognised, unknown places found."""
    command = [sys.executable, "-m", "placewise", "demo", "--out", str(tmp_path / "demo"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["dataset"]["records"] == 156
    assert document["dataset"]["open_set_queries"] == 16
    assert document["retrieval"]["recall@1"] >= 0.85
    assert document["open_set"]["auroc"] >= 0.85
    assert document["open_set"]["unknown_recall"] >= 0.5
    assert document["answers"][0]["place"] is not None
    assert document["answers"][2]["known"] is False
    assert Path(document["report"]).is_file()


@pytest.mark.usefixtures("small_town")
def test_towns_do_not_mix(tmp_path: Path) -> None:
    """Two seeds in one folder give the same two galleries as in two folders."""
    model = load_model()
    demo.run_demo(tmp_path / "both", model, seed=0)
    second = demo.run_demo(tmp_path / "both", model, seed=1)
    alone = demo.run_demo(tmp_path / "alone", model, seed=1)

    assert second.indexed == alone.indexed
    assert second.evaluation.tau == alone.evaluation.tau


@pytest.mark.usefixtures("small_town")
def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    """The demo never writes into a folder that is not its own, and looks at tau before it renders."""
    (tmp_path / "manifest.csv").write_text("mine", encoding="utf-8")
    model = load_model()

    with pytest.raises(OptionError, match=r"^the demo's folder must be new, empty or an earlier demo's, got "):
        demo.run_demo(tmp_path, model)
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.csv"]
    with pytest.raises(OptionError, match=r"^tau must be between -1 and 1, got 5$"):
        demo.run_demo(tmp_path / "new", model, tau=5)
    assert not (tmp_path / "new").exists()
