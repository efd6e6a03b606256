"""The report: self-contained, escaped, whole."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from placewise import doctor
from placewise.errors import OptionError
from placewise.evaluate import evaluate_source
from placewise.report import write_report
from placewise.sources import read_source

if TYPE_CHECKING:
    from tests.conftest import TinyModel


class Page(HTMLParser):
    """Collects the text, the addresses and the open tags of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note addresses; count tags that must be closed."""
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Tags close in order."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect what a reader sees."""
        self.texts.append(data)


def test_the_report_is_one_whole_file(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Well-formed, with every headline number, every sweep row, and no address outside the file."""
    source = read_source(tiny_dataset)
    evaluation = evaluate_source(source, tiny_model, tau=0.9)

    write_report(evaluation, source, tmp_path / "out.html", examination=doctor.examine(source), title="Tiny")

    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    assert not page.open
    assert page.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    for number in (*evaluation.retrieval.values(), evaluation.open_set["auroc"], evaluation.open_set["oscr"]):
        assert f"{number:.3f}" in text
    for tau, _ in evaluation.sweep:
        assert f"{tau:.2f}" in text
    assert "cross split duplicate" in text


def test_labels_cannot_inject_markup(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """A place called like a script is shown, not run."""
    text = tiny_dataset.read_text(encoding="utf-8").replace("place 0", "<script>alert(1)</script>")
    tiny_dataset.write_text(text, encoding="utf-8")
    source = read_source(tiny_dataset)

    write_report(evaluate_source(source, tiny_model), source, tmp_path / "out.html")

    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<script>" not in html
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
