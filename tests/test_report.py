"""The report: self-contained, escaped, whole."""

from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from placewise import doctor
from placewise.core import Hit, Photo, Source
from placewise.errors import OptionError
from placewise.evaluate import evaluate_source
from placewise.evaluation import QueryResult
from placewise.metrics import Interval
from placewise.page import environment
from placewise.report import _hits, write_report
from placewise.sources import read_source
from placewise.thumbnails import Thumbnail

if TYPE_CHECKING:
    from tests.conftest import TinyModel


class Page(HTMLParser):
    """Collects the text, the addresses, the names and the open tags of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note addresses; count tags that must be closed."""
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in ("meta", "img", "br", "link", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Tags close in order."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect what a reader sees."""
        self.texts.append(data)


def test_the_report_is_one_whole_file(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Well-formed, with every number, every sweep row, and no address outside the file or to nowhere in it."""
    source = read_source(tiny_dataset)
    evaluation = evaluate_source(source, tiny_model, tau=0.9)

    examination = doctor.examine(source)
    write_report(evaluation, source, tmp_path / "out.html", examination=examination, title="Tiny")

    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    assert not page.open
    assert page.addresses
    links = [address for address in page.addresses if not address.startswith("data:image/jpeg;base64,")]
    assert {link.removeprefix("#") for link in links} <= set(page.ids)
    assert all(link.startswith("#") for link in links)
    assert len(page.ids) == len(set(page.ids))
    for number in (*evaluation.retrieval.values(), *evaluation.open_set.values()):
        assert f"{number:.3f}" in text
    for tau, _ in evaluation.sweep:
        assert f"{tau:.2f}" in text
    assert examination.findings
    for kind, count in examination.counts.items():
        assert (kind.replace("_", " ") in page.texts) == (count > 0)
    assert examination.findings[0].detail in text


def test_labels_cannot_inject_markup(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """A place called like a script is shown, not run."""
    text = tiny_dataset.read_text(encoding="utf-8").replace("place 0", "<script>alert(1)</script>")
    tiny_dataset.write_text(text, encoding="utf-8")
    source = read_source(tiny_dataset)

    write_report(evaluate_source(source, tiny_model), source, tmp_path / "out.html")

    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert html.count("<script>") == 1  # the page's own
    assert "<script>alert" not in html
    assert "&lt;script&gt;" in html


def test_a_photo_that_has_gone_leaves_a_gap_and_a_report(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Between evaluating and reporting a photo may vanish; its thumbnail is empty, the rest is there."""
    source = read_source(tiny_dataset)
    evaluation = evaluate_source(source, tiny_model)
    for photo in tiny_dataset.parent.rglob("*.png"):
        photo.unlink()

    write_report(evaluation, source, tmp_path / "out.html")

    assert 'class="missing"' in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_a_report_replaces_nothing_but_reports(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """A missing folder, a folder or another kind of file in the way is one line, and nothing is lost."""
    source = read_source(tiny_dataset)
    evaluation = evaluate_source(source, tiny_model)
    before = tiny_dataset.read_bytes()

    for out in (tmp_path / "none" / "out.html", tmp_path, tiny_dataset):
        with pytest.raises(OptionError, match=r"^an output file must "):
            write_report(evaluation, source, out)
    assert tiny_dataset.read_bytes() == before
    write_report(evaluation, source, tmp_path / "out.html")
    write_report(evaluation, source, tmp_path / "out.html")


def test_intervals_protocol_and_command_are_shown(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """What makes a number comparable stands beside it: its interval, the protocol, the command, the versions."""
    source = read_source(tiny_dataset)
    evaluation = replace(
        evaluate_source(source, tiny_model, tau=0.9),
        protocol="radius of 25 m",
        intervals={"recall@1": Interval(0.512, 0.913, 1.0), "gap": Interval(math.nan, math.nan, math.nan)},
    )

    write_report(evaluation, source, tmp_path / "out.html", command="placewise evaluate <b> --tau 0.9")

    text = " ".join(Page((tmp_path / "out.html").read_text(encoding="utf-8")).texts)
    for shown in ("0.512 to 0.913", "Protocol: radius of 25 m", "placewise evaluate <b> --tau 0.9", "NumPy"):
        assert shown in text
    assert evaluation.card.fingerprint in text
    assert "– to" not in text


def test_a_metric_that_the_report_has_no_words_for_is_listed_all_the_same(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Whoever adds a metric to an evaluation finds it in the table under its own name."""
    source = read_source(tiny_dataset)
    evaluation = evaluate_source(source, tiny_model, tau=0.9)
    more = replace(evaluation, retrieval={**evaluation.retrieval, "map_revisited_hard": 0.12345, "recall@20": 0.76543})

    write_report(more, source, tmp_path / "out.html")

    text = " ".join(Page((tmp_path / "out.html").read_text(encoding="utf-8")).texts)
    for shown in ("map revisited hard", "0.123", "Recall@20", "0.765"):
        assert shown in text


def test_a_failure_shows_the_first_right_hit_with_its_rank() -> None:
    """A right hit beyond those shown stands at the end; of one that was not kept there is the rank."""
    gallery = [Photo(PurePosixPath(f"{rank}.jpg"), "gallery", "b") for rank in range(1, 11)]
    hits = tuple(Hit(photo, 1 - rank / 100) for rank, photo in enumerate(gallery, 1))
    query = Photo(PurePosixPath("q.jpg"), "query", "a")

    def shown(*ranks: int, first_right: Hit | None = None) -> list[tuple[int, Hit | None, bool]]:
        right = tuple(rank in ranks for rank in range(1, 11))
        first = np.array(ranks, dtype=np.int64)
        result = QueryResult(query, False, hits, right, first, 0.9, "b", right[0], "", first_right)
        return [(item.rank, item.hit, item.right) for item in _hits(result)]

    best = [(rank, hits[rank - 1], False) for rank in range(1, 6)]
    assert shown() == best
    assert shown(2, 9) == [best[0], (2, hits[1], True), *best[2:]]
    assert shown(5) == [*best[:4], (5, hits[4], True)]
    assert shown(7, 8) == [*best[:4], (7, hits[6], True)]
    assert shown(80, first_right=hits[0]) == [*best[:4], (80, hits[0], True)]
    assert shown(80) == [*best[:4], (80, None, True)]


def test_matched_keypoints_are_lines_between_two_photos() -> None:
    """A match goes from its share of one photo to its share of the other beside it; no match draws nothing."""
    macro = environment().get_template("photos.html.j2").make_module().matched  # type: ignore[attr-defined]
    one, other = Thumbnail("data:,1", 200, 100), Thumbnail("data:,2", 100, 150)

    assert not macro(one, other, ()).strip()
    drawn = macro(one, other, [(0.5, 0.1, 0.25, 1.0)])
    assert 'viewBox="0 0 308 150"' in drawn
    assert 'd="M100.0 10.0L233.0 150.0"' in drawn


def test_a_report_of_a_thousand_queries_is_small(tmp_path: Path, tiny_model: TinyModel) -> None:
    """A thousand queries of noise, the worst that a JPEG can meet, stay below 15 MB, whatever is wrong with them."""
    rng = np.random.default_rng(0)
    for number in range(48):
        pixels = rng.integers(0, 255, (240, 240, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    gallery = [Photo(PurePosixPath(f"{number}.png"), "gallery", f"place {number}") for number in range(8)]
    queries = [Photo(PurePosixPath(f"{number}.png"), "query", f"place {number % 12}") for number in range(8, 48)]
    source = Source(tmp_path, (*gallery, *queries))
    few = evaluate_source(source, tiny_model, tau=0.1)
    evaluation = replace(few, results=few.results * 25)

    write_report(evaluation, source, tmp_path / "out.html")

    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert len(evaluation.results) == 1000
    assert html.count("<img") > 100
    assert len(html) < 15_000_000


@pytest.mark.parametrize("kept", ["known", "open-set", "one gallery photo", "one of each"])
def test_whatever_can_be_evaluated_can_be_reported(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, kept: str
) -> None:
    """Where curves, places or mistakes do not exist, they are left out, and nothing is drawn of them."""
    source = read_source(tiny_dataset)
    gallery, queries = source.of("gallery"), source.of("query")
    known, strange = queries[:4], queries[4:]
    photos = {
        "known": (*gallery, *known),
        "open-set": (*gallery, *strange),
        "one gallery photo": (gallery[0], *queries),
        "one of each": (gallery[0], known[0]),
    }[kept]
    source = replace(source, photos=photos)

    write_report(evaluate_source(source, tiny_model, tau=0.9), source, tmp_path / "out.html")

    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert ("recall" in page.ids) == (kept != "open-set")
    assert ("roc" in page.ids) == (kept == "one gallery photo")
    assert "nan" not in " ".join(page.texts[6:])
