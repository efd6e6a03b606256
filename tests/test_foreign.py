"""Somebody else's ONNX graph: embeddings against NumPy, and everything that is refused."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.conftest import textured_source

from placewise.core import InputRule, ModelCard
from placewise.errors import CardError, CheckpointError, ModelError, OptionError, WeightsMissingError
from placewise.fitting import fit_model, vocabulary_of
from placewise.models import load_model, load_model_of, vlad
from placewise.models.foreign import OPSETS, wrap_graph
from placewise.models.onnx_files import graph_sha256

if TYPE_CHECKING:
    from types import ModuleType

SIDE = 16
RULE = InputRule(20, SIDE, "bicubic", mean=(120.0, 110.0, 100.0), std=(60.0, 55.0, 50.0))
FILTERS = np.random.default_rng(5).normal(0, 0.3, (7, 3, 4, 4)).astype(np.float32)
"""Seven features of 4 x 4 pixel patches: what all graphs of these tests compute."""

CARD = ModelCard(
    name="theirs",
    architecture="onnx",
    dim=7,
    input=RULE,
    pooling="none",
    weights_file="theirs.onnx",
    source="/tests/theirs.onnx",
    licence="Apache-2.0",
    size_bytes=None,
)


@pytest.fixture
def onnx() -> ModuleType:
    """The library that writes the graphs."""
    module: ModuleType = pytest.importorskip("onnx")
    return module


Graph = Callable[..., Any]


@pytest.fixture
def patches(onnx: ModuleType) -> Graph:
    """A function that makes a graph of patch features: ``form`` says how its output ``features`` looks."""

    def make(
        form: str,
        *,
        opset: int = 17,
        half: bool = False,
        side: int | str = SIDE,
        images: str = "pixel_values",
        features: str = "features",
    ) -> Any:
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
        filters = FILTERS.astype(np.float16) if half else FILTERS
        weights = [onnx.numpy_helper.from_array(filters, "filters")]
        nodes = [helper.make_node("Conv", [images, "filters"], ["map"], strides=[4, 4])]
        shape: list[Any] = ["N", 7, "h", "w"]
        if form == "map":
            nodes.append(helper.make_node("Identity", ["map"], [features]))
        elif form == "tokens":
            weights.append(onnx.numpy_helper.from_array(np.array([0, 7, -1]), "flat"))
            nodes.append(helper.make_node("Reshape", ["map", "flat"], ["columns"]))
            nodes.append(helper.make_node("Transpose", ["columns"], [features], perm=[0, 2, 1]))
            shape = ["N", "T", 7]
        else:
            nodes.append(helper.make_node("GlobalMaxPool", ["map"], ["largest"]))
            nodes.append(helper.make_node("Flatten", ["largest"], [features], axis=1))
            shape = ["N", 7]
        graph = helper.make_graph(
            nodes,
            "theirs",
            [helper.make_tensor_value_info(images, kind, ["N", 3, side, side])],
            [helper.make_tensor_value_info(features, kind, shape)],
            weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    return make


def expected(images: NDArray[np.uint8], pooling: str) -> NDArray[np.float64]:
    """The embeddings of the patch features, from their definition."""
    x = (images.astype(np.float64) - RULE.mean) / RULE.std
    count, height, width, _ = x.shape
    blocks = x.reshape(count, height // 4, 4, width // 4, 4, 3)
    maps = np.einsum("nyaxbc,fcab->nfyx", blocks, FILTERS.astype(np.float64))
    columns = maps.reshape(count, 7, -1)
    pooled = {"none": columns.max(-1), "class-token": columns[:, :, 0]}.get(pooling, columns.mean(-1))
    return np.asarray(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))


def pictures(height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """Three images of noise."""
    return np.random.default_rng(1).integers(0, 255, (3, height, width, 3), np.uint8)


def run(graph: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed images with OpenVINO in float32."""
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.compile_model(core.read_model(model=graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(model({"images": images})["embeddings"])


def save(model: Any, folder: Path) -> Path:
    """A graph as a file."""
    path = folder / "theirs.onnx"
    path.write_bytes(model.SerializeToString())
    return path


# Embeddings


POOLINGS = [("vectors", "none"), ("tokens", "class-token"), ("tokens", "mean-token"), ("map", "average")]


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize(("form", "pooling"), POOLINGS)
def test_every_pooling_in_every_opset(patches: Graph, form: str, pooling: str, opset: int, tmp_path: Path) -> None:
    """Each pooling gives the vector of its definition, whichever opset the graph was exported with."""
    path = save(patches(form, opset=opset), tmp_path)

    embeddings = run(wrap_graph(path, dataclasses.replace(CARD, pooling=pooling)), pictures())

    np.testing.assert_allclose(embeddings, expected(pictures(), pooling), atol=1e-5)


def test_half_precision_comes_out_in_float32(patches: Graph, tmp_path: Path) -> None:
    """A float16 graph gets float16 pixels, and its features become float32 before they are normalised."""
    path = save(patches("map", half=True), tmp_path)

    embeddings = run(wrap_graph(path, dataclasses.replace(CARD, pooling="average")), pictures())

    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected(pictures(), "average"), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_whole_images(patches: Graph, tmp_path: Path) -> None:
    """Without a crop the wrapped graph takes any size that theirs takes."""
    card = dataclasses.replace(CARD, pooling="mean-token", input=dataclasses.replace(RULE, crop=None))
    graph = wrap_graph(save(patches("tokens", side="side"), tmp_path), card)

    for size in ((16, 16), (20, 36)):
        images = pictures(*size)
        np.testing.assert_allclose(run(graph, images), expected(images, "mean-token"), atol=1e-5)


def test_our_names_in_their_graph_do_no_harm(patches: Graph, tmp_path: Path) -> None:
    """A graph whose input is called images and whose output embeddings is as good as any."""
    path = save(patches("vectors", images="images", features="embeddings"), tmp_path)

    np.testing.assert_allclose(run(wrap_graph(path, CARD), pictures()), expected(pictures(), "none"), atol=1e-5)


def test_only_what_the_output_needs_remains(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """Of a graph with a second input and output, the half that the named output depends on is taken."""
    model = patches("vectors")
    helper = onnx.helper
    model.graph.input.append(helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["N", 9]))
    model.graph.node.append(helper.make_node("Cast", ["input_ids"], ["text"], to=1))
    model.graph.output.insert(0, helper.make_tensor_value_info("text", onnx.TensorProto.FLOAT, ["N", 9]))
    card = dataclasses.replace(CARD, graph_output="features")

    graph = wrap_graph(save(model, tmp_path), card)

    assert [value.name for value in onnx.load_from_string(graph).graph.input] == ["images"]
    np.testing.assert_allclose(run(graph, pictures()), expected(pictures(), "none"), atol=1e-5)


def test_what_a_branch_reads_remains(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """Constants and values that only the subgraph of a branch uses are not cut off, even under our names."""
    model, helper = patches("vectors", features="embeddings"), onnx.helper
    inner = helper.make_graph(
        [helper.make_node("Mul", ["embeddings", "images"], ["scaled"])],
        "branch",
        [],
        [helper.make_tensor_value_info("scaled", 1, ["N", 7])],
    )
    model.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array(value), name)
            for name, value in (("images", np.float32(-2)), ("so", True))
        ]
    )
    model.graph.node.append(
        helper.make_node("If", ["so"], ["chosen"], then_branch=inner, else_branch=copy.deepcopy(inner))
    )
    model.graph.output[0].name = "chosen"

    graph = wrap_graph(save(model, tmp_path), CARD)

    np.testing.assert_allclose(run(graph, pictures()), -expected(pictures(), "none"), atol=1e-5)


def test_constants_among_the_inputs_are_no_inputs(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """Old exporters list the weights among the inputs; the image is still the only one that is asked for."""
    model = patches("vectors")
    model.graph.input.append(onnx.helper.make_tensor_value_info("filters", 1, FILTERS.shape))

    graph = wrap_graph(save(model, tmp_path), CARD)

    np.testing.assert_allclose(run(graph, pictures()), expected(pictures(), "none"), atol=1e-5)


@pytest.mark.parametrize(("form", "pooling"), POOLINGS)
def test_old_formats_embed(onnx: ModuleType, patches: Graph, form: str, pooling: str, tmp_path: Path) -> None:
    """A graph of version 3 of the format, which lists all its constants among the inputs, embeds as any other."""
    model = patches(form, opset=11)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    onnx.checker.check_model(model)

    graph = wrap_graph(save(model, tmp_path), dataclasses.replace(CARD, pooling=pooling))

    np.testing.assert_allclose(run(graph, pictures()), expected(pictures(), pooling), atol=1e-5)


# Tensors outside the file


def save_apart(onnx: ModuleType, model: Any, folder: Path) -> Path:
    """A graph whose tensors are in a file beside it."""
    path = folder / "theirs.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="theirs.onnx_data", size_threshold=0)
    return path


def test_tensors_beside_the_file_are_read(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """A graph with external data embeds as the whole one does."""
    path = save_apart(onnx, patches("vectors"), tmp_path)

    np.testing.assert_allclose(run(wrap_graph(path, CARD), pictures()), expected(pictures(), "none"), atol=1e-5)


def test_tensors_beside_the_file_are_part_of_the_digest(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """Another number in the external data is another model, though the .onnx file is the same."""
    path = save_apart(onnx, patches("vectors"), tmp_path)
    before, data = graph_sha256(path), tmp_path / "theirs.onnx_data"
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)

    assert graph_sha256(path) != before


@pytest.mark.parametrize("location", ["../theirs.onnx_data", "gone.onnx_data", "/etc/passwd", ""])
def test_tensors_elsewhere_are_refused(onnx: ModuleType, patches: Graph, location: str, tmp_path: Path) -> None:
    """A graph reads no file outside its folder, and one whose data is missing says so."""
    (tmp_path / "inner").mkdir()
    path = save_apart(onnx, patches("vectors"), tmp_path / "inner")
    (tmp_path / "theirs.onnx_data").write_bytes((path.parent / "theirs.onnx_data").read_bytes())
    model = onnx.load_model(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())

    for read in (graph_sha256, lambda path: wrap_graph(path, CARD)):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert str(caught.value) == (
            f"{path} must be a whole ONNX file, got tensors in {location!r}, which is no file beside it; get it again"
        )


def test_no_encoding_hides_tensors_from_the_digest(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """A file that writes the length of a key in two bytes instead of one has its tensors in the digest too."""
    path = save_apart(onnx, patches("vectors"), tmp_path)
    model = onnx.load_model(path, load_external_data=False)
    entries = [entry for entry in model.graph.initializer[0].external_data if entry.key == "location"]
    entries[0].value = entries[0].value.ljust(40, "x")
    (tmp_path / "theirs.onnx_data").rename(tmp_path / entries[0].value)
    plain = model.SerializeToString()
    # The byte more is taken from the value: every length around them stays.
    key, value = b"\n\x08location", entries[0].value.encode()
    hidden = plain.replace(key + b"\x12\x28" + value, b"\n\x88\x00location\x12\x27" + value[:-1])
    assert hidden != plain
    (tmp_path / entries[0].value).rename(tmp_path / entries[0].value[:-1])
    path.write_bytes(hidden)
    wrap_graph(path, CARD)
    before, data = graph_sha256(path), tmp_path / entries[0].value[:-1]
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)

    assert graph_sha256(path) != before


def test_links_are_not_followed(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """Tensors behind a link, as the caches of hubs keep them, are refused with the way out of it."""
    folder = tmp_path / "snapshot"
    folder.mkdir()
    path = save_apart(onnx, patches("vectors"), folder)
    data = folder / "theirs.onnx_data"
    data.rename(tmp_path / "blob")
    data.symlink_to(tmp_path / "blob")

    for read in (graph_sha256, lambda path: wrap_graph(path, CARD)):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert str(caught.value) == (
            f"{path} must have its tensors in files beside it, got theirs.onnx_data, a link, and links are not "
            "followed; copy the files into one folder"
        )


# What is refused


def refused(path: Path, card: ModelCard = CARD) -> str:
    """The line that a graph or its card is refused with."""
    with pytest.raises(ModelError) as caught:
        wrap_graph(path, card)
    return str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Neither an empty file, nor one of text, nor a checkpoint is a graph."""
    path = tmp_path / "theirs.onnx"
    for content in (b"", b"no graph at all\n", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        message = refused(path)
        assert message.startswith(f"{path} must be ")
        assert len(message.splitlines()) == 1
    with pytest.raises(CheckpointError, match="must be a whole ONNX file, got No such file"):
        graph_sha256(tmp_path / "gone.onnx")


@pytest.mark.parametrize("opset", [OPSETS[0] - 1, OPSETS[-1] + 1])
def test_other_opsets_are_refused(patches: Graph, opset: int, tmp_path: Path) -> None:
    """An opset whose operators we do not know is refused by number."""
    path = save(patches("vectors", opset=opset), tmp_path)

    assert refused(path) == f"{path} must be of opset 11 to 21, got {opset}; export it again"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"graph_output": "pooler"}, "output of card theirs must be one of the graph's, features, got 'pooler'"),
        ({"graph_input": "x"}, "input.name of card theirs must be pixel_values, got 'x'"),
        ({"dim": 8}, "the output features must be (any, 8) for pooling none, got (any, 7); correct dim, pooling or"),
        ({"pooling": "average"}, "must be (any, 7, any, any) for pooling average, got (any, 7); correct dim"),
        ({"pooling": "class-token"}, "must be (any, any, 7) for pooling class-token, got (any, 7); correct dim"),
        (
            {"input": dataclasses.replace(RULE, crop=12)},
            "must be (any, 3, 12, 12) as the card says, got (any, 3, 16, 16)",
        ),
        (
            {"input": dataclasses.replace(RULE, crop=None)},
            "must be (any, 3, any, any) as the card says, got (any, 3, 16",
        ),
    ],
)
def test_cards_of_another_graph_are_refused(patches: Graph, change: dict[str, Any], words: str, tmp_path: Path) -> None:
    """A card that does not describe this graph is refused with what the graph has."""
    path = save(patches("vectors"), tmp_path)

    with pytest.raises(CardError) as caught:
        wrap_graph(path, dataclasses.replace(CARD, **change))
    assert words in str(caught.value)


def test_graphs_of_other_inputs_are_refused(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """Channels last, whole numbers, a second input that the output needs, or none at all: one line each."""
    last, whole, two, none = (patches("vectors") for _ in range(4))
    last.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 16
    whole.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    two.graph.input.append(onnx.helper.make_tensor_value_info("text", 1, ["N", 7]))
    two.graph.node.append(onnx.helper.make_node("Add", ["features", "text"], ["both"]))
    two.graph.output[0].name = "both"
    none.graph.node.append(onnx.helper.make_node("Identity", ["filters"], ["fixed"]))
    none.graph.output[0].name = "fixed"
    cases = (
        (last, "got (any, 16, 16, 16); correct resize and crop, or export the graph with channels first"),
        (whole, "must be float32 or float16, got type 2 of ONNX"),
        (two, "must depend on one input, the image, got pixel_values, text; name another output"),
        (none, "must depend on one input, the image, got none; name another output"),
    )
    for model, words in cases:
        assert words in refused(save(model, tmp_path))


def test_a_graph_without_output_is_refused(patches: Graph, tmp_path: Path) -> None:
    """There is nothing to embed with."""
    model = patches("vectors")
    del model.graph.output[:]
    path = save(model, tmp_path)

    assert refused(path) == f"{path} must be an ONNX graph with an output, got none; get it again"


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("crop", [SIDE, None])
@pytest.mark.parametrize("dim", [1, 6, 8])
@pytest.mark.parametrize(("form", "pooling"), POOLINGS)
def test_an_undeclared_dimension_is_refused_when_it_shows(  # noqa: PLR0913, PLR0917  # pytest calls by name
    patches: Graph,
    form: str,
    pooling: str,
    dim: int,
    crop: int | None,
    follows: bool,  # noqa: FBT001  # likewise
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A graph that does not say how long its vectors are never gives vectors of another length than its card says.

    Where the length follows from the other shapes it is the card that is refused, before anything runs.
    """
    monkeypatch.setenv("PLACEWISE_CACHE", str(tmp_path / "cache"))
    if not follows:
        monkeypatch.setattr("onnx.shape_inference.infer_shapes", lambda _: None)
    model = patches(form, side="side" if crop is None else crop)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path = save(model, tmp_path)
    write_card(path, dim=dim, pooling=pooling, crop=crop)

    with pytest.raises(CardError if follows else ModelError, match=f"(got {dim}; correct it|got 7; correct dim on)"):
        load_model(str(path)).embed([pictures(40, 40)[0]])


def test_an_undeclared_axis_does_not_escape_the_norm(onnx: ModuleType, patches: Graph, tmp_path: Path) -> None:
    """One vector an image in an axis of its own, which the graph does not declare, is still made of unit length."""
    model = patches("vectors")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1, 7]), "shape"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["features", "shape"], ["wrapped"]))
    model.graph.output[0].name = "wrapped"
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(CardError):  # without a shape there is nothing to hold the card against but the width
        wrap_graph(save(model, tmp_path), dataclasses.replace(CARD, dim=8))

    np.testing.assert_allclose(
        run(wrap_graph(save(model, tmp_path), CARD), pictures()), expected(pictures(), "none"), atol=1e-5
    )


# From a file to a model


def write_card(path: Path, *, dim: int = 7, pooling: str = "none", crop: int | None = SIDE) -> None:
    """A card beside a graph."""
    path.with_suffix(".toml").write_text(
        f"""
        name = "theirs"
        dim = {dim}
        licence = "Apache-2.0"
        pooling = "{pooling}"
        [input]
        resize = 20
        {"" if crop is None else f"crop = {crop}"}
        interpolation = "bicubic"
        mean = {list(RULE.mean)}
        std = {list(RULE.std)}
        """,
        encoding="utf-8",
    )


@pytest.fixture
def theirs(patches: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A graph with its card in a folder of its own, and caches beside it."""
    monkeypatch.setenv("PLACEWISE_CACHE", str(tmp_path / "cache"))
    path = save(patches("map"), tmp_path)
    write_card(path, pooling="average")
    return path


def test_a_path_is_a_model(theirs: Path) -> None:
    """A file with a card embeds like a model of the table, the second time from the kept graph."""
    first = load_model(str(theirs), precision="float32")
    second = load_model(str(theirs), precision="float32")

    assert first.card.name == "theirs"
    assert first.card.source == str(theirs.resolve())
    assert load_model_of(first.card).card.fingerprint == first.card.fingerprint
    images = list(pictures(20, 20))
    prepared = np.stack([first.prepare(image) for image in images])
    np.testing.assert_allclose(first.embed(images), expected(prepared, "average"), atol=1e-5)
    np.testing.assert_array_equal(first.embed(images), second.embed(images))
    assert len(list((theirs.parent / "cache" / "graphs").iterdir())) == 1


def test_a_path_is_half_a_model(theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is fused like a name, is found again where it was, and by its new path where it has moved."""
    monkeypatch.setattr(vlad, "_DESCRIPTORS", 5000)
    made = fit_model(load_model(f"vlad+{theirs}"), textured_source(tmp_path / "photos", range(4)))
    vocabulary = vocabulary_of(made)

    assert (made.card.name, made.card.dim) == ("theirs+vlad", 1031)
    assert load_model_of(made.card, vocabulary=vocabulary).card == made.card
    moved = theirs.rename(theirs.with_name("moved.onnx"))
    theirs.with_suffix(".toml").rename(moved.with_suffix(".toml"))
    with pytest.raises(WeightsMissingError, match=r"^model must be an \.onnx file that is there, got none at "):
        load_model_of(made.card, vocabulary=vocabulary)
    found = load_model_of(made.card, name=f"vlad+{moved}", vocabulary=vocabulary)
    assert found.card.fingerprint == made.card.fingerprint


def test_other_bytes_are_another_model(theirs: Path, patches: Graph) -> None:
    """The fingerprint follows the bytes of the graph and what the card says of it, not its name."""
    before = load_model(str(theirs)).card.fingerprint
    moved = theirs.rename(theirs.with_name("moved.onnx"))
    theirs.with_suffix(".toml").rename(moved.with_suffix(".toml"))
    assert load_model(str(moved)).card.fingerprint == before

    changed = patches("map")
    changed.producer_name = "another"
    moved.write_bytes(changed.SerializeToString())

    assert load_model(str(moved)).card.fingerprint != before


def test_files_that_are_not_there_are_one_line(theirs: Path) -> None:
    """A graph that has gone, a card that is missing, and weights for what has them inside are refused."""
    with pytest.raises(OptionError, match=r"^weights must be left out where the model is a file, got w\.pth for "):
        load_model(str(theirs), weights="w.pth")
    theirs.with_suffix(".toml").unlink()
    with pytest.raises(
        CardError, match=r"^an \.onnx file must have a card beside it, got no .*theirs\.toml; write one"
    ):
        load_model(str(theirs))
    theirs.unlink()
    with pytest.raises(WeightsMissingError) as caught:
        load_model(str(theirs))
    assert str(caught.value) == (
        f"model must be an .onnx file that is there, got none at {theirs}; put it back or name it with --model"
    )


# Damage


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_graphs_never_crash(data: st.DataObject) -> None:
    """Whatever single bytes of a graph are changed or cut off, wrapping ends in a graph or in one line."""
    whole = _damageable()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.one_of(
            st.just(whole[:place]),
            st.integers(0, 255).map(lambda byte: whole[:place] + bytes([byte]) + whole[place + 1 :]),
            st.binary(max_size=9).map(lambda extra: whole[:place] + extra + whole[place:]),
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs.onnx"
        path.write_bytes(damaged)
        assert len(outcome(path).splitlines()) == 1


def outcome(path: Path) -> str:
    """What came of a graph: the line that it was refused with, or the size of what was made of it."""
    try:
        graph_sha256(path)
        return f"{len(wrap_graph(path, CARD))} bytes"
    except ModelError as error:
        return str(error)


def _damageable() -> bytes:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    small = onnx.numpy_helper.from_array(FILTERS[:, :, :1, :1], "filters")
    nodes = [
        helper.make_node("Conv", ["pixels", "filters"], ["map"]),
        helper.make_node("GlobalMaxPool", ["map"], ["largest"]),
        helper.make_node("Flatten", ["largest"], ["features"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", 1, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", 1, ["N", 7])],
        [small],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised
