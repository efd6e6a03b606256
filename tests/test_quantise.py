"""Int8: made from gallery photos alone, measured on others, kept whole or not at all, and quietly."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise import quantise
from placewise.core import InputRule, ModelCard, Photo, Source
from placewise.errors import ModelError, ModelMismatchError, OptionError, SourceError, WeightsMissingError
from placewise.fitting import model_for
from placewise.gallery_file import GalleryFile
from placewise.indexing import index_source
from placewise.locate import Locator
from placewise.models import int8, load_model, load_model_of
from placewise.sources import read_source

RULE = InputRule(32, 32, "bilinear", mean=(127.0,) * 3, std=(128.0,) * 3)
CARD = ModelCard("small", "onnx", 8, RULE, "average", "", "tests", "Apache-2.0", 0)


@pytest.fixture
def nncf_installed() -> None:
    """Skips visibly where the extra is not installed; does not import it, which the code must do by itself."""
    from importlib.util import find_spec

    if find_spec("nncf") is None:
        pytest.skip("NNCF is not installed")


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """Smooth coloured noise, ``(32, 32, 3)`` uint8, another for each number."""
    random = np.random.default_rng(5)
    coarse = random.integers(0, 255, (count, 8, 8, 3)).astype(np.uint8)
    return list(coarse.repeat(4, axis=1).repeat(4, axis=2))


def small_graph() -> bytes:
    """Two convolutions, average pooling and unit length, as `placewise.models.graphs` would write them."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(1)
    weights = {
        "mean": np.full((1, 3, 1, 1), 127.0),
        "std": np.full((1, 3, 1, 1), 128.0),
        "first": random.normal(0, 0.3, (8, 3, 3, 3)),
        "second": random.normal(0, 0.3, (8, 8, 3, 3)),
        "least": np.array(1e-12),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=1),
        helper.make_node("Transpose", ["pixels"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["channels", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "first"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("ReduceL2", ["f"], ["norm"], axes=[1]),
        helper.make_node("Max", ["norm", "least"], ["divisor"]),
        helper.make_node("Div", ["f", "divisor"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def embeddings(graph: Path | bytes, inputs: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Run a graph in float32, one input at a time."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(graph)
    model.reshape([1, 32, 32, 3])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(item[np.newaxis])[0].copy() for item in inputs])


@pytest.fixture(autouse=True)
def models_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Graphs of a test stay with the test."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.mark.usefixtures("nncf_installed")
def test_the_same_photos_make_the_same_model() -> None:
    """Two graphs made from the same inputs embed the same, near the float graph, with rows of unit length."""
    inputs, held_out = pictures(12)[:9], pictures(12)[9:]
    first, second = (int8.quantise_graph(CARD, small_graph(), inputs) for _ in range(2))
    rows, again, exact = (embeddings(graph, held_out) for graph in (first, second, small_graph()))

    assert (rows * again).sum(axis=1).min() > 0.9999
    assert 0.99 < (rows * exact).sum(axis=1).min() < 1 - 1e-7  # 8 bits are close, and are not float
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("nncf_installed")
def test_an_interrupted_run_leaves_no_half_model(monkeypatch: pytest.MonkeyPatch, models_folder: Path) -> None:
    """Stopped while its files are written, it leaves the graph that was there before, and nothing else."""
    import openvino as ov

    graph = int8.quantise_graph(CARD, small_graph(), pictures(3))
    before = sorted(path for path in models_folder.rglob("*") if path.is_file())

    def stop(_model: object, path: Path, **_options: object) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(ov, "save_model", stop)
    with pytest.raises(KeyboardInterrupt):
        int8.quantise_graph(CARD, small_graph(), pictures(5))

    assert sorted(path for path in models_folder.rglob("*") if path.is_file()) == before
    assert int8.find_int8_graph(CARD) == (graph, graph.parent.name)


@pytest.mark.usefixtures("nncf_installed")
def test_a_new_graph_does_not_cost_the_galleries_of_the_old_one() -> None:
    """Made again from other photos, the graph is another one and the default; the old one is found by its digest."""
    first, second = (int8.quantise_graph(CARD, small_graph(), pictures(count)) for count in (3, 6))

    assert first != second
    assert int8.find_int8_graph(CARD) == (second, second.parent.name)
    assert int8.find_int8_graph(CARD, first.parent.name) == (first, first.parent.name)
    assert int8.find_int8_graph(CARD, "0" * 64) is None


@pytest.mark.usefixtures("nncf_installed")
def test_quantising_leaves_logging_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the class of new loggers nor NNCF's handlers outlive the run, and nothing is printed."""
    int8.quantise_graph(CARD, small_graph(), pictures(3))

    logger = logging.getLogger("nncf")
    assert logging.getLoggerClass() is logging.Logger
    assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("nncf_installed")
def test_quantising_opens_no_socket_and_prints_only_its_report(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """The command in a fresh process: no network call, telemetry included; standard output is one JSON document."""
    for view in range(30):
        save_photo(tmp_path / "data" / "gallery" / f"place{view % 3}" / f"{view}.png", place=view % 3, view=view)
    script = f"""
        import sys
        calls = []
        sys.addaudithook(lambda name, _: calls.append(name) if name.startswith(("socket.", "urllib.")) else None)
        from placewise.cli import main
        try:
            main(["models", "quantise", {str(tmp_path / "data")!r}, "--photos", "30", "--json"])
        finally:
            import time
            time.sleep(0.5)  # telemetry would be sent by a thread
            network = [name for name in calls if name != "socket.gethostname"]
            assert "nncf" in sys.modules
            assert "openvino_telemetry" not in sys.modules
            assert not network, network
    """
    folders = {name: str(tmp_path / name.lower()) for name in ("HOME", "PLACEWISE_CACHE", "PLACEWISE_MODELS")}
    environment = folders | {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1] / "src")}

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert not done.stderr
    report = json.loads(done.stdout)
    assert (report["calibrated_on"], report["held_out"]) == (20, 10)
    assert 0.9 < report["cosine"]["least"] <= report["cosine"]["mean"] <= 1
    assert Path(report["graph"]).is_file()
    assert report["model"]["fingerprint"] not in report["graph"]  # a gallery of one is refused to the other
    assert not (tmp_path / "home" / "intel").exists()


def test_held_out_photos_do_not_calibrate() -> None:
    """No input is in both parts, none is lost, and a third of them measures."""
    inputs = [np.full((1, 1, 3), value, np.uint8) for value in range(31)]
    calibration, held_out = ([int(item[0, 0, 0]) for item in part] for part in quantise._split(inputs))

    assert sorted(calibration + held_out) == list(range(31))
    assert len(held_out) == 10


def test_the_sample_is_evenly_spaced_and_always_the_same() -> None:
    """40 of 100 photos: from the first on, none twice, no gap above 3."""
    gallery = [Photo(PurePosixPath(f"{index}.jpg"), "gallery") for index in range(100)]
    chosen = [gallery.index(photo) for photo in quantise._sample(gallery, 40)]

    assert chosen == [gallery.index(photo) for photo in quantise._sample(gallery, 40)]
    assert chosen[0] == 0
    assert len(set(chosen)) == 40
    assert max(np.diff(chosen)) == 3


def test_too_few_photos_are_one_line(tmp_path: Path) -> None:
    """Queries do not count: 29 gallery photos and 100 queries are too few, and so is --photos 29."""
    photos = tuple(Photo(PurePosixPath(f"{index}.jpg"), "gallery" if index < 29 else "query") for index in range(129))
    with pytest.raises(
        SourceError, match=r"^the source must have at least 30 gallery photos to calibrate int8 on, got 29; add more$"
    ):
        quantise.quantise_model(Source(tmp_path, photos), "efficientnet-lite0")
    with pytest.raises(OptionError, match=r"^photos must be at least 30, got 29; type --photos 300$"):
        quantise.quantise_model(Source(tmp_path, photos), "efficientnet-lite0", photos=29)


def test_photos_that_cannot_be_decoded_do_not_count(tmp_path: Path) -> None:
    """Thirty rows whose files are missing are too few, in one line."""
    photos = tuple(Photo(PurePosixPath(f"{index}.jpg"), "gallery") for index in range(30))

    with pytest.raises(SourceError, match=r"at least 30 gallery photos that can be decoded to calibrate .* got 0;"):
        quantise.quantise_model(Source(tmp_path, photos), "efficientnet-lite0")


def test_without_nncf_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, models_folder: Path) -> None:
    """The exact command, and no file."""
    monkeypatch.setitem(sys.modules, "nncf", None)

    with pytest.raises(
        ModelError, match=r"^int8 must have NNCF installed, got .*; type pip install 'placewise\[int8\]'$"
    ):
        int8.quantise_graph(CARD, small_graph(), pictures(3))
    assert not models_folder.exists()


def test_a_missing_graph_is_one_line() -> None:
    """Without an 8-bit graph, precision int8 is refused with the command that makes one."""
    with pytest.raises(WeightsMissingError, match=r"^the 8-bit graph of efficientnet-lite0 must be on this machine, "):
        load_model(precision="int8")


@pytest.mark.usefixtures("nncf_installed")
def test_a_gallery_goes_with_the_graph_that_made_it(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """An int8 gallery is located with its own graph, also after another was made; float embeddings are kept out."""
    for view in range(30):
        save_photo(tmp_path / "data" / f"place{view % 10}" / f"{view}.png", place=view % 10, view=view)
    source = read_source(tmp_path / "data")
    quantise.quantise_model(source, "efficientnet-lite0", photos=30)
    model = load_model(precision="int8")
    with GalleryFile.open_for(tmp_path / "g", model.card) as gallery:
        index_source(source, gallery, model)
    other = dataclasses.replace(source, photos=source.photos[::-1])
    quantise.quantise_model(other, "efficientnet-lite0", photos=30)

    with GalleryFile.open(tmp_path / "g") as gallery:
        again = load_model_of(gallery.card)
        own = model_for(gallery.path).card
        answer = Locator(gallery, again).locate(source.file(source.photos[3]))
        with pytest.raises(ModelMismatchError, match=r"efficientnet-lite0 in int8 \(\w{8}\) with efficientnet-lite0"):
            gallery.check_model(load_model().card)

    assert own == again.card
    assert again.card.quantised == model.card.quantised != load_model(precision="int8").card.quantised
    assert answer.hits[0].photo == source.photos[3]
    assert answer.confidence == pytest.approx(1, abs=1e-5)
