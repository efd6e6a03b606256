"""Pulling weights, from a server on this machine that misbehaves on request."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from placewise.core import ModelCard
from placewise.errors import CheckpointError, DownloadError, OptionError
from placewise.models import find_card
from placewise.models.digests import check_of, check_record, published_prefix, record
from placewise.models.download import pull, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 1_280_000
HEADER = b'{"w": {"dtype": "U8", "shape": [1279872], "data_offsets": [0, 1279872]}}'.ljust(120)
CONTENT = len(HEADER).to_bytes(8, "little") + HEADER + (bytes(range(256)) * 5000)[: SIZE - 128]
"""One tensor in the format of safetensors."""
OTHER = CONTENT[:-1] + b"x"
PAGE = b"<html>Please log in to the network of this hotel</html>"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, or as much of it as ``serve`` says, as one version; remembers the ranges asked for."""

    serve = CONTENT
    understands_ranges = True
    tells_size = True
    version = '"one"'
    claims: int | None = None  # the size that it tells, where it is not that of what it serves
    status = 200  # anything else is all that it answers
    reason: str | None = None
    encoding = ""
    skips = 0  # bytes that it leaves out after the start of a range

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    """GET with ranges."""

    server: Server

    def do_GET(self) -> None:
        """Answer with what is left from the range's start, if the version asked for is the one served."""
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        assert self.headers["Accept-Encoding"] == "identity"
        if self.server.status != 200:
            self.send_response(self.server.status, self.server.reason)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        same = self.headers["If-Range"] in {None, self.server.version}
        usable = wanted and same and self.server.understands_ranges
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if usable else 0
        size = len(self.server.serve) if self.server.claims is None else self.server.claims
        if start and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        start += self.server.skips if start else 0
        self.send_response(206 if start else 200)
        if self.server.encoding:
            self.send_header("Content-Encoding", self.server.encoding)
        if self.server.tells_size:
            self.send_header("Content-Length", str(size - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("ETag", self.server.version)
        self.end_headers()
        self.wfile.write(self.server.serve[start:])

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def card(server: Server) -> ModelCard:
    """A card whose weights the server has."""
    return dataclasses.replace(
        find_card("resnet50"),
        source=f"http://127.0.0.1:{server.server_port}/weights",
        weights_file=f"weights-{DIGEST[:8]}.pth",
        size_bytes=len(CONTENT),
    )


def test_a_pull_brings_the_published_bytes(card: ModelCard, tmp_path: Path) -> None:
    """The file is whole, under its own name, alone in its folder; progress ends at its size."""
    seen: list[tuple[int, int]] = []

    path = pull(card, tmp_path / "models", on_progress=lambda done, total: seen.append((done, total)))

    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [card.weights_file]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("understands_ranges", [True, False])
def test_a_broken_pull_goes_on_where_it_stopped(
    card: ModelCard, server: Server, tmp_path: Path, *, understands_ranges: bool
) -> None:
    """A connection that ends early leaves a part; the next pull asks for the rest only, or takes all of it again."""
    server.serve, server.claims = CONTENT[:500_000], SIZE
    with pytest.raises(DownloadError, match=r" must bring 1280000 bytes, got 500000 so far; type the command again"):
        pull(card, tmp_path)
    server.serve, server.understands_ranges = CONTENT, understands_ranges

    path = pull(card, tmp_path)

    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=500000-"]


def test_wrong_bytes_never_get_the_name(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """Bytes of another hash are thrown away, with a line that says so; the next pull starts afresh."""
    server.serve = b"x" * len(CONTENT)
    with pytest.raises(DownloadError, match=r"^weights-.* must have the SHA-256 that its name begins to tell, got "):
        pull(card, tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_server_that_sends_too_much_is_cut_off(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """No more bytes are taken than the card says there are."""
    server.serve = CONTENT + b"more" * 1_000_000

    assert pull(card, tmp_path).read_bytes() == CONTENT


def test_a_source_that_cannot_be_reached_is_one_line(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """A closed port is reported with the address and what to do."""
    closed = dataclasses.replace(card, source="http://127.0.0.1:9/weights")
    del server

    with pytest.raises(DownloadError, match=r"^http://127\.0\.0\.1:9/weights must be reachable and .*; type the"):
        pull(closed, tmp_path)


# Weights whose size and hash nobody publishes


@pytest.fixture
def bare_card(card: ModelCard) -> ModelCard:
    """A card that knows neither size nor hash."""
    return dataclasses.replace(card, weights_file="weights.pth", size_bytes=None)


def test_an_unknown_size_is_the_servers(bare_card: ModelCard, tmp_path: Path) -> None:
    """The server's size is told before the bytes come, and the digest of a first pull is recorded beside them."""
    told: list[int] = []

    path = pull(bare_card, tmp_path, on_size=told.append)

    assert told == [len(CONTENT)]
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "weights.pth.sha256").read_text(encoding="ascii") == f"{DIGEST}  weights.pth\n"
    assert {file.name for file in tmp_path.iterdir()} == {"weights.pth", "weights.pth.sha256"}


def test_a_later_pull_must_bring_what_the_first_brought(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """Other bytes than those recorded are thrown away; without the record they are trusted anew."""
    pull(bare_card, tmp_path).unlink()
    server.serve = OTHER

    with pytest.raises(DownloadError) as caught:
        pull(bare_card, tmp_path)

    other = hashlib.sha256(server.serve).hexdigest()
    assert str(caught.value) == (
        f"weights.pth must have the SHA-256 that was recorded at the first pull, {DIGEST[:8]}…, got {other[:8]}…; "
        "the bytes were thrown away: type the command again, or delete weights.pth.sha256 to trust the new ones"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth.sha256"]
    (tmp_path / "weights.pth.sha256").unlink()
    assert pull(bare_card, tmp_path).read_bytes() == server.serve


def test_an_unknown_size_resumes_too(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """A connection that ends before the size that the server told leaves a part, which the next pull completes."""
    server.serve, server.claims = CONTENT[:500_000], len(CONTENT)
    with pytest.raises(DownloadError, match=r" must bring 1280000 bytes, got 500000 so far; type the command again"):
        pull(bare_card, tmp_path)
    assert not (tmp_path / "weights.pth.sha256").exists()
    server.serve = CONTENT

    assert pull(bare_card, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=500000-"]
    assert {file.name for file in tmp_path.iterdir()} == {"weights.pth", "weights.pth.sha256"}


def test_two_versions_are_never_joined(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """Where the file on the server has changed since the part was begun, all of it is brought again."""
    server.serve, server.claims = b"x" * 500_000, len(CONTENT)
    with pytest.raises(DownloadError, match="got 500000 so far"):
        pull(bare_card, tmp_path)
    server.serve, server.version = CONTENT, '"two"'

    assert pull(bare_card, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_that_holds_everything(bare_card: ModelCard, extra: bytes, tmp_path: Path) -> None:
    """A pull that was killed at its very end is completed; a part that is too long is thrown away in one line."""
    (tmp_path / "weights.pth.part").write_bytes(CONTENT + extra)

    if not extra:
        assert pull(bare_card, tmp_path).read_bytes() == CONTENT
        return
    with pytest.raises(
        DownloadError, match=r" must bring 1280000 bytes, got 1280004; the bytes were thrown away: type"
    ):
        pull(bare_card, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_without_a_size_is_refused(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """Where neither card nor server tells the size, a part could pass for the whole."""
    server.tells_size = False

    with pytest.raises(
        DownloadError, match=r" must say how many bytes it has, got no size; pull it with another tool$"
    ):
        pull(bare_card, tmp_path)


def test_an_address_without_weights_is_one_line(card: ModelCard, tmp_path: Path) -> None:
    """What the server says of an address that leads nowhere is passed on."""
    wrong = dataclasses.replace(card, source=card.source.replace("http://127.0.0.1", "http://127.0.0.1:1@localhost"))

    with pytest.raises(
        DownloadError, match=r" must be reachable and .* writable, got .*; type the command again to go"
    ):
        pull(wrong, tmp_path)


# Servers that have something else


def refused(card: ModelCard, folder: Path) -> str:
    """The one line that a pull is refused with."""
    with pytest.raises(DownloadError) as caught:
        pull(card, folder)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (403, "Forbidden"), (410, "Gone")])
def test_what_will_not_pass_is_not_tried_again(
    card: ModelCard, server: Server, status: int, words: str, tmp_path: Path
) -> None:
    """An error of the server that typing the command again cannot mend is reported as what it is."""
    server.status = status

    assert refused(card, tmp_path) == (
        f"{card.source} must have the weights, the server answered HTTP Error {status}: {words}; "
        "report this, or name a file with --weights"
    )


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_pass_is_tried_later(card: ModelCard, server: Server, status: int, tmp_path: Path) -> None:
    """A server that has too much to do is asked again later."""
    server.status = status

    assert refused(card, tmp_path).endswith("; type the command again later")


def test_a_redirect_loop_is_one_line(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """Python says it in three; control characters of the server do not reach the terminal."""
    server.status, server.reason = 302, "Found\x1b[31m"

    message = refused(card, tmp_path)

    assert "would lead to an infinite loop. The last 30x error message was: Found" in message
    assert message.isprintable()


def test_a_smaller_file_is_another_file(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """A server whose whole file is shorter than the published one is not asked to go on."""
    server.serve = PAGE

    assert refused(card, tmp_path) == (
        f"{card.source} must have the published file of 1280000 bytes, got a file of {len(PAGE)} bytes; "
        "report this, or name a file with --weights"
    )
    assert not list(tmp_path.iterdir())


def test_an_empty_file_is_refused(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """No bytes are no weights, and nothing is recorded."""
    server.serve = b""

    assert " must have weights, got a file of 0 bytes; report this" in refused(bare_card, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights.onnx"])
def test_a_page_is_no_weights(bare_card: ModelCard, server: Server, name: str, tmp_path: Path) -> None:
    """What cannot be read as weights is thrown away and not recorded, so that the next pull can be the first."""
    server.serve = PAGE
    card = dataclasses.replace(bare_card, weights_file=name)

    message = refused(card, tmp_path)

    assert message.startswith(f"{card.source} must bring weights, got ")
    assert message.endswith("; the bytes were thrown away: report this, or name a file with --weights")
    assert ".part" not in message
    assert not list(tmp_path.iterdir())


def test_a_graph_is_weights(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """An ONNX file is read as one."""
    helper = pytest.importorskip("onnx").helper
    value = helper.make_tensor_value_info("x", 1, ["N", 3])
    server.serve = helper.make_model(helper.make_graph([], "same", [value], [value])).SerializeToString()

    path = pull(dataclasses.replace(bare_card, weights_file="weights.onnx"), tmp_path)

    assert (tmp_path / "weights.onnx.sha256").exists()
    assert path.read_bytes() == server.serve


def test_an_encoded_file_is_refused(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """A server that compresses though it was asked not to would have its archive taken for the file."""
    server.encoding = "gzip"

    assert " must send the file as it is, got it in the encoding gzip; report" in refused(bare_card, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_range_is_never_appended(bare_card: ModelCard, server: Server, tmp_path: Path) -> None:
    """A server that goes on from another byte than the one asked for is asked for everything."""
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:500_000])
    server.skips = 7

    assert pull(bare_card, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=500000-", None]


# The record


def test_a_record_obeys_the_mask_and_leaves_nothing(tmp_path: Path) -> None:
    """Others may read it if they may read other new files; a record that cannot be written leaves no second file."""
    mask = os.umask(0o027)
    try:
        record(tmp_path / "weights.pth", DIGEST)
    finally:
        os.umask(mask)
    assert (tmp_path / "weights.pth.sha256").stat().st_mode & 0o777 == 0o640

    (tmp_path / "other.pth.sha256").mkdir()
    with pytest.raises(OptionError, match=r"other\.pth\.sha256 must be writable"):
        record(tmp_path / "other.pth", DIGEST)
    assert {file.name for file in tmp_path.iterdir()} == {"weights.pth.sha256", "other.pth.sha256"}


def test_a_record_in_the_way_is_one_line(bare_card: ModelCard, tmp_path: Path) -> None:
    """A folder where the record should be is reported by its name."""
    (tmp_path / "weights.pth.sha256").mkdir()

    assert "weights.pth.sha256 must be writable, got " in refused(bare_card, tmp_path)


def test_a_users_own_record_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the folder of pulled weights has records of ours; elsewhere a file of that name says nothing."""
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path / "models"))
    for folder in (tmp_path, tmp_path / "models"):
        folder.mkdir(exist_ok=True)
        (folder / "x.pth.sha256").write_text("the user's notes", encoding="ascii")

    check_record(tmp_path / "x.pth", DIGEST)
    with pytest.raises(CheckpointError, match="must begin with a SHA-256"):
        check_record(tmp_path / "models" / "x.pth", DIGEST)


# Weights that are here already


@pytest.mark.parametrize("recorded", [True, False])
def test_no_weights_are_never_well(bare_card: ModelCard, tmp_path: Path, *, recorded: bool) -> None:
    """A file that is no weights is named with what to delete, even where its own digest was recorded."""
    path = tmp_path / "weights.pth"
    path.write_bytes(PAGE)
    if recorded:
        record(path, hashlib.sha256(PAGE).hexdigest())

    with pytest.raises(DownloadError) as caught:
        verify(bare_card, path)

    both = f"{path} and weights.pth.sha256" if recorded else path
    assert str(caught.value) == (
        f"{path} must hold weights, got another format in weights.pth; delete {both} and type the command again"
    )
    assert path.read_bytes() == PAGE
    assert (tmp_path / "weights.pth.sha256").exists() is recorded


def test_weights_that_are_here_are_checked_again(card: ModelCard, tmp_path: Path) -> None:
    """By the name where it tells the hash; the file is left alone, and nothing is recorded."""
    path = pull(card, tmp_path)
    verify(card, path)
    path.write_bytes(b"damaged")

    with pytest.raises(
        DownloadError, match=r" must have the SHA-256 that its name begins to tell, .*; delete .* and type"
    ):
        verify(card, path)
    assert [file.name for file in tmp_path.iterdir()] == [card.weights_file]


def test_weights_put_here_by_hand_are_recorded(bare_card: ModelCard, tmp_path: Path) -> None:
    """What a user copied to its place counts as the first pull; later it must be the same."""
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT)
    verify(bare_card, path)
    assert (tmp_path / "weights.pth.sha256").read_text(encoding="ascii") == f"{DIGEST}  weights.pth\n"
    path.write_bytes(b"damaged")

    with pytest.raises(DownloadError, match=r"recorded at the first pull, .*; delete .*weights\.pth and type"):
        verify(bare_card, path)


def test_a_damaged_record_is_one_line(bare_card: ModelCard, tmp_path: Path) -> None:
    """A record without a digest vouches for nothing, and says so."""
    (tmp_path / "weights.pth.sha256").write_text("not a digest", encoding="ascii")

    with pytest.raises(
        DownloadError, match=r"weights\.pth\.sha256 must begin with a SHA-256 of 64 digits, got 'not a di"
    ):
        pull(bare_card, tmp_path)


@pytest.mark.parametrize(
    ("name", "prefix", "check"),
    [
        ("resnet50-0676ba61.pth", "0676ba61", "published prefix"),
        ("dinov2-small-83141175.onnx", "83141175", "published prefix"),
        ("ResNet50_512_cosplace.pth", None, "recorded at first pull"),
        ("clip-vit-b32.onnx", None, "recorded at first pull"),
        ("net-0676ba6.pth", None, "recorded at first pull"),
    ],
)
def test_which_check_a_name_gets(name: str, prefix: str | None, check: str) -> None:
    """Eight or more digits at the end of a name are the hash; fewer are part of the name."""
    assert published_prefix(name) == prefix
    assert check_of(name) == check
