"""One conformance suite for everything that runs graphs, judged against the graph's own arithmetic."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from placewise.core import Embedder, InputRule, ModelCard
from placewise.errors import ModelError, OptionError
from placewise.models import engine, find_card
from placewise.models.cards import installed_weights
from placewise.models.checkpoint import read_checkpoint
from placewise.models.graphs import build_graph

CARD = find_card("efficientnet-lite0")


@pytest.fixture(scope="module")
def graph() -> bytes:
    """The default model's graph."""
    weights = installed_weights(CARD)
    assert weights is not None
    return build_graph(CARD.architecture, read_checkpoint(weights), CARD.input)


def openvino(card: ModelCard, graph: bytes) -> engine.Runtime:
    """OpenVINO in float32."""
    return engine.OpenVino(card, graph, precision="float32", compile_cache=None)


def onnx_runtime(card: ModelCard, graph: bytes) -> engine.Runtime:
    """The class that serves CUDA devices, on the processor."""
    pytest.importorskip("onnxruntime")
    return engine.OnnxRuntime(card, graph, precision="float32", providers=("CPUExecutionProvider",))


RUNTIMES: dict[str, Callable[[ModelCard, bytes], engine.Runtime]] = {
    "openvino": openvino,
    "onnxruntime": onnx_runtime,
}


@pytest.fixture(scope="module", params=RUNTIMES)
def model(request: pytest.FixtureRequest, graph: bytes) -> Embedder:
    """The default model on each runtime."""
    return engine.GraphEmbedder(CARD, RUNTIMES[request.param](CARD, graph), decode="full")


def pictures(count: int) -> list[np.ndarray]:
    """Inputs that differ clearly."""
    rng = np.random.default_rng(0)
    return [
        np.kron(rng.integers(0, 255, (7, 7, 3), dtype=np.uint8), np.ones((32, 32, 1), np.uint8)) for _ in range(count)
    ]


def test_runtimes_agree(model: Embedder, graph: bytes) -> None:
    """Every runtime gives the same embeddings to 1e-4, of different images clearly different ones."""
    inputs = pictures(5)
    judge = engine.GraphEmbedder(CARD, openvino(CARD, graph), decode="full")

    embeddings = model.infer(inputs)

    np.testing.assert_allclose(embeddings, judge.infer(inputs), atol=1e-4)
    assert np.min(np.linalg.norm(embeddings[1:] - embeddings[:-1], axis=1)) > 0.1


def test_rows_are_unit_and_in_order_and_independent(model: Embedder) -> None:
    """Forty inputs, more than a batch: each row is that of the input alone, of unit length."""
    inputs = pictures(40)

    together = model.infer(inputs)

    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row in (0, 31, 32, 39):
        np.testing.assert_array_equal(model.infer([inputs[row]])[0], together[row])


def test_nothing_gives_no_rows(model: Embedder) -> None:
    """An empty list is no error and no special case."""
    assert model.infer([]).shape == (0, CARD.dim)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_free_sizes_go_together(runtime: str) -> None:
    """A graph that takes whole images of any size embeds a mixture of sizes in order."""
    rule = InputRule(64, None, "bilinear", mean=(0.0,) * 3, std=(255.0,) * 3)
    card = dataclasses.replace(CARD, architecture="colours", dim=3, input=rule)
    model = engine.GraphEmbedder(card, RUNTIMES[runtime](card, mean_colour_graph()), decode="full")
    colours = np.random.default_rng(0).integers(1, 255, (6, 3))
    images = [
        np.broadcast_to(colour.astype(np.uint8), (64 + 16 * (number % 3), 64, 3))
        for number, colour in enumerate(colours)
    ]

    expected = colours / np.linalg.norm(colours, axis=1, keepdims=True)

    np.testing.assert_allclose(model.embed(images), expected, atol=1e-3)


def mean_colour_graph() -> bytes:
    """``images`` (N, H, W, 3) uint8 → the normalised mean colour."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["channels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("ReduceL2", ["flat"], ["norm"], axes=[1], keepdims=1),
        helper.make_node("Div", ["flat", "norm"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_broken_graph_is_one_line(runtime: str) -> None:
    """What is no graph is refused with the model's name."""
    with pytest.raises(ModelError, match=r"^the graph of efficientnet-lite0 must load on this machine, got .+; pull"):
        RUNTIMES[runtime](CARD, b"no graph")


def test_a_cuda_device_that_is_not_there_is_one_line(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for cuda without one is refused with what to do; auto takes the processor."""
    monkeypatch.setattr(engine, "_cuda_is_there", lambda: False)

    with pytest.raises(
        OptionError, match=r"^device cuda must have a CUDA device .*; type pip install 'placewise\[cuda\]"
    ):
        engine.make_runtime(CARD, graph, precision="auto", device="cuda", compile_cache=None)
    runtime = engine.make_runtime(CARD, graph, precision="float32", device="auto", compile_cache=None)
    assert isinstance(runtime, engine.OpenVino)


def test_a_damaged_graph_in_the_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept graph that was cut off is replaced from the weights, without a word from the user."""
    from placewise.models import load_model

    monkeypatch.setenv("PLACEWISE_CACHE", str(tmp_path))
    load_model()
    (kept,) = (tmp_path / "graphs").glob("*.onnx")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:5000])
    for compiled in (tmp_path / "compiled").iterdir():
        compiled.unlink()

    model = load_model()

    assert kept.read_bytes() == whole
    assert model.embed([np.zeros((64, 64, 3), np.uint8)]).shape == (1, CARD.dim)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_a_graph_of_another_width_than_its_card_says_is_refused(runtime: str, dim: int) -> None:
    """A wrong dim is found when the graph is loaded or at the first image, and never cut, repeated or padded."""
    rule = InputRule(64, None, "bilinear", mean=(0.0,) * 3, std=(255.0,) * 3)
    card = dataclasses.replace(CARD, architecture="colours", dim=dim, input=rule)

    with pytest.raises(ModelError, match=rf"^model efficientnet-lite0 must give embeddings of {dim} values, got 3; "):
        RUNTIMES[runtime](card, mean_colour_graph()).run([np.ones((64, 64, 3), np.uint8)])


def test_a_provider_that_does_not_work_is_not_believed(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ONNX Runtime silently goes on with the processor, auto takes OpenVINO and cuda is refused."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(engine, "_cuda_is_there", lambda: True)
    monkeypatch.setattr(warnings, "warn", lambda *_, **__: None)  # ONNX Runtime's own, on the missing provider

    runtime = engine.make_runtime(CARD, graph, precision="float32", device="auto", compile_cache=None)
    assert isinstance(runtime, engine.OpenVino)
    with pytest.raises(OptionError, match=r"^device cuda must have a CUDA device .*CUDAExecutionProvider must work"):
        engine.make_runtime(CARD, graph, precision="float32", device="cuda", compile_cache=None)


def test_threads_import_the_engine_at_once() -> None:
    """Three threads of a fresh process that load a model at the same time all get one."""
    script = """
        import threading
        import placewise
        models = []
        threads = [threading.Thread(target=lambda: models.append(placewise.load_model())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(models) == 3
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert not done.stderr
