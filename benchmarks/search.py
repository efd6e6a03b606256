"""Search in 200,000 and 1,000,000 embeddings of 512 values: Placewise against what people use, in one run.

    python benchmarks/search.py [--sizes 200000 1000000] [--growth 1000 10000 100000 1000000] [--slow]

The embeddings are clustered as places are: neighbourhoods, places in them, 20 photos each; queries are new views of
these places. Every contender builds and serves in a process of its own, so that its memory is its own. They answer in
turns, so that a machine that slows down slows all of them; times are medians, `x NumPy` and `x exact` medians of the
ratios of neighbouring turns.

- NumPy: matrix product, argpartition, sort of the ten
- placewise exact, exact16, ann: a gallery file in float32 or float16, with and without its index
- FAISS flat, usearch (HNSW, float16) and LanceDB (as it comes, without an index); the last two take long, so beyond
  200,000 only with --slow

What is missing (usearch, lancedb) is left out and said to be.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placewise.core import InputRule, ModelCard, Photo
from placewise.gallery_file import GalleryFile, Storage
from placewise.search.sidecar import SearcherKind, ann_path, build_ann, open_searcher

DIM, K, PHOTOS_OF_A_PLACE = 512, 10, 20
QUERIES, ROUNDS, WRITTEN_AT_A_TIME = 100, 7, 1000
TURN_S = 1.0
"""A turn of single queries ends after all of them, or so long."""
SLOW_UP_TO = 200_000

Vectors = NDArray[np.float32]
CARD = ModelCard(
    name="made-up",
    architecture="none",
    dim=DIM,
    input=InputRule(1, 1, "bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    pooling="none",
    weights_file="",
    source="",
    licence="",
    size_bytes=0,
)


# ---- the data --------------------------------------------------------------------------------------------------------


def around(centres: Vectors, cosine: float, rng: np.random.Generator) -> Vectors:
    """A unit vector for each row, at about this cosine to it."""
    noise = rng.standard_normal(centres.shape, dtype=np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    near = np.float32(cosine) * centres + np.float32((1 - cosine**2) ** 0.5) * noise
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return near


def write_data(folder: Path, count: int, *, neighbourhoods: bool = True) -> None:
    """Gallery embeddings, queries and the ten true neighbours of each query."""
    rng = np.random.default_rng(0)
    places = max(1, count // PHOTOS_OF_A_PLACE)
    origin = np.zeros((1, DIM), np.float32)
    centres = around(np.repeat(origin, max(1, places // 50), axis=0), 0.0, rng)
    centres = around(centres[np.arange(places) % len(centres)], 0.6 if neighbourhoods else 0.0, rng)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (count, DIM))
    for start in range(0, count, 20_000):
        rows = np.arange(start, min(start + 20_000, count))
        vectors[rows] = around(centres[rows % places], 0.8, rng)
    queries = around(centres[rng.integers(0, places, QUERIES)], 0.8, rng)
    np.save(folder / "queries.npy", queries)
    near = np.concatenate([queries @ vectors[at : at + 100_000].T for at in range(0, count, 100_000)], axis=1)
    np.save(folder / "truth.npy", np.argsort(-near, axis=1, kind="stable")[:, :K])


# ---- the contenders --------------------------------------------------------------------------------------------------


class Bare:
    """What a script does."""

    def build(self, folder: Path) -> None:
        """Nothing: the vectors lie there."""

    def open(self, folder: Path) -> None:
        """Read the vectors."""
        self.matrix = np.load(folder / "vectors.npy")

    def search(self, queries: Vectors) -> NDArray[np.int64]:
        """Rows of the most similar vectors, best first."""
        if len(queries) == 1:
            near = self.matrix @ queries[0]
            best = np.argpartition(-near, min(K, len(near) - 1))[:K]
            return best[np.argsort(-near[best])][np.newaxis]
        similarities = queries @ self.matrix.T
        best = np.argpartition(-similarities, min(K, len(self.matrix) - 1), axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(similarities, best, 1), axis=1)
        return np.take_along_axis(best, order, 1)

    def size(self, folder: Path) -> int:
        """Bytes on the disk."""
        return (folder / "vectors.npy").stat().st_size


class Ours:
    """A gallery file."""

    def __init__(self, storage: Storage, kind: SearcherKind) -> None:
        """Contenders of the same storage share one file: the first to build writes it."""
        self.storage, self.kind = storage, kind

    def path(self, folder: Path) -> Path:
        """The gallery."""
        return folder / f"{self.storage}.gallery"

    def build(self, folder: Path) -> dict[str, object]:
        """Write the embeddings, a thousand at a time, and the index."""
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        told: dict[str, object] = {}
        with GalleryFile.open_for(self.path(folder), CARD, storage=self.storage) as gallery:
            start = time.perf_counter()
            for at in range(len(gallery), len(vectors), WRITTEN_AT_A_TIME):
                rows = range(at, min(at + WRITTEN_AT_A_TIME, len(vectors)))
                photos = [
                    Photo(PurePosixPath(f"{row % 50_000}/{row}.jpg"), "gallery", f"{row % 50_000}") for row in rows
                ]
                gallery.upsert(photos, vectors[rows.start : rows.stop])
                told["written_per_s"] = round(rows.stop / (time.perf_counter() - start))
            if self.kind == "ann":
                start = time.perf_counter()
                report = build_ann(gallery)
                told |= {"index_s": time.perf_counter() - start, "lists": report.lists, "nprobe": report.nprobe}
                told |= {"candidates": report.candidates, "measured": report.recall_at_10}
        return told

    def open(self, folder: Path) -> None:
        """Open it for search, as `placewise locate` does: the photos and the embeddings or the index."""
        self.gallery = GalleryFile.open(self.path(folder))
        with self.gallery.reading():
            self.table = self.gallery.table()
            self.searcher = open_searcher(self.gallery, self.table.ids, self.kind)

    def search(self, queries: Vectors) -> NDArray[np.int64]:
        """Rows are ids less one."""
        return self.searcher.search(queries, K).ids - 1

    def size(self, folder: Path) -> int:
        """Bytes of the gallery, and of the index."""
        index = ann_path(self.path(folder))
        return self.path(folder).stat().st_size + (index.stat().st_size if self.kind == "ann" else 0)


class FaissFlat(Bare):
    """FAISS, exhaustive."""

    def open(self, folder: Path) -> None:
        """Read and add the vectors."""
        import faiss

        self.index = faiss.IndexFlatIP(DIM)
        self.index.add(np.load(folder / "vectors.npy"))

    def search(self, queries: Vectors) -> NDArray[np.int64]:
        """Rows of the most similar vectors, best first."""
        found: NDArray[np.int64] = self.index.search(queries, K)[1]
        return found


class Usearch(Bare):
    """usearch's HNSW in float16."""

    def build(self, folder: Path) -> None:
        """Add the vectors to a graph."""
        from usearch.index import Index

        vectors = np.load(folder / "vectors.npy")
        index = Index(ndim=DIM, metric="ip", dtype="f16")
        index.add(np.arange(len(vectors)), vectors)
        index.save(str(folder / "usearch"))

    def open(self, folder: Path) -> None:
        """Load the graph."""
        from usearch.index import Index

        self.index = Index.restore(str(folder / "usearch"))

    def search(self, queries: Vectors) -> NDArray[np.int64]:
        """Rows of the most similar vectors, best first."""
        keys = self.index.search(queries, K).keys
        return np.asarray(keys, dtype=np.int64).reshape(len(queries), -1)

    def size(self, folder: Path) -> int:
        """Bytes on the disk."""
        return (folder / "usearch").stat().st_size


class Lance(Bare):
    """LanceDB without an index."""

    def build(self, folder: Path) -> None:
        """Write a table."""
        import lancedb
        import pyarrow as pa

        vectors = np.load(folder / "vectors.npy")
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
        table = pa.table({"id": pa.array(np.arange(len(vectors))), "vector": rows})
        lancedb.connect(folder / "lance").create_table("photos", table)

    def open(self, folder: Path) -> None:
        """Open the table."""
        import lancedb

        self.table = lancedb.connect(folder / "lance").open_table("photos")

    def search(self, queries: Vectors) -> NDArray[np.int64]:
        """One query after the other."""
        asked = [
            self.table.search(query).distance_type("dot").limit(K).select(["id", "_distance"]) for query in queries
        ]
        return np.array([one.to_arrow()["id"].to_numpy() for one in asked])

    def size(self, folder: Path) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in (folder / "lance").rglob("*") if file.is_file())


CONTENDERS: dict[str, Any] = {
    "NumPy": Bare,
    "placewise exact": lambda: Ours("float32", "exact"),
    "placewise exact16": lambda: Ours("float16", "exact"),
    "placewise ann": lambda: Ours("float16", "ann"),
    "FAISS flat": FaissFlat,
    "usearch": Usearch,
    "LanceDB": Lance,
}
NEEDS = {"usearch": "usearch", "LanceDB": "lancedb"}


# ---- one process a contender -----------------------------------------------------------------------------------------


def serve(name: str, folder: Path) -> None:
    """Build in a process of its own, or open and answer, as the lines of standard input say."""
    warnings.simplefilter("ignore")
    contender = CONTENDERS[name]()
    queries = np.load(folder / "queries.npy")
    for line in sys.stdin:
        start = time.perf_counter()
        told: dict[str, object] = {}
        if line == "build\n":
            told = contender.build(folder) or {}
        elif line == "open\n":
            contender.open(folder)
        elif line == "single\n":
            found = [contender.search(queries[:1])[0]]
            while len(found) < len(queries) and time.perf_counter() - start < TURN_S:
                found.append(contender.search(queries[len(found) : len(found) + 1])[0])
            told = {"ms": 1000 * (time.perf_counter() - start) / len(found), "recall": recall(found, folder)}
        elif line == "batch\n":
            found = contender.search(queries)
            told = {"ms": 1000 * (time.perf_counter() - start) / len(queries), "recall": recall(found, folder)}
        told |= {"s": time.perf_counter() - start, "rss_mb": resident_mb()}
        told |= {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        told |= {"size_mb": contender.size(folder) / 1e6} if line == "open\n" else {}
        print(json.dumps(told), flush=True)


def recall(found: Sequence[NDArray[np.int64]] | NDArray[np.int64], folder: Path) -> float:
    """The share of the true ten that were found."""
    truth = np.load(folder / "truth.npy")
    shared = [len(np.intersect1d(one, other)) for one, other in zip(found, truth[: len(found)], strict=True)]
    return sum(shared) / (K * len(shared))


def resident_mb() -> float:
    """Memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * resource.getpagesize() / 1e6


class Server:
    """A contender's process."""

    def __init__(self, name: str, folder: Path) -> None:
        """Start it."""
        command = [sys.executable, __file__, "--serve", name, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> dict[str, Any]:
        """One request, one answer."""
        assert self._process.stdin  # noqa: S101  # for the type checker
        assert self._process.stdout  # noqa: S101
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def stop(self) -> None:
        """End it."""
        self._process.communicate()


def build(name: str, folder: Path) -> dict[str, Any]:
    """Build and be gone, so that its memory is no part of what serves."""
    server = Server(name, folder)
    told = server.ask("build")
    server.stop()
    return told


# ---- the tables ------------------------------------------------------------------------------------------------------


def race(names: Sequence[str], count: int, *, neighbourhoods: bool = True) -> list[dict[str, Any]]:
    """One line of figures for each contender at one size."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_data(folder, count, neighbourhoods=neighbourhoods)
        built = {name: build(name, folder) for name in names}
        servers = {name: Server(name, folder) for name in names}
        opened = {name: server.ask("open") for name, server in servers.items()}
        turns: dict[str, list[list[dict[str, Any]]]] = {"single": [], "batch": []}
        for what, rounds in turns.items():
            for server in servers.values():
                server.ask(what)  # warm
            rounds += [[server.ask(what) for server in servers.values()] for _ in range(ROUNDS)]
        last = [server.ask("rest") for server in servers.values()]
        for server in servers.values():
            server.stop()
    return [
        {
            "name": name,
            "built": built[name],
            "open_s": opened[name]["s"],
            "size_mb": opened[name]["size_mb"],
            "rss_mb": last[place]["rss_mb"],
            **{what: [turn[place] for turn in rounds] for what, rounds in turns.items()},
        }
        for place, name in enumerate(names)
    ]


def table(figures: list[dict[str, Any]]) -> list[str]:
    """The figures for reading."""
    heads = ("single ms", "x NumPy", "x exact", "batch ms", "recall@10", "build s", "open s", "MB held", "MB file")
    widths = (9, 8, 8, 9, 9, 8, 7, 8, 8)
    lines = [" " * 18 + "".join(f" {head:>{width}}" for head, width in zip(heads, widths, strict=True))]
    times = {one["name"]: np.array([turn["ms"] for turn in one["single"]]) for one in figures}
    exact = times.get("placewise exact", times["NumPy"])
    for one in figures:
        own = times[one["name"]]
        lines.append(
            f"{one['name']:<18} {np.median(own):>9.2f} {np.median(own / times['NumPy']):>8.2f} "
            f"{np.median(exact / own):>8.1f} {statistics.median(turn['ms'] for turn in one['batch']):>9.2f} "
            f"{one['single'][-1]['recall']:>9.4f} {one['built']['s']:>8.1f} {one['open_s']:>7.2f} "
            f"{one['rss_mb']:>8.0f} {one['size_mb']:>8.0f}"
        )
    for one in figures:
        told = {key: value for key, value in one["built"].items() if key not in {"s", "rss_mb", "peak_mb"}}
        if told:
            shown = ", ".join(f"{key} {value:.4g}" for key, value in told.items())
            lines.append(f"{one['name']}: {shown}, {one['built']['peak_mb']:.0f} MB at most while building")
    return lines


def main() -> None:
    """Print a table for each size, and how the cost grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="*", default=[200_000, 1_000_000])
    parser.add_argument("--growth", type=int, nargs="*", default=[10_000, 50_000, 100_000, 1_000_000])
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--serve", nargs=2)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], Path(options.serve[1]))
        return
    missing = [name for name, package in NEEDS.items() if importlib.util.find_spec(package) is None]
    print(f"left out, not installed: {', '.join(missing)}\n" if missing else "", end="")
    single: dict[int, list[dict[str, Any]]] = {}
    for count in options.sizes:
        slow = [] if options.slow or count <= SLOW_UP_TO else ["usearch", "LanceDB"]
        names = [name for name in CONTENDERS if name not in missing + slow]
        single[count] = race(names, count)
        print(f"{count:,} x {DIM}\n" + "\n".join(table(single[count])) + "\n", flush=True)
    if 200_000 in options.sizes:
        hard = race(["NumPy", "placewise exact", "placewise ann"], 200_000, neighbourhoods=False)
        print(f"200,000 x {DIM}, places without neighbourhoods\n" + "\n".join(table(hard)) + "\n", flush=True)
    print(f"{'growth, single ms':<18} {'NumPy':>9} {'exact':>9} {'ann':>9} {'recall@10':>10} {'index s':>8}")
    for count in options.growth:
        ours = ["NumPy", "placewise exact", "placewise ann"]
        figures = {one["name"]: one for one in single.get(count) or race(ours, count)}
        medians = [statistics.median(turn["ms"] for turn in figures[name]["single"]) for name in ours]
        ann = figures["placewise ann"]
        print(
            f"{count:<18,} {medians[0]:>9.2f} {medians[1]:>9.2f} {medians[2]:>9.2f} "
            f"{ann['single'][-1]['recall']:>10.4f} {ann['built']['index_s']:>8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
