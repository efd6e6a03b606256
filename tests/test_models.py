"""Names → models: cards, weights, the engine against reference embeddings, and silence on the network."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise.core import Embedder, Embeddings
from placewise.errors import CheckpointError, OptionError, WeightsMissingError
from placewise.models import MODELS, digests, find_card, installed_weights, load_model

CANONICAL_FINGERPRINT = "df27829b6be6bc8cd45bb72aba1a7821"
"""Keys every cache and gallery out there: a change makes all of them useless."""

CANONICAL_VALUES = {113: 0.38541, 930: 0.37182, 897: 0.36898, 689: 0.21556, 747: 0.19039, 1006: 0.18758}
"""The six largest components of the embedding of a plain gradient, by position."""


@pytest.fixture(scope="module")
def exact_model() -> Embedder:
    """The default model without shortcuts."""
    return load_model(precision="float32", decode="full")


@pytest.fixture(scope="module")
def reference(photos_root: Path) -> tuple[list[bytes], Embeddings]:
    """The bytes of the 66 reference photos and their independently computed embeddings."""
    with np.load(photos_root.parent / "reference" / "efficientnet-lite0-66.npz") as arrays:
        embeddings = arrays["embeddings"]
        return [(photos_root / "landmarks" / str(path)).read_bytes() for path in arrays["paths"]], embeddings


def cosines(model: Embedder, reference: tuple[list[bytes], Embeddings]) -> NDArray[np.float32]:
    """The cosine of each photo's embedding with its reference."""
    photos, expected = reference
    return np.asarray(np.sum(model.infer([model.read(data) for data in photos]) * expected, axis=1))


def test_the_default_model_agrees_with_an_independent_implementation(
    exact_model: Embedder, reference: tuple[list[bytes], Embeddings]
) -> None:
    """In float32 with full decoding every one of the 66 photos has a cosine of at least 0.9999 to its reference."""
    assert exact_model.variant == "float32-full"
    assert cosines(exact_model, reference).min() >= 0.9999


def test_the_fast_defaults_stay_close(reference: tuple[list[bytes], Embeddings]) -> None:
    """With reduced decoding and the processor's own precision the cosine stays at 0.995 or more."""
    assert cosines(load_model(), reference).min() >= 0.995


def test_reduced_decoding_stays_close_on_large_photos(exact_model: Embedder, photos_root: Path) -> None:
    """Photos of a phone's size, decoded at a reduced scale, keep a cosine of 0.99, and 0.998 on average."""
    fast = load_model(precision="float32")
    photos = [path.read_bytes() for path in sorted((photos_root / "street-gps").glob("*.jpg"))]

    full = exact_model.infer([exact_model.read(data) for data in photos])
    reduced = fast.infer([fast.read(data) for data in photos])

    cosine = np.sum(full * reduced, axis=1)
    assert cosine.min() >= 0.99
    assert cosine.mean() >= 0.998
    assert not np.array_equal(full, reduced)


def test_the_default_models_values_are_pinned(exact_model: Embedder) -> None:
    """A plain gradient gives the recorded values, on every machine and version."""
    ramp = np.linspace(0, 255, 300, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (300, 1)), np.tile(ramp[:, None], (1, 300)), np.full((300, 300), 90, np.uint8)], -1)

    (embedding,) = exact_model.embed([image])

    assert exact_model.card.fingerprint == CANONICAL_FINGERPRINT
    np.testing.assert_allclose(embedding[list(CANONICAL_VALUES)], list(CANONICAL_VALUES.values()), atol=2e-4)


def test_embeddings_are_unit_rows_in_order(exact_model: Embedder) -> None:
    """Rows come in the order of the images, of unit length, and do not depend on what shares their batch."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in ((300, 240), (64, 900), (224, 224))]

    together = exact_model.embed(pictures)
    alone = np.concatenate([exact_model.embed([picture]) for picture in pictures])

    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert exact_model.embed([]).shape == (0, 1280)


def test_threads_share_a_model(exact_model: Embedder) -> None:
    """Four threads that embed at once each get their own images' embeddings."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(4)]
    expected = exact_model.embed(pictures)

    def embed(number: int) -> bool:
        return all(np.array_equal(exact_model.embed([pictures[number]])[0], expected[number]) for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(embed, range(4)))


def test_precision_and_decoding_are_part_of_the_variant_and_not_of_the_fingerprint(exact_model: Embedder) -> None:
    """A gallery made with one precision answers with another; a cache keeps them apart."""
    fast = load_model(precision="float32")

    assert fast.variant == "float32-fast"
    assert fast.card.fingerprint == exact_model.card.fingerprint


def test_every_card_can_be_found_and_is_complete() -> None:
    """Each card is filed under its own name, states licence and source, and its file's name is its own."""
    for name, card in MODELS.items():
        assert find_card(name) is card
        assert card.name == name
        assert card.licence
        assert card.size_bytes is None or card.size_bytes > 1_000_000
        assert card.source.startswith(("https://", "package:", "the gallery"))
        assert len({other.weights_file for other in MODELS.values()}) == len(MODELS)


def test_an_unknown_model_is_one_line() -> None:
    """The line says what a model can be, and which one was probably meant."""
    with pytest.raises(OptionError) as caught:
        load_model("resnet51")
    assert str(caught.value) == (
        "model must be a name that 'placewise models' lists or an .onnx file, got 'resnet51'; did you mean resnet50?"
    )


def test_unknown_options_are_one_line() -> None:
    """A misspelt precision or decode is refused, not silently the default."""
    with pytest.raises(OptionError, match=r"^precision must be one of auto, float32, int8, got 'float16'$"):
        load_model(precision="float16")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(OptionError, match=r"^decode must be one of fast, full, got 'quick'$"):
        load_model(decode="quick")  # type: ignore[arg-type]  # likewise


def test_absent_weights_are_one_line_that_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without its weights resnet50 is refused with the command that brings them; nothing is downloaded."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path))

    with pytest.raises(WeightsMissingError) as caught:
        load_model("resnet50")
    assert str(caught.value) == (
        f"the weights of resnet50 must be on this machine, got no resnet50-0676ba61.pth in {tmp_path}; "
        f"type 'placewise models pull resnet50' or name a file with --weights"
    )
    assert not list(tmp_path.iterdir())


def test_weights_whose_name_tells_another_hash_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pulled file that was damaged is refused before anything is read from it."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path))
    (tmp_path / "resnet50-0676ba61.pth").write_bytes(b"damaged")

    with pytest.raises(CheckpointError, match=r"resnet50-0676ba61\.pth must have a SHA-256 that begins with 0676ba61"):
        load_model("resnet50")


def test_weights_that_changed_since_the_first_pull_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no hash is published, the recorded one is checked at every load, before anything else is read."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path))
    card = find_card("cosplace-resnet18-32")
    weights = tmp_path / card.weights_file
    digests.record(weights, hashlib.sha256(b"first").hexdigest())
    weights.write_bytes(b"damaged")

    with pytest.raises(CheckpointError) as caught:
        load_model("cosplace-resnet18-32")
    was, now = (hashlib.sha256(data).hexdigest()[:8] for data in (b"first", b"damaged"))
    assert str(caught.value) == (
        f"{weights.name} must have the SHA-256 that was recorded when it was pulled first, {was}…, got {now}…; "
        f"delete it to pull it again, or {weights.name}.sha256 to trust what came now"
    )


@pytest.mark.parametrize("name", ["cosplace-resnet18-32", "dinov2-base", "dinov2-small"])
def test_what_is_no_weights_file_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nonsense under the name of published weights is refused by its name, its format or its hash."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path))
    (tmp_path / find_card(name).weights_file).write_bytes(b"nonsense")

    with pytest.raises(CheckpointError) as caught:
        load_model(name)
    assert len(str(caught.value).splitlines()) == 1
    assert find_card(name).weights_file in str(caught.value)


def test_weights_of_another_architecture_are_refused() -> None:
    """The default model's weights are no resnet50, and the line says what is missing."""
    weights = installed_weights(find_card("efficientnet-lite0"))

    with pytest.raises(CheckpointError, match=r"weights must fit resnet50, got keys 265 missing \(conv1\.weight, "):
        load_model("resnet50", weights=weights)


def test_caches_that_cannot_be_written_only_cost_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On a read-only machine the model still works, and a warning says why it starts slowly."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("PLACEWISE_CACHE", str(tmp_path / "file" / "cache"))

    model = load_model()

    assert model.embed([np.zeros((64, 64, 3), np.uint8)]).shape == (1, 1280)
    assert "cache folder cannot be written" in caplog.text


def test_graph_and_compiled_model_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second load takes graph and compiled network from the cache folder, and embeds the same."""
    monkeypatch.setenv("PLACEWISE_CACHE", str(tmp_path))
    image = np.full((64, 64, 3), 77, np.uint8)
    first = load_model().embed([image])
    kept = {path for path in tmp_path.rglob("*") if path.is_file()}
    second = load_model().embed([image])

    assert len([path for path in kept if path.suffix == ".onnx"]) == 1
    assert [path for path in kept if "compiled" in path.parts]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == kept
    np.testing.assert_array_equal(first, second)


def test_loading_and_embedding_open_no_socket(tmp_path: Path) -> None:
    """In a fresh process, importing, loading and embedding make no network call of any kind, telemetry included."""
    script = """
        import sys
        calls = []
        sys.addaudithook(lambda name, _: calls.append(name) if name.startswith(("socket.", "urllib.")) else None)
        import numpy as np
        import placewise
        placewise.load_model().embed([np.zeros((64, 64, 3), np.uint8)])
        import time
        time.sleep(0.5)  # telemetry would be sent by a thread
        assert "openvino_telemetry" not in sys.modules
        network = [name for name in calls if name not in ("socket.gethostname",)]
        assert not network, network
    """
    environment = {"PLACEWISE_CACHE": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists()
