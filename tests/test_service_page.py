"""The page as a person uses it: in Chromium, on a desk and on a phone, by day and by night, from a real server."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import expect
from tests.conftest import TinyModel, texture

from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.service.page_routes import page_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route, ViewportSize

DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
SIGHTS = pytest.mark.parametrize(
    ("viewport", "scheme"),
    [(DESK, "light"), (PHONE, "dark")],
    ids=["desk", "phone"],
)
PLACES = 5
"""The places of the gallery; one more photo is of none of them."""


class Photos(NamedTuple):
    """A manifest, a photo of the first place, one of the second, and one of a place that the gallery does not hold."""

    manifest: Path
    known: Path
    other: Path
    unknown: Path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Photos of places with positions."""
    root = tmp_path_factory.mktemp("page")
    rows = ["path,place,split,lat,lon"]
    for place in range(PLACES + 1):
        for view in range(3) if place < PLACES else ():
            rows.append(f"{place}-{view}.jpg,market {place},gallery,{48 + place / 900},{16 + view / 5000}")
            texture(place, view).resize((256, 192)).save(root / f"{place}-{view}.jpg", quality=90)
        texture(place, 4).resize((256, 192)).save(root / f"asks-{place}.jpg", quality=90)
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "bare.csv").write_text("\n".join(row.rsplit(",", 2)[0] for row in rows), "utf-8")
    return Photos(root / "manifest.csv", root / "asks-0.jpg", root / "asks-1.jpg", root / f"asks-{PLACES}.jpg")


@pytest.fixture(scope="module")
def gallery(photos: Photos) -> Path:
    """A calibrated gallery with thumbnails, positions and local features."""
    path = photos.manifest.parent / "market.gallery"
    with Gallery.open_for(path, TinyModel(), thumbnails=True, features=True) as made:
        made.add(photos.manifest)
        made.calibrate(false_accept_rate=0.1)
    return path


@contextmanager
def serving(path: Path, **values: object) -> Iterator[str]:
    """A server of a gallery; its address."""
    import uvicorn

    from placewise.service.app import create_app
    from placewise.service.desk import Desk
    from placewise.service.server import address, configured, listen
    from placewise.service.settings import Settings

    settings = Settings(path, **{"port": 0, "reload_s": 0.05, "grace_s": 2, **values})  # type: ignore[arg-type]
    desk = Desk(GalleryFile.open(path), TinyModel(), max_pixels=settings.max_pixels)
    app, listening = create_app(settings, desk), listen(settings)
    server = uvicorn.Server(configured(app, settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield address(listening)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(gallery: Path) -> Iterator[str]:
    """The address of a server that anybody may read from."""
    with serving(gallery) as found:
        yield found


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page, which must then say nothing on the console and ask no other host."""
    said: list[str] = []
    asked: list[tuple[str, str]] = []
    contexts = []

    def open_page(address: str, *, quiet: bool = True, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: asked.append((address, request.url)))
        page.on("pageerror", lambda error: said.append(str(error)))
        if quiet:
            page.on("console", lambda message: said.append(message.text))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said
    assert all(found.startswith((f"{own}/", f"blob:{own}/")) for own, found in asked)


def ask(page: Page, *paths: Path) -> None:
    """Choose photos, and wait until all are answered."""
    page.set_input_files("#chosen", list(paths))
    expect(page.locator("#history .waiting, #history .asking")).to_have_count(0)
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")


DROP = """([name, bytes, target]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name));
    const event = (type) => new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true});
    for (const type of ["dragenter", "dragover", "drop"]) document.querySelector(target).dispatchEvent(event(type));
}"""

PASTE = """([name, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name));
    document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""


def encoded(path: Path) -> str:
    """A file for a script."""
    import base64

    return base64.b64encode(path.read_bytes()).decode("ascii")


def faults(page: Page, options: str = "{}") -> list[tuple[str, str]]:
    """What axe-core finds serious or critical: (rule, where)."""
    found = page.evaluate(f"axe.run({{resultTypes: ['violations'], preload: false, ...{options}}})")
    return [
        (rule["id"], node["html"][:200])
        for rule in found["violations"]
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def check(page: Page, viewport: ViewportSize, scheme: str = "light") -> None:
    """Nothing is wider than the window, and everybody can read it, in this scheme and in the other."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert not faults(page)
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    assert not faults(page, "{runOnly: ['color-contrast']}")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]


@SIGHTS
def test_a_photo_is_answered_and_compared(
    opened: Callable[..., Page], url: str, photos: Photos, viewport: ViewportSize, scheme: str
) -> None:
    """Empty, KNOWN, beside a hit and UNKNOWN, the page fits its window, is readable and silent, by day and by night."""
    page = opened(url, viewport=viewport, color_scheme=scheme)
    expect(page.locator("#facts")).to_have_text("market.gallery · 15 photos of 5 places")
    check(page, viewport, scheme)

    ask(page, photos.known, photos.unknown)
    expect(page.locator("#badge")).to_have_text("KNOWN")
    expect(page.locator("#verdict")).to_have_text("market 0")
    expect(page.locator("#sure")).to_contain_text("sure; KNOWN begins at")
    expect(page.locator("#asked img")).to_have_attribute("alt", "Your photo asks-0.jpg")
    expect(page.locator(".hit img")).to_have_count(8)
    check(page, viewport, scheme)

    hit = page.locator(".hit").first
    hit.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#match-says")).to_contain_text("The geometry agrees")
    expect(page.locator("#match image")).to_have_count(2)
    expect(page.locator("#match .pair-of-points")).to_have_count(60)
    check(page, viewport, scheme)
    page.keyboard.press("Escape")
    expect(page.locator("#match")).to_be_hidden()
    expect(hit).to_be_focused()

    page.get_by_role("button", name="asks-5.jpg: UNKNOWN").click()
    expect(page.locator("#badge")).to_have_text("UNKNOWN")
    check(page, viewport, scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(background) < 64) == (scheme == "dark")


def test_photos_can_be_dropped_and_pasted(opened: Callable[..., Page], url: str, photos: Photos) -> None:
    """A drop anywhere and a paste are answered like a choice, and those who hear the page are told."""
    page = opened(url, reduced_motion="no-preference")
    page.evaluate(DROP, ["drop.jpg", encoded(photos.known), "footer"])
    expect(page.locator("#verdict")).to_have_text("market 0")
    expect(page.locator("#status")).to_contain_text("KNOWN: market 0. Confidence")
    page.evaluate(PASTE, ["paste.jpg", encoded(photos.other)])
    expect(page.locator("#verdict")).to_have_text("market 1")

    assert page.locator("#history button").count() == 2
    assert page.title() == "KNOWN: market 1 · Placewise"


def test_tau_can_be_tried_out_and_put_back(opened: Callable[..., Page], url: str, photos: Photos) -> None:
    """The slider decides anew on the photo and on all of the visit, by keyboard, too; one click brings tau back."""
    page = opened(url)
    ask(page, photos.unknown, photos.known, photos.other)
    slider, says = page.locator("#tau"), page.locator("#tau-says")
    expect(page.locator("#badge")).to_have_text("UNKNOWN")
    expect(says).to_contain_text("2 of 3 photos of this visit are KNOWN.")
    own = slider.input_value()
    slider.focus()
    page.keyboard.press("Home")

    expect(page.locator("#badge")).to_contain_text("KNOWNif tau were different")
    expect(says).to_contain_text("3 of 3 photos of this visit would be KNOWN.")
    expect(page.locator("#history button.known")).to_have_count(3)
    page.keyboard.press("End")
    expect(says).to_contain_text("0 of 3 photos of this visit would be KNOWN.")
    page.locator("#tau-back").click()
    expect(page.locator("#badge")).to_have_text("UNKNOWN")
    expect(says).to_contain_text("2 of 3 photos of this visit are KNOWN.")
    expect(slider).to_be_focused()
    assert slider.input_value() == own
    expect(page.locator("#status")).to_contain_text("2 of 3 photos")


def test_the_map_shows_the_answer_and_is_not_there_without_positions(
    opened: Callable[..., Page], url: str, photos: Photos, tmp_path: Path
) -> None:
    """The map is drawn and names the answer's position, also zoomed; a gallery without positions has none at all."""
    page = opened(url)
    ask(page, photos.known)
    canvas = page.locator("#map canvas")
    expect(canvas).to_have_attribute(
        "aria-label",
        "Map of 15 photos with a position. The answer, market 0, is at "
        "48.00000, 16.00040. Arrow keys move it, plus and minus zoom.",
    )
    drawn = "canvas => canvas.toDataURL()"
    before = canvas.evaluate(drawn)
    page.get_by_role("button", name="Zoom in").click()
    assert canvas.evaluate(drawn) != before
    page.get_by_role("button", name="Show all").click()
    assert canvas.evaluate(drawn) == before

    bare = tmp_path / "bare.gallery"
    with Gallery.open_for(bare, TinyModel()) as made:
        made.add(photos.manifest.with_name("bare.csv"))
    with serving(bare) as other:
        page = opened(other)
        ask(page, photos.known)
        expect(page.locator("#map")).to_be_hidden()
        expect(page.locator(".hit .missing").first).to_have_text("no small picture")


def test_a_photo_is_added_and_taken_back(
    opened: Callable[..., Page], gallery: Path, photos: Photos, tmp_path: Path
) -> None:
    """Who may write adds the photo to a place that is suggested, and one click takes it back; others see no form."""
    own = tmp_path / "own.gallery"
    shutil.copy(gallery, own)
    with serving(own, allow_anyone="write") as url:
        page = opened(url)
        ask(page, photos.unknown)
        page.locator("#place").focus()
        expect(page.locator("#places option")).to_have_count(PLACES)
        page.locator("#place").fill("fountain")
        page.locator("#position").fill("48.001, 16.002")
        page.get_by_role("button", name="Add photo").click()
        expect(page.locator("#added")).to_contain_text("Added as a photo of fountain.")
        check(page, DESK)
        expect(page.locator("#facts")).to_contain_text("16 photos of 6 places")
        added = httpx.get(f"{url}/v1/photos", params={"place": "fountain"}).json()["photos"]
        assert [(photo["position"]["lat"], photo["position"]["lon"]) for photo in added] == [(48.001, 16.002)]
        expect(page.locator("#notice")).to_contain_text("changed since it was calibrated")
        expect(page.get_by_role("button", name="Undo")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#added")).to_contain_text("taken out of the gallery again")

        expect(page.locator("#facts")).to_contain_text("15 photos of 5 places")
        assert httpx.get(f"{url}/v1/photos", params={"place": "fountain"}).json()["photos"] == []


def test_an_uncalibrated_and_an_empty_gallery_say_so(
    opened: Callable[..., Page], photos: Photos, tmp_path: Path
) -> None:
    """The page says what is missing and what to do; calibrated on the page, what was asked is answered anew."""
    path = tmp_path / "bare.gallery"
    with Gallery.open_for(path, TinyModel(), thumbnails=True):
        pass
    with serving(path, allow_anyone="write") as url:
        page = opened(url)
        expect(page.locator("#notice")).to_contain_text("This gallery is empty")
        ask(page, photos.known)
        expect(page.locator("#badge")).to_have_text("UNKNOWN")
        expect(page.locator("#verdict")).to_have_text("The gallery is empty")
        expect(page.locator("#scale")).to_be_hidden()
        with Gallery.open_for(path, TinyModel()) as made:
            made.add(photos.manifest)
        page = opened(url)
        expect(page.locator("#notice")).to_contain_text("This gallery is not calibrated")
        ask(page, photos.known)
        expect(page.locator("#sure")).to_contain_text("similar; KNOWN begins at 0.50.")
        expect(page.locator("#hits-says")).to_contain_text("The line in each bar is tau.")
        page.locator(".hit").first.click()
        expect(page.locator("#match-says")).to_contain_text("keeps no local features")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Calibrate now").click()

        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator("#sure")).to_contain_text("% sure; KNOWN begins at")


def test_a_key_is_asked_for_where_one_is_needed(
    opened: Callable[..., Page], gallery: Path, photos: Photos, tmp_path: Path
) -> None:
    """Without a key nothing is shown; a wrong one is told so; the right one opens all, and is in no address."""
    from placewise.service.keys import new_key

    key = new_key(tmp_path / "keys.jsonl", name="phone", scope="read")
    with serving(gallery, keys=tmp_path / "keys.jsonl") as url:
        page = opened(url, quiet=False)  # a browser notes each 401
        dialog = page.locator("#key-dialog")
        expect(dialog).to_be_visible()
        assert page.locator("#facts").inner_text() == ""
        check(page, DESK)
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-says")).to_have_text("The service does not know this key.")
        page.locator("#key").fill(key)
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        expect(page.locator("#facts")).to_contain_text("15 photos")
        ask(page, photos.known)
        expect(page.locator("#verdict")).to_have_text("market 0")
        expect(page.locator(".hit img")).to_have_count(8)
        page.reload()

        expect(page.locator("#facts")).to_contain_text("15 photos")
        assert key not in page.url
        assert page.evaluate("localStorage.length") == 0


def test_what_is_no_photo_or_too_large_is_refused_in_words(
    opened: Callable[..., Page], gallery: Path, photos: Photos, tmp_path: Path
) -> None:
    """Text, a cut photo and a file above the limit each get their words, and keep no other photo from its answer."""
    text, cut, large = tmp_path / "notes.txt", tmp_path / "cut.jpg", tmp_path / "large.jpg"
    text.write_text("no photo", encoding="utf-8")
    cut.write_bytes(photos.known.read_bytes()[:2000])
    large.write_bytes(photos.known.read_bytes() + bytes(300_000))
    with serving(gallery, max_body_mb=0.2) as url:
        page = opened(url, quiet=False)  # a browser notes each refusal
        expect(page.locator("#facts")).not_to_be_empty()
        ask(page, text, cut, large, photos.known)

        for number, words in enumerate(
            ("This is no photo", "The photo is cut off", "The file is too large", "market 0")
        ):
            page.locator("#history button").nth(number).click()
            expect(page.locator("#verdict")).to_have_text(words)
        page.locator("#history button").nth(2).click()
        check(page, DESK)
        expect(page.locator("#sure")).to_contain_text("up to 0.2 MB. This one has 0.3 MB.")


def test_a_busy_service_is_asked_once_more_and_a_silent_one_on_demand(
    opened: Callable[..., Page], url: str, photos: Photos
) -> None:
    """503 is waited out once by itself; no answer at all is said, and "Try again" gets it when the service is back."""
    page = opened(url, quiet=False)  # a browser notes both
    expect(page.locator("#facts")).not_to_be_empty()
    tries = []

    def busy(route: Route) -> None:
        tries.append(route.request.url)
        if len(tries) > 1:
            route.fallback()
            return
        body = '{"status": 503, "kind": "busy", "detail": "so many"}'
        route.fulfill(status=503, headers={"Retry-After": "1"}, content_type="application/problem+json", body=body)

    page.route("**/v1/locate?*", busy)
    page.set_input_files("#chosen", photos.known)
    expect(page.locator("#sure")).to_have_text("The service is busy. Trying again in 1 s …")
    expect(page.locator("#verdict")).to_have_text("market 0")
    assert len(tries) == 2

    page.route("**/v1/locate?*", lambda route: route.abort())
    ask(page, photos.other)
    expect(page.locator("#verdict")).to_have_text("The service does not answer")
    page.unroute("**/v1/locate?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#verdict")).to_have_text("market 1")


def test_names_are_text_and_never_markup(opened: Callable[..., Page], photos: Photos, tmp_path: Path) -> None:
    """A place and a file named like a script are shown as they are written, and long ones do not widen a phone."""
    name = f"<img src=x onerror=alert(1)>{'w' * 150}"
    path = tmp_path / "sly.gallery"
    rows = f"path,place,split\n{photos.known.name},{name},gallery\n"
    (photos.manifest.parent / "sly.csv").write_text(rows, encoding="utf-8")
    with Gallery.open_for(path, TinyModel()) as made:
        made.add(photos.manifest.parent / "sly.csv")
    with serving(path) as url:
        page = opened(url, viewport=PHONE)
        page.evaluate(DROP, [f"{name}.jpg", encoded(photos.known), "main"])

        expect(page.locator("#verdict")).to_have_text(name)
        expect(page.locator("#asked figcaption")).to_have_text(f"{name}.jpg")
        expect(page.locator("[onerror]")).to_have_count(0)
        check(page, PHONE)
        page.locator(".hit").first.click()
        expect(page.locator("#match-title")).to_have_text(name)
        check(page, PHONE)


def test_every_file_of_the_page_is_served_and_names_no_other_host() -> None:
    """Each script that is imported is there, and no file holds an address but that of the SVG namespace."""
    import re

    served = page_files()
    texts = {name: content.decode("utf-8") for name, (content, _type) in served.items()}
    imported = {name for text in texts.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    linked = set(re.findall(r"/static/([\w.]+)", texts["index.html"]))
    addresses = {found for text in texts.values() for found in re.findall(r"https?://[\w./]+", text)}

    assert imported | linked | {"index.html"} == set(served)
    assert addresses == {"http://www.w3.org/2000/svg"}
