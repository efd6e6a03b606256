"""Photos per second of the embedding pipeline against what people use today: same photos, same ResNet50, in turns.

    python benchmarks/embed.py [FOLDER]

FOLDER holds photos; without one, a synthetic town with photos of 1 megapixel is rendered. The weights are random:
speed does not depend on them. Every contender runs in a process of its own, so that its memory is its own, and warms
up before it is timed; the contenders take turns, so that a machine that slows down slows all of them.

- placewise: its pipeline with its defaults (precision auto, fast decoding), and in float32 with full decoding
- the usual script: PyTorch eager in float32, a DataLoader with one worker process a core, Pillow's resize and crop
- fastembed: ONNX Runtime on the same graph with its own preprocessing, as it comes and with one process a core

What is missing (torch, fastembed) is left out and said to be.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.core import Embedder, Source
from placewise.embed import embed_photos
from placewise.models import find_card, load_model
from placewise.models.engine import GraphEmbedder, make_runtime
from placewise.models.graphs import build_graph
from placewise.sources import read_source
from placewise.town import render_town

ROUNDS = 3
WARM_UP = 16
"""Photos embedded before the clock starts."""
BLOCKS = ((64, 3), (128, 4), (256, 6), (512, 3))
"""ResNet50: width and number of blocks of each stage."""

RGB = find_card("resnet50").input
State = dict[str, NDArray[np.float32]]
Run = Callable[[int], NDArray[np.float32]]
"""Embeds the first so many photos."""


# ---- the network ----------------------------------------------------------------------------------------------------


def random_weights(seed: int = 0) -> State:
    """A ResNet50's state dict with random weights that keep activations in range."""
    rng = np.random.default_rng(seed)
    state: State = {}

    def conv_bn(conv: str, norm: str, shape: tuple[int, int, int, int], gain: float = 1.0) -> None:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        state[f"{conv}.weight"] = (rng.normal(size=shape) * deviation).astype(np.float32)
        state[f"{norm}.weight"] = (gain * rng.uniform(0.5, 1.5, shape[0])).astype(np.float32)
        state[f"{norm}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
        state[f"{norm}.running_mean"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
        state[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)

    conv_bn("conv1", "bn1", (64, 3, 7, 7))
    channels = 64
    for stage, (width, blocks) in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            conv_bn(f"{name}.conv1", f"{name}.bn1", (width, channels, 1, 1))
            conv_bn(f"{name}.conv2", f"{name}.bn2", (width, width, 3, 3))
            conv_bn(f"{name}.conv3", f"{name}.bn3", (4 * width, width, 1, 1), gain=0.2)
            if block == 0:
                conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", (4 * width, channels, 1, 1))
            channels = 4 * width
    return state


def torch_network() -> Any:
    """The same network in PyTorch: torchvision's layout, which is not needed for it."""
    import torch
    from torch import nn

    class Bottleneck(nn.Module):  # type: ignore[misc]  # torch has no types here
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride > 1 or channels != 4 * width:
                self.downsample = nn.Sequential(
                    nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
                )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.relu(self.bn2(self.conv2(y)))
            return self.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x))

    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
    network.add_module("bn1", nn.BatchNorm2d(64))
    network.add_module("relu", nn.ReLU(inplace=True))
    network.add_module("maxpool", nn.MaxPool2d(3, 2, 1))
    channels = 64
    for stage, (width, blocks) in enumerate(BLOCKS, start=1):
        layers = []
        for block in range(blocks):
            layers.append(Bottleneck(channels, width, 2 if stage > 1 and block == 0 else 1))
            channels = 4 * width
        network.add_module(f"layer{stage}", nn.Sequential(*layers))
    network.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    weights = {name: torch.from_numpy(value) for name, value in random_weights().items()}
    network.load_state_dict(weights, strict=False)
    return network.eval()


# ---- the contenders: each returns a function that embeds all photos --------------------------------------------------


def placewise_model(*, precision: str, decode: str) -> Embedder:
    """Placewise's engine on the random network."""
    card = dataclasses.replace(find_card("resnet50"), weights_sha256="random")
    graph = build_graph("resnet50", random_weights(), card.input)
    runtime = make_runtime(card, graph, precision=precision, device="cpu", compile_cache=None)
    return GraphEmbedder(card, runtime, decode=decode)


def placewise(folder: Path, *, precision: str = "auto", decode: str = "fast") -> Run:
    """Placewise's pipeline."""
    source = read_source(folder)
    model = placewise_model(precision=precision, decode=decode)

    def run(count: int) -> NDArray[np.float32]:
        return np.concatenate([batch.embeddings for batch in embed_photos(source, source.photos[:count], model)])

    return run


def usual_script(folder: Path) -> Run:
    """PyTorch eager behind a DataLoader."""
    import torch
    from PIL import Image

    source = read_source(folder)
    paths = [source.file(photo) for photo in source.photos]
    mean, std = (torch.tensor(values).reshape(3, 1, 1) / 255 for values in (RGB.mean, RGB.std))
    network = torch_network()

    class Photos(torch.utils.data.Dataset):  # type: ignore[misc]  # torch has no types here
        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, row: int) -> Any:
            image = Image.open(paths[row]).convert("RGB")
            width, height = image.size
            scale = 256 / min(width, height)
            image = image.resize((int(width * scale + 1e-6), int(height * scale + 1e-6)), Image.Resampling.BILINEAR)
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            pixels = np.array(image.crop((left, top, left + 224, top + 224)))
            return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - mean) / std

    def run(count: int) -> NDArray[np.float32]:
        loader = torch.utils.data.DataLoader(Photos(count), batch_size=32, num_workers=os.cpu_count() or 1)
        with torch.no_grad():
            rows = torch.cat([torch.nn.functional.normalize(network(batch)) for batch in loader])
        embeddings: NDArray[np.float32] = rows.numpy()
        return embeddings

    return run


def fastembed(folder: Path, *, parallel: int | None = None) -> Run:
    """Fastembed with the same network, from normalised floats on."""
    from fastembed import ImageEmbedding

    source = read_source(folder)
    paths = [str(source.file(photo)) for photo in source.photos]
    home = Path(tempfile.mkdtemp())
    (home / "model.onnx").write_bytes(without_normalisation(build_graph("resnet50", random_weights(), RGB)))
    preprocessing = {
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in RGB.mean],
        "image_std": [value / 255 for value in RGB.std],
        "image_processor_type": "CLIPImageProcessor",
    }
    (home / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    model = ImageEmbedding("Qdrant/resnet50-onnx", specific_model_path=str(home))

    def run(count: int) -> NDArray[np.float32]:
        return np.array(list(model.embed(paths[:count], parallel=parallel)))

    return run


def without_normalisation(graph: bytes) -> bytes:
    """The graph from its first convolution on: its input becomes normalised float32 channels."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(graph)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    before = list(model.graph.node)[: list(model.graph.node).index(first)]
    for node in before:
        model.graph.node.remove(node)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(first.input[0], TensorProto.FLOAT, ["N", 3, 224, 224]))
    data: bytes = model.SerializeToString()
    return data


CONTENDERS: dict[str, tuple[str | None, Callable[[Path], Run]]] = {
    "placewise": (None, placewise),
    "placewise, float32": (None, lambda folder: placewise(folder, precision="float32")),
    "placewise, float32, full decoding": (None, lambda folder: placewise(folder, precision="float32", decode="full")),
    "usual script (PyTorch)": ("torch", usual_script),
    "fastembed": ("fastembed", fastembed),
    "fastembed, a process a core": ("fastembed", lambda folder: fastembed(folder, parallel=0)),
}
"""Name → the package it needs, and how to make it ready."""


# ---- measuring ------------------------------------------------------------------------------------------------------


def contend(name: str, folder: Path, embeddings: Path) -> None:
    """Run one contender once, in this process, and print what it took."""
    run = CONTENDERS[name][1](folder)
    run(WARM_UP)
    start = time.perf_counter()
    rows = run(len(read_source(folder).photos))
    seconds = time.perf_counter() - start
    np.save(embeddings, rows)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": seconds, "peak_mb": peak / 1024}))


def own_limit(source: Source) -> tuple[float, float]:
    """Core-seconds that a photo takes at least: decoding in one thread, inference with all cores on it."""
    model = placewise_model(precision="auto", decode="fast")
    data = [images.read_bytes(source.file(photo)) for photo in source.photos]
    start = time.thread_time()
    inputs = [model.read(item) for item in data]
    decode = time.thread_time() - start
    model.infer(inputs)
    start = time.perf_counter()
    model.infer(inputs)
    infer = (time.perf_counter() - start) * (os.cpu_count() or 1)
    return decode / len(data), infer / len(data)


def rounds(folder: Path, count: int, scratch: Path) -> Iterator[tuple[str, float, float]]:
    """(contender, photos per second, peak megabytes) of each run, in turns."""
    for _ in range(ROUNDS):
        for name, (package, _make) in CONTENDERS.items():
            if package and importlib.util.find_spec(package) is None:
                continue
            command = [sys.executable, __file__, str(folder), name, str(scratch / f"{name}.npy")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result = json.loads(done.stdout.splitlines()[-1])
            print(f"  {name}: {count / result['seconds']:.1f} photos/s", file=sys.stderr, flush=True)
            yield name, count / result["seconds"], result["peak_mb"]


def default_model(source: Source) -> list[float]:
    """Photos per second with the network that users get, after a warm-up."""
    model = load_model()
    speeds = []
    for count in (WARM_UP, *[len(source.photos)] * ROUNDS):
        start = time.perf_counter()
        list(embed_photos(source, source.photos[:count], model))
        speeds.append(count / (time.perf_counter() - start))
    return speeds[1:]


def main(folder: Path) -> None:
    """Measure and print a table."""
    source = read_source(folder)
    count = len(source.photos)
    print(f"{count} photos, ResNet50 with random weights, medians of {ROUNDS} rounds")
    speeds: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for name, speed, peak in rounds(folder, count, scratch):
            speeds.setdefault(name, []).append(speed)
            peaks.setdefault(name, []).append(peak)
        exact = np.load(scratch / "placewise, float32, full decoding.npy")
        print(f"\n{'':34}  photos/s  placewise is x faster   peak MB  least cosine")
        for name, values in speeds.items():
            ratios = [ours / theirs for ours, theirs in zip(speeds["placewise"], values, strict=True)]
            cosine = np.sum(exact * np.load(scratch / f"{name}.npy"), axis=1).min()
            print(
                f"{name:34}  {statistics.median(values):8.1f}  {statistics.median(ratios):8.2f} "
                f"({min(ratios):.2f}-{max(ratios):.2f})  {statistics.median(peaks[name]):8.0f}  {cosine:12.5f}"
            )
    for name in CONTENDERS.keys() - speeds.keys():
        print(f"{name}: not installed, left out")
    print(f"{'placewise, efficientnet-lite0':34}  {statistics.median(default_model(source)):8.1f}")
    decode, infer = own_limit(source)
    limit = (os.cpu_count() or 1) / (decode + infer)
    reached = statistics.median(speeds["placewise"]) / limit
    print(
        f"\na photo takes {1000 * decode:.1f} ms of a core to read and {1000 * infer:.1f} ms to infer: "
        f"at most {limit:.1f} photos/s, of which the pipeline reaches {100 * reached:.0f} %"
    )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        contend(sys.argv[2], Path(sys.argv[1]), Path(sys.argv[3]))
    elif len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as town:
            render_town(Path(town), places=30, unknown_places=6, gallery_views=4, query_views=2, size=(1152, 864))
            main(Path(town))
