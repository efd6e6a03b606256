"""Weights files, read without PyTorch: tensors out, nothing else.

Three formats, recognised by content: the zip archive and the older legacy stream of ``torch.save``, which both carry
a pickle, and safetensors. The law of this module: whatever a file holds, reading it ends in arrays or in a
:class:`~placewise.errors.CheckpointError`; it never calls what the file names, and never takes memory out of proportion
to the file. Python's unpickler is therefore not used. `Machine` executes the few pickle instructions that
``torch.save`` writes, on plain containers, and admits the names in `_REFERENCES` only.

Sources: ``torch/serialization.py`` for the order of the parts, ``pickletools`` for the instructions,
https://huggingface.co/docs/safetensors for the header's rules.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from placewise.errors import CheckpointError
from placewise.models.tensors import DTYPES, Storage, Tensor, UnfitError, are_counts, read_array
from placewise.models.unpickle import PICKLE_LIMIT, Machine
from placewise.pickled import plain

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_HEADER_LIMIT = 100_000_000
"""Bytes of a safetensors header, the limit of the format."""
_SHARING_LIMIT = 4
"""Tensors may share storages, as tied weights do, but hold no more than this many times the file's bytes together."""

_SAVE_AGAIN = "save model.state_dict() with torch.save"
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Read the state dict of a ``.pth``, ``.pt`` or ``.safetensors`` file.

    A dict that wraps the state dict under ``state_dict``, ``model_state_dict`` or ``model`` is unwrapped, values that
    are no tensors (an epoch, a name) are left out, and a ``module.`` that begins every name is removed.

    Returns:
        The arrays by name, C-contiguous, in the dtype of the file, except that bfloat16, which NumPy lacks, becomes
        float32. They may share the memory of the file's bytes and are then read-only.

    Raises:
        CheckpointError: the file is missing, damaged, hostile or no checkpoint.
    """
    data = _read_bytes(path)
    try:
        tensors = _reader(data)(data)
    except UnfitError as unfit:
        message = f"{unfit.must}, got {unfit.got} in {path}; {unfit.advice}"
        raise CheckpointError(message) from unfit
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        message = f"checkpoint must be whole, got damaged content in {path}; pull it again"
        raise CheckpointError(message) from error
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): array for name, array in tensors.items()}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise _unreadable(path) from error


def check_name_hash(path: Path, sha256_hex: str) -> None:
    """Refuse a digest that contradicts a file name of PyTorch Hub's form, ``name-<8 or more digits of it>.pth``.

    So do our names of ``.onnx`` files; other names promise nothing and pass.
    """
    promised = re.fullmatch(r".*-([0-9a-f]{8,64})\.(?:pth|onnx)", path.name, re.DOTALL)
    if promised and not sha256_hex.startswith(promised[1]):
        message = (
            f"{path.name} must have a SHA-256 that begins with {promised[1]}, got {sha256_hex[: len(promised[1])]}…; "
            f"the file is damaged or renamed: pull it again"
        )
        raise CheckpointError(message)


def _big_endian() -> UnfitError:
    return UnfitError(
        got="big-endian numbers",
        must="checkpoint must be little-endian",
        advice="save it again on a little-endian machine",
    )


def _unreadable(path: Path) -> CheckpointError:
    try:
        got = "a folder" if path.is_dir() else "a file that cannot be read" if path.exists() else "no such file"
    except OSError:
        got = "a place that cannot be reached"
    return CheckpointError(f"checkpoint must be a readable file, got {got}: {path}; check the path or pull the weights")


def _read_bytes(path: Path) -> bytes:
    """The whole file; a pipe or device, which may have no end, is refused."""
    try:
        if path.is_file():
            return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise _unreadable(path) from error
    raise _unreadable(path)


def _reader(data: bytes) -> Callable[[bytes], dict[str, NDArray[Any]]]:
    """Recognise the format; safetensors goes before legacy because its first byte is arbitrary."""
    if data.startswith(b"PK\x03\x04"):
        return _read_zip
    if data[8:9] == b"{":
        return _read_safetensors
    if data.startswith(b"\x80"):
        return _read_legacy
    raise UnfitError(got="another format" if data else "an empty file", must="checkpoint must be .pth or .safetensors")


def _named_arrays(tree: object, buffers: Mapping[str, memoryview], *, limit_bytes: int) -> dict[str, NDArray[Any]]:
    """The state dict of an unpickled tree, its tensors read from the bytes of the storages."""
    tensors = _named_tensors(tree)
    for tensor in tensors.values():
        tensor.check()
        if len(buffers.get(tensor.storage.key, b"")) != tensor.storage.nbytes:
            raise UnfitError(got=f"storage {plain(tensor.storage.key)} of another size than declared")
    if sum(tensor.nbytes for tensor in tensors.values()) > limit_bytes:
        raise UnfitError(got="tensors that share their storages too often")
    return {name: tensor.array(buffers.get(tensor.storage.key, memoryview(b""))) for name, tensor in tensors.items()}


def _named_tensors(tree: object) -> dict[str, Tensor]:
    """Unwrap a state dict; only tensors remain."""
    must = "checkpoint must hold tensors by name"
    if not isinstance(tree, dict):
        raise UnfitError(got="no dict", must=must, advice=_SAVE_AGAIN)
    wrapped = [tree[key] for key in _WRAPPERS if isinstance(tree.get(key), dict)]
    tensors = {name: value for name, value in (wrapped or [tree])[0].items() if isinstance(value, Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise UnfitError(
            got="a tensor whose name is no text" if tensors else "a dict without tensors", must=must, advice=_SAVE_AGAIN
        )
    return tensors


# The formats


def _read_zip(data: bytes) -> dict[str, NDArray[Any]]:
    """An archive of ``<root>/data.pkl``, ``<root>/byteorder`` and one ``<root>/data/<key>`` a storage."""
    members = _zip_members(data)
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise UnfitError(
            got=f"a zip archive with {len(roots)} data.pkl", must="checkpoint must be an archive of torch.save"
        )
    files = {name.removeprefix(roots[0]): member for name, member in members.items() if name.startswith(roots[0])}
    if "constants.pkl" in files or any(name.startswith("code/") for name in files):
        raise UnfitError(got="a TorchScript archive", must="checkpoint must be a state dict", advice=_SAVE_AGAIN)
    if files.get("byteorder", b"little") != b"little":
        raise _big_endian()
    tree = Machine(files["data.pkl"]).load()
    buffers = {name.removeprefix("data/"): file for name, file in files.items() if name.startswith("data/")}
    return _named_arrays(tree, buffers, limit_bytes=_SHARING_LIMIT * len(data))


def _zip_members(data: bytes) -> dict[str, memoryview]:
    """The bytes of each file in an archive: stored, not compressed, and with the right CRC-32."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, struct.error, ValueError, LookupError) as error:
        raise UnfitError(got="a damaged or truncated zip archive") from error
    names = {info.filename for info in infos}
    if len(names) != len(infos) or sum(info.file_size for info in infos) > len(data):
        raise UnfitError(got="a zip archive whose members overlap")
    return {info.filename: _zip_member(data, info) for info in infos}


def _zip_member(data: bytes, info: zipfile.ZipInfo) -> memoryview:
    """One file of an archive without a copy; its local header is 30 bytes, a name and an extra field."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise UnfitError(
            got=f"the compressed or encrypted member {plain(info.filename)}",
            must="checkpoint must be an archive of torch.save",
        )
    signature, name_length, extra_length = struct.unpack_from(
        "<4s22xHH", data[info.header_offset : info.header_offset + 30].ljust(30)
    )
    start = info.header_offset + 30 + name_length + extra_length
    member = memoryview(data)[start : start + info.file_size]
    if signature != b"PK\x03\x04" or len(member) != info.file_size or zlib.crc32(member) != info.CRC:
        raise UnfitError(got=f"the damaged member {plain(info.filename)}")
    return member


def _read_legacy(data: bytes) -> dict[str, NDArray[Any]]:
    """Five pickles (magic, protocol, system, object, storage keys), then an int64 numel and the numbers per storage."""
    machine = Machine(memoryview(data)[:PICKLE_LIMIT])
    if machine.load() != _LEGACY_MAGIC or machine.load() != _LEGACY_PROTOCOL:
        raise UnfitError(got="a pickle of another program", must="checkpoint must be written by torch.save")
    system = machine.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _big_endian()
    tree, keys = machine.load(), machine.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UnfitError(got="storage keys that are no text")
    if sorted(keys) != sorted(machine.storages):
        raise UnfitError(got="storages that its tensors do not use")
    buffers = _legacy_storages(memoryview(data)[machine.position :], [machine.storages[key] for key in keys])
    return _named_arrays(tree, buffers, limit_bytes=_SHARING_LIMIT * len(data))


def _legacy_storages(data: memoryview, storages: list[Storage]) -> dict[str, memoryview]:
    """The bytes of each storage by key; they must fill the data to its end."""
    buffers = {}
    for storage in storages:
        if data[:8] != storage.numel.to_bytes(8, "little") or len(data) - 8 < storage.nbytes:
            raise UnfitError(got=f"storage {plain(storage.key)} of another size than declared")
        buffers[storage.key] = data[8 : 8 + storage.nbytes]
        data = data[8 + storage.nbytes :]
    if data:
        raise UnfitError(got=f"{len(data)} bytes after its end")
    return buffers


def _read_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """A uint64 header length, a JSON header, and numbers that the tensors fill without holes or overlaps."""
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > min(_HEADER_LIMIT, len(data) - 8):
        raise UnfitError(
            got=f"a header of {header_bytes} bytes", must="checkpoint must have its safetensors header inside the file"
        )
    header = json.loads(data[8 : 8 + header_bytes].decode(), object_pairs_hook=_unique)
    header.pop("__metadata__", None)
    buffer = memoryview(data)[8 + header_bytes :]
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        tensors[name], end = _safetensor(name, entry, buffer, begin=end)
    if end != len(buffer) or not tensors:
        raise UnfitError(got=f"{len(buffer) - end} bytes that belong to no tensor" if tensors else "no tensor")
    return {name: tensors[name] for name in header}


def _safetensor(name: str, entry: Any, buffer: memoryview, *, begin: int) -> tuple[NDArray[Any], int]:
    """One tensor that must begin where the one before it ends; returns it with its own end."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            usable = dtype in DTYPES and are_counts(shape)
        case _:
            usable, dtype, shape, start, end = False, "", [], 0, 0
    if not usable:
        raise UnfitError(got=f"tensor {plain(name)} without a usable dtype, shape or place")
    nbytes = math.prod(shape) * DTYPES[dtype].itemsize
    if start != begin or end != start + nbytes or end > len(buffer):
        raise UnfitError(got=f"tensor {plain(name)} outside its place")
    return read_array(buffer[start:end], dtype, tuple(shape)), end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused where a name comes twice."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise UnfitError(got="one name twice")
    return names
