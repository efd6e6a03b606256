"""Networks in 8 bits: made from a graph and sample inputs with NNCF, kept in the models folder.

NNCF is an extra (``pip install 'placewise[int8]'``) that only making a graph needs; running one needs OpenVINO alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placewise.core import Views
from placewise.errors import ModelError
from placewise.folders import models_folder
from placewise.models.engine import without_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from placewise.core import ModelCard

_GRAPH, _WEIGHTS = "graph.xml", "graph.bin"
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


def find_int8_graph(card: ModelCard, digest: str = "") -> tuple[Path, str] | None:
    """An 8-bit graph of a model and its digest: the one of ``digest``, or the one made last; None if there is none.

    In the models folder, not in a cache: a graph cannot be made again bit by bit, and galleries depend on it. So each
    is kept, in a folder named after its digest.

    Args:
        card: with the digest of the weights in use, not quantised.
        digest: of its two files.
    """
    graphs = _folder(card).glob(f"{digest or '*'}/{_GRAPH}")
    latest = max(graphs, key=lambda graph: graph.stat().st_mtime_ns, default=None)
    return None if latest is None else (latest, latest.parent.name)


def _folder(card: ModelCard) -> Path:
    return models_folder() / "int8" / dataclasses.replace(card, quantised="", views=Views()).fingerprint


def _sha256(folder: Path) -> str:
    """The digest of an 8-bit graph, of both its files."""
    return hashlib.sha256((folder / _GRAPH).read_bytes() + (folder / _WEIGHTS).read_bytes()).hexdigest()


def quantise_graph(card: ModelCard, graph: Path | bytes, inputs: Sequence[NDArray[np.uint8]]) -> Path:
    """Make the 8-bit graph of a model by post-training quantisation, and keep it, all of it or nothing; returns it.

    Args:
        card: says how large the network's input is.
        graph: ONNX: ``images`` ``(N, crop, crop, 3)`` uint8 → ``embeddings`` ``(N, dim)`` float32 of unit length.
        inputs: what the ranges of the activations are learned from, ``(crop, crop, 3)`` uint8 each.

    Raises:
        ModelError: if NNCF is missing or cannot quantise the graph, or the result cannot be written.
    """
    if card.input.crop is None:
        message = f"int8 must have inputs of one size, got {card.name} whose card crops nothing; use another precision"
        raise ModelError(message)
    with _quiet_nncf() as nncf:
        import openvino as ov

        try:
            quantised = _quantised(nncf, _static(graph, card.input.crop), inputs)
        except (RuntimeError, ValueError, nncf.ValidationError, nncf.InternalError) as error:
            reason = str(error).strip().splitlines()[-1]
            message = f"the graph of {card.name} must be one that NNCF can quantise, got {reason}"
            raise ModelError(message) from error
        return _keep(_folder(card), lambda path: ov.save_model(quantised, path, compress_to_fp16=False))


def _static(graph: Path | bytes, crop: int) -> Any:
    """The graph for one image at a time, shapes computed: NNCF sees a bias only where it is a constant."""
    import openvino as ov
    from openvino.passes import ConstantFolding, Manager

    model = ov.Core().read_model(graph)
    model.reshape([1, crop, crop, 3])
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    return model


def _quantised(nncf: Any, model: Any, inputs: Sequence[NDArray[np.uint8]]) -> Any:
    """The model in 8 bits, by the settings that were measured to be best.

    Measured with EfficientNet-Lite0, calibrated on 196 photos of landmarks; mean and least cosine to float32 of 339
    others. With pooling and unit length in 8 bits too, embeddings have a length of 1.05 and the mAP falls from 0.771
    to 0.736, so what follows the last convolution stays float. All else as below: 0.9969 and 0.983, mAP 0.771. Biases
    corrected the quick way: 0.9948 and 0.977, in a third of the time; not corrected: 0.9936 and 0.980. Corrected the
    quick way, and a bit of the first layer's weights left free as NNCF does for processors without VNNI: 0.9929 and
    0.968. On the way there, uncorrected: 64 photos instead of 196 cost 0.0008 on average and 0.011 at worst; ranges by
    quantiles gave 0.913; outermost values, histograms, smoothing, aligned channels and the preset ``performance``
    changed the average by less than 0.0005, the first convolution in float by 0.0007.
    """
    operations = [(operation.get_type_name(), operation.get_friendly_name()) for operation in model.get_ordered_ops()]
    convolutional = sum(kind in _CONVOLUTIONS for kind, _ in operations) > 1
    heavy = _CONVOLUTIONS if convolutional else (*_CONVOLUTIONS, "MatMul")  # a transformer convolves its patches only
    last = max((index for index, (kind, _) in enumerate(operations) if kind in heavy), default=-1)
    return nncf.quantize(
        model,
        nncf.Dataset(inputs, lambda image: image[np.newaxis]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        model_type=None if convolutional else nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(names=[name for _, name in operations[last + 1 :]], validate=False),
        fast_bias_correction=False,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
    )


def _keep(folder: Path, save: Callable[[Path], None]) -> Path:
    """Save a graph in a new folder that gets its name, the digest, in one step when it is whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-", ignore_cleanup_errors=True) as part:
            new = Path(part) / "new"
            new.mkdir()
            save(new / _GRAPH)
            kept = folder / _sha256(new)
            if kept.exists():
                (kept / _GRAPH).touch()  # the same again: now it is the one made last
            else:
                new.replace(kept)
    except OSError as error:
        message = f"{folder} must be writable, got {error}; set PLACEWISE_MODELS to a folder that is"
        raise ModelError(message) from error
    return kept / _GRAPH


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """NNCF without its telemetry, and without its log and progress bars on standard output.

    Importing it installs a logger class and a handler for everybody; what was there before is put back.

    Raises:
        ModelError: if it is not installed.
    """
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        without_telemetry(),
        _logging_put_back("nncf"),
    ):
        warnings.simplefilter("ignore")  # of whatever NNCF imports
        import openvino  # noqa: F401  # NNCF imports it with its own telemetry otherwise

        try:
            import nncf
        except ImportError as error:
            message = f"int8 must have NNCF installed, got {error}; type pip install 'placewise[int8]'"
            raise ModelError(message) from error
        logging.getLogger("nncf").setLevel(logging.CRITICAL)
        yield nncf


@contextlib.contextmanager
def _logging_put_back(name: str) -> Iterator[None]:
    """Undo what happens to the logger class and to one logger."""
    logger_class = logging.getLoggerClass()
    before: tuple[list[logging.Handler], int, bool] = ([], logging.NOTSET, True)
    if name in sys.modules:
        logger = logging.getLogger(name)
        before = (logger.handlers[:], logger.level, logger.propagate)
    try:
        yield
    finally:
        logging.setLoggerClass(logger_class)
        logger = logging.getLogger(name)
        logger.handlers[:], level, logger.propagate = before
        logger.setLevel(level)
