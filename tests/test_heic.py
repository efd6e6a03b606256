"""HEIC photos: upright once, not twice, and one clear line where their decoder is missing."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest

from placewise import images
from placewise.core import Image
from placewise.errors import ImageError
from placewise.headers import hevc


def expected() -> Image:
    """The picture in the file, as it was before it was coded."""
    y, x = np.mgrid[0:1:64j, 0:1:96j]
    channels = (200 * x + 20, 200 * y + 20, 255 * np.exp(-8 * ((x - 0.2) ** 2 + (y - 0.3) ** 2)))
    return np.stack(channels, axis=-1).astype(np.uint8)


def orientation(value: int) -> bytes:
    """EXIF data with an orientation."""
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 0.0), 3: "E", 4: (16.0, 21.0, 0.0)})
    return exif.tobytes()


def box(name: bytes, body: bytes) -> bytes:
    """A box."""
    return (8 + len(body)).to_bytes(4) + name + body


TURNS: tuple[tuple[tuple[tuple[bytes, bytes], ...], int, Callable[[Image], Image]], ...] = (
    ((), 1, lambda p: p),
    (((b"irot", b"\1"),), 8, lambda p: np.rot90(p, 1)),
    (((b"irot", b"\2"),), 3, lambda p: np.rot90(p, 2)),
    (((b"irot", b"\3"),), 6, lambda p: np.rot90(p, 3)),
    (((b"imir", b"\1"),), 2, lambda p: p[:, ::-1]),
    (((b"imir", b"\0"),), 4, lambda p: p[::-1]),
    (((b"irot", b"\1"), (b"imir", b"\1")), 7, lambda p: np.rot90(p, 1)[:, ::-1]),
    (((b"irot", b"\1"), (b"imir", b"\0")), 5, lambda p: np.rot90(p, 1)[::-1]),
)


@pytest.mark.parametrize(("turns", "said", "turned"), TURNS, ids=[said for _, said, _ in TURNS])
def test_turns(
    heic: Callable[..., bytes],
    turns: tuple[tuple[bytes, bytes], ...],
    said: int,
    turned: Callable[[Image], Image],
) -> None:
    """The rotation and mirroring of the boxes are applied once, whatever orientation the EXIF data repeat."""
    boxes = tuple(box(name, body) for name, body in turns)
    for exif in (b"", orientation(6), orientation(1)):
        data = heic(properties=boxes, exif=exif)

        facts = images.facts(data)
        result = images.decode(data)

        assert (facts.format, facts.width, facts.height, facts.orientation) == ("HEIC", 96, 64, said)
        assert facts.has_gps == bool(exif)
        assert result.shape[1::-1] == facts.upright
        assert float(np.abs(result.astype(int) - turned(expected())).mean()) < 3


def test_size_is_judged_before_decoding(heic: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A HEIC that claims too much never reaches the decoder."""
    monkeypatch.setitem(sys.modules, "pi_heif", None)

    for size in ((20_000, 20_000), (10_000, 8_000)):
        with pytest.raises(ImageError) as caught:
            images.decode(heic(size=size))
        assert caught.value.kind == "too_large"


def test_without_its_decoder(heic: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install; facts need no decoder."""
    monkeypatch.setitem(sys.modules, "pi_heif", None)

    assert images.facts(heic()).upright == (96, 64)
    with pytest.raises(ImageError) as caught:
        images.decode(heic())

    assert caught.value.kind == "unreadable"
    assert str(caught.value) == (
        "a HEIC photo needs a decoder that is not installed; type: pip install 'placewise[heic]'"
    )


def test_the_decoder_is_imported_for_heic_only() -> None:
    """Reading a JPEG does not import it."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(file, "JPEG")
    script = "import sys; from placewise.images import decode; decode(sys.stdin.buffer.read())"
    script += "; print('pi_heif' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], input=file.getvalue(), capture_output=True, check=True)

    assert done.stdout == b"False\n"


def test_streams_larger_than_the_picture(heic: Callable[..., bytes]) -> None:
    """A stream that declares 64 megapixels for a picture of 96 x 64 is refused by its header."""
    assert hevc.pixels(b"", parameters(96, 64)) == 96 * 64
    with pytest.raises(ImageError, match=r"got streams of 67108864 pixels for a picture of 96 x 64; save it anew$"):
        images.facts(heic(config=b"\1" + bytes(21) + b"\1\x21\0\1" + parameters(8192, 8192)[2:]))


def parameters(width: int, height: int) -> bytes:
    """A unit of an HEVC stream that declares a size."""

    def golomb(number: int) -> str:
        return "0" * (len(f"{number + 1:b}") - 1) + f"{number + 1:b}"

    bits = "0" * 8 + "0" * 96 + golomb(0) + golomb(1) + golomb(width) + golomb(height) + "1"
    body = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8)).replace(b"\0\0", b"\0\0\3")
    unit = b"\x42\1" + body
    return len(unit).to_bytes(4) + unit
