"""Int8: made from gallery photos alone, measured on others, kept whole or not at all, and quietly."""

from __future__ import annotations

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
from placewise.errors import ModelError, OptionError, SourceError
from placewise.models import int8

RULE = InputRule(32, 32, "bilinear", mean=(127.0,) * 3, std=(128.0,) * 3)
CARD = ModelCard("small", "onnx", 8, RULE, "average", "", "tests", "Apache-2.0", 0)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a test makes stays with it."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path / "models"))


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


@pytest.mark.usefixtures("nncf_installed")
def test_the_same_photos_make_the_same_model(tmp_path: Path) -> None:
    """Two graphs made from the same inputs embed the same, near the float graph, with rows of unit length."""
    inputs, held_out = pictures(12)[:9], pictures(12)[9:]
    first, second = (tmp_path / name / "graph.xml" for name in ("first", "second"))
    for target in (first, second):
        int8.quantise_graph(CARD, small_graph(), inputs, target)
    rows, again, exact = (embeddings(graph, held_out) for graph in (first, second, small_graph()))

    assert (rows * again).sum(axis=1).min() > 0.9999
    assert 0.99 < (rows * exact).sum(axis=1).min() < 1 - 1e-7  # 8 bits are close, and are not float
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("nncf_installed")
def test_an_interrupted_run_leaves_no_half_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stopped while its files are written, it leaves the model that was there before, and nothing else."""
    import openvino as ov

    target = tmp_path / "int8" / "fingerprint" / "graph.xml"
    int8.quantise_graph(CARD, small_graph(), pictures(3), target)
    before = int8.int8_sha256(target)

    def stop(_model: object, path: Path, **_options: object) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(ov, "save_model", stop)
    with pytest.raises(KeyboardInterrupt):
        int8.quantise_graph(CARD, small_graph(), pictures(5), target)
    with pytest.raises(KeyboardInterrupt):
        int8.quantise_graph(CARD, small_graph(), pictures(5), tmp_path / "int8" / "other" / "graph.xml")

    assert int8.int8_sha256(target) == before
    assert [path.name for path in (tmp_path / "int8").iterdir()] == ["fingerprint"]


@pytest.mark.usefixtures("nncf_installed")
def test_a_new_model_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """Made again from other photos, the graph is another one, and so is its digest."""
    target = tmp_path / "int8" / "fingerprint" / "graph.xml"
    digests = set()
    for count in (3, 6):
        int8.quantise_graph(CARD, small_graph(), pictures(count), target)
        digests.add(int8.int8_sha256(target))

    assert len(digests) == 2
    assert {path.name for path in target.parent.iterdir()} == {"graph.xml", "graph.bin"}


@pytest.mark.usefixtures("nncf_installed")
def test_quantising_leaves_logging_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the class of new loggers nor NNCF's handlers outlive the run, and nothing is printed."""
    int8.quantise_graph(CARD, small_graph(), pictures(3), tmp_path / "int8" / "graph.xml")

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


def test_without_nncf_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The exact command, and no file."""
    monkeypatch.setitem(sys.modules, "nncf", None)

    with pytest.raises(
        ModelError, match=r"^int8 must have NNCF installed, got .*; type pip install 'placewise\[int8\]'$"
    ):
        int8.quantise_graph(CARD, small_graph(), pictures(3), tmp_path / "int8" / "graph.xml")
    assert not (tmp_path / "int8").exists()


def test_a_missing_graph_is_one_line(tmp_path: Path) -> None:
    """Where an 8-bit graph cannot be read, the line names the command that makes it."""
    with pytest.raises(
        ModelError, match=r"^the 8-bit graph must be readable, .*'placewise models quantise' to make it"
    ):
        int8.int8_sha256(tmp_path / "graph.xml")
