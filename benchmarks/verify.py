"""How fast is geometric verification on one core, are its inliers right, and does its stated level hold?

PLACEWISE_PHOTOS=… python benchmarks/verify.py [--pairs 1000]

Compared with the plain OpenCV script on the same photos: SIFT, brute force with Lowe's ratio 0.75, RANSAC. An inlier is
right where the cameras of `buildings` put it within 3 pixels of the epipolar lines, in a photo of 640 pixels.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.features import Features, extract
from placewise.metrics import auroc
from placewise.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from placewise.core import Image

BUILDINGS = {"castle-P19": 19, "Herz-Jesus-P8": 8}
LEVELS = (1.0, 0.1, 0.01, 0.001)
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

Pair = tuple[Path, Path]


@dataclass(frozen=True)
class Found:
    """Inliers of a pair, ``(M, 2)`` in pixels of each photo; whether it counts as verified; how long it took."""

    points: tuple[NDArray[np.float64], NDArray[np.float64]]
    accepted: bool
    ms: float


@dataclass(frozen=True)
class Way:
    """One way to verify: extracts features of an image of at most 640 pixels, and compares those of two."""

    name: str
    extract: Callable[[Image], object]
    compare: Callable[[object, object], tuple[NDArray[np.float64], NDArray[np.float64], bool]]


def placewise_compare(query: object, candidate: object) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """What the package says."""
    if not (isinstance(query, Features) and isinstance(candidate, Features)):
        raise TypeError
    found = verify(query, candidate)
    points = (found.query_points[found.inliers], found.candidate_points[found.inliers])
    return points[0].astype(float), points[1].astype(float), found.accepted


def plain_extract(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """OpenCV's SIFT as it comes."""
    found, descriptors = cv2.SIFT_create().detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    return np.array([point.pt for point in found]), descriptors


def plain_compare(kind: str) -> Callable[[object, object], tuple[NDArray[np.float64], NDArray[np.float64], bool]]:
    """The usual script, which calls 15 inliers enough."""

    def compare(query: object, candidate: object) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
        if not (isinstance(query, tuple) and isinstance(candidate, tuple)):
            raise TypeError
        two_best = cv2.BFMatcher().knnMatch(query[1], candidate[1], k=2)
        good = [pair[0] for pair in two_best if len(pair) == 2 and pair[0].distance < 0.75 * pair[1].distance]
        one = query[0][[match.queryIdx for match in good]]
        other = candidate[0][[match.trainIdx for match in good]]
        mask = None
        if len(good) >= 8:
            if kind == "homography":
                _, mask = cv2.findHomography(one, other, cv2.RANSAC, 3.0)
            else:
                _, mask = cv2.findFundamentalMat(one, other, cv2.FM_RANSAC, 3.0, 0.99)
        inliers = np.zeros(len(good), dtype=bool) if mask is None else mask[:, 0].astype(bool)
        return one[inliers], other[inliers], bool(inliers.sum() >= 15)

    return compare


WAYS = (
    Way("placewise", extract, placewise_compare),
    Way("OpenCV, homography", plain_extract, plain_compare("homography")),
    Way("OpenCV, fundamental", plain_extract, plain_compare("fundamental")),
)


def reduced(path: Path) -> Image:
    """A photo, its longer side at most 640 pixels."""
    image = images.decode(path.read_bytes())
    scale = 640 / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def camera(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """K, the rotation from the world and the centre, for the full-size image; these have no distortion."""
    text = (path.parent / "cameras" / f"{path.name}.camera").read_text(encoding="ascii")
    rows = [[float(value) for value in line.split()] for line in text.splitlines() if line.strip()]
    return np.array(rows[:3]), np.array(rows[4:7]).T, np.array(rows[7])


def epipolar_errors(pair: Pair, points: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
    """The larger distance of each match to the cameras' epipolar lines, in pixels of 640."""
    (k1, r1, c1), (k2, r2, c2) = (camera(path) for path in pair)
    x, y, z = k2 @ r2 @ (c1 - c2)
    matrix = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ k2 @ r2 @ r1.T @ np.linalg.inv(k1)
    query, candidate = (np.column_stack(((p + 0.5) * (3072 / 640) - 0.5, np.ones(len(p)))) for p in points)
    lines, others = query @ matrix.T, candidate @ matrix
    products = np.abs((lines * candidate).sum(axis=1))
    slopes = np.minimum(np.hypot(*lines[:, :2].T), np.hypot(*others[:, :2].T))
    return np.asarray(products / slopes / (3072 / 640))


def timed(way: Way, pairs: Sequence[Pair], features: dict[Path, object]) -> list[Found]:
    """Verify pairs; the best of three runs, in time of the processor."""
    found = []
    for one, other in pairs:
        times = []
        for _ in range(3):
            start = time.process_time()
            query, candidate, accepted = way.compare(features[one], features[other])
            times.append(time.process_time() - start)
        found.append(Found((query, candidate), accepted, min(times) * 1e3))
    return found


def buildings(root: Path) -> None:
    """Speed and right inliers, in neighbouring views and across the buildings."""
    views = [[root / "buildings" / name / f"{n:04}.jpg" for n in range(count)] for name, count in BUILDINGS.items()]
    pictures = {path: reduced(path) for path in [*views[0], *views[1]]}
    neighbours = [pair for building in views for pair in pairwise(building)]
    across = list(product(views[0], views[1]))
    print(f"{len(pictures)} photos of 640 x 427, {len(neighbours)} pairs of neighbours, {len(across)} across, one core")
    print("                     extract ms  neighbours ms (pairs/s)  verified  inliers  right  across ms  verified")
    for way in WAYS:
        features, spent = {}, []
        for path, picture in pictures.items():
            times = []
            for _ in range(3):
                start = time.process_time()
                features[path] = way.extract(picture)
                times.append(time.process_time() - start)
            spent.append(min(times))
        near, far = timed(way, neighbours, features), timed(way, across, features)
        errors = np.concatenate([epipolar_errors(p, f.points) for p, f in zip(neighbours, near, strict=True)])
        ms = np.mean([found.ms for found in near])
        print(
            f"{way.name:19}  {np.mean(spent) * 1e3:10.1f}  {ms:13.1f} ({1e3 / ms:7.0f})"
            f"  {sum(found.accepted for found in near):8}  {len(errors):7}  {np.mean(errors < 3):.3f}"
            f"  {np.mean([found.ms for found in far]):9.1f}  {sum(found.accepted for found in far):8}"
        )


def rows_of(path: Path) -> list[dict[str, str]]:
    """A table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def landmark_pairs(root: Path) -> dict[str, list[Pair]]:
    """Same place and different ones, and photos of anything."""
    places: dict[str, list[Path]] = {}
    for row in rows_of(root / "landmarks" / "manifest.csv"):
        places.setdefault(row["place"], []).append(root / "landmarks" / row["path"])
    anything = sorted((root / "distractors").glob("*.jpg"))
    photos = [path for place in places.values() for path in place]
    return {
        "+ landmarks, same place": [pair for place in places.values() for pair in combinations(place, 2)],
        "- landmarks, different": [
            pair for one, other in combinations(places.values(), 2) for pair in product(one, other)
        ],
        "- landmarks, distractors": list(product(photos, anything)),
    }


def frame_pairs(root: Path) -> dict[str, list[Pair]]:
    """Street, corridor, towers, and the day by night."""
    street = root / "city-centre" / "frames"
    frames = {int(path.stem): path for path in street.glob("*.jpg")}
    same = {(int(row["frame"]), int(row["earlier_frame"])) for row in rows_of(root / "city-centre" / "positives.csv")}
    near = {(a + i, b + j) for a, b in same for i, j in product(range(-20, 21, 4), repeat=2)}
    apart = [(a, b) for a, b in product(range(1, 1237, 8), repeat=2) if a - b > 100 and (a, b) not in near]
    corridor = [sorted((root / "corridor" / split).iterdir()) for split in ("query", "gallery")]
    night = [sorted((root / "day-night" / split).iterdir()) for split in ("query", "gallery")]
    tower = rows_of(root / "tower" / "manifest.csv")
    floors = [(a, b) for a, b in combinations(tower, 2) if a["place"].split("/")[0] != b["place"].split("/")[0]]
    return {
        "+ city-centre, loop": [(frames[a], frames[b]) for a, b in sorted(same)],
        "- city-centre, apart": [(frames[a], frames[b]) for a, b in apart if a in frames and b in frames],
        "+ corridor, same spot": list(zip(*corridor, strict=True)),
        "- corridor, 20 apart": [(a, b) for (i, a), (j, b) in product(*map(enumerate, corridor)) if abs(i - j) >= 20],
        "- tower, other floor": [(root / "tower" / a["path"], root / "tower" / b["path"]) for a, b in floors],
        "+ day-night, same spot": list(zip(*night, strict=True)),
        "- day-night, 5 spots on": [(a, b) for (i, a), (j, b) in product(*map(enumerate, night)) if abs(i - j) >= 5],
    }


def significances(pairs: Sequence[Pair], features: dict[Path, Features]) -> Iterator[tuple[float, int]]:
    """Significance and inliers of each pair."""
    for pair in pairs:
        for path in pair:
            if path not in features:
                features[path] = extract(images.decode(path.read_bytes()))
        found = verify(features[pair[0]], features[pair[1]])
        yield found.significance, found.inlier_count


def rates(root: Path, most: int) -> None:
    """What share is accepted at each level, and how well significance parts same from different."""
    rng = np.random.default_rng(0)
    features: dict[Path, Features] = {}
    print(f"\nshare accepted at a level, of at most {most} random pairs; + same place, - not; AUROC against the next -")
    print("                          pairs " + " ".join(f"{level:6}" for level in LEVELS) + "  AUROC  of inliers")
    waiting: NDArray[np.float64] | None = None
    for name, pairs in {**landmark_pairs(root), **frame_pairs(root)}.items():
        chosen = [pairs[i] for i in rng.permutation(len(pairs))[:most]]
        values = np.array(list(significances(chosen, features)), dtype=np.float64)
        shares = " ".join(f"{np.mean((values[:, 0] > 0) & (values[:, 0] >= -np.log10(x))):6.3f}" for x in LEVELS)
        apart = ""
        if name.startswith("-") and waiting is not None:
            apart = "  ".join(f"{auroc(waiting[:, column], values[:, column]):.3f}" for column in (0, 1))
        print(f"{name:25} {len(chosen):5} {shares}  {apart}".rstrip())
        waiting = values if name.startswith("+") else waiting


def main() -> None:
    """Measure on the photos of PLACEWISE_PHOTOS, on one core."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1000)
    most = parser.parse_args().pairs
    folder = os.environ.get("PLACEWISE_PHOTOS")
    if not folder:
        print("PLACEWISE_PHOTOS is not set: nothing measured")
        return
    if any(os.environ.get(name) != value for name, value in ONE_CORE.items()):  # read when the libraries are loaded
        subprocess.run([sys.executable, *sys.argv], env={**os.environ, **ONE_CORE}, check=True)
        return
    cv2.setNumThreads(1)
    buildings(Path(folder))
    rates(Path(folder), most)


if __name__ == "__main__":
    main()
