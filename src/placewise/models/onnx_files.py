"""ONNX files as others publish them: one file, or a graph with its tensors in files beside it.

The law of this module: whatever a file holds, reading it ends in a graph or in a
:class:`~placewise.errors.CheckpointError`, and no file outside its folder is read.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placewise.errors import CheckpointError
from placewise.models import digests

if TYPE_CHECKING:
    import onnx

_EXTERNAL_KEY = b"location"
"""The key that a tensor kept outside the file must have: without these bytes, however encoded, a file is whole."""
_SMALL = 64
"""Numbers of a tensor that may be a shape."""
_SIZE_LIMIT = 2**31 - 2**20
"""Bytes of a serialised graph; protobuf allows no more than 2 GiB."""


def graph_sha256(path: Path) -> str:
    """The digest of a graph: of the file's bytes, and of those of the files that hold its tensors, where there are any.

    Raises:
        CheckpointError: if a file cannot be read or names tensors outside its folder.
    """
    try:
        digest = digests.sha256(path)
        parts = [path.parent / name for name in _external_files(path)]
        if not parts:
            return digest
        lines = [digest, *(f"{digests.sha256(part)} {part.name}" for part in parts)]
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def damaged(path: Path, error: Exception) -> CheckpointError:
    """What is said of a file that something went wrong with."""
    reason = getattr(error, "strerror", None) or next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return CheckpointError(f"{path} must be a whole ONNX file, got {plain(reason)}; get it again")


def plain(text: str) -> str:
    """Text from a file or a library, made fit for a one-line message."""
    escaped = text if text.isprintable() else ascii(text)[1:-1]
    return escaped if len(escaped) <= 160 else f"{escaped[:160]}…"


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a graph with all its tensors.

    Raises:
        CheckpointError: if the file is damaged, too large or has no output.
    """
    import onnx

    try:
        files = _external_files(path)
        size = sum((path.parent / name).stat().st_size for name in files) + path.stat().st_size
        if size > _SIZE_LIMIT:
            message = f"{path} must have at most 2 GiB with its tensors, got {size} bytes; use a smaller export"
            raise CheckpointError(message)
        model = onnx.load_model(path, format="protobuf")
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nearly anything on damaged files
        raise damaged(path, error) from error
    if not model.graph.output:
        message = f"{path} must be an ONNX graph with an output, got none; get it again"
        raise CheckpointError(message)
    return model


def inferred_output(model: onnx.ModelProto) -> onnx.ValueInfoProto | None:
    """The first output with the shape that follows from the others; None where the library gives up on the graph."""
    from onnx import helper, shape_inference

    # It copies the model three times (360 MB: 4 s, 1 GiB), and needs the numbers of small tensors only.
    light = type(model)(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        return shape_inference.infer_shapes(light).graph.output[0]
    except Exception:  # noqa: BLE001  # the library raises nearly anything, and a graph that it gives up on may run
        return None


def _external_files(path: Path) -> list[str]:
    """The names of the files that hold tensors of this one, in order. OSError or ValueError where they are hostile."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            message = "an empty file"
            raise ValueError(message)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(_EXTERNAL_KEY) < 0:
                return []
    import onnx

    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except Exception as error:  # see read_graph
        raise ValueError(str(error)) from error
    names = {entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"}
    for name in names:
        _check_beside(path, name)
    return sorted(names)


def _check_beside(path: Path, name: str) -> None:
    """Refuse a file of tensors that is outside the folder of the graph, or that a link on the way may lead out of."""
    folder = path.parent.resolve()
    place = Path(os.path.normpath(folder / name))
    if "\0" in name or not place.is_relative_to(folder) or not place.is_file():
        message = f"tensors in {name!r}, which is no file beside it"
        raise ValueError(message)
    if place.resolve() != place:
        message = (
            f"{path} must have its tensors in files beside it, got {plain(name)}, a link, and links are not followed; "
            f"copy the files into one folder"
        )
        raise CheckpointError(message)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor, those of the subgraphs of loops and branches and of functions included."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)
