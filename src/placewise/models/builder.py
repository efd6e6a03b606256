"""Collects the nodes and weights of one ONNX graph: what the recipes of `placewise.models.graphs` are written with.

The builder takes each weight out of the state dict, checks its shape, folds the batch norm that follows into the
convolution, and adds the ONNX nodes. Whatever was not taken is left over, and then the weights are another network's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placewise.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    import onnx

    from placewise.core import InputRule

_OPSET = 17
_IR_VERSION = 8
LEAST_NORM = 1e-12
"""A shorter vector is divided by this instead of its norm: zero stays zero instead of becoming NaN."""
LEAST_MULTIPLE = 32
"""Sides of which this is a factor are even at each of five strides of 2, so that one padding fits them all."""
_LEAST_ACTIVATION = 1e-6
"""Smaller activations count as this in a generalised mean, whose power may be no integer."""


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

    def padding(self, size: int | None) -> tuple[int, int]:
        """Pixels before and after a side of ``size`` pixels, or of any number of them."""
        if not self.same:
            return self.kernel // 2, self.kernel // 2
        if size is None:
            return (self.kernel - self.stride) // 2, (self.kernel - self.stride + 1) // 2  # the size is even
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Features:
    """A value in the graph: ``(N, channels, size, size)`` float32, or ``(N, channels)`` where ``size`` is 0.

    ``size`` is None where height and width are free.
    """

    name: str
    channels: int
    size: int | None

    def shrunk(self, *, by: int, stride: int) -> int | None:
        """The size after a window that is ``by`` pixels larger than the padding moved in steps of ``stride``."""
        return None if self.size is None else (self.size - by) // stride + 1


class Builder:
    """Collects the nodes and weights of one graph, and keeps count of the keys of the state dict."""

    def __init__(self, state: Mapping[str, NDArray[Any]], *, power: float = 1) -> None:
        """Begin with the weights; ``power`` is that of the generalised mean which pools where nothing is learnt."""
        self._state = state
        self._power = power
        self._left = dict.fromkeys(state)  # in order, unlike a set
        self._missing: list[str] = []
        self._misshapen: list[str] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._pixels: list[int | str] = []
        self._multiple = 1

    def images(self, rule: InputRule) -> Features:
        """The graph's input, uint8 pixels in rows, as normalised float32 channels."""
        self._pixels = ["H", "W"] if rule.crop is None else [rule.crop, rule.crop]
        self._multiple = rule.multiple
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
        if conv.same and x.size is None and self._multiple % LEAST_MULTIPLE:
            message = (
                f"a network that pads as TensorFlow does must have an input of one size or of multiples of "
                f"{LEAST_MULTIPLE}, got neither; name a crop"
            )
            raise ModelError(message)
        begin, end = conv.padding(x.size)
        size = x.shrunk(by=conv.kernel - begin - end, stride=conv.stride)
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
        return Features(name, x.channels, x.shrunk(by=kernel - 2 * edge, stride=stride))

    def pool(self, x: Features) -> Features:
        """The generalised mean of each channel, of the power that was asked for: ``(N, channels)``."""
        if self._power == 1:
            return self.global_average_pool(x)
        return self._generalised_mean(x, np.array([self._power]), "pool")

    def global_average_pool(self, x: Features) -> Features:
        """The mean of each channel: ``(N, channels)``."""
        pooled = self._add("GlobalAveragePool", x.name)
        return Features(self._add("Flatten", pooled, axis=1), x.channels, size=0)

    def linear(self, x: Features, name: str) -> Features:
        """A fully connected layer on ``(N, channels)``, with bias, to as many channels as the weights give."""
        rows = np.shape(self._state.get(f"{name}.weight", ()))[:1]
        channels = rows[0] if rows else 0
        weights = self._constant(f"{name}.weight", self._take(f"{name}.weight", (channels, x.channels)))
        bias = self._constant(f"{name}.bias", self._take(f"{name}.bias", (channels,)))
        return Features(self._add("Gemm", x.name, weights, bias, transB=1), channels, size=0)

    def generalised_mean_pool(self, x: Features, name: str) -> Features:
        """``mean(max(x, 1e-6) ** p) ** (1 / p)`` of each channel, ``p`` learnt: ``(N, channels)``.

        Source: Radenović et al., Fine-tuning CNN Image Retrieval with No Human Annotation, 2018, equation 3.
        """
        return self._generalised_mean(x, self._take(f"{name}.p", (1,)), name)

    def _generalised_mean(self, x: Features, power: NDArray[np.float64], name: str) -> Features:
        exponent = self._constant(f"{name}.p", power)
        root = self._constant(f"{name}.1/p", 1 / np.where(power == 0, 1, power))  # 0 where it is missing
        positive = self._add("Max", x.name, self._constant(f"{name}.eps", np.array(_LEAST_ACTIVATION)))
        raised = Features(self._add("Pow", positive, exponent), x.channels, x.size)
        pooled = self.global_average_pool(raised)
        return Features(self._add("Pow", pooled.name, root), x.channels, size=0)

    def l2_normalised(self, x: Features) -> Features:
        """Unit length over the channels, of each row or at each pixel; zeros stay zeros."""
        norm = self._add("ReduceL2", x.name, axes=[1], keepdims=1)
        divisor = self._add("Max", norm, self._constant("least_norm", np.array(LEAST_NORM)))
        return Features(self._add("Div", x.name, divisor), x.channels, x.size)

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
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *self._pixels, 3])
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
