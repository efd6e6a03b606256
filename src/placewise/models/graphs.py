"""Architectures and weights in, ONNX out: from uint8 pixels to embeddings of unit length, in one graph.

An architecture is a recipe: a function that reads from top to bottom like the network and calls the `Builder` once a
layer. The builder takes each weight out of the state dict, checks its shape, folds the batch norm that follows into
the convolution, and adds the ONNX nodes. Whatever a recipe did not take is left over, and then the weights are another
network's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placewise.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    import onnx

    from placewise.core import InputRule

VERSION = 1
"""Raised whenever the same weights give another graph, so that graphs kept on disk are not taken for new ones."""

_OPSET = 17
_IR_VERSION = 8
_LEAST_NORM = 1e-12
"""A shorter vector is divided by this instead of its norm: zero stays zero instead of becoming NaN."""


def build_graph(architecture: str, state: Mapping[str, NDArray[Any]], card_input: InputRule) -> bytes:
    """Build the ONNX model of an architecture with these weights.

    Args:
        architecture: a name of `ARCHITECTURES`.
        state: the weights by name, as `placewise.models.checkpoint.read_checkpoint` returns them.
        card_input: gives the size of the input, and the mean and std of each channel on the 0..255 scale.

    Returns:
        A serialised ``ModelProto``. Its input ``images`` is ``(N, crop, crop, 3)`` uint8 RGB, its output
        ``embeddings`` ``(N, dim)`` float32 with rows of unit length; ``N`` is free.

    Raises:
        ModelError: there is no such architecture.
        CheckpointError: the weights are another network's or are not finite.
    """
    if architecture not in ARCHITECTURES:
        message = f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}"
        raise ModelError(message)
    builder = Builder(state)
    features = ARCHITECTURES[architecture](builder, builder.images(card_input))
    builder.check(architecture)
    return builder.model(builder.l2_normalised(features))


# The recipes


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution without bias and the batch norm after it: their keys in the state dict, and what they do.

    ``depthwise`` gives each channel a filter of its own. ``same`` pads as TensorFlow does, so that a stride of 2 halves
    even sizes exactly and the odd pixel of padding is at the end; otherwise both ends get ``kernel // 2``.
    """

    conv: str
    norm: str
    channels: int
    kernel: int
    stride: int = 1
    depthwise: bool = False
    same: bool = False
    epsilon: float = 1e-5

    def padding(self, size: int) -> tuple[int, int]:
        """Pixels before and after a side of ``size`` pixels."""
        if not self.same:
            return self.kernel // 2, self.kernel // 2
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Features:
    """A value in the graph: ``(N, channels, size, size)`` float32, or ``(N, channels)`` where ``size`` is 0."""

    name: str
    channels: int
    size: int


def _resnet(
    net: Builder,
    images: Features,
    *,
    block: Callable[[Builder, Features, str, int, int], Features],
    layers: Sequence[int],
) -> Features:
    """ResNet with torchvision's names, which strides in the 3x3 convolutions (version 1.5).

    Source: He et al., Deep Residual Learning for Image Recognition, 2016, table 1.
    """
    x = net.relu(net.conv_bn(images, Conv("conv1", "bn1", 64, kernel=7, stride=2)))
    x = net.max_pool(x, kernel=3, stride=2)
    for stage, depth in enumerate(layers):
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(net, x, f"layer{stage + 1}.{index}", 64 << stage, stride)
    net.drop("fc.weight", "fc.bias")
    return net.global_average_pool(x)


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
    return net.global_average_pool(x)


def _inverted_residual(net: Builder, x: Features, name: str, block: _Block) -> Features:
    """1x1 to more channels, depthwise, 1x1 to fewer without activation; the input is added where shapes agree."""
    expand = _lite_conv(f"{name}._expand_conv", f"{name}._bn0", block.expansion * x.channels, kernel=1)
    y = net.relu6(net.conv_bn(x, expand)) if block.expansion > 1 else x
    filters = partial(_lite_conv, kernel=block.kernel, stride=block.stride, depthwise=True)
    y = net.relu6(net.conv_bn(y, filters(f"{name}._depthwise_conv", f"{name}._bn1", y.channels)))
    y = net.conv_bn(y, _lite_conv(f"{name}._project_conv", f"{name}._bn2", block.channels, kernel=1))
    return net.add(y, x) if block.stride == 1 and block.channels == x.channels else y


Recipe = Callable[["Builder", Features], Features]

ARCHITECTURES: Mapping[str, Recipe] = MappingProxyType(
    {
        "efficientnet-lite0": _efficientnet_lite0,
        "resnet18": partial(_resnet, block=_basic_block, layers=(2, 2, 2, 2)),
        "resnet34": partial(_resnet, block=_basic_block, layers=(3, 4, 6, 3)),
        "resnet50": partial(_resnet, block=_bottleneck, layers=(3, 4, 6, 3)),
        "resnet101": partial(_resnet, block=_bottleneck, layers=(3, 4, 23, 3)),
        "resnet152": partial(_resnet, block=_bottleneck, layers=(3, 8, 36, 3)),
    }
)
"""Each recipe takes a builder and the normalised images, and returns the vector that becomes the embedding."""


# The builder


class Builder:
    """Collects the nodes and weights of one graph, and keeps count of the keys of the state dict."""

    def __init__(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._state = state
        self._left = dict.fromkeys(state)  # in order, unlike a set
        self._missing: list[str] = []
        self._misshapen: list[str] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._crop = 0

    def images(self, rule: InputRule) -> Features:
        """The graph's input, uint8 pixels in rows, as normalised float32 channels."""
        self._crop = rule.crop
        pixels = self._add("Cast", "images", to=1)  # FLOAT
        channels = self._add("Transpose", pixels, perm=[0, 3, 1, 2])
        mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (rule.mean, rule.std))
        centred = self._add("Sub", channels, self._constant("mean", mean))
        return Features(self._add("Div", centred, self._constant("std", std)), channels=3, size=rule.crop)

    def conv_bn(self, x: Features, conv: Conv) -> Features:
        """A convolution with its batch norm folded in, which is exact up to rounding.

        With ``scale = gamma / sqrt(variance + epsilon)`` the folded weights are ``scale * weights`` and the folded
        bias ``beta - scale * mean``. Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithm 2.
        """
        groups = x.channels if conv.depthwise else 1
        weights = self._take(f"{conv.conv}.weight", (conv.channels, x.channels // groups, conv.kernel, conv.kernel))
        gamma, beta, mean, variance = (
            self._take(f"{conv.norm}.{part}", (conv.channels,))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        self.drop(f"{conv.norm}.num_batches_tracked")
        with np.errstate(all="ignore"):  # `_constant` refuses what overflows
            scale = gamma / np.sqrt(variance + conv.epsilon)
            kernel = self._constant(f"{conv.conv}.weight", weights * scale[:, None, None, None])
            bias = self._constant(f"{conv.norm}.bias", beta - scale * mean)
        begin, end = conv.padding(x.size)
        size = (x.size + begin + end - conv.kernel) // conv.stride + 1
        pads, strides = [begin, begin, end, end], [conv.stride, conv.stride]
        name = self._add("Conv", x.name, kernel, bias, group=groups, pads=pads, strides=strides)
        return Features(name, conv.channels, size)

    def relu(self, x: Features) -> Features:
        """``max(x, 0)``."""
        return Features(self._add("Relu", x.name), x.channels, x.size)

    def relu6(self, x: Features) -> Features:
        """``min(max(x, 0), 6)``."""
        low, high = (self._constant(f"relu6.{value}", np.array(value)) for value in (0, 6))
        return Features(self._add("Clip", x.name, low, high), x.channels, x.size)

    def add(self, x: Features, y: Features) -> Features:
        """The sum of two values of one shape."""
        return Features(self._add("Add", x.name, y.name), x.channels, x.size)

    def max_pool(self, x: Features, *, kernel: int, stride: int) -> Features:
        """The largest value under each window, padded by ``kernel // 2`` on all sides."""
        edge = kernel // 2
        name = self._add("MaxPool", x.name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[edge] * 4)
        return Features(name, x.channels, (x.size + 2 * edge - kernel) // stride + 1)

    def global_average_pool(self, x: Features) -> Features:
        """The mean of each channel: ``(N, channels)``."""
        pooled = self._add("GlobalAveragePool", x.name)
        return Features(self._add("Flatten", pooled, axis=1), x.channels, size=0)

    def linear(self, x: Features, name: str, channels: int) -> Features:
        """A fully connected layer on ``(N, channels)``, with bias."""
        weights = self._constant(f"{name}.weight", self._take(f"{name}.weight", (channels, x.channels)))
        bias = self._constant(f"{name}.bias", self._take(f"{name}.bias", (channels,)))
        return Features(self._add("Gemm", x.name, weights, bias, transB=1), channels, size=0)

    def l2_normalised(self, x: Features) -> Features:
        """Rows of unit length; a row of zeros stays one."""
        norm = self._add("ReduceL2", x.name, axes=[1], keepdims=1)
        divisor = self._add("Max", norm, self._constant("least_norm", np.array(_LEAST_NORM)))
        return Features(self._add("Div", x.name, divisor), x.channels, size=0)

    def drop(self, *keys: str) -> None:
        """Keys that may be in the state dict and have no part in an embedding."""
        for key in keys:
            self._left.pop(key, None)

    def check(self, architecture: str) -> None:
        """Refuse a state dict of which keys were missing, of another shape or not taken."""
        faults = {"missing": self._missing, "left over": list(self._left), "of another shape": self._misshapen}
        if not any(faults.values()):
            return
        got = ", ".join(f"{len(keys)} {fault} ({_first(keys)})" for fault, keys in faults.items() if keys)
        message = f"weights must fit {architecture}, got keys {got}; choose the weights of this architecture"
        raise CheckpointError(message)

    def model(self, embeddings: Features) -> bytes:
        """The finished graph, serialised."""
        from onnx import TensorProto, helper  # heavy: only who builds a graph pays for it

        self._add("Identity", embeddings.name, output="embeddings")
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", self._crop, self._crop, 3])
        output = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", embeddings.channels])
        graph = helper.make_graph(self._nodes, "placewise", [images], [output], list(self._constants.values()))
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION, producer_name="placewise")
        serialised: bytes = model.SerializeToString()
        return serialised

    def _take(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """A weight in float64; zeros where it does not fit, so that one pass finds all that do not."""
        self._left.pop(key, None)
        if key not in self._state:
            self._missing.append(key)
            return np.zeros(shape)
        weight = self._state[key]
        if weight.shape != shape:
            self._misshapen.append(f"{key} {weight.shape} for {shape}")
            return np.zeros(shape)
        return weight.astype(np.float64)

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        """A float32 initializer; equal names are one constant."""
        from onnx import numpy_helper  # heavy: only who builds a graph pays for it

        numbers = values.astype(np.float32)
        if not np.isfinite(numbers).all():
            message = f"weights must be finite numbers, got others at {name}; pull them again"
            raise CheckpointError(message)
        self._constants[name] = numpy_helper.from_array(numbers, name)
        return name

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        from onnx import helper  # heavy: only who builds a graph pays for it

        name = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name


def _first(keys: Sequence[str]) -> str:
    """The first three keys."""
    return ", ".join((*keys[:3], "…") if len(keys) > 3 else keys)
