"""Runs ONNX graphs: OpenVINO on the processor, ONNX Runtime on a CUDA device."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.core import Views
from placewise.errors import ModelError, OptionError
from placewise.models.views import cut_views, graph_rule, largest, mean_of_views, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from placewise.core import Embeddings, Image, ModelCard

_IMPORTING = threading.RLock()

Input = NDArray[np.uint8]
"""What a graph takes of one image: ``(h, w, 3)`` uint8."""

_DECODE_MARGIN = 1.25
"""``fast`` decoding leaves this much more than the network needs for the antialiased resize to work on.

Measured with EfficientNet-Lite0 against full decoding: 3072 x 2048 photos keep a cosine of 0.999 (0.994 without the
margin) at a fifth of the time, 1024 x 768 photos 0.998 on average and 0.995 at worst at half the time.
"""


class Runtime(Protocol):
    """Something that runs a graph; every implementation passes ``tests/test_engine.py``."""

    @property
    def variant(self) -> str:
        """What changes the numbers slightly: the precision, and the device where it is not the processor."""

    def run(self, inputs: Sequence[Input]) -> Embeddings:
        """Embed inputs: ``(N, dim)`` float32, in order. A row does not depend on the others. One caller at a time."""


class GraphEmbedder:
    """A `placewise.core.Embedder`: a card, decoding as it says, and a runtime with its graph."""

    def __init__(self, card: ModelCard, runtime: Runtime, *, decode: str) -> None:
        """Put them together; ``decode`` is ``fast`` or ``full``."""
        self.card = card
        self.variant = f"{runtime.variant}-{decode}"
        self._runtime = runtime
        self._lock = threading.Lock()
        self.at_least = int(_DECODE_MARGIN * largest(card.input, card.views)) if decode == "fast" else None

    def read(self, data: bytes) -> Input:
        """Decode the bytes of a photo file to the network's input, ``(h, w, 3)`` uint8.

        Raises:
            ImageError: if it cannot be decoded.
        """
        return self.admit(images.decode(data, at_least=self.at_least))

    def admit(self, image: Image) -> Input:
        """What `read` makes of a decoded photo: any can be embedded."""
        return self.prepare(image)

    def prepare(self, image: Image) -> Input:
        """Resize and crop one image to what its views are cut from, ``(h, w, 3)`` uint8."""
        return prepare(image, self.card.input, self.card.views)

    def infer(self, inputs: Sequence[Input]) -> Embeddings:
        """Embed prepared inputs: ``(N, dim)`` float32, rows of unit length, in order; callers take turns."""
        rule, views = self.card.input, self.card.views
        seen = inputs if views == Views() else [view for image in inputs for view in cut_views(image, rule, views)]
        with self._lock:
            embeddings = self._runtime.run(seen)
        return mean_of_views(embeddings, len(views))

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Embed images of any sizes: ``(N, dim)`` float32, rows of unit length, in order."""
        return self.infer([self.prepare(image) for image in images])


def make_runtime(
    card: ModelCard, graph: Path | bytes, *, precision: str, device: str, compile_cache: Path | None
) -> Runtime:
    """Choose the runtime for a device and load the graph into it.

    Args:
        card: the model card.
        graph: ONNX or OpenVINO's format: ``images`` ``(N, h, w, 3)`` uint8 → ``embeddings`` ``(N, dim)`` float32.
        precision: ``auto``, ``float32`` or ``int8`` (then the graph is quantised already).
        device: ``auto`` takes a CUDA device where ONNX Runtime finds one, ``cuda`` insists on it.
        compile_cache: a folder that exists for compiled graphs, or None.

    Raises:
        OptionError: if there is no CUDA device, or it cannot do the precision.
        ModelError: if the graph does not compile.
    """
    reason = "onnxruntime-gpu is not installed" if precision != "int8" else "int8 runs on the processor only"
    if device != "cpu" and precision != "int8" and _cuda_is_there():
        try:
            return OnnxRuntime(card, graph, precision=precision, providers=("CUDAExecutionProvider",))
        except OptionError as error:
            reason = str(error)
    if device == "cuda":
        message = (
            f"device cuda must have a CUDA device and a precision of auto or float32, got: {reason}; "
            f"type pip install 'placewise[cuda]' or use --device cpu"
        )
        raise OptionError(message)
    return OpenVino(card, graph, precision=precision, compile_cache=compile_cache)


class OpenVino:
    """One image a request, as many requests at a time as the processor serves best.

    One image a request, because then an embedding does not depend on which photos happen to share its batch, so that
    a run that was interrupted and resumed gives the same numbers as one that was not. It costs nothing: on two cores
    with AVX512-BF16 EfficientNet-Lite0 did 320 to 330 images/s this way, and 345, 357 and 240 in batches of 8, 16 and
    32 (ResNet50: 1.4 times as many with the two requests of the throughput mode as with the one of latency mode).

    Where crops are seen beside whole photos the graph is compiled twice, for the crop and for free sizes: on two busy
    cores 32 of each took 32 ms a photo, 45 with free sizes alone. Inputs of one size follow one another, because each
    new size costs time; compiling for every size was no faster.
    """

    def __init__(self, card: ModelCard, graph: Path | bytes, *, precision: str, compile_cache: Path | None) -> None:
        """Compile the graph, or take it from the compile cache."""
        ov = import_openvino()
        props = ov.properties
        config = {props.hint.performance_mode(): props.hint.PerformanceMode.THROUGHPUT}
        if precision == "float32":
            config[props.hint.inference_precision()] = ov.Type.f32
        if compile_cache is not None:
            config[props.cache_dir()] = str(compile_cache / "compiled")
        sides = {card.input.crop or -1, graph_rule(card.input, card.views).crop or -1}
        try:
            core = ov.Core()
            networks = {side: self._compiled(core, graph, side, config) for side in sides}
        except RuntimeError as error:
            raise _unfit(card, error) from error
        compiled = next(iter(networks.values()))
        chosen = compiled.get_property(props.hint.inference_precision())
        self.variant = "int8" if card.quantised else "float32" if chosen == ov.Type.f32 else chosen.get_type_name()
        self._card = card
        shape = compiled.output(0).partial_shape
        if shape.rank.is_static and len(shape) == 2 and shape[1].is_static:
            _check_width(card, shape[1].get_length())
        self._queues = {side: ov.AsyncInferQueue(network) for side, network in networks.items()}

    @staticmethod
    def _compiled(core: Any, graph: Path | bytes, side: int, config: dict[Any, Any]) -> Any:
        """The network for one image of ``side`` x ``side`` pixels, or of any size where that is -1."""
        model = core.read_model(graph)
        model.reshape([1, side, side, 3])
        return core.compile_model(model, "CPU", config)

    def run(self, inputs: Sequence[Input]) -> Embeddings:
        """Embed inputs: ``(N, dim)`` float32, in order."""
        embeddings = np.empty((len(inputs), self._card.dim), dtype=np.float32)
        widths = {self._card.dim}

        def keep(request: Any, row: int) -> None:
            found = request.get_output_tensor().data
            widths.add(found.size)  # one row; a graph whose shapes are free can have another width than its card says
            if found.size == self._card.dim:
                embeddings[row] = found.reshape(-1)

        for queue in self._queues.values():
            queue.set_callback(keep)
        for row in sorted(range(len(inputs)), key=lambda row: inputs[row].shape):
            height, width, _ = inputs[row].shape
            side = height if height == width and height in self._queues else -1
            self._queues[side].start_async(inputs[row][np.newaxis], userdata=row)
        for queue in self._queues.values():
            queue.wait_all()
        for width in widths:
            _check_width(self._card, width)
        return embeddings


class OnnxRuntime:
    """Batches of one fixed size, the last one filled up, so that a row does not depend on how many share its batch.

    Whole images, which have sizes of their own, go one by one: there is nothing to fill a batch with.
    """

    BATCH = 32

    def __init__(self, card: ModelCard, graph: Path | bytes, *, precision: str, providers: Sequence[str]) -> None:
        """Load the graph into the first of the providers that is there."""
        import onnxruntime

        tf32 = int(precision == "auto")
        options = [{"use_tf32": tf32} if provider.startswith("CUDA") else {} for provider in providers]
        try:
            self._session = onnxruntime.InferenceSession(
                graph if isinstance(graph, bytes) else str(graph), providers=list(providers), provider_options=options
            )
        except Exception as error:  # its exceptions share no base below this
            raise _unfit(card, error) from error
        if self._session.get_providers()[0] != providers[0]:
            # Compiled in is not the same as working: without a driver ONNX Runtime goes on with the processor.
            message = f"{providers[0]} must work on this machine, got only {', '.join(self._session.get_providers())}"
            raise OptionError(message)
        self._batch = 1 if graph_rule(card.input, card.views).crop is None else self.BATCH
        self.variant = f"{providers[0].removesuffix('ExecutionProvider').lower()}-{'tf32' if tf32 else 'float32'}"
        self._card = card

    def run(self, inputs: Sequence[Input]) -> Embeddings:
        """Embed inputs: ``(N, dim)`` float32, in order; inputs of one size go in batches."""
        embeddings = np.empty((len(inputs), self._card.dim), dtype=np.float32)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(inputs):
            by_size.setdefault(image.shape, []).append(row)
        for size, rows in by_size.items():
            for start in range(0, len(rows), self._batch):
                chosen = rows[start : start + self._batch]
                batch = np.zeros((self._batch, *size), dtype=np.uint8)
                batch[: len(chosen)] = [inputs[row] for row in chosen]
                (found,) = self._session.run(["embeddings"], {"images": batch})
                _check_width(self._card, found.size // self._batch)
                embeddings[chosen] = found.reshape(self._batch, -1)[: len(chosen)]
        return embeddings


def _check_width(card: ModelCard, width: int) -> None:
    """Refuse vectors of another length than the card says, which somebody else's graph can give."""
    if width != card.dim:
        message = f"model {card.name} must give embeddings of {card.dim} values, got {width}; correct dim on its card"
        raise ModelError(message)


def _unfit(card: ModelCard, error: Exception) -> ModelError:
    """What a runtime's many lines about a graph come down to."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    got = lines[-1] if lines else type(error).__name__
    return ModelError(f"the graph of {card.name} must load on this machine, got {got}; pull or name its weights again")


def _cuda_is_there() -> bool:
    """Whether ONNX Runtime is installed with CUDA; where it is not installed, nothing is imported."""
    if find_spec("onnxruntime") is None:
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def import_openvino() -> Any:
    """Import OpenVINO without the report of that import which it sends over the network.

    It sends it where the package openvino-telemetry is installed, which it requires; without that package it takes the
    stub that it ships.
    """
    with without_telemetry():
        import openvino

    return openvino


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Hide the package openvino-telemetry from imports inside the block; one thread at a time."""
    name = "openvino_telemetry"
    with _IMPORTING:
        known, before = name in sys.modules, sys.modules.get(name)
        sys.modules[name] = None  # type: ignore[assignment]  # None is how Python blocks an import
        try:
            yield
        finally:
            del sys.modules[name]
            if known:
                sys.modules[name] = before  # type: ignore[assignment]  # as it was
