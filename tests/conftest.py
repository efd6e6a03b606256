"""What several test modules share: real photos where they are, tiny made-up photos, a model that costs nothing."""

from __future__ import annotations

import base64
import os
import shutil
import struct
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image as PillowImage

from placewise import images
from placewise.core import Embeddings, FileState, Image, InputRule, ModelCard, Photo, Position, Source
from placewise.features import Features
from placewise.gallery_file import GalleryFile
from placewise.indexing import index_source
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from playwright.sync_api import Browser

# A busy machine is no failure: no test depends on how long it takes.
settings.register_profile("placewise", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("placewise")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001  # pytest calls by name
    call: pytest.CallInfo[None],  # noqa: ARG001  # likewise
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (PLACEWISE_REQUIRE_ALL_TESTS), a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("PLACEWISE_REQUIRE_ALL_TESTS"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def photos_root() -> Path:
    """The folder of real test photos, or a visible skip."""
    folder = os.environ.get("PLACEWISE_PHOTOS")
    if not folder:
        pytest.skip("PLACEWISE_PHOTOS is not set: no real photos on this machine")
    return Path(folder)


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """The system's Chromium, or a visible skip. No longer than a module: its loop would be in others' way."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("neither chromium nor google-chrome is installed: no page is looked at")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=found) as started:
        yield started


class TinyModel:
    """An embedder of 48 dimensions: the 4 x 4 pixel thumbnail, centred and normalised. Counts what it computes."""

    variant = "exact"

    def __init__(self, name: str = "tiny") -> None:
        self.card = ModelCard(
            name=name,
            architecture=name,
            dim=48,
            input=InputRule(4, 4, "bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
            pooling="none",
            weights_file="",
            source="tests",
            licence="Apache-2.0",
            size_bytes=0,
        )
        self.computed = 0

    def read(self, data: bytes) -> NDArray[np.uint8]:
        """Bytes → input."""
        return self.prepare(images.decode(data))

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Image → input."""
        return images.prepare(image, self.card.input)

    def infer(self, inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        """Inputs → embeddings."""
        self.computed += len(inputs)
        rows = np.array([np.ravel(item) for item in inputs], dtype=np.float64).reshape(-1, 48) - 127.5
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Images → embeddings."""
        return self.infer([self.prepare(image) for image in images])


@pytest.fixture
def tiny_model() -> TinyModel:
    """A fresh tiny model."""
    return TinyModel()


@pytest.fixture
def save_photo() -> Callable[..., Path]:
    """A function that writes a photo of a place: same place, similar pixels; other view, other noise."""

    def save(path: Path, *, place: int, view: int = 0, size: tuple[int, int] = (96, 96)) -> Path:
        pattern = np.random.default_rng(place).integers(0, 255, (4, 4, 3))
        noise = np.random.default_rng((place, view, 1)).integers(-25, 25, (4, 4, 3))
        pixels = np.clip(pattern + noise, 0, 255).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(pixels).resize(size, PillowImage.Resampling.NEAREST).save(path)
        return path

    return save


@pytest.fixture
def tiny_dataset(tmp_path: Path, save_photo: Callable[..., Path]) -> Path:
    """A manifest of 4 places with 3 gallery photos and 1 query each, and 2 open-set queries; returns its path."""
    rows = ["path,place,split"]
    for place in range(6):
        for view in range(4):
            split = "query" if view == 3 else "gallery"
            if place >= 4 and split == "gallery":
                continue
            save_photo(tmp_path / "data" / f"p{place}" / f"{view}.png", place=place, view=view)
            rows.append(f"p{place}/{view}.png,place {place},{split}")
    manifest = tmp_path / "data" / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


PHOTOS = (
    Photo(PurePosixPath("a/1.jpg"), "gallery", "Café", Position(48.2, 16.37, 90.0)),
    Photo(PurePosixPath("a/2.jpg"), "gallery", "Café", Position(48.2, 16.38)),
    Photo(PurePosixPath("b.jpg"), "gallery", None, None, "walk", 7),
)

STATES = (FileState(b"1" * 32, (11, 12, 13)), FileState(b"2" * 32, thumbnail=b"jpeg"), FileState())


def embeddings(count: int, *, seed: int = 0) -> Embeddings:
    """Random unit rows of 48 dimensions."""
    rows = np.random.default_rng(seed).normal(size=(count, 48))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path, tiny_model: TinyModel) -> Path:
    """A gallery file of three photos."""
    file = tmp_path / "city.gallery"
    with GalleryFile.open_for(file, tiny_model.card) as gallery:
        gallery.upsert(PHOTOS, embeddings(3), STATES)
    return file


@pytest.fixture
def served(tmp_path: Path, tiny_dataset: Path, tiny_model: TinyModel) -> Iterator[Callable[..., str]]:
    """A function that serves the 12 photos of the tiny dataset with the tiny model, on a real socket.

    It takes what `Settings` takes and returns the address. The gallery is ``served.gallery`` in the temporary folder.
    """
    import uvicorn

    from placewise.service.app import create_app
    from placewise.service.desk import Desk
    from placewise.service.server import address, configured, listen
    from placewise.service.settings import Settings

    path = tmp_path / "served.gallery"
    with GalleryFile.open_for(path, tiny_model.card, thumbnails=True) as gallery:
        index_source(read_source(tiny_dataset), gallery, tiny_model)
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(**values: object) -> str:
        settings = Settings(path, **{"port": 0, "reload_s": 0.05, "grace_s": 2, **values})  # type: ignore[arg-type]
        desk = Desk(GalleryFile.open(path), tiny_model, max_pixels=settings.max_pixels)
        app, listening = create_app(settings, desk), listen(settings)
        server = uvicorn.Server(configured(app, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        return address(listening)

    yield serve
    for server, thread in running:
        server.should_exit = True
        thread.join()


def texture(place: int, view: int) -> PillowImage.Image:
    """A place's own texture of blobs, seen shifted and a little noisy."""
    rng = np.random.default_rng(place)
    small = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    picture = PillowImage.fromarray(small).resize((512, 384), PillowImage.Resampling.BICUBIC)
    pixels = np.roll(np.asarray(picture, dtype=np.int64), (7 * view, 11 * view), axis=(0, 1))
    noise = np.random.default_rng((place, view)).normal(0, 4, pixels.shape)
    return PillowImage.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def faint(whole: Features) -> Features:
    """The five strongest keypoints of a texture, astray: with another view, significant at 1 in 100, not in 1000."""
    astray = np.random.default_rng(0).normal(0, 10, (5, 2)).astype(np.float32)
    five = (whole.scales[:5], whole.angles[:5], whole.descriptors[:5])
    return Features(whole.points[:5] + astray, *five, whole.size)


@pytest.fixture(scope="session")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 6 places with 4 gallery photos and 1 query each, and 2 open-set queries."""
    root = tmp_path_factory.mktemp("textures")
    rows = ["path,place,split"]
    for place in range(8):
        for view in range(5) if place < 6 else (4,):
            texture(place, view).save(root / f"{place}-{view}.jpg", quality=92)
            rows.append(f"{place}-{view}.jpg,p{place},{'query' if view == 4 else 'gallery'}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


_HEVC = base64.b64decode(
    "AQNwAAAAAAAAAAAAHvAA/P34+AAADwMgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQCEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoDCBBZbqSS"
    "mubgQEDAgAAAMACAAAAwAIQCIAAQAHRAHBcrAiQA=="
)
"""A decoder's configuration for the picture below."""

_PICTURE = base64.b64decode(
    "AAAA3CgBrwngaaJxMczHaF1kypUaichzcXHVCJGVNDiAI1lAQInnPX95ZsQRakPRsZvtQjp8fVoJxVEI95FKkOp5h8R242WvI9807kRBWp+Q9e"
    "83YRI4402n16yVIXVTYvR+00h2Bqc61ekJs1H1J1aRJ0gx8eP3k8U/qD0zT6VksvZiADDTR6eFTuOsBWgV6oYhYTjWqCeTsihq6IYIMfVBFqZQ"
    "gYOX6z4MBLCBqe/9Yq2WX3A0hXqVPv4kUxBxHIUeuSshxXeJGjwZPhGQKFn6A110vBdFLbRGEL/eNWA="
)
"""96 x 64 pixels in HEVC: red grows to the right, green downwards, and there is blue at the upper left."""


def box(name: bytes, *parts: bytes) -> bytes:
    """A box."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def heic_file(
    *,
    size: tuple[int, int] = (96, 64),
    properties: tuple[bytes, ...] = (),
    exif: bytes = b"",
    grid: int = 0,
    config: bytes = _HEVC,
) -> bytes:
    """A HEIC file around the one coded picture, with turns, EXIF data, or as a grid of it."""
    item = 3 if grid else 1
    kinds = {1: b"hvc1"} | ({2: b"Exif"} if exif else {}) | ({3: b"grid"} if grid else {})
    names = [box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, kind), b"\0") for number, kind in kinds.items()]
    all_properties = [box(b"hvcC", config), box(b"ispe", bytes(4), struct.pack(">II", *size)), *properties]
    tied = {1: [0x81, 2, *range(3, 3 + len(properties))]} | ({3: [2]} if grid else {})
    ties = [struct.pack(f">HB{len(numbers)}B", number, len(numbers), *numbers) for number, numbers in tied.items()]
    contents = {1: _PICTURE} | ({2: bytes(4) + exif} if exif else {})
    if grid:
        contents[3] = struct.pack(">BBBBHH", 0, 0, 0, grid - 1, *size)

    def meta(start: int) -> bytes:
        places = []
        for number, content in contents.items():
            places.append(struct.pack(">HHHII", number, 0, 1, start, len(content)))
            start += len(content)
        refer = [box(b"dimg", struct.pack(f">HH{grid}H", 3, grid, *[1] * grid))] if grid else []
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", item)),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(contents)), *places),
            box(b"iinf", bytes(4), struct.pack(">H", len(names)), *names),
            *([box(b"iref", bytes(4), *refer)] if refer else []),
            box(
                b"iprp",
                box(b"ipco", *all_properties),
                box(b"ipma", bytes(4), struct.pack(">I", len(ties)), *ties),
            ),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heicmiaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *contents.values())


@pytest.fixture(scope="session")
def heic() -> Callable[..., bytes]:
    """A function that makes HEIC files, see `heic_file`."""
    return heic_file


def save_texture(path: Path, place: int, view: int = 0) -> Path:
    """A photo of spots: another place, others; another view, shifted and with noise."""
    spots = np.random.default_rng(place).integers(0, 255, (30, 30, 3))
    noise = np.random.default_rng((place, view)).integers(-12, 12, (26, 26, 3))
    pixels = np.clip(spots[view : view + 26, view : view + 26] + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).resize((104, 104), PillowImage.Resampling.BICUBIC).save(path)
    return path


def textured_source(root: Path, places: Sequence[int], *, views: int = 3) -> Source:
    """Places with so many gallery photos each, and a query that is none of them."""
    photos = []
    for place in places:
        for view in range(views + 1):
            name = PurePosixPath(f"p{place}/{view}.png")
            save_texture(root / name, place, view)
            photos.append(Photo(name, "query" if view == views else "gallery", f"place {place}"))
    return Source(root, tuple(photos))
