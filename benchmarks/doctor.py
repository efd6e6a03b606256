"""How fast the doctor is and what it finds: the search for near-duplicates alone, and whole examinations of files.

[PLACEWISE_PHOTOS=…] python benchmarks/doctor.py [--sizes 1000 10000 100000] [--rival PYTHON]

The search is measured on made-up outlines, of which one in twenty has a copy, and on three kinds of data that are hard
on it: a video that pans slowly, a scene that never changes, and pictures that are alike at low resolution only. The
examination is measured on small JPEGs in a temporary folder, each two parts of real photos blended, one in twenty of
them an edited copy of another. imagededup's search by perceptual hash is measured on the same files where the
environment PYTHON has it. Each measurement is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageOps

from placewise import images
from placewise.core import Photo, Source
from placewise.doctor import examine
from placewise.grouping import Groups
from placewise.outlines import NEAR, SIDE, near_pairs

KINDS = ("mixed", "video", "still", "coarse")
SETS = ("landmarks", "distractors")
EDITS = ("recompressed", "halved", "mirrored", "cropped", "turned")
RIVAL = """
import json, resource, sys, time
from imagededup.methods import PHash
start = time.perf_counter()
found = PHash(verbose=False).find_duplicates(image_dir=sys.argv[1])
seconds, cores = time.perf_counter() - start, time.process_time()
use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cores = sum(one.ru_utime + one.ru_stime for one in use)
pairs = sorted({tuple(sorted((one, other))) for one in found for other in found[one]})
json.dump([seconds, cores, max(one.ru_maxrss for one in use) // 1024, pairs], sys.stdout)
"""


def made_up(kind: str, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Outlines of a kind; the last twentieth of mixed ones are copies of the first."""
    values = np.empty((count, SIDE, SIDE), np.uint8)
    base = np.kron(rng.uniform(0, 255, (300, 8, 8)), np.ones((8, 8))).astype(np.float32)
    scene = np.kron(rng.uniform(0, 255, (30, 200)), np.ones((8, 8)))[100 : 100 + SIDE]
    flat = np.kron(rng.uniform(80, 175, (4, 4)), np.ones((16, 16)))
    copies = count // 20 if kind == "mixed" else 0
    for number in range(count):
        if kind == "mixed":
            one, other = base[rng.integers(300)], base[rng.integers(300), ::-1]
            share = rng.uniform(0.3, 0.7)
            value = share * one + (1 - share) * other + rng.normal(0, 6, one.shape)
            if number >= count - copies:
                value = values[number - count + copies] * 0.95 + rng.normal(0, 3, one.shape)
        elif kind == "video":
            left, part = divmod(number * 1500 / count, 1)
            value = scene[:, int(left) : int(left) + SIDE] * (1 - part)
            value = value + scene[:, int(left) + 1 : int(left) + 1 + SIDE] * part + rng.normal(0, 2, value.shape)
        elif kind == "still":
            value = base[0] * 0.9 + 5 + rng.integers(-3, 4, (SIDE, SIDE))
        else:
            value = flat + np.kron(rng.integers(0, 2, (32, 32)) * 80 - 40, np.ones((2, 2)))
        values[number] = np.clip(value, 0, 255)
    return values


def peak() -> int:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def search(kind: str, count: int) -> None:
    """One search: time, time of all cores, its own memory, the share of copies found, the number of groups."""
    rng = np.random.default_rng(0)
    values = made_up(kind, count, rng)
    in_gallery = rng.random(count) < 0.5
    before, start, used = peak(), time.perf_counter(), time.process_time()
    pairs = near_pairs(values, np.arange(count), in_gallery, threshold=NEAR)
    seconds, cores = time.perf_counter() - start, time.process_time() - used
    groups = Groups(count)
    groups.join(pairs)
    copies = count // 20
    found = sum(groups.first(one) == groups.first(count - copies + one) for one in range(copies)) / copies
    share = f"{found:.3f}" if kind == "mixed" else ""
    left = len({groups.first(one) for one in range(count)})
    print(
        f"{kind:8}{count:8,}{seconds:9.1f}{cores:9.1f}{peak() - before:9,}{len(pairs):10,}{left:9,}{share:>8}",
        flush=True,
    )


def parts(rng: np.random.Generator) -> Iterator[PIL.Image.Image]:
    """Parts of real photos, a half to the whole of each side, 160 x 120 pixels, mirrored or not, without end."""
    root = Path(os.environ["PLACEWISE_PHOTOS"])
    photos = []
    for file in (file for name in SETS for file in sorted((root / name).rglob("*.jpg"))):
        photo = PIL.Image.fromarray(images.decode(images.read_bytes(file), at_least=200))
        photo.thumbnail((320, 320))
        photos.append(photo)
    while True:
        photo = photos[rng.integers(len(photos))]
        size = rng.uniform(0.5, 1, 2) * photo.size
        left, top = rng.uniform(0, 1, 2) * (photo.size - size)
        box = (left, top, left + size[0], top + size[1])
        part = photo.resize((160, 120), PIL.Image.Resampling.BILINEAR, box=box)
        yield ImageOps.mirror(part) if rng.random() < 0.5 else part


def edited(picture: PIL.Image.Image, edit: str, rng: np.random.Generator) -> PIL.Image.Image:
    """A copy of a picture."""
    if edit == "halved":
        return picture.resize((picture.width // 2, picture.height // 2))
    if edit == "mirrored":
        return ImageOps.mirror(picture)
    if edit == "turned":
        return picture.transpose(PIL.Image.Transpose.ROTATE_90)
    if edit == "cropped":  # up to a tenth of width and of height, anywhere
        cut = rng.uniform(0, 0.1, 2) * picture.size
        left, top = rng.uniform(0, 1, 2) * cut
        box = (left, top, left + picture.width - cut[0], top + picture.height - cut[1])
        return picture.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
    return picture


def make_files(folder: Path, count: int) -> None:
    """``count`` JPEGs; ``cropped-7.jpg`` is an edited copy of ``7.jpg``."""
    rng = np.random.default_rng(0)
    stream = parts(rng)
    for number in range(count - count // 20):
        picture = PIL.Image.blend(next(stream), next(stream), rng.uniform(0.3, 0.7))
        picture.save(folder / f"{number}.jpg", quality=80)
        if number < count // 20:
            edit = EDITS[number % len(EDITS)]
            quality = 30 if edit == "recompressed" else 70
            edited(picture, edit, rng).save(folder / f"{edit}-{number}.jpg", quality=quality)


def judged(pairs: set[tuple[str, str]], count: int) -> str:
    """The share of each kind of copy that is found, and the number of pairs that are no copies."""
    copies = {edit: [number for number in range(count // 20) if EDITS[number % 5] == edit] for edit in EDITS}
    true = {(f"{number}.jpg", f"{edit}-{number}.jpg") for edit, numbers in copies.items() for number in numbers}
    shares = [sum((f"{n}.jpg", f"{edit}-{n}.jpg") in pairs for n in ns) / len(ns) for edit, ns in copies.items()]
    return "".join(f"{share:13.3f}" for share in shares) + f"{len(pairs - true):13,}"


def examination(folder: Path, count: int) -> None:
    """The doctor on files."""
    names = sorted(file.name for file in folder.iterdir())
    source = Source(folder, tuple(Photo(PurePosixPath(name), "gallery") for name in names))
    start, used = time.perf_counter(), time.process_time()
    found = examine(source)
    seconds, cores = time.perf_counter() - start, time.process_time() - used
    # A group is counted as the pairs of its first original and the others.
    groups = [sorted(finding.photos, key=lambda name: (not name[0].isdigit(), name)) for finding in found.findings]
    pairs = {(group[0], other) for group in groups for other in group[1:]}
    print(f"placewise {count:8,}{seconds:9.1f}{cores:9.1f}{peak():9,}{judged(pairs, count)}", flush=True)


def rival(python: str, folder: Path, count: int) -> None:
    """The same of imagededup's search."""
    said = subprocess.run([python, "-c", RIVAL, str(folder)], check=True, capture_output=True, text=True).stdout
    seconds, cores, memory, found = json.loads(said[said.index("[") :])
    pairs = {(one, other) for one, other in found}
    print(f"imagededup{count:8,}{seconds:9.1f}{cores:9.1f}{memory:9,}{judged(pairs, count)}", flush=True)


def again(*arguments: str) -> None:
    """This file in a process of its own."""
    subprocess.run([sys.executable, __file__, *arguments], check=True)


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--rival", help="a Python that has imagededup")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, folder, count = options.one
        {"make": make_files, "examine": examination}.get(what, lambda _, n: search(what, n))(Path(folder), int(count))
        return
    if options.kinds:
        print("outlines   count  seconds  core s   own MB     pairs   groups  copies", flush=True)
    for kind in options.kinds:
        for size in options.sizes:
            again("--one", kind, "-", str(size))
    if "PLACEWISE_PHOTOS" not in os.environ:
        return
    print(
        "files        count  seconds   core s  peak MB" + "".join(f"{edit:>13}" for edit in (*EDITS, "wrong pairs")),
        flush=True,
    )
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            again("--one", "make", folder, str(size))
            again("--one", "examine", folder, str(size))
            if options.rival:
                rival(options.rival, Path(folder), size)


if __name__ == "__main__":
    main()
