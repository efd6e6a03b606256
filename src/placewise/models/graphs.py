"""Architectures and weights in, ONNX out: from uint8 pixels to embeddings of unit length, in one graph.

An architecture is a recipe: a function that reads from top to bottom like the network and calls the
`placewise.models.builder.Builder` once a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from placewise.errors import CheckpointError, ModelError
from placewise.models.builder import Builder, Conv, Features

if TYPE_CHECKING:
    from placewise.core import InputRule

VERSION = 1
"""Raised whenever the same weights give another graph, so that graphs kept on disk are not taken for new ones."""


def build_graph(
    architecture: str,
    state: Mapping[str, NDArray[Any]],
    card_input: InputRule,
    *,
    dim: int | None = None,
    power: float = 1,
) -> bytes:
    """Build the ONNX model of an architecture with these weights.

    Args:
        architecture: a name of `ARCHITECTURES`.
        state: the weights by name, as `placewise.models.checkpoint.read_checkpoint` returns them.
        card_input: gives the size of the input, and the mean and std of each channel on the 0..255 scale.
        dim: the length that the embedding must have; None takes the one that the weights give.
        power: of the generalised mean that pools where the architecture learns nothing of it; 1 is the average.

    Returns:
        A serialised ``ModelProto``. Its input ``images`` is ``(N, crop, crop, 3)`` uint8 RGB, or ``(N, H, W, 3)`` where
        the rule has no crop, its output ``embeddings`` ``(N, dim)`` float32 with rows of unit length; ``N``, ``H`` and
        ``W`` are free.

    Raises:
        ModelError: there is no such architecture, or it needs a crop or multiples of 32 and the rule has neither.
        CheckpointError: the weights are another network's or are not finite.
    """
    if architecture not in ARCHITECTURES:
        message = f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}"
        raise ModelError(message)
    builder = Builder(state, power=power)
    features = ARCHITECTURES[architecture](builder, builder.images(card_input))
    builder.check(architecture)
    if dim not in {None, features.channels}:
        message = (
            f"weights must give embeddings of dimension {dim}, got {features.channels}; "
            f"choose the weights of this model"
        )
        raise CheckpointError(message)
    return builder.model(builder.l2_normalised(features))


# The recipes


Block = Callable[[Builder, Features, str, int, int], Features]
_TORCHVISION_NAMES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
_COSPLACE_NAMES = tuple(f"backbone.{child}" for child in (0, 1, 4, 5, 6, 7))  # 2 and 3, ReLU and pooling, learn nothing


def _resnet(
    net: Builder, images: Features, *, block: Block, layers: Sequence[int], names: Sequence[str] = _TORCHVISION_NAMES
) -> Features:
    """ResNet without its classifier, which strides in the 3x3 convolutions (version 1.5).

    Source: He et al., Deep Residual Learning for Image Recognition, 2016, table 1.
    """
    conv, norm, *stages = names
    x = net.relu(net.conv_bn(images, Conv(conv, norm, 64, kernel=7, stride=2)))
    x = net.max_pool(x, kernel=3, stride=2)
    for stage, depth in enumerate(layers):
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(net, x, f"{stages[stage]}.{index}", 64 << stage, stride)
    return x


def _resnet_average(net: Builder, images: Features, *, block: Block, layers: Sequence[int]) -> Features:
    """ResNet with torchvision's names, pooled over the image."""
    x = _resnet(net, images, block=block, layers=layers)
    net.drop("fc.weight", "fc.bias")
    return net.pool(x)


def _resnet_gem(net: Builder, images: Features, *, block: Block, layers: Sequence[int]) -> Features:
    """ResNet, unit length at each pixel, generalised mean, linear: CosPlace and EigenPlaces under their own names.

    Source: ``cosplace_model/cosplace_network.py`` and ``layers.py`` of https://github.com/gmberton/CosPlace.
    """
    x = _resnet(net, images, block=block, layers=layers, names=_COSPLACE_NAMES)
    x = net.generalised_mean_pool(net.l2_normalised(x), "aggregation.1")
    return net.linear(x, "aggregation.3")


def _basic_block(net: Builder, x: Features, name: str, width: int, stride: int) -> Features:
    """Two 3x3 convolutions around which the input is added."""
    y = net.relu(net.conv_bn(x, Conv(f"{name}.conv1", f"{name}.bn1", width, kernel=3, stride=stride)))
    y = net.conv_bn(y, Conv(f"{name}.conv2", f"{name}.bn2", width, kernel=3))
    return net.relu(net.add(y, _shortcut(net, x, name, width, stride)))


def _bottleneck(net: Builder, x: Features, name: str, width: int, stride: int) -> Features:
    """1x1 to ``width`` channels, 3x3, 1x1 to four times as many, around which the input is added."""
    y = net.relu(net.conv_bn(x, Conv(f"{name}.conv1", f"{name}.bn1", width, kernel=1)))
    y = net.relu(net.conv_bn(y, Conv(f"{name}.conv2", f"{name}.bn2", width, kernel=3, stride=stride)))
    y = net.conv_bn(y, Conv(f"{name}.conv3", f"{name}.bn3", 4 * width, kernel=1))
    return net.relu(net.add(y, _shortcut(net, x, name, 4 * width, stride)))


def _shortcut(net: Builder, x: Features, name: str, channels: int, stride: int) -> Features:
    """The input itself, or projected where the block changes its shape."""
    if stride == 1 and x.channels == channels:
        return x
    return net.conv_bn(x, Conv(f"{name}.downsample.0", f"{name}.downsample.1", channels, kernel=1, stride=stride))


@dataclass(frozen=True, slots=True)
class _Block:
    """One inverted residual; ``expansion`` is how many times wider it is inside."""

    kernel: int
    stride: int
    expansion: int
    channels: int


_LITE0_STAGES = (
    # kernel, stride of the first block, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_LITE0_BLOCKS = tuple(
    _Block(kernel, stride if index == 0 else 1, expansion, channels)
    for kernel, stride, expansion, channels, blocks in _LITE0_STAGES
    for index in range(blocks)
)
_lite_conv = partial(Conv, same=True, epsilon=1e-3)


def _efficientnet_lite0(net: Builder, images: Features) -> Features:
    """EfficientNet-Lite0: no squeeze-and-excitation, ReLU6, TensorFlow's padding and batch-norm epsilon.

    Source: Tan and Le, EfficientNet, 2019, table 1, and the ``lite`` variant in its authors' TPU repository.
    """
    x = net.relu6(net.conv_bn(images, _lite_conv("_conv_stem", "_bn0", 32, kernel=3, stride=2)))
    for index, block in enumerate(_LITE0_BLOCKS):
        x = _inverted_residual(net, x, f"_blocks.{index}", block)
    x = net.relu6(net.conv_bn(x, _lite_conv("_conv_head", "_bn1", 1280, kernel=1)))
    net.drop("_fc.weight", "_fc.bias")
    return net.pool(x)


def _inverted_residual(net: Builder, x: Features, name: str, block: _Block) -> Features:
    """1x1 to more channels, depthwise, 1x1 to fewer without activation; the input is added where shapes agree."""
    expand = _lite_conv(f"{name}._expand_conv", f"{name}._bn0", block.expansion * x.channels, kernel=1)
    y = net.relu6(net.conv_bn(x, expand)) if block.expansion > 1 else x
    filters = partial(_lite_conv, kernel=block.kernel, stride=block.stride, depthwise=True)
    y = net.relu6(net.conv_bn(y, filters(f"{name}._depthwise_conv", f"{name}._bn1", y.channels)))
    y = net.conv_bn(y, _lite_conv(f"{name}._project_conv", f"{name}._bn2", block.channels, kernel=1))
    return net.add(y, x) if block.stride == 1 and block.channels == x.channels else y


Recipe = Callable[[Builder, Features], Features]

_RESNETS: Mapping[str, tuple[Block, tuple[int, ...]]] = {
    "resnet18": (_basic_block, (2, 2, 2, 2)),
    "resnet34": (_basic_block, (3, 4, 6, 3)),
    "resnet50": (_bottleneck, (3, 4, 6, 3)),
    "resnet101": (_bottleneck, (3, 4, 23, 3)),
    "resnet152": (_bottleneck, (3, 8, 36, 3)),
}

ARCHITECTURES: Mapping[str, Recipe] = MappingProxyType(
    {
        "efficientnet-lite0": _efficientnet_lite0,
        **{name: partial(_resnet_average, block=block, layers=layers) for name, (block, layers) in _RESNETS.items()},
        **{
            f"{name}-gem": partial(_resnet_gem, block=block, layers=layers)
            for name, (block, layers) in _RESNETS.items()
        },
    }
)
"""Each recipe takes a builder and the normalised images, and returns the vector that becomes the embedding."""
