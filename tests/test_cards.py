"""Model cards: the table, and the card that a user writes beside an ONNX file."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placewise.core import InputRule, ModelCard, Views
from placewise.errors import CardError, OptionError
from placewise.models import MODELS, find_card
from placewise.models.card_files import POOLINGS, read_card_file
from placewise.models.cards import FOREIGN, VLAD
from placewise.models.digests import published_prefix
from placewise.models.graphs import ARCHITECTURES

WHOLE = """
name = "theirs"
dim = 384
licence = "Apache-2.0"
source = "https://example.org/theirs"
pooling = "class-token"
output = "last_hidden_state"

[input]
name = "pixel_values"
resize = 256
crop = 224
interpolation = "bicubic"
rounding = "nearest"
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57]
"""


# The table


_WITH_WEIGHTS = {name: card for name, card in MODELS.items() if card.architecture != VLAD}


@pytest.mark.parametrize("card", _WITH_WEIGHTS.values(), ids=_WITH_WEIGHTS)
def test_each_card_of_the_table_can_be_used(card: ModelCard) -> None:
    """Its architecture exists, its pooling is one that is built, and its input rule makes sense."""
    assert card.architecture in {*ARCHITECTURES, FOREIGN}
    assert card.pooling in ({*POOLINGS} if card.architecture == FOREIGN else {"average", "gem"})
    assert card.input.crop is None or card.input.crop <= card.input.resize
    assert min(card.input.std) > 1
    assert card.source.startswith(("https://", "package:"))


def test_the_published_place_networks_are_there() -> None:
    """Every backbone and dimension that CosPlace and EigenPlaces publish for ResNets, under their file names."""
    cards = {name: card for name, card in MODELS.items() if name.startswith(("cosplace", "eigenplaces"))}

    assert len(cards) == 5 + 3 * 7 + 2 + 2 * 5
    card = cards["cosplace-resnet50-512"]
    assert (card.architecture, card.dim, card.input.resize, card.input.crop) == ("resnet50-gem", 512, 512, None)
    assert card.source == "https://github.com/gmberton/CosPlace/releases/download/v1.0/ResNet50_512_cosplace.pth"
    assert cards["eigenplaces-resnet50-2048"].source == (
        "https://github.com/gmberton/EigenPlaces/releases/download/v1.0/ResNet50_2048_eigenplaces.pth"
    )


def test_torchvisions_networks_are_there() -> None:
    """Five depths, and the second version where there is one; each file name tells its hash."""
    cards = [card for card in MODELS.values() if card.source.startswith("https://download.pytorch.org/")]

    assert [card.name for card in cards] == [
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *(f"resnet{depth}-v2" for depth in (50, 101, 152)),
    ]
    assert all(published_prefix(card.weights_file) for card in cards)
    assert {card.input.resize for card in cards if card.name.endswith("-v2")} == {232}


def test_a_graph_from_the_hub_is_pinned() -> None:
    """Every address of the hub has a revision of 40 digits: what is pulled tomorrow is what is pulled today."""
    sources = [card.source for card in MODELS.values() if card.architecture == FOREIGN]

    assert len(sources) == 4
    assert all(re.search(r"/resolve/[0-9a-f]{40}/", source) for source in sources)


def test_an_unknown_name_gets_a_hint() -> None:
    """A typo is answered with the nearest name, a stray word with where the names are listed."""
    with pytest.raises(OptionError) as near:
        find_card("cosplace-resnet50-500")
    with pytest.raises(OptionError) as stray:
        find_card("house")

    assert str(near.value) == (
        "model must be a name that 'placewise models' lists or an .onnx file, got 'cosplace-resnet50-500'; "
        "did you mean cosplace-resnet50-512?"
    )
    assert str(stray.value) == "model must be a name that 'placewise models' lists or an .onnx file, got 'house'"


# The card beside a file


def write(folder: Path, text: str | bytes) -> Path:
    """A card; returns the graph that it stands beside, which need not be there."""
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "theirs.toml").write_bytes(content)
    return folder / "theirs.onnx"


def test_every_key_is_read(tmp_path: Path) -> None:
    """A card with all keys says all of it."""
    graph = write(tmp_path, WHOLE)
    graph.write_bytes(b"graph")

    card = read_card_file(graph)

    assert card == ModelCard(
        name="theirs",
        architecture=FOREIGN,
        dim=384,
        input=InputRule(256, 224, "bicubic", (123.675, 116.28, 103.53), (58.395, 57.12, 57.0), "nearest"),
        pooling="class-token",
        weights_file="theirs.onnx",
        source=str(graph.resolve()),
        licence="Apache-2.0 (from https://example.org/theirs)",
        size_bytes=5,
        graph_input="pixel_values",
        graph_output="last_hidden_state",
    )


def test_what_may_be_left_out(tmp_path: Path) -> None:
    """Without the optional keys the whole image is used, rounded down, with the only input and the first output."""
    optional = ("source", "output", 'name = "pixel', "crop", "rounding")
    text = "\n".join(line for line in WHOLE.splitlines() if not line.startswith(optional))

    card = read_card_file(write(tmp_path, text))

    assert (card.input.crop, card.input.rounding, card.licence) == (None, "down", "Apache-2.0")
    assert (card.graph_input, card.graph_output, card.size_bytes) == ("", "", None)


@pytest.mark.parametrize("key", ["name", "dim", "licence", "pooling", "resize", "interpolation", "mean", "std"])
def test_missing_keys_are_named(key: str, tmp_path: Path) -> None:
    """Each key that must be there is missed by name."""
    text = "\n".join(line for line in WHOLE.splitlines() if not line.startswith(f"{key} =") or "pixel_values" in line)
    full = key if key in {"name", "dim", "licence", "pooling"} else f"input.{key}"

    graph = write(tmp_path, text)

    assert refused(graph) == (
        f"card {tmp_path / 'theirs.toml'} must have the key {full}, got none; write it as the README shows"
    )


def refused(graph: Path) -> str:
    """The line that a card is refused with."""
    with pytest.raises(CardError) as caught:
        read_card_file(graph)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dim = 384", 'dim = "384"', "dim of card {} must be a whole number from 1 to 65536, got '384'"),
        ("dim = 384", "dim = true", "dim of card {} must be a whole number from 1 to 65536, got True"),
        ("dim = 384", "dim = 0", "dim of card {} must be a whole number from 1 to 65536, got 0"),
        (
            "dim = 384",
            f"dim = 0x{'f' * 9000}",
            "dim of card {} must be a whole number from 1 to 65536, got an unusable",
        ),
        ('name = "theirs"', 'name = ""', "name of card {} must be a line of text, got ''"),
        ('name = "theirs"', 'name = "a\\nb"', "name of card {} must be a line of text, got 'a\\nb'"),
        ('name = "theirs"', 'name = "resnet50"', "name of card {} must be a name of its own, got 'resnet50', which is"),
        (
            '"class-token"',
            '"cls"',
            "pooling of card {} must be one of none, class-token, mean-token, average, got 'cls'",
        ),
        ('"class-token"', "[]", "pooling of card {} must be one of none, class-token, mean-token, average, got []"),
        ("resize = 256", "resize = 5000", "input.resize of card {} must be a whole number from 1 to 4096, got 5000"),
        ("crop = 224", "crop = 300", "input.crop of card {} must be at most resize, 256, got 300"),
        ("crop = 224", "crop = 224.0", "input.crop of card {} must be a whole number from 1 to 4096, got 224.0"),
        ('"bicubic"', '"lanczos"', "input.interpolation of card {} must be one of bilinear, bicubic, got 'lanczos'"),
        ('"nearest"', '"up"', "input.rounding of card {} must be one of down, nearest, got 'up'"),
        ("[58.395, 57.12, 57]", "[0.229, 0.224, 0.225]", "got [0.229, 0.224, 0.225]; multiply mean and std by 255"),
        ("[58.395, 57.12, 57]", "[0, 1, 1]", "input.std of card {} must be 1 or more, on the 0..255 scale, got [0.0, "),
        ("[58.395, 57.12, 57]", "[58.4, 57.1]", "input.std of card {} must be three numbers on the 0..255 scale, for"),
        ("[58.395, 57.12, 57]", "58", "input.std of card {} must be three numbers on the 0..255 scale, for red"),
        ("[58.395, 57.12, 57]", "[nan, 57.12, 57]", "input.std of card {} must be three numbers on the 0..255 scale"),
        (
            "[123.675, 116.28, 103.53]",
            "[0.485, 0.456, 0.406]",
            "input.mean of card {} must be on the 0..255 scale, got",
        ),
        ("[123.675, 116.28, 103.53]", "[inf, 1, 1]", "input.mean of card {} must be three numbers on the 0..255"),
        ("dim = 384", "dim = 384\ndims = 3", "card {} must have the keys of a card only, got dims; correct or delete"),
        ("crop = 224", "crop = 224\nsize = 3\nx = 1", "must have the keys of a card only, got input.size, input.x;"),
        ("[input]", "[inputs]", "card {} must have the key input, got none; write it as the README shows"),
        ("name", "name", None),
    ],
)
def test_wrong_values_are_named(old: str, new: str, words: str | None, tmp_path: Path) -> None:
    """Each key is refused by name, with what it must be and what it is; the whole card is not."""
    graph = write(tmp_path, WHOLE.replace(old, new, 1))

    if words is None:
        assert read_card_file(graph)
    else:
        assert words.format(tmp_path / "theirs.toml") in refused(graph)


def test_models_that_take_bytes_as_they_are_may_say_so(tmp_path: Path) -> None:
    """A mean of 0 and a std of 1 or 255 are meant: the graph scales by itself or wants 0..1."""
    for std in ("[1, 1, 1]", "[255, 255, 255]"):
        text = WHOLE.replace("[123.675, 116.28, 103.53]", "[0, 0, 0]").replace("[58.395, 57.12, 57]", std)
        assert read_card_file(write(tmp_path, text)).input.mean == (0, 0, 0)


def test_a_table_must_be_one(tmp_path: Path) -> None:
    """A value where the input's table belongs is refused by name."""
    text = WHOLE.partition("[input]")[0] + "input = 3\n"

    assert refused(write(tmp_path, text)) == f"input of card {tmp_path / 'theirs.toml'} must be a table, got 3"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name = ", "must be readable TOML, got Invalid value (at end of document); correct it"),
        (b"\xff\xfe", "must be readable TOML, got 'utf-8' codec can't decode byte 0xff in position 0"),
        (b"a = " + b"[" * 5000, "must be readable TOML, got "),
        (b"#" * 70_000, "must have at most 65536 bytes, got more; keep to the keys of a card"),
    ],
    ids=["syntax", "encoding", "depth", "size"],
)
def test_damaged_cards_are_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    """What is no TOML is refused with the reason."""
    assert words in refused(write(tmp_path, content))


def test_a_missing_card_is_one_line(tmp_path: Path) -> None:
    """A graph alone is refused with the name of the file that is missing; so is a folder in its place."""
    graph = tmp_path / "theirs.onnx"
    assert refused(graph) == (
        f"an .onnx file must have a card beside it, got no {tmp_path / 'theirs.toml'}; write one as the README shows"
    )
    (tmp_path / "theirs.toml").mkdir()
    assert refused(graph) == f"card {tmp_path / 'theirs.toml'} must be readable TOML, got Is a directory; correct it"


VALUES = st.one_of(
    st.sampled_from(['""', '"x"', "true", "1e999", "-1", "0x" + "f" * 5000, "[[[]]]", "{}", "{a = 1}", "1979-05-27"]),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.floats(), max_size=4).map(lambda numbers: f"[{', '.join(map(str, numbers))}]"),
)


@settings(max_examples=300)
@given(data=st.data())
def test_no_card_crashes_the_reader(data: st.DataObject) -> None:
    """Any bytes, and any value for any key, end in a card or in one line."""
    lines = WHOLE.strip().splitlines()
    changed = data.draw(
        st.one_of(
            st.binary(max_size=300),
            st.text(max_size=300).map(lambda text: text.encode(errors="replace")),
            st.tuples(st.integers(0, len(lines) - 1), VALUES).map(
                lambda change: "\n".join(
                    f"{line.split(' =')[0]} = {change[1]}" if index == change[0] and " =" in line else line
                    for index, line in enumerate(lines)
                ).encode()
            ),
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        assert len(outcome(write(Path(folder), changed)).splitlines()) == 1


def outcome(graph: Path) -> str:
    """What came of a card: its name, or the line that it was refused with."""
    try:
        return read_card_file(graph).name
    except CardError as error:
        return str(error)


def test_what_changes_embeddings_changes_the_fingerprint() -> None:
    """Each field that determines an embedding has a part in the fingerprint; names, terms and addresses have none."""
    card = MODELS["dinov2-small"]
    changes: dict[str, object] = {
        "architecture": "resnet50",
        "dim": 385,
        "input": dataclasses.replace(card.input, resize=257),
        "pooling": "mean-token",
        "weights_sha256": "0" * 64,
        "graph_input": "pixels",
        "graph_output": "pooler_output",
        "quantised": "0" * 64,
        "views": Views(flip=True),
        "parts": (card,),
    }
    free: dict[str, object] = {
        "name": "x",
        "weights_file": "x",
        "source": "x",
        "licence": "x",
        "size_bytes": 1,
        "precision": "float32",
        "decode": "full",
    }

    assert changes.keys() | free.keys() == {field.name for field in dataclasses.fields(card)}
    for field, value in changes.items():
        assert dataclasses.replace(card, **{field: value}).fingerprint != card.fingerprint, field  # type: ignore[arg-type]
    for field, value in free.items():
        assert dataclasses.replace(card, **{field: value}).fingerprint == card.fingerprint, field  # type: ignore[arg-type]
