"""The reports as a reader sees them: in Chromium, on a desk and on a phone, by day and by night, on paper."""

from __future__ import annotations

import csv
import shutil
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from PIL import Image
from tests.conftest import TinyModel

from placewise import doctor
from placewise.contest import contest_of
from placewise.contest_report import write_contest_report
from placewise.evaluate import evaluate_source
from placewise.findings_report import write_findings
from placewise.report import write_report
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Page, ViewportSize

    from placewise.core import Embeddings

DESK: ViewportSize = {"width": 1280, "height": 900}
Scheme = Literal["light", "dark"]

PHONE: ViewportSize = {"width": 390, "height": 844}
PLOTS = {"Placewise evaluation": 7, "Placewise validate": 3}
"""How many plots there are; a fixed tau has no probability, so no plot of it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with every mistake, positions, a copy, a broken photo, and more places than are shown."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "place", "split", "lat", "lon"])
        for place in range(40):
            pattern = rng.integers(0, 255, (4, 4, 3))
            for view in range(3):
                if place >= 34 and view < 2:
                    continue
                pixels = np.clip(pattern + rng.integers(-90, 90, (4, 4, 3)), 0, 255).astype(np.uint8)
                path = f"{place:02}_{view}.png"
                Image.fromarray(pixels).resize((96, 72), Image.Resampling.NEAREST).save(folder / path)
                label = f"a_place_with_a_long_name/number_{place}"
                split = "query" if view == 2 else "gallery"
                rows.writerow([path, label, split, 48 + place / 5000, 16 + view / 50000 + place % 7 / 3000])
    shutil.copy(folder / "00_0.png", folder / "copy.png")
    with (folder / "manifest.csv").open("a", encoding="utf-8") as file:
        file.write("copy.png,a_place_with_a_long_name/number_0,gallery,,\n")
    return folder


COMMAND = "placewise evaluate " + "a_long_folder_name/" * 12 + "manifest.csv --report out.html"


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> str:
    """The address of the report of an evaluation with everything in it."""
    source = read_source(folder / "manifest.csv")
    evaluation = evaluate_source(source, TinyModel(), tau=0.72, examine=True)
    write_report(evaluation, source, folder / "out.html", command=COMMAND)
    return (folder / "out.html").as_uri()


@pytest.fixture(scope="module")
def examined(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the report of an examination with everything in it: the same photos, and more that is wrong."""
    worse = tmp_path_factory.mktemp("findings") / "photos"
    shutil.copytree(folder, worse)
    shutil.copy(folder / "01_0.png", worse / "leaked.png")
    Image.new("RGB", (600, 66), "white").save(worse / "white.png")
    (worse / "text.png").write_bytes(b"no photo")
    long = "a_long_folder_name/" * 6 + "w" * 90
    with (worse / "manifest.csv").open("a", encoding="utf-8") as file:
        file.write(f"leaked.png,{'v' * 90},query,48.003,16.001\nwhite.png,,gallery,0,0\ntext.png,,gallery,,\n")
        file.writelines(f"{long}{number}.png,{'v' * 90},gallery,,\n" for number in range(20))
        file.write(f"../{'x' * 90}.png,,gallery,,\n")
    table = (worse / "manifest.csv").read_text(encoding="utf-8").splitlines()
    table = [f"{line},{'sequence' if number == 0 else f'walk_{number // 20}'}" for number, line in enumerate(table)]
    (worse / "manifest.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    source = read_source(worse / "manifest.csv")
    write_findings(doctor.examine(source), source, worse / "out.html", command=COMMAND)
    return (worse / "out.html").as_uri()


@pytest.fixture(params=["evaluated", "examined"])
def report(request: pytest.FixtureRequest) -> str:
    """Each report in turn."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page that compares three models, one of which sees less."""
    folder = tmp_path_factory.mktemp("contest")
    rng = np.random.default_rng(1)
    rows = ["path,place,split"]
    for place in range(12):
        pattern = rng.integers(0, 255, (4, 4, 3))
        for view in range(3 if place < 9 else 1):
            pixels = np.clip(pattern + rng.integers(-120, 120, (4, 4, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((96, 72), Image.Resampling.NEAREST).save(folder / f"{place}_{view}.png")
            rows.append(f"{place}_{view}.png,place {place},{'query' if view in {0, 2} else 'gallery'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = read_source(folder / "manifest.csv")
    models = (TinyModel(), Dim("a-model-with-a-rather-long-name-for-a-phone"), TinyModel("third"))
    contest = contest_of([evaluate_source(source, model, tau=0.72, examine=True) for model in models])
    write_contest_report(contest, source, folder / "out.html", command="placewise evaluate manifest.csv")
    return (folder / "out.html").as_uri()


class Dim(TinyModel):
    """Sees the first rows of a photo only."""

    def infer(self, inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        """Inputs → embeddings."""
        return super().infer([np.where(np.arange(4)[:, None, None] < 1, item, 100) for item in inputs])


def opened(browser: Browser, address: str, **options: Any) -> Page:
    """A page in a fresh context of its own, which the browser closes."""
    page = browser.new_context(**{"viewport": DESK, **options}).new_page()
    page.goto(address)
    return page


def test_the_page_says_nothing_and_asks_for_nothing(browser: Browser, report: str) -> None:
    """No console message, no error of a script, no request but the file itself, and everything is drawn."""
    page = browser.new_context(viewport=DESK).new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    page.goto(report)

    assert not said
    assert [address for address in asked if not address.startswith("data:")] == [report]
    assert page.locator("svg[role=img]").count() == PLOTS[page.title().partition(" · ")[2]]
    images = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert images
    assert all(images)


def test_the_page_may_not_ask_for_anything(browser: Browser, report: str) -> None:
    """Even if something foreign got in, the browser would refuse to fetch it and to run it."""
    page = opened(browser, report)

    refused = page.evaluate(
        """() => new Promise(done => {
            const seen = [];
            document.addEventListener("securitypolicyviolation", event => {
                seen.push(event.effectiveDirective);
                if (seen.length == 2) done(seen.sort());
            });
            const image = document.createElement("img");
            image.src = "http://127.0.0.1:9/x.png";
            const script = document.createElement("script");
            script.textContent = "document.title = 'taken over'";
            document.body.append(image, script);
        })"""
    )

    assert refused == ["img-src", "script-src-elem"]
    assert page.title() != "taken over"


@pytest.mark.parametrize("unfolded", [False, True])
def test_a_phone_needs_no_horizontal_scrolling(browser: Browser, report: str, *, unfolded: bool) -> None:
    """At 390 pixels, and with everything unfolded, only tables and strips of photos scroll, not the page."""
    page = opened(browser, report, viewport=PHONE)
    if unfolded:
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.locator("details").count() >= 2


def test_the_page_is_dark_where_the_reader_wants_it_dark_and_light_on_paper(browser: Browser, report: str) -> None:
    """Paper and ink change places in dark mode, and a dark page is printed in dark ink."""

    def lightness(page: Page, name: str) -> float:
        color = page.evaluate(f"getComputedStyle(document.body).{name}")
        return sum(map(float, color[color.index("(") + 1 : -1].split(",")[:3])) / 765

    page = opened(browser, report, color_scheme="light")
    assert lightness(page, "color") < 0.3
    assert lightness(page, "backgroundColor") > 0.9
    page = opened(browser, report, color_scheme="dark")
    assert lightness(page, "color") > 0.8
    assert lightness(page, "backgroundColor") < 0.2
    page.emulate_media(media="print", color_scheme="dark")
    assert lightness(page, "color") < 0.3


def test_the_page_prints(browser: Browser, report: str) -> None:
    """A4 pages come out, the contents without their links, and nothing is wider than the paper."""
    page = opened(browser, report)

    pdf = page.pdf(format="A4")

    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") > 3
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 within its margins, in CSS pixels
    assert page.evaluate("document.documentElement.scrollWidth") == 688
    assert not page.locator("nav").is_visible()


def faults(page: Page) -> list[tuple[str, str]]:
    """What axe-core finds serious or critical: (rule, where)."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations'], preload: false})")
    return [
        (rule["id"], node["html"][:200])
        for rule in found["violations"]
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_everybody_can_read_the_page(browser: Browser, report: str, viewport: ViewportSize, scheme: str) -> None:
    """axe-core finds no serious fault, with everything unfolded."""
    page = opened(browser, report, viewport=viewport, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")

    assert not faults(page)


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_everybody_can_read_a_contest(browser: Browser, contest: str, viewport: ViewportSize, scheme: Scheme) -> None:
    """Silent, no wider than its window, without a serious fault, and with what two models disagree on."""
    page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    page.goto(contest)

    assert not said
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert page.locator("svg[role=img]").count() == 8 + 2  # a metric each, and the differences of two models
    assert page.locator(".query").count() > 0
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert not faults(page)


def test_a_page_that_not_everybody_can_read_is_found_out(browser: Browser) -> None:
    """The check above does find faults where there are some."""
    page = browser.new_page()
    page.set_content("<html lang=en><title>x</title><main><img src='data:,'><p style='color: #ccc'>pale</p></main>")

    assert {rule for rule, _ in faults(page)} == {"image-alt", "color-contrast"}


def test_tables_can_be_sorted_where_scripts_run(browser: Browser, evaluated: str) -> None:
    """A heading sorts up, then down, by number where all are numbers; no row is lost."""
    page = opened(browser, evaluated)
    table = page.locator("table.sortable").first

    def column(number: int) -> list[str]:
        return table.locator(f"tbody tr > :nth-child({number})").all_inner_texts()

    before = column(1)
    table.locator("th button", has_text="AP").click()
    rising = [float(text) for text in column(4)]
    assert rising == sorted(rising)
    table.locator("th button", has_text="AP").click()
    assert [float(text) for text in column(4)] == rising[::-1]
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("AP")
    assert sorted(column(1)) == sorted(before)
    table.locator("th button", has_text="place").first.click()
    assert len(column(1)) == len(before) == 30


def test_the_page_reads_the_same_without_scripts(browser: Browser, report: str) -> None:
    """Where scripts are off, there is all of the text and no control that does nothing."""
    with_scripts, without = (
        opened(browser, report, java_script_enabled=enabled).locator("main").inner_text() for enabled in (True, False)
    )

    assert without == with_scripts
    assert opened(browser, report, java_script_enabled=False).locator("button").count() == 0


def test_places_can_be_sorted_by_their_photos(browser: Browser, examined: str) -> None:
    """A bar beside a number does not keep it from being sorted by."""
    table = opened(browser, examined).locator("table.sortable").first

    table.locator("th button", has_text="photos").click()

    rising = [int(text) for text in table.locator("td.share").all_inner_texts()]
    assert rising == sorted(rising)
    assert rising[-1] == 21
