"""Broken and hostile files: a whole corpus of them, made here, harms nobody.

Each file goes through `placewise.images` alone and through ``placewise validate``, in a process of its own that is
stopped where it hangs and says how much memory it took.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placewise import images, photo_files, pixels
from placewise.core import Image
from placewise.errors import ImageError
from placewise.headers import Header

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits, pipes and names as they are here")

MOST_MEMORY = 10**9
"""Bytes that a process may take while it reads the corpus."""

PATIENCE_S = 60
"""After this a file counts as a hang: far more than it takes, so that a busy machine does not matter."""

ENDINGS = {"WEBP": "webp", "PPM": "ppm", "TIFF": "tif", "AVIF": "avif", "JPEG": "jpg", "PNG": "png"}


def drawing(width: int = 96, height: int = 64, mode: str = "RGB") -> PIL.Image.Image:
    """A picture with some detail."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 2 % 256, y * 3 % 256, (x * y) % 251], axis=-1).astype(np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode)


def saved(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    """The file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# ---- each format ----------------------------------------------------------------------------------------------------


def damaged(heic: Callable[..., bytes]) -> Iterator[tuple[str, bytes]]:
    """Every format, cut off at three points, with flipped bits, its first bytes only, and under another's name."""
    whole = {kind: saved(drawing(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")}
    for kind, data in (*whole.items(), ("HEIC", heic())):
        ending = ENDINGS.get(kind, kind.lower())
        for share in (0.1, 0.5, 0.95):
            yield f"cut-{int(100 * share)}.{ending}", data[: int(share * len(data))]
        for seed in range(3):
            flipped = bytearray(data)
            for _ in range(20):
                place = random.Random(f"{kind} {seed} {_}").randrange(12, len(data))
                flipped[place] ^= 1 << place % 8
            yield f"flipped-{seed}.{ending}", bytes(flipped)
        yield f"magic-only.{ending}", data[:16]
        yield f"zeros-follow.{ending}", data[:16] + bytes(5000)
    yield "png-as-jpeg.jpg", b"\xff\xd8\xff" + whole["PNG"][3:]
    yield "jpeg-as-gif.gif", b"GIF89a" + whole["JPEG"][6:]


def foreign() -> Iterator[tuple[str, bytes]]:
    """What is no photo at all."""
    yield "empty.jpg", b""
    yield "one-byte.jpg", b"\xff"
    yield "text.jpg", b"not a photo\n" * 100
    yield "page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50_000_000))
    yield "zip-bomb.jpg", file.getvalue()
    yield "script.png", b"#!/bin/sh\nexit 1\n"
    yield "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    yield "noise.jpg", random.Random(0).randbytes(100_000)


# ---- PNG ------------------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes, *, crc: int = 0) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ crc)


def squeezed(count: int) -> bytes:
    """Zeros as a zlib stream, a thousand to one: one block, repeated (RFC 1950 and 1951)."""

    def block(zeros: int) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(bytes(zeros)) + packer.flush(zlib.Z_FULL_FLUSH)

    blocks = block(10**6) * (count // 10**6) + block(count % 10**6)
    return b"\x78\xda" + blocks + b"\x03\x00" + struct.pack(">HH", count % 65_521, 1)


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colours: int = 2, interlaced: int = 0) -> bytes:
    """A PNG file with these chunks between head and end."""
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


def pngs() -> Iterator[tuple[str, bytes]]:
    """Bombs in pixels, texts and profiles; endless, empty and broken chunks."""
    rows = zlib.compress(bytes(64 * (1 + 3 * 64)))
    pixels = chunk(b"IDAT", rows)
    yield "gray-100-megapixels.png", png(10_000, 10_000, chunk(b"IDAT", squeezed(10_000 * 10_001)), colours=0)
    yield "rgb-144-megapixels.png", png(12_000, 12_000, chunk(b"IDAT", squeezed(10**8)))
    yield "rgb-65535.png", png(65_535, 65_535, pixels)
    yield "rgb-2-31.png", png(2**31 - 1, 2**31 - 1, pixels)
    yield "deep-60-megapixels.png", png(7_500, 8_000, chunk(b"IDAT", squeezed(8_000 * 45_001)), depth=16)
    yield "interlaced-60-megapixels.png", png(7_500, 8_000, chunk(b"IDAT", squeezed(182_000_000)), interlaced=1)
    yield "one-bit-70-megapixels.png", png(8_000, 8_700, chunk(b"IDAT", squeezed(8_700 * 1_001)), depth=1, colours=0)
    bomb = squeezed(100_000_000)
    yield "profile-bomb.png", png(64, 64, chunk(b"iCCP", b"p\0\0" + bomb), pixels)
    yield "text-bomb.png", png(64, 64, *[chunk(b"zTXt", b"k%d\0\0" % i + bomb) for i in range(20)], pixels)
    yield "xmp-bomb.png", png(64, 64, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb), pixels)
    yield "long-text.png", png(64, 64, chunk(b"tEXt", b"k\0" + b"x" * 5_000_000), pixels)
    yield "too-many-pixels.png", png(64, 64, chunk(b"IDAT", squeezed(500_000_000)))
    yield "empty-chunks.png", png(64, 64, *[chunk(b"IDAT", b"")] * 250_000, pixels)
    yield "small-chunks.png", png(64, 64, *[chunk(b"teXt", b"k")] * 100_000, pixels)
    yield "bad-crc.png", png(64, 64, chunk(b"IDAT", rows, crc=1))
    yield "no-pixels.png", png(64, 64)
    yield "no-palette.png", png(64, 64, pixels, colours=3)
    yield "zero-width.png", png(0, 64, pixels)
    yield "long-chunk.png", png(64, 64)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + rows
    yield (
        "animation.png",
        png(64, 64, chunk(b"acTL", struct.pack(">II", 50_000, 0)), pixels, *[chunk(b"fdAT", bytes(4) + rows)] * 5_000),
    )
    yield "strange-depth.png", png(64, 64, pixels, depth=7)
    yield "exif-loop.png", png(64, 64, chunk(b"eXIf", looping_exif()), pixels)


# ---- JPEG and its EXIF data -----------------------------------------------------------------------------------------


def ifd(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A directory of a little-endian TIFF file: (tag, type, count, value or place) each."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def looping_exif() -> bytes:
    """EXIF data whose directories all are the first one."""
    return b"II*\0\x08\0\0\0" + ifd((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0x0112, 3, 1, 6), following=8)


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 255, marker, len(body) + 2) + body


def jpegs() -> Iterator[tuple[str, bytes]]:
    """Absurd sizes, too many scans and segments, unusual colours, and EXIF data of every kind of damage."""
    plain, progressive = saved(drawing(), "JPEG"), saved(drawing(), "JPEG", progressive=True)
    start = plain.index(b"\xff\xc0")

    def sized(width: int, height: int, data: bytes = plain, marker: bytes = b"\xff\xc0") -> bytes:
        place = data.index(marker)
        return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]

    def with_segments(*segments: bytes) -> bytes:
        return plain[:2] + b"".join(segments) + plain[2:]

    def with_exif(tiff: bytes) -> bytes:
        return with_segments(segment(0xE1, b"Exif\0\0" + tiff))

    yield "65535.jpg", sized(65_535, 65_535)
    yield "200-megapixels-of-nothing.jpg", sized(14_142, 14_142)
    yield "200-megapixels-progressive.jpg", sized(14_142, 14_142, progressive, b"\xff\xc2")
    yield "zero-height.jpg", sized(96, 0)
    yield "two-frames.jpg", plain[:start] + plain[start : start + 19] + plain[start:]
    last = progressive.rindex(b"\xff\xda")
    scan = progressive[last:-2]
    yield "scans.jpg", progressive[:last] + scan * 20_000 + b"\xff\xd9"
    big = saved(PIL.Image.new("RGB", (8_000, 8_000)), "JPEG", progressive=True)
    last = big.rindex(b"\xff\xda")
    yield "scans-of-64-megapixels.jpg", big[:last] + big[last:-2] * 9 + b"\xff\xd9"
    yield "more-scans-of-64-megapixels.jpg", big[:last] + big[last:-2] * 150 + b"\xff\xd9"
    yield "segments.jpg", with_segments(*[segment(0xE5, b"x")] * 100_000)
    yield "empty-segments.jpg", with_segments(segment(0xE0, b"") * 1_000_000)
    yield "empty-comments.jpg", with_segments(segment(0xFE, b"") * 1_000_000)
    yield "comments.jpg", with_segments(*[segment(0xFE, bytes(65_000))] * 200)
    yield "fill.jpg", plain[:2] + b"\xff" * 5_000_000 + plain[2:]
    yield "junk.jpg", plain[:2] + b"\0" * 5_000_000 + plain[2:]
    yield "short-segment.jpg", with_segments(b"\xff\xe1\0\0")
    yield "profile.jpg", with_segments(*[segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(60_000))] * 200)
    yield "tables.jpg", plain[:start] + plain[start:].replace(b"\xff\xc4", b"\xff\xc4\xff", 1)
    yield "cmyk.jpg", saved(drawing(mode="CMYK"), "JPEG")
    yield "ycck.jpg", saved(drawing(mode="CMYK"), "JPEG").replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2")
    yield "twelve-bits.jpg", plain[: start + 4] + b"\x0c" + plain[start + 5 :]
    yield "arithmetic.jpg", plain.replace(b"\xff\xc0", b"\xff\xc9", 1)
    yield "lossless.jpg", plain.replace(b"\xff\xc0", b"\xff\xc3", 1)
    yield "several.jpg", saved(drawing(), "MPO", save_all=True, append_images=[drawing()])
    yield "exif-garbage.jpg", with_exif(random.Random(1).randbytes(60_000))
    yield "exif-loop.jpg", with_exif(looping_exif())
    yield "exif-outside.jpg", with_exif(b"II*\0\xff\xff\xff\x7f")
    yield "exif-many-tags.jpg", with_exif(b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(60_000))
    for name, entry in {
        "0": (0x0112, 3, 1, 0),
        "9": (0x0112, 3, 1, 9),
        "text": (0x0112, 2, 4, 0x00363636),
        "many": (0x0112, 3, 2**32 - 1, 8),
        "outside": (0x0112, 5, 1, 2**32 - 1),
        "real": (0x0112, 12, 1, 2),
    }.items():
        yield f"exif-orientation-{name}.jpg", with_exif(b"II*\0\x08\0\0\0" + ifd(entry))
    # Ten segments that together are one: each of 5,000 tags says that its value is all of it.
    tags = b"II*\0\x08\0\0\0" + ifd(*[(tag, 7, 600_000, 8) for tag in range(5_000)])
    tags += bytes(650_000 - len(tags))
    parts = [segment(0xE1, b"Exif\0\0" + tags[place : place + 65_000]) for place in range(0, len(tags), 65_000)]
    yield "exif-overlapping.jpg", with_segments(*parts).replace(b"JFIF", b"JFIX")


# ---- GIF, WebP, BMP, PPM --------------------------------------------------------------------------------------------


def others() -> Iterator[tuple[str, bytes]]:
    """Endless frames, absurd canvases, runs and numbers."""
    still = saved(PIL.Image.new("P", (16, 16)), "GIF")
    head, frame = still[:10] + b"\0" + still[11:13], b",\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    yield "frames.gif", head + frame * 300_000 + b";"
    yield "frames-without-end.gif", head + frame * 1_000
    yield "no-frames.gif", head + b";"
    yield "canvas-65535.gif", head[:6] + struct.pack("<HH", 65_535, 65_535) + head[10:] + frame + b";"
    yield "frame-65535.gif", head + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;"
    yield "comment.gif", head + b"!\xfe" + (b"\xff" + b"x" * 255) * 20_000 + b"\0" + frame + b";"
    yield "short-blocks.gif", head + b"!\xfe" + b"\1x" * 1_500_000 + b"\0" + frame + b";"
    yield "extensions.gif", head + b"!\xf9\4\0\0\0\0\0" * 200_000 + frame + b";"
    yield "empty-extensions.gif", head + b"!\xf9\0" * 2_000_000 + frame + b";"
    yield "unpacked-60-megapixels.gif", saved(PIL.Image.new("P", (8_000, 7_500)), "GIF")

    def riff(*chunks: bytes) -> bytes:
        body = b"WEBP" + b"".join(chunks)
        return b"RIFF" + struct.pack("<I", len(body)) + body

    def part(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    lossy = saved(drawing(), "WEBP")[12:]
    extended = part(b"VP8X", b"\2\0\0\0" + b"\xff\xff\0\xff\xff\0")
    yield "canvas-65536.webp", riff(extended, lossy)
    yield "lossless-16383.webp", riff(part(b"VP8L", b"\x2f" + struct.pack("<I", 16_382 | 16_382 << 14)))
    canvas = part(b"VP8X", b"\2\0\0\0" + struct.pack("<I", 4_999)[:3] * 2)
    one = part(b"ANMF", bytes(6) + struct.pack("<I", 95)[:3] + struct.pack("<I", 63)[:3] + bytes(4) + lossy)
    yield "frames.webp", riff(canvas, part(b"ANIM", bytes(6)), *[one] * 5_000)
    yield "chunks.webp", riff(lossy, *[part(b"junk", b"")] * 100_000)
    yield "exif-loop.webp", riff(part(b"VP8X", b"\x08\0\0\0\x5f\0\0\x3f\0\0"), lossy, part(b"EXIF", looping_exif()))
    yield "flat-16000.webp", saved(PIL.Image.new("RGB", (5_000, 4_000)), "WEBP", method=0)

    plain = saved(drawing(), "BMP")

    def bmp(width: int, height: int, bits: int = 24, coding: int = 0, body: bytes = b"") -> bytes:
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, coding, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54 + 1024 * (bits == 8)) + info + body

    yield "negative-height.bmp", plain[:22] + struct.pack("<i", -64) + plain[26:]
    yield "negative-width.bmp", bmp(-96, 64)
    yield "huge.bmp", bmp(2**31 - 1, -(2**31))
    yield "runs.bmp", bmp(20_000, 5_000, 8, 1, bytes(1024) + b"\0\2\xff\xff" * 1_000)
    yield "slow-runs.bmp", bmp(1_000, 1_000, 8, 1, bytes(1024) + b"\1\7" * 500_000)
    yield "empty-runs.bmp", bmp(1_000, 1_000, 8, 1, bytes(1024) + b"\0\0" * 500_000)
    yield "colours.bmp", plain[:46] + struct.pack("<I", 2**32 - 1) + plain[50:]
    yield "offset.bmp", plain[:10] + struct.pack("<I", 2**32 - 1) + plain[14:]
    yield "50-megapixels.bmp", bmp(8_000, 6_250)

    yield "digits.ppm", b"P6 " + b"9" * 100_000 + b" 1 255\n"
    yield "huge.ppm", b"P6 99999 99999 255\n"
    yield "comment.ppm", b"P6\n#" + b"x" * 5_000_000 + b"\n1 1 255\n123"
    yield "text.ppm", b"P3 4000 4000 255\n" + b"1 " * 5_000_000
    yield "slow-text.ppm", b"P3 400 400 255\n" + b"1 " * (3 * 400 * 400)
    yield "white-of-100.ppm", b"P6 4000 4000 100\n" + bytes(10_000_000)
    yield "zero-white.ppm", b"P6 4 4 0\n" + bytes(48)
    yield "reals.ppm", b"Pf 64 64 nan\n" + bytes(16_384)


# ---- TIFF -----------------------------------------------------------------------------------------------------------


def tiffs() -> Iterator[tuple[str, bytes]]:
    """Looping and overlapping directories, absurd strips and tiles, bombs in each coding."""

    def tiff(*entries: tuple[int, int, int, int], following: int = 0, body: bytes = b"", bits: int = 8) -> bytes:
        given = {entry[0]: entry for entry in entries}
        usual = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
        all_entries = {entry[0]: entry for entry in (*usual, (277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 4096))}
        rows = [entry for _, entry in sorted((all_entries | given).items())]
        data = body + bytes(max(0, 4096 - len(body)))
        return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + ifd(*rows, following=following)

    whole = tiff()
    yield "sound.tif", whole
    yield "loop.tif", tiff(following=8 + 4096)
    yield "sub-loop.tif", tiff((0x8769, 4, 1, 8 + 4096), (0x8825, 4, 1, 8 + 4096), (330, 4, 1, 8 + 4096))
    yield "outside.tif", b"II*\0\xff\xff\xff\xff"
    yield "itself.tif", b"II*\0\0\0\0\0"
    yield "tile-65535.tif", tiff((322, 4, 1, 65_520), (323, 4, 1, 65_520), (324, 4, 1, 8), (325, 4, 1, 4096))
    yield (
        "tile-2-31.tif",
        tiff((322, 4, 1, 2**31), (323, 4, 1, 2**31), (324, 4, 1, 8), (325, 4, 1, 4096), (259, 3, 1, 5)),
    )
    yield "strips-2-31.tif", tiff((273, 4, 2**31, 8), (279, 4, 2**31, 8))
    strips = np.full(2_000_000, 8, "<u4").tobytes()
    yield "strips.tif", tiff((273, 4, 2_000_000, 8), (279, 4, 2_000_000, 8), (278, 3, 1, 1), body=strips)
    yield "overlapping.tif", tiff(*[(tag, 7, 4_000_000, 8) for tag in range(1_000, 5_000)], body=bytes(4_000_000))
    yield (
        "overlapping-pixels.tif",
        tiff(*[(tag, 7, 4_000_000, 8) for tag in (320, 347, 530, 532)], body=bytes(4_000_000)),
    )
    yield "samples.tif", tiff((277, 3, 1, 65_535))
    yield "rows.tif", tiff((278, 4, 1, 2**32 - 1))
    yield "size-2-31.tif", tiff((256, 4, 1, 2**31), (257, 4, 1, 2**31))
    yield "zero.tif", tiff((256, 3, 1, 0))
    yield "strange-bits.tif", tiff(bits=65_535)
    bomb = squeezed(60_000_000)
    for name, coding, width, body in (
        ("deflate-100-megapixels", 8, 10_000, squeezed(100_000_000)),
        ("deflate-60-megapixels", 8, 6_000, bomb),
        ("runs-60-megapixels", 32_773, 6_000, b"\x81\0" * 470_000),
        ("lzw-garbage", 5, 6_000, random.Random(2).randbytes(100_000)),
        ("fax", 4, 6_000, bytes(100_000)),
        ("webp-inside", 50_001, 6_000, saved(drawing(), "WEBP")),
        ("jpeg-inside", 7, 6_000, saved(PIL.Image.new("L", (8_000, 8_000)), "JPEG")),
    ):
        rows = [
            (256, 3, 1, width),
            (257, 3, 1, 10_000),
            (278, 3, 1, 10_000),
            (259, 3, 1, coding),
            (279, 4, 1, len(body)),
        ]
        yield f"{name}.tif", tiff(*rows, body=body, bits=1 if coding == 4 else 8)
    yield "big-outside.tif", b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63)
    yield "big-many-tags.tif", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**62) + bytes(1000)


# ---- AVIF and HEIC --------------------------------------------------------------------------------------------------


def box(name: bytes, body: bytes = b"") -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(body), name) + body


def boxed(heic: Callable[..., bytes]) -> Iterator[tuple[str, bytes]]:
    """Absurd sizes, grids that multiply, and boxes without sense."""
    yield "sound.heic", heic()
    yield "size-65535.heic", heic(size=(65_535, 65_535))
    yield "size-2-31.heic", heic(size=(2**31, 2**31))
    yield "size-100-megapixels.heic", heic(size=(10_000, 10_000))
    yield "size-zero.heic", heic(size=(0, 0))
    yield "size-small.heic", heic(size=(8, 8))
    yield "grid-of-200.heic", heic(grid=200, size=(96 * 200, 64))
    yield (
        "grid-of-itself.heic",
        heic(grid=2).replace(struct.pack(">HHHH", 3, 2, 1, 1), struct.pack(">HHHH", 3, 2, 3, 3)),
    )
    yield "grid-of-4000.heic", heic(grid=255, size=(64, 64)).replace(b"dimg", b"dimg")
    yield "exif-loop.heic", heic(exif=looping_exif())
    yield "exif-garbage.heic", heic(exif=random.Random(3).randbytes(10_000))
    yield "no-config.heic", heic(config=b"")
    yield "config-garbage.heic", heic(config=random.Random(4).randbytes(200))
    yield (
        "deep.heic",
        box(b"ftyp", b"heic\0\0\0\0")
        + b"".join(struct.pack(">I4s", 8 * (10_000 - depth), b"meta") for depth in range(10_000)),
    )
    yield "boxes.heic", box(b"ftyp", b"heic\0\0\0\0") + box(b"free") * 500_000
    yield "box-of-2-63.avif", box(b"ftyp", b"avif\0\0\0\0") + struct.pack(">I4sQ", 1, b"meta", 2**63)
    avif = saved(drawing(), "AVIF")
    size = avif.index(b"ispe") + 8
    for name, width, height in (("65535", 65_535, 65_535), ("30-megapixels", 6_000, 5_000), ("8", 8, 8)):
        yield f"size-{name}.avif", avif[:size] + struct.pack(">II", width, height) + avif[size + 8 :]
    flat = saved(PIL.Image.new("RGB", (4_000, 4_000)), "AVIF", speed=10, quality=1)
    size = flat.index(b"ispe") + 8
    yield "16-megapixels-as-64-pixels.avif", flat[:size] + struct.pack(">II", 64, 64) + flat[size + 8 :]
    yield from links()
    yield "frames.avif", saved(drawing(), "AVIF", save_all=True, append_images=[drawing()] * 20, speed=10)


def links() -> Iterator[tuple[str, bytes]]:
    """Few bytes that stand for many extents, references and streams."""

    def full(name: bytes, body: bytes, version: int = 0) -> bytes:
        return box(name, bytes([version, 0, 0, 0]) + body)

    def avif(iloc: bytes, kinds: dict[int, bytes], iref: bytes = b"") -> bytes:
        names = [full(b"infe", struct.pack(">HH4s", item, 0, kind) + b"\0", 2) for item, kind in kinds.items()]
        size, tie = full(b"ispe", struct.pack(">II", 100, 100)), struct.pack(">IHBB", 1, 1, 1, 1)
        meta = full(b"pitm", struct.pack(">H", 1)) + full(b"iinf", struct.pack(">H", len(names)) + b"".join(names))
        meta += box(b"iprp", box(b"ipco", size) + full(b"ipma", tie)) + full(b"iloc", iloc) + full(b"iref", iref)
        return box(b"ftyp", b"avif\0\0\0\0mif1") + full(b"meta", meta)

    def made_of(item: int, others: range) -> bytes:
        return box(b"dimg", struct.pack(f">HH{len(others)}H", item, len(others), *others))

    empty = b"".join(struct.pack(">HHH", item, 0, 4096) for item in range(1000))
    yield "empty-extents.avif", avif(struct.pack(">HH", 0, 1000) + empty, {1: b"av01"})
    layers = [range(100 * layer, 100 * layer + 90) for layer in (1, 2, 3)]
    relations = made_of(1, layers[0]) + b"".join(
        made_of(item, after) for before, after in itertools.pairwise(layers) for item in before
    )
    yield "references.avif", avif(struct.pack(">HH", 0x4400, 0), {1: b"grid"}, relations)
    tiles = range(2, 3002)
    shared = b"".join(struct.pack(">HHHII", item, 0, 1, 0, 2_000_000) for item in tiles)
    kinds = {1: b"grid"} | dict.fromkeys(tiles, b"av01")
    data = avif(struct.pack(">HH", 0x4400, len(tiles)) + shared, kinds, made_of(1, tiles))
    yield "shared-bytes.avif", data + box(b"mdat", random.Random(5).randbytes(2_000_000))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, heic: Callable[..., bytes]) -> Path:
    """A folder with all of them."""
    folder = tmp_path_factory.mktemp("corpus")
    generators = (damaged(heic), foreign(), pngs(), jpegs(), others(), tiffs(), boxed(heic))
    for name, data in itertools.chain.from_iterable(generators):
        assert not (folder / name).exists()
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "self.jpg").symlink_to("self.jpg")
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / os.fsdecode(b"latin-\xe9.jpg")).write_bytes(b"x")
    (folder / "two\nlines.jpg").write_bytes(b"x")
    (folder / f"{'long' * 60}.jpg").write_bytes(b"x")
    with (folder / "sparse.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(images.MAX_BYTES)
    with (folder / "too-long.jpg").open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    return folder


MEMORY = """
import re
from pathlib import Path

def memory():  # ru_maxrss would count what the parent had taken, too
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def guarded(script: str, *arguments: str) -> dict[str, Any]:
    """What a script prints as JSON; it is a process of its own, and any warning in it is an error."""
    command = [sys.executable, "-W", "error", "-c", MEMORY + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


ALONE = """
import json, resource, signal, sys
from placewise import images

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
signal.signal(signal.SIGALRM, lambda *_: sys.exit("hangs"))
kinds = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(ascii(path.name), file=sys.stderr)
    signal.alarm(int(sys.argv[2]))
    try:
        data = images.read_bytes(path)
        images.facts(data)
        kinds[ascii(path.name)] = "x".join(map(str, images.decode(data).shape[:2]))
    except images.ImageError as error:
        assert "\\n" not in str(error)
        kinds[ascii(path.name)] = error.kind
print(json.dumps({"kinds": kinds, "memory": memory()}))
"""

EXPECTED = {
    "too_large": """
        gray-100-megapixels.png rgb-144-megapixels.png rgb-65535.png rgb-2-31.png empty-chunks.png 65535.jpg
        segments.jpg empty-segments.jpg empty-comments.jpg
        scans.jpg more-scans-of-64-megapixels.jpg canvas-65535.gif frame-65535.gif
        short-blocks.gif extensions.gif empty-extensions.gif canvas-65536.webp lossless-16383.webp chunks.webp huge.bmp
        runs.bmp huge.ppm tile-65535.tif tile-2-31.tif strips-2-31.tif strips.tif overlapping-pixels.tif size-2-31.tif
        deflate-100-megapixels.tif size-65535.heic size-2-31.heic size-100-megapixels.heic boxes.heic size-65535.avif
        16-megapixels-as-64-pixels.avif empty-extents.avif shared-bytes.avif too-long.jpg
    """,
    "unreadable": """
        empty.jpg one-byte.jpg text.jpg page.jpg zip-bomb.jpg script.png postscript.jpg noise.jpg
        jpeg-as-gif.gif two-frames.jpg zero-height.jpg no-pixels.png no-palette.png zero-width.png strange-depth.png
        no-frames.gif negative-width.bmp text.ppm white-of-100.ppm references.avif
        digits.ppm comment.ppm zero-white.ppm reals.ppm samples.tif zero.tif
        strange-bits.tif webp-inside.tif jpeg-inside.tif size-zero.heic size-small.heic grid-of-itself.heic pipe.jpg
        self.jpg device.jpg folder.jpg
    """,
    "truncated": """
        png-as-jpeg.jpg short-segment.jpg 50-megapixels.bmp outside.tif itself.tif big-outside.tif cut-95.jpg
        cut-95.heic cut-50.avif cut-95.avif
    """,
    "missing": "gone.jpg",
    "64x64": """
        profile-bomb.png text-bomb.png xmp-bomb.png long-text.png too-many-pixels.png small-chunks.png animation.png
        exif-loop.png sound.tif loop.tif sub-loop.tif overlapping.tif rows.tif
    """,
    "64x96": """
        comments.jpg fill.jpg profile.jpg cmyk.jpg ycck.jpg several.jpg exif-garbage.jpg exif-outside.jpg
        exif-many-tags.jpg exif-orientation-0.jpg exif-orientation-9.jpg exif-orientation-text.jpg
        exif-orientation-many.jpg exif-orientation-outside.jpg exif-overlapping.jpg negative-height.bmp sound.heic
        exif-loop.heic exif-garbage.heic frames.avif
    """,
    "1768x1768": "200-megapixels-progressive.jpg",
    "96x64": "exif-loop.jpg exif-loop.webp",
    "16x16": "frames.gif comment.gif",
}


def test_each_file_alone(corpus: Path) -> None:
    """More than 200 files: each is an image or an ImageError, in bounded memory; what must not harm still decodes."""
    result = guarded(ALONE, str(corpus), str(PATIENCE_S))

    found = result["kinds"]
    assert len(found) > 200
    wrong = {
        name: (found[ascii(name)], kind)
        for kind, names in EXPECTED.items()
        for name in names.split()
        if found[ascii(name)] != kind
    }
    assert wrong == {}
    assert result["memory"] < MOST_MEMORY


DOCTOR = """
import contextlib, io, json, sys
from placewise.cli import main

shown = io.StringIO()
with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
    main(["validate", sys.argv[1], "--json"])
print(json.dumps({"document": json.loads(shown.getvalue()), "memory": memory()}))
"""


def test_the_doctor_finds_them_all(corpus: Path) -> None:
    """One run over all of them names every file that cannot be used, in bounded memory."""
    result = guarded(DOCTOR, str(corpus))

    document = result["document"]
    refused = {name: found["kind"] for found in document["findings"] for name in found["photos"]}
    wrong = {
        name: (refused.get(name), kind)
        for kind in ("too_large", "unreadable", "truncated", "missing")
        for name in EXPECTED[kind].split()
        if refused.get(name) != kind and name != "folder.jpg"
    }
    assert document["records"] > 200
    assert wrong == {}
    assert refused["latin-\\xe9.jpg"] == "bad_row"
    assert result["memory"] < MOST_MEMORY


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it is read, and is truncated."""
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(drawing(), "JPEG"))
    opened = Path.open

    def shrink(path: Path, mode: str) -> IO[Any]:
        os.truncate(path, 700)
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", shrink)
    with pytest.raises(ImageError) as caught:
        images.decode(images.read_bytes(path))

    assert caught.value.kind == "truncated"


@pytest.mark.parametrize("limit", [3_000_000, 1_000_000])
def test_large_decodings_take_turns(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Threads that together, or each alone, need more than the limit wait for each other; all get their image."""
    data = saved(drawing(600, 500), "PNG")
    monkeypatch.setattr(images, "MAX_MEMORY", limit)
    inside, most = 0, 0
    changing = threading.Lock()
    decode = pixels.decode

    def counted(header: Header, orientation: int, *, scale: int) -> Image:
        nonlocal inside, most
        with changing:
            inside, most = inside + 1, max(most, inside + 1)
        image = decode(header, orientation, scale=scale)
        with changing:
            inside -= 1
        return image

    monkeypatch.setattr(pixels, "decode", counted)
    with ThreadPoolExecutor(8) as pool:
        shapes = [image.shape for image in pool.map(images.decode, [data] * 40)]

    assert shapes == [(500, 600, 3)] * 40
    assert most == 1


def test_files_are_held_within_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait to decode hold no more bytes of files than the limit; a file beyond it is held alone."""
    monkeypatch.setattr(photo_files, "MAX_HELD", 2_500)
    for number, size in enumerate((1_000, 3_000) * 10):
        (tmp_path / str(number)).write_bytes(bytes(size))
    held: list[int] = []
    most: list[tuple[int, ...]] = []

    def hold(number: int) -> None:
        with images.opened(tmp_path / str(number)) as data:
            held.append(len(data))
            most.append(tuple(held))
            time.sleep(0.002)
            held.remove(len(data))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(20)))

    assert len(most) == 20
    assert set(most) <= {(1_000,), (1_000, 1_000), (3_000,)}


THREADS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from placewise import images

def look(_):
    with images.opened(Path(sys.argv[1])) as data:
        return images.read(data, at_least=100)[1].shape[0]

with ThreadPoolExecutor(8) as pool:
    print(json.dumps({"heights": list(pool.map(look, range(8))), "memory": memory()}))
"""


def test_threads_together_stay_within_limits(tmp_path: Path) -> None:
    """Eight threads with a file of 75 MB each, of 25 megapixels, take no more memory than the limits allow."""
    PIL.Image.new("RGB", (5_000, 5_000)).save(tmp_path / "a.bmp")

    result = guarded(THREADS, str(tmp_path / "a.bmp"))

    assert len(set(result["heights"])) == 1
    assert result["memory"] < images.MAX_MEMORY + images.MAX_HELD


def test_a_large_jpeg_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG that needs more than the limit is decoded at the largest part of its size that does not."""
    data = saved(drawing(640, 480), "JPEG")
    for scale in (1, 2, 4, 8):
        monkeypatch.setattr(images, "MAX_MEMORY", 7 * 640 * 480 // scale**2 + len(data))

        assert images.decode(data).shape == (480 // scale, 640 // scale, 3)
    monkeypatch.setattr(images, "MAX_MEMORY", 10_000)
    monkeypatch.setattr(images, "MAX_ALONE", 10_000)
    with pytest.raises(ImageError, match=r"^a photo must need at most 0 MB to decode, got a JPEG file of 640 x 480 "):
        images.decode(data)


@settings(max_examples=300)
@given(kind=st.sampled_from(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIC")), data=st.data())
def test_any_header_is_facts_or_refused(heic: Callable[..., bytes], kind: str, data: st.DataObject) -> None:
    """Whatever the first bytes of a file are made, its header is read or refused; nothing else is raised."""
    whole = bytearray(heic(exif=looping_exif()) if kind == "HEIC" else saved(drawing(), kind))
    for place, value in data.draw(st.lists(st.tuples(st.integers(4, 700), st.integers(0, 255)), max_size=8)):
        whole[min(place, len(whole) - 1)] = value
    with contextlib.suppress(ImageError):
        assert images.facts(bytes(whole)).width > 0
