"""Decoding: every format, mode and orientation becomes upright RGB, and damaged bytes become an ImageError."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL.TiffImagePlugin import IFDRational

from placewise import images, photo_files
from placewise.core import InputRule, Position
from placewise.errors import ImageError, OptionError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
SMALL = InputRule(resize=64, crop=56, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))


def picture(height: int = 48, width: int = 64) -> PIL.Image.Image:
    """A smooth image without any symmetry, so that every flip and turn shows."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    channels = (200 * x + 20, 200 * y + 20, 255 * np.exp(-8 * ((x - 0.2) ** 2 + (y - 0.3) ** 2)))
    return PIL.Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encode(image: PIL.Image.Image, kind: str = "PNG", *, exif: bytes = b"", quality: int = 95) -> bytes:
    """The file that Pillow writes for an image."""
    file = io.BytesIO()
    image.save(file, kind, exif=exif, quality=quality)
    return file.getvalue()


def orientation_tag(value: int) -> bytes:
    """EXIF data with the orientation only."""
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def png_header(width: int, height: int, *, mode: int = 2, pixels: bytes = b"") -> bytes:
    """A PNG file of any claimed size around the given compressed pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def kind_of(data: bytes, **options: int) -> str:
    """The kind of the error that decoding raises."""
    with pytest.raises(ImageError) as caught:
        images.decode(data, **options)

    assert "\n" not in str(caught.value)
    return caught.value.kind


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind: str) -> None:
    """Each supported format decodes to exactly what Pillow's own reading and convert("RGB") give."""
    data = encode(picture(), kind)

    result = images.decode(data)

    expected = np.array(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
    assert result.dtype == np.uint8
    assert result.shape == (48, 64, 3)
    np.testing.assert_array_equal(result, expected)
    assert result.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_orientations(kind: str, orientation: int) -> None:
    """Each of the eight EXIF orientations is undone: the result is the upright image whatever way it was stored."""
    upright = picture()
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),  # shown after a quarter turn clockwise
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }[orientation](np.array(upright))
    data = encode(PIL.Image.fromarray(np.ascontiguousarray(stored)), kind, exif=orientation_tag(orientation))

    result = images.decode(data)

    assert result.shape == (48, 64, 3)
    tolerance = 0 if kind in {"PNG", "TIFF"} else 16
    assert int(np.abs(result.astype(int) - np.array(upright)).max()) <= tolerance


def test_orientation_with_reduced_decoding() -> None:
    """A JPEG that is decoded at a reduced size is turned upright too."""
    data = encode(picture(400, 600).transpose(PIL.Image.Transpose.ROTATE_90), "JPEG", exif=orientation_tag(6))

    result = images.decode(data, at_least=100)

    assert result.shape == (100, 150, 3)
    expected = np.array(picture(400, 600).resize((150, 100), PIL.Image.Resampling.BOX))
    assert float(np.abs(result.astype(int) - expected).mean()) < 3


@pytest.mark.parametrize("value", [0, 9, 77])
def test_unknown_orientation_is_ignored(value: int) -> None:
    """An orientation that EXIF does not define leaves the pixels as they are."""
    np.testing.assert_array_equal(images.decode(encode(picture(), exif=orientation_tag(value))), np.array(picture()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_ignored() -> None:
    """A photo whose EXIF data are garbage decodes as if it had none."""
    data = encode(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")

    assert images.decode(data).shape == (48, 64, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_modes_without_colour_or_with_palette(mode: str) -> None:
    """Bilevel, gray and palette images become RGB as Pillow converts them."""
    image = picture().convert(mode)

    np.testing.assert_array_equal(images.decode(encode(image)), np.array(image.convert("RGB")))


def test_cmyk() -> None:
    """A CMYK JPEG with Adobe's inverted values shows the colours that were put in."""
    data = encode(picture().convert("CMYK"), "JPEG")

    assert b"Adobe" in data
    assert float(np.abs(images.decode(data).astype(int) - np.array(picture())).mean()) < 3


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_shown_on_white(mode: str) -> None:
    """A transparent pixel is white whatever colour hides in it, a half transparent one halfway to white."""
    image = picture().convert("RGB").convert(mode)
    image.putalpha(255)
    values = np.array(image)
    values[0, 0], values[0, 1] = 0, 0
    values[0, 1, -1] = 128

    result = images.decode(encode(PIL.Image.fromarray(values)))

    assert result[0, 0].tolist() == [255, 255, 255]
    assert result[0, 1].tolist() == [127, 127, 127]
    np.testing.assert_array_equal(result[1:], np.array(picture().convert(mode).convert("RGB"))[1:])


def test_transparent_palette_colour_is_white() -> None:
    """A palette colour that is marked transparent becomes white, and no warning is raised on the way."""
    image = picture().convert("P", palette=PIL.Image.Palette.ADAPTIVE)
    index = image.getpixel((0, 0))
    for transparency in (index, bytes(0 if i == index else 255 for i in range(256))):
        file = io.BytesIO()
        image.save(file, "PNG", transparency=transparency)

        assert images.decode(file.getvalue())[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bit_gray_keeps_its_range() -> None:
    """16-bit gray is scaled, not clipped: 0, 257 k and 65535 become 0, k and 255."""
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    for kind in ("PNG", "TIFF", "PPM"):
        data = encode(PIL.Image.fromarray(values), kind)

        np.testing.assert_array_equal(images.decode(data)[..., 1].ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 128.0, 255.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, -5.0, 65535.0]], np.float32), [0, 0, 255]),
        (np.array([[0, 65535, 1]], np.int32), [0, 255, 0]),
        (np.array([[0, 2**30, 2**31 - 1]], np.int32), [0, 128, 255]),
    ],
)
def test_wide_gray(values: NDArray[np.float32] | NDArray[np.int32], expected: list[int]) -> None:
    """Real and 32-bit gray values are scaled by the white that the documentation names."""
    data = encode(PIL.Image.fromarray(values), "TIFF")

    assert images.decode(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame(kind: str) -> None:
    """Of an animation or a multi-page file the first frame is the image."""
    red, blue = (PIL.Image.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
    file = io.BytesIO()
    red.save(file, kind, save_all=True, append_images=[blue])

    assert np.abs(images.decode(file.getvalue()).astype(int) - (255, 0, 0)).max() <= 4


def test_multi_picture_file() -> None:
    """Of a multi-picture JPEG (MPO) the first picture is the image."""
    file = io.BytesIO()
    picture().save(file, "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (64, 48))], quality=95)

    assert np.abs(images.decode(file.getvalue()).astype(int) - np.array(picture())).mean() < 3


@pytest.mark.parametrize(("at_least", "expected"), [(1, 75), (75, 75), (76, 150), (150, 150), (151, 300), (301, 600)])
def test_reduced_decoding_keeps_the_shorter_side(at_least: int, expected: int) -> None:
    """A JPEG is decoded at the smallest of 1/1 to 1/8 whose shorter side has at_least pixels; never below."""
    data = encode(picture(600, 801), "JPEG")

    assert images.decode(data, at_least=at_least).shape[0] == expected


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "JPEG"])
def test_reduced_decoding_leaves_other_formats_alone(kind: str) -> None:
    """at_least changes nothing for formats other than JPEG."""
    data = encode(picture(), kind)

    np.testing.assert_array_equal(images.decode(data, at_least=8), images.decode(data))


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_other_formats_are_averaged_where_they_are_large(mode: str) -> None:
    """Above 16 megapixels, eight by eight pixels become their mean where at_least allows it."""
    image = picture(4001, 4100).convert("L")
    values = np.array(image, np.uint16) * 257
    data = encode(PIL.Image.fromarray(values) if mode == "I;16" else image.convert(mode))

    result = images.decode(data, at_least=64)

    assert result.shape == (501, 513, 3)
    means = np.array(image, float)[:4000, :4096].reshape(500, 8, 512, 8).mean((1, 3))
    assert np.abs(result[:500, :512, 0] - means).max() <= 1
    assert images.decode(data, at_least=2001).shape == (4001, 4100, 3)


def test_at_least_must_be_positive() -> None:
    """at_least=0 is refused with a line that says what must hold."""
    with pytest.raises(OptionError, match=r"^at_least must be 1 pixel or more, got 0$"):
        images.decode(encode(picture()), at_least=0)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_files(kind: str, share: float) -> None:
    """A file that ends early is truncated in every format."""
    data = encode(picture(300, 400), kind)

    assert kind_of(data[: int(len(data) * share)]) == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_files_that_were_never_filled(kind: str, share: float) -> None:
    """A file with zeros from some point on, as a broken download leaves it, is truncated if it is compressed."""
    noise = np.random.default_rng(0).integers(0, 255, (150, 200, 3), np.uint8)
    data = encode(PIL.Image.fromarray(noise).resize((400, 300)), kind)
    written = int(len(data) * share)

    assert kind_of(data[:written] + bytes(len(data) - written)) == "truncated"


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
@pytest.mark.parametrize("colour", ["black", "white"])
def test_flat_pictures_are_sound(kind: str, colour: str) -> None:
    """The zeros with which the code of a flat picture ends are no damage."""
    data = encode(PIL.Image.new("RGB", (2000, 1500), colour), kind)

    assert images.decode(data).shape == (1500, 2000, 3)


def progressive(image: PIL.Image.Image, **options: object) -> bytes:
    """A progressive JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", progressive=True, **options)
    return file.getvalue()


def test_what_follows_a_progressive_jpeg() -> None:
    """A video behind the picture of a motion photo is neither counted as scans nor decoded."""
    data = progressive(picture())
    video = b"\xff\xda\0\2" * 1000 + bytes(1000)

    np.testing.assert_array_equal(images.decode(data + video), images.decode(data))


@pytest.mark.parametrize(("side", "sampling", "sound"), [(10_000, 0, True), (14_000, 2, True), (14_000, 0, False)])
def test_large_progressive_jpegs(side: int, sampling: int, *, sound: bool) -> None:
    """100 megapixels in full colour and 196 in the usual one are read; beyond that the line does not advise a JPEG."""
    data = progressive(picture(), subsampling=sampling)
    place = data.index(b"\xff\xc2") + 5
    data = data[:place] + struct.pack(">HH", side, side) + data[place + 4 :]

    if sound:
        assert images.facts(data).width == side
        return
    with pytest.raises(ImageError, match=r"that needs \d+ MB; save it smaller$") as caught:
        images.facts(data)
    assert caught.value.kind == "too_large"


def test_photos_of_50_megapixels() -> None:
    """WebP and AVIF photos of the sizes that phones take are not too large; of 80 megapixels they are."""
    for width, height, sound in ((8_160, 6_144, True), (10_000, 8_000, False)):
        webp, avif = bytearray(encode(picture(), "WEBP")), bytearray(encode(picture(), "AVIF"))
        struct.pack_into("<HH", webp, webp.index(b"\x9d\x01\x2a") + 3, width, height)
        struct.pack_into(">II", avif, avif.index(b"ispe") + 8, width, height)
        for data in (bytes(webp), bytes(avif)):
            if sound:
                assert images.facts(data).upright == (width, height)
            else:
                assert kind_of(data) == "too_large"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (
            b"P5 1500 1000 4095\n" + bytes(3_000_000),
            "a white of 4095 where 255 and 65535 are read, in more than 1048576",
        ),
        (b"P2 1500 1000 255\n" + b"7 " * 1_500_000, "numbers in text, in more than 1048576 bytes or pixels"),
    ],
)
def test_what_is_sound_but_not_read(data: bytes, what: str) -> None:
    """A sound file in a coding that is not read is unreadable, and is not called damaged."""
    with pytest.raises(ImageError, match=rf"^a photo's pixels must be coded .*, got {what}.*; convert it") as caught:
        images.decode(data)
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize(
    ("coding", "name"), [(34_712, "JPEG 2000"), (34_887, "LERC"), (50_001, "WebP"), (9, "a rare one")]
)
def test_compressions_of_tiff_that_are_not_read(coding: int, name: str) -> None:
    """They are named; the file is not called damaged."""
    data = bytearray(encode(picture(), "TIFF"))
    struct.pack_into("<H", data, data.index(struct.pack("<HHI", 259, 3, 1)) + 8, coding)
    with pytest.raises(ImageError) as caught:
        images.facts(bytes(data))

    assert str(caught.value) == (
        f"a photo's pixels must be coded in a way that is read, got TIFF's compression {coding} ({name}); "
        "convert it to JPEG or PNG"
    )


@pytest.mark.parametrize("progressive", [False, True])
def test_reduced_decoding_still_notices_a_cut_jpeg(*, progressive: bool) -> None:
    """Reduced decoding reads the whole stream: a JPEG that lacks its last tenth is truncated there too."""
    file = io.BytesIO()
    picture(600, 800).save(file, "JPEG", progressive=progressive)
    data = file.getvalue()

    assert kind_of(data[: len(data) * 9 // 10], at_least=64) == "truncated"


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"path,place,split\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"SIMPLE  =", b"\xff\xd8\xff" + bytes(100)],
)
def test_what_is_no_photo_is_unreadable(data: bytes) -> None:
    """Empty, foreign and garbage files, and formats that photos do not come in, are unreadable."""
    assert kind_of(data) == "unreadable"


def test_message_for_what_is_no_photo() -> None:
    """The message says what must hold, what came and what to do."""
    with pytest.raises(ImageError) as caught:
        images.decode(b"GIMP")

    assert str(caught.value) == (
        "a photo must be a JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF or HEIC image, "
        "got a file that starts with b'GIMP'; convert or replace it"
    )


@pytest.mark.parametrize("size", [(60_000, 60_000), (14_143, 14_143), (65_536, 1), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_by_their_header(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge claimed size is too_large without a single pixel decoded and without any warning."""
    monkeypatch.setattr(PIL.Image.Image, "load", lambda *_: pytest.fail("pixels were decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("pixels were decoded"))
    with warnings.catch_warnings(record=True) as caught:
        assert kind_of(png_header(*size)) == "too_large"

    assert caught == []


def test_size_limit_is_independent_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's process-wide limit neither refuses what is allowed here, nor is it changed."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    data = encode(picture(), "PNG")

    assert images.decode(data).shape == (48, 64, 3)
    assert PIL.Image.MAX_IMAGE_PIXELS == 100


def test_our_limit_counts_header_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAX_PIXELS is compared with the true size, even where reduced decoding would make few pixels of it."""
    data = encode(picture(800, 800), "JPEG")
    monkeypatch.setattr(images, "MAX_PIXELS", 800 * 800)

    assert images.decode(data, at_least=100).shape == (100, 100, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 800 * 800 - 1)
    assert kind_of(data, at_least=100) == "too_large"


def test_zero_size_is_unreadable() -> None:
    """An image without pixels is unreadable."""
    assert kind_of(png_header(0, 10)) == "unreadable"


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_elongated_images_decode_and_prepare(size: tuple[int, int]) -> None:
    """A 1 x 20000 image decodes, and preparing it keeps memory bounded by cutting it to its centre first."""
    image = images.decode(encode(PIL.Image.new("RGB", size, "teal")))

    assert image.shape == (size[1], size[0], 3)
    assert images.prepare(image, SMALL).shape == (56, 56, 3)
    assert len(images.thumbnail(image, longer_side=100)) < 10_000


@settings(max_examples=150)
@given(kind=st.sampled_from(FORMATS), edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12))
def test_damaged_bytes_never_raise_anything_else(kind: str, edits: list[tuple[float, int]]) -> None:
    """Whatever bytes are overwritten, decoding ends in an image or an ImageError."""
    data = bytearray(encode(picture(), kind))
    for place, value in edits:
        data[int(place * (len(data) - 1))] = value
    with contextlib.suppress(ImageError):
        assert images.decode(bytes(data)).ndim == 3


def test_header_size() -> None:
    """The header's width and height come without decoding, as stored."""
    assert images.header_size(png_header(640, 480)) == (640, 480)


def test_threads(tmp_path: Path) -> None:
    """Many threads that decode and prepare at once get what one thread gets."""
    data = [encode(picture(100 + i, 150), "JPEG", exif=orientation_tag(1 + i % 8)) for i in range(16)]
    path = tmp_path / "a.jpg"
    path.write_bytes(data[0])
    barrier = threading.Barrier(8)

    def work(i: int) -> bytes:
        if i < 8:
            barrier.wait()
        images.read_bytes(path)
        return images.prepare(images.decode(data[i % 16]), SMALL).tobytes()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(64)))

    assert results == [images.prepare(images.decode(data[i % 16]), SMALL).tobytes() for i in range(64)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(48, 64), (64, 48), (64, 64), (333, 500), (501, 333), (90, 1000)])
def test_prepare_is_plain_resize_and_crop(size: tuple[int, int], interpolation: str) -> None:
    """Preparing equals, bit for bit, Pillow's resize of the shorter side and a rounded centre crop."""
    rule = InputRule(
        resize=64,
        crop=56,
        interpolation="bilinear" if interpolation == "bilinear" else "bicubic",
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    image = picture(*size)
    short, long = sorted(size)
    scaled = (int(64 * long / short), 64) if size[1] >= size[0] else (64, int(64 * long / short))
    whole = np.array(image.resize(scaled, PIL.Image.Resampling[interpolation.upper()]))
    top, left = round((whole.shape[0] - 56) / 2), round((whole.shape[1] - 56) / 2)

    result = images.prepare(np.array(image), rule)

    np.testing.assert_array_equal(result, whole[top : top + 56, left : left + 56])
    assert result.flags.c_contiguous


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (50, 50), (333, 501), (501, 333)])
def test_a_strip_keeps_the_longer_side(size: tuple[int, int]) -> None:
    """A strip is cropped on the shorter side alone; of a square photo, on its height."""
    height, width = size
    image = np.array(picture(*size))
    whole = images.resize(image, SMALL)

    strip = images.prepare(image, SMALL, strip=True)

    np.testing.assert_array_equal(strip, whole[4:60] if width >= height else whole[:, 4:60])
    assert images.prepare(image, SMALL).shape == (56, 56, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 400), (64, 96)),
        ((400, 300), (96, 64)),
        ((100, 100), (64, 64)),
        ((100, 125), (64, 64)),
        ((9, 21), (64, 160)),
    ],
)
def test_sides_are_rounded_to_multiples(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """The longer side is that multiple of 32 which is nearest to the aspect."""
    rule = InputRule(64, None, "bicubic", mean=(0, 0, 0), std=(1, 1, 1), multiple=32)
    image = picture(*size)

    result = images.prepare(np.array(image), rule)

    np.testing.assert_array_equal(result, np.array(image.resize(expected[::-1], PIL.Image.Resampling.BICUBIC)))


def test_prepare_of_an_elongated_image_shows_its_centre() -> None:
    """Cutting first changes the result of an elongated image by no more than a resampling's rounding."""
    image = np.array(picture(40, 1600))
    whole = picture(40, 1600).resize((64 * 40, 64), PIL.Image.Resampling.BILINEAR)

    left = round((64 * 40 - 56) / 2)
    expected = np.array(whole.crop((left, 4, left + 56, 60)))
    assert np.abs(images.prepare(image, SMALL).astype(int) - expected).max() <= 1


def test_prepare_agrees_with_torchvision_arithmetic_on_photos(photos_root: Path) -> None:
    """On real photos, reduced decoding changes the network's input by less than 3 of 255 (root mean square)."""
    rule = InputRule(resize=224, crop=224, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
    for path in sorted((photos_root / "street-gps").glob("*.jpg"))[:6]:
        data = images.read_bytes(path)
        full, fast = (images.prepare(images.decode(data, at_least=n), rule).astype(float) for n in (None, 224))

        assert 0 < float(np.sqrt(np.mean((full - fast) ** 2))) < 3


def test_thumbnail() -> None:
    """A thumbnail is a JPEG whose longer side is the asked one, and small images are not enlarged."""
    for size, expected in (((400, 200), (50, 100)), ((30, 40), (40, 30))):
        data = images.thumbnail(np.array(picture(*size)), longer_side=100)

        shown = PIL.Image.open(io.BytesIO(data))
        assert (shown.format, shown.size) == ("JPEG", expected)


def test_read_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file gives its bytes; what is missing, a folder, or too large gives its own kind of error."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    monkeypatch.setattr(photo_files, "MAX_BYTES", 5)

    assert images.read_bytes(path) == b"12345"
    path.write_bytes(b"123456")
    for bad, kind in (
        (tmp_path / "b.jpg", "missing"),
        (path / "below-a-file.jpg", "missing"),
        (tmp_path, "unreadable"),
        (Path("a\0b"), "unreadable"),
        (path, "too_large"),
    ):
        with pytest.raises(ImageError) as caught:
            images.read_bytes(bad)
        assert caught.value.kind == kind
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """A named pipe is unreadable; waiting for somebody to write into it would hang."""
    os.mkfifo(tmp_path / "pipe.jpg")

    with pytest.raises(ImageError) as caught:
        images.read_bytes(tmp_path / "pipe.jpg")
    assert caught.value.kind == "unreadable"


def test_a_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is unreadable, and the message says why."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")

    def refuse(_: Path, __: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"cannot be read \(Permission denied\)") as caught:
        images.read_bytes(path)
    assert caught.value.kind == "unreadable"


def gps_tags(**changed: object) -> PIL.Image.Exif:
    """EXIF data of a phone that is held upright in Vienna."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 10:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 30.0), 3: "E", 4: (16.0, 21.0, 0.0), 17: 90.0})
    exif.get_ifd(0x8825).update({int(tag[1:]): value for tag, value in changed.items()})
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_facts(kind: str) -> None:
    """Format, size as stored, orientation, position, heading and time come from the header of every such format."""
    found = images.facts(encode(picture(), kind, exif=gps_tags().tobytes()))

    assert found == images.Facts(
        "WebP" if kind == "WEBP" else kind,
        64,
        48,
        6,
        Position(48 + 12.5 / 60, 16.35, 90.0),
        has_gps=True,
        taken="2024:05:01 10:00:00",
    )
    assert found.upright == (48, 64)


def test_facts_of_a_position_that_is_none() -> None:
    """GPS values that name no place on Earth are said to be there, but are no position."""
    found = images.facts(encode(picture(), "JPEG", exif=gps_tags(_2=(91.0, 0.0, 0.0)).tobytes()))

    assert (found.position, found.has_gps) == (None, True)


@pytest.mark.parametrize("nothing", [(0.0, 0.0, 0.0), (IFDRational(0, 0),) * 3])
def test_facts_of_no_position(nothing: tuple[float, ...]) -> None:
    """Zeros and 0/0, which receivers write that do not know where they are, do not tell where a photo was taken."""
    found = images.facts(encode(picture(), "JPEG", exif=gps_tags(_2=nothing, _4=nothing).tobytes()))

    assert not found.has_gps
    assert found.position == (Position(0.0, 0.0, 90.0) if nothing[0] == 0 else None)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "packet",
    [
        b'exif:GPSLatitude="48,12.5N" exif:GPSLongitude="16,21,0W"',
        b"<exif:GPSLongitude>16,21.0W</exif:GPSLongitude><exif:GPSLatitude>48,12,30N</exif:GPSLatitude>",
    ],
)
def test_facts_of_xmp(kind: str, packet: bytes) -> None:
    """A position in XMP is found where the EXIF data have none."""
    file = io.BytesIO()
    info = PIL.PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    picture().save(file, kind, **({"pnginfo": info} if kind == "PNG" else {"xmp": packet}))

    found = images.facts(file.getvalue())
    assert (found.position, found.has_gps) == (Position(48 + 12.5 / 60, -16.35), True)


def test_facts_of_half_a_position_in_xmp() -> None:
    """A latitude alone is no position and tells no place."""
    file = io.BytesIO()
    picture().save(file, "JPEG", xmp=b'exif:GPSLatitude="48,12.5N"')

    found = images.facts(file.getvalue())
    assert (found.position, found.has_gps) == (None, False)


def test_big_tiff() -> None:
    """A BigTIFF is shown upright, and its EXIF data are read, as those of any TIFF."""
    file = io.BytesIO()
    picture().save(file, "TIFF", big_tiff=True, exif=gps_tags().tobytes())

    facts, image = images.read(file.getvalue())

    assert file.getvalue().startswith(b"II+\0")
    assert facts == images.facts(encode(picture(), "TIFF", exif=gps_tags().tobytes()))
    np.testing.assert_array_equal(image, np.rot90(np.array(picture()), -1))


def test_read() -> None:
    """Facts and pixels at once are those that the two functions give."""
    data = encode(picture(), "JPEG", exif=gps_tags().tobytes())

    facts, image = images.read(data, at_least=24)

    assert facts == images.facts(data)
    np.testing.assert_array_equal(image, images.decode(data, at_least=24))
