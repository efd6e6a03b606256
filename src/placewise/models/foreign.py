"""Somebody else's ONNX graph in, ours out: the same pixels in and unit vectors out as every graph of Placewise.

Their graph is cut down to what the wanted output needs, and stands between two short ends of ours: pixels to
normalised channels, features to one vector of unit length. Only operators whose meaning is the same in all opsets from
`OPSETS` are used there, so that their graph need not be converted. The law of this module: whatever a file holds,
wrapping it ends in a graph or in an error of `placewise.errors.ModelError`'s family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placewise.errors import CardError, CheckpointError
from placewise.models.builder import LEAST_NORM
from placewise.models.onnx_files import damaged, inferred_output, plain, read_graph

if TYPE_CHECKING:
    import onnx

    from placewise.core import ModelCard

VERSION = 2
"""Raised whenever the same file and card give another graph, so that graphs kept on disk are not taken for new ones."""

OPSETS = range(11, 22)

_FLOAT, _FLOAT16 = 1, 10  # numbers of ``TensorProto.DataType``


def wrap_graph(path: Path, card: ModelCard) -> bytes:
    """Build the ONNX model that embeds with somebody else's graph.

    Args:
        path: the ``.onnx`` file, with the files that hold its tensors beside it where it is not whole.
        card: says how images are normalised, which output counts and how it is pooled.

    Returns:
        A serialised ``ModelProto``. Its input ``images`` is ``(N, crop, crop, 3)`` uint8 RGB, or ``(N, H, W, 3)``
        without a crop, its output ``embeddings`` ``(N, dim)`` float32 with rows of unit length.

    Raises:
        CheckpointError: if the file is damaged or no graph that can be used.
        CardError: if the card is another graph's.
    """
    import onnx

    model = read_graph(path)
    try:
        opset = _opset(model, path)
        output = _output(model.graph, card)
        _prune(model.graph, output.name)
        pixels = _image_input(model.graph, card)
        _check_shapes(pixels, output, card)
        _replace_ends(model, pixels, output, card, opset)
        _check_width(model, card)
        serialised: bytes = model.SerializeToString()
        onnx.checker.check_model(serialised)
    except (CardError, CheckpointError):
        raise
    except Exception as error:  # the library raises nearly anything on damaged graphs, from KeyError to RuntimeError
        raise damaged(path, error) from error
    return serialised


# Their graph


def _opset(model: onnx.ModelProto, path: Path) -> int:
    versions = [int(entry.version) for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    if len(versions) != 1 or versions[0] not in OPSETS:
        got = ", ".join(map(str, versions)) or "none"
        message = f"{path} must be of opset {OPSETS[0]} to {OPSETS[-1]}, got {got}; export it again"
        raise CheckpointError(message)
    return versions[0]


def _output(graph: onnx.GraphProto, card: ModelCard) -> onnx.ValueInfoProto:
    """The output that the card names, or the first one."""
    named = [value for value in graph.output if not card.graph_output or value.name == card.graph_output]
    if not named:
        there = ", ".join(plain(value.name) for value in graph.output)
        message = f"output of card {card.name} must be one of the graph's, {there}, got {card.graph_output!r}"
        raise CardError(message)
    chosen = type(named[0])()
    chosen.CopyFrom(named[0])
    return chosen


def _prune(graph: onnx.GraphProto, output: str) -> None:
    """Leave only what the output depends on: of a model of images and texts, the half that sees images."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    needed: set[str] = set()
    nodes: set[int] = set()
    todo = [output]
    while todo:
        name = todo.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers and makers[name] not in nodes:
            nodes.add(makers[name])
            todo += _reads(graph.node[makers[name]])
    _refill(graph.node, [node for index, node in enumerate(graph.node) if index in nodes])
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    if len(kept) < len(graph.initializer):  # most of a file: copied only where it must be
        _refill(graph.initializer, kept)
    _refill(graph.input, [value for value in graph.input if value.name in needed])
    del graph.value_info[:]  # only hints, and some are wrong


def _reads(node: onnx.NodeProto) -> list[str]:
    """What a node reads; the subgraphs of loops and branches also read what is outside them."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += [name for inner in graph.node for name in _reads(inner)] + [value.name for value in graph.output]
    return names


def _refill(field: Any, items: list[Any]) -> None:
    """Replace the messages of a repeated field, which may be among the new ones."""
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)


def _image_input(graph: onnx.GraphProto, card: ModelCard) -> onnx.ValueInfoProto:
    """The one input that the output depends on; constants that old exporters list among the inputs do not count."""
    constants = {tensor.name for tensor in graph.initializer} | {
        tensor.values.name for tensor in graph.sparse_initializer
    }
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        there = ", ".join(plain(value.name) for value in inputs) or "none"
        message = (
            f"the output of card {card.name} must depend on one input, the image, got {there}; name another output"
        )
        raise CardError(message)
    if card.graph_input not in {"", inputs[0].name}:
        message = f"input.name of card {card.name} must be {plain(inputs[0].name)}, got {card.graph_input!r}"
        raise CardError(message)
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in {_FLOAT, _FLOAT16}:
        message = f"the input of the graph of {card.name} must be float32 or float16, got type {kind} of ONNX"
        raise CardError(message)
    return inputs[0]


def _sizes(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """The declared shape, None for a free size; None where there is none."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in tensor.shape.dim]


def _check_shapes(pixels: onnx.ValueInfoProto, output: onnx.ValueInfoProto, card: ModelCard) -> None:
    """Refuse what the declared shapes rule out; what they leave open shows when the graph is compiled."""
    crop = card.input.crop
    expected: tuple[int | None, ...] = (None, 3, crop, crop)
    sizes = _sizes(pixels)
    if sizes is not None and not _fits(sizes, expected, exactly=crop is None):
        message = (
            f"the input of the graph of {card.name} must be {_shape(expected)} as the card says, got {_shape(sizes)}; "
            f"correct resize and crop, or export the graph with channels first"
        )
        raise CardError(message)
    expected = {
        "none": (None, card.dim),
        "class-token": (None, None, card.dim),
        "mean-token": (None, None, card.dim),
        "average": (None, card.dim, None, None),
    }.get(card.pooling, ())
    sizes = _sizes(output)
    if not expected or (sizes is not None and not _fits(sizes, expected)):
        got = "another kind of value" if sizes is None else _shape(sizes)
        message = (
            f"the output {plain(output.name)} must be {_shape(expected)} for pooling {card.pooling}, got {got}; "
            f"correct dim, pooling or output of card {card.name}"
        )
        raise CardError(message)


def _fits(sizes: list[int | None], expected: tuple[int | None, ...], *, exactly: bool = False) -> bool:
    """Whether a declared shape can be the expected one; ``exactly``: free sizes beyond the batch must be free."""
    if len(sizes) != len(expected):
        return False
    pairs = list(zip(sizes, expected, strict=True))[1:]
    return all(size == want if exactly else None in {size, want} or size == want for size, want in pairs)


def _shape(sizes: list[int | None] | tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in sizes)})"


# Our ends

_IMAGES, _EMBEDDINGS = "images", "embeddings"
_OURS = "placewise/"
_LEAST_IR = 4
"""The first version of the format whose constants need not be among the inputs, where ours are not."""


def _replace_ends(
    model: onnx.ModelProto, pixels: onnx.ValueInfoProto, output: onnx.ValueInfoProto, card: ModelCard, opset: int
) -> None:
    """Put the graph's one input and output in the place of theirs."""
    from onnx import TensorProto, helper

    graph, side, kind = model.graph, card.input.crop, pixels.type.tensor_type.elem_type
    begin, end = _Ends(opset, f"{_OURS}begin/"), _Ends(opset, f"{_OURS}end/")
    begin.normalise(card, into=_renamed(pixels.name), kind=kind)
    end.embed(_renamed(output.name), card)
    _rename_ours(graph)
    theirs = list(graph.node)
    _refill(graph.node, [*begin.nodes, *theirs, *end.nodes])
    graph.initializer.extend([*begin.constants, *end.constants])
    sizes = ["N", side or "H", side or "W", 3]
    _refill(graph.input, [helper.make_tensor_value_info(_IMAGES, TensorProto.UINT8, sizes)])
    _refill(graph.output, [helper.make_tensor_value_info(_EMBEDDINGS, TensorProto.FLOAT, ["N", None])])
    model.ir_version = max(model.ir_version, _LEAST_IR)


def _check_width(model: onnx.ModelProto, card: ModelCard) -> None:
    """Refuse a width of the embeddings that follows from the shapes and is not the card's; then declare the card's."""
    output = inferred_output(model)
    sizes = _sizes(output) if output else None
    width = sizes[1] if sizes and len(sizes) == 2 else None
    if width not in {None, card.dim}:
        message = (
            f"dim of card {card.name} must be {width}, as the graph's vectors are long, got {card.dim}; correct it"
        )
        raise CardError(message)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = card.dim


def _renamed(name: str) -> str:
    """What a value of theirs is called where a value of ours might have its name."""
    return f"their {name}" if name in {_IMAGES, _EMBEDDINGS} or name.startswith((_OURS, "their ")) else name


def _rename_ours(graph: onnx.GraphProto) -> None:
    """Clear our names out of their graph and of the subgraphs in it."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [_renamed(name) for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_ours(inner)
    for named in (
        *graph.initializer,
        *(sparse.values for sparse in graph.sparse_initializer),
        *graph.input,
        *graph.output,
    ):
        named.name = _renamed(named.name)


class _Ends:
    """Nodes and constants of ours, all under one prefix."""

    def __init__(self, opset: int, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._opset = opset
        self._prefix = prefix

    def normalise(self, card: ModelCard, *, into: str, kind: int) -> None:
        """The pixels, ``(N, H, W, 3)`` uint8, as what their graph takes: ``(N, 3, H, W)``, mean and std applied."""
        channels = self._add("Transpose", self._add("Cast", _IMAGES, to=_FLOAT), perm=[0, 3, 1, 2])
        mean, std = (
            self._constant(np.array(c, np.float32).reshape(1, 3, 1, 1)) for c in (card.input.mean, card.input.std)
        )
        self._add("Cast", self._add("Div", self._add("Sub", channels, mean), std), to=kind, output=into)

    def embed(self, features: str, card: ModelCard) -> None:
        """Their output as rows of unit length; a row of zeros stays one."""
        vectors = self._POOL[card.pooling](self, self._add("Cast", features, to=_FLOAT))
        # Axes that their graph does not declare must not escape the norm: (N, 1, dim) becomes (N, dim).
        rows = self._add("Flatten", vectors, axis=1)
        norm = self._reduce("ReduceL2", rows, keepdims=1)
        least = self._constant(np.array(LEAST_NORM, np.float32))
        self._add("Div", rows, self._add("Max", norm, least), output=_EMBEDDINGS)

    def _class_token(self, tokens: str) -> str:
        return self._add("Gather", tokens, self._constant(np.array(0)), axis=1)

    def _mean_token(self, tokens: str) -> str:
        return self._reduce("ReduceMean", tokens, keepdims=0)

    def _average(self, maps: str) -> str:
        return self._add("Flatten", self._add("GlobalAveragePool", maps), axis=1)

    def _none(self, vectors: str) -> str:
        return vectors

    _POOL: Mapping[str, Callable[[_Ends, str], str]] = MappingProxyType(
        {"none": _none, "class-token": _class_token, "mean-token": _mean_token, "average": _average}
    )

    def _reduce(self, operator: str, value: str, *, keepdims: int) -> str:
        """Reduce axis 1, which is an attribute up to opset 17 and an input from 18 on."""
        if self._opset < 18:
            return self._add(operator, value, axes=[1], keepdims=keepdims)
        return self._add(operator, value, self._constant(np.array([1])), keepdims=keepdims)

    def _constant(self, numbers: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numbers, name))
        return name

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        from onnx import helper

        name = f"{self._prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output or name], name, **attributes))
        return output or name
